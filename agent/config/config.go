// Package config is the agent's configuration: one typed value, read once from
// a file and flags, checked, and never changed.
//
// Facts found on the host (devices, addresses, MTUs) are not configuration;
// they are rows of tables.
package config

import (
	"net/netip"
	"time"
)

// Config is everything a user can set. The JSON names are the keys of
// weir.yaml; where Helm users know a name, it is that name.
type Config struct {
	NodeName string  `json:"nodeName"` // default: the host name
	Cluster  Cluster `json:"cluster"`
	Source   Source  `json:"source"`

	K8sServiceHost []string `json:"k8sServiceHost"` // API servers: hosts, "host:port" or URLs; default: found, see docs/kubernetes.md
	K8sServicePort int      `json:"k8sServicePort"` // of those that say no port

	Debug    Debug    `json:"debug"`
	RunDir   string   `json:"runDir"`   // socket, pid file, delete queue
	StateDir string   `json:"stateDir"` // one JSON file for each endpoint; default runDir/state
	Socket   string   `json:"socket"`   // default runDir/weir.sock
	BPF      BPF      `json:"bpf"`
	Devices  []string `json:"devices"` // that lead to the underlay, globs allowed; default: detected
	MTU      int      `json:"mtu"`     // of the underlay; 0: detected, and followed when it changes

	IPv4 Family `json:"ipv4"`
	IPv6 Family `json:"ipv6"`
	IPAM IPAM   `json:"ipam"`

	RoutingMode           string       `json:"routingMode"`           // "tunnel" or "native"
	TunnelProtocol        string       `json:"tunnelProtocol"`        // "vxlan"
	TunnelPort            int          `json:"tunnelPort"`            // UDP
	UnderlayProtocol      string       `json:"underlayProtocol"`      // "auto", "ipv4" or "ipv6": outer addresses of the tunnel
	AutoDirectNodeRoutes  bool         `json:"autoDirectNodeRoutes"`  // native: install a route to each node's pod CIDRs
	IPv4NativeRoutingCIDR netip.Prefix `json:"ipv4NativeRoutingCIDR"` // native: within it the underlay can route pod addresses
	IPv6NativeRoutingCIDR netip.Prefix `json:"ipv6NativeRoutingCIDR"`
	EndpointRoutes        Family       `json:"endpointRoutes"` // a host route, and to_pod, for each pod

	EnableIPv4Masquerade bool        `json:"enableIPv4Masquerade"` // pods leave the cluster as their node
	EnableIPv6Masquerade bool        `json:"enableIPv6Masquerade"`
	IPMasqAgent          IPMasqAgent `json:"ipMasqAgent"`

	KubeProxyReplacement bool         `json:"kubeProxyReplacement"`                // services are Weir's; false: kube-proxy's
	HealthzBindAddr      string       `json:"kubeProxyReplacementHealthzBindAddr"` // where /healthz and /livez are asked for; empty: nowhere
	LoadBalancer         LoadBalancer `json:"loadBalancer"`
	NodePort             NodePort     `json:"nodePort"`
	L2Announcements      Family       `json:"l2announcements"` // answer ARP and NDP for addresses of services
	CgroupRoot           string       `json:"cgroupRoot"`      // a folder of a cgroup v2; default: where one is mounted

	Policy       Policy       `json:"policy"`
	HostFirewall HostFirewall `json:"hostFirewall"`
	Conntrack    Conntrack    `json:"conntrack"`

	Health     Health     `json:"health"`
	Prometheus Prometheus `json:"prometheus"`
	Hubble     Hubble     `json:"hubble"` // flows
	CNI        CNI        `json:"cni"`
	CleanState bool       `json:"cleanState"`    // at start: wipe pins and endpoint state
	CleanBPF   bool       `json:"cleanBPFState"` // at start: wipe pins
}

// Cluster names the cluster.
type Cluster struct {
	Name string `json:"name"` // RFC 1123 label
}

// Source says where Kubernetes objects come from: one of the two.
type Source struct {
	Files      string     `json:"files"` // a folder of YAML files
	Kubernetes Kubernetes `json:"kubernetes"`
}

// Kubernetes is the API server as the source.
type Kubernetes struct {
	Enabled    bool   `json:"enabled"`
	Kubeconfig string `json:"kubeconfig"` // default: the pod's service account
}

// Debug raises the log level.
type Debug struct {
	Enabled bool `json:"enabled"`
}

// Family switches something on.
type Family struct {
	Enabled bool `json:"enabled"`
}

// IPAM says how pods get addresses.
type IPAM struct {
	Mode string `json:"mode"` // who gave the node its pod CIDRs: "cluster-pool", the operator; "kubernetes", kube-controller-manager
}

// BPF says how the datapath is laid out on this host.
type BPF struct {
	Root        string `json:"root"`        // where bpffs is mounted; our tree is the folder weir in it
	HostRouting string `json:"hostRouting"` // "auto", "bpf" or "legacy"
	AttachMode  string `json:"attachMode"`  // "auto", "tcx" or "tc"
	VLANBypass  []int  `json:"vlanBypass"`  // VLAN ids that pass unjudged; 0 means all
	IPCacheSize int    `json:"ipcacheSize"` // entries of weir_ipcache
	Endpoints   int    `json:"endpoints"`   // slots of weir_endpoints, at most 16384
	CTSize      int    `json:"ctSize"`      // connections that weir_ct has room for at first
	CTLimit     int    `json:"ctLimit"`     // up to which it grows; 0: what fits a hundredth of the memory
	PolicyRules int    `json:"policyRules"` // entries of weir_policy_rules

	MonitorAggregation string `json:"monitorAggregation"` // what there is no event of: "none", "low", "medium" or "maximum"
	MonitorInterval    string `json:"monitorInterval"`    // "5s": how often there is one of a connection that goes on
	EventsSize         int    `json:"eventsSize"`         // octets of weir_events
	DropEventsLimit    int    `json:"dropEventsLimit"`    // events of drops in a second on each CPU; 0: none
	TracesSize         int    `json:"tracesSize"`         // octets of weir_traces
}

// IPMasqAgent says where pods keep their own address although they leave the
// cluster.
type IPMasqAgent struct {
	Enabled    bool   `json:"enabled"`
	ConfigFile string `json:"configFile"` // nonMasqueradeCIDRs and masqLinkLocal, read again when it changes
}

// LoadBalancer says how services choose backends, and how their clients get there.
type LoadBalancer struct {
	Algorithm    string `json:"algorithm"`    // "random" or "maglev", where a service does not say
	Mode         string `json:"mode"`         // "snat", "dsr" or "hybrid": how clients from outside get to backends of other nodes, likewise
	DSRDispatch  string `json:"dsrDispatch"`  // "opt": how such a node learns which service was asked
	Acceleration string `json:"acceleration"` // by XDP: "disabled", "native" or "best-effort"
}

// NodePort says where services of this node's are.
type NodePort struct {
	Range     string         `json:"range"`     // ports that services may have on nodes, "30000-32767"
	Addresses []netip.Prefix `json:"addresses"` // within which addresses of this node's devices have them; none: all
}

// Policy says how network policy is meant.
type Policy struct {
	EnforcementMode string   `json:"enforcementMode"` // "default", "always" or "never"
	CIDRMatchMode   []string `json:"cidrMatchMode"`   // what CIDRs of Cilium policies match beside the world: "pods", "nodes"
	DenyResponse    string   `json:"denyResponse"`    // "drop" or "reject", where neither policy nor namespace says
}

// HostFirewall makes the node itself an endpoint.
type HostFirewall struct {
	Enabled  bool     `json:"enabled"`
	FailSafe []string `json:"failSafe"` // ports no policy closes: "ingress:TCP/22"
}

// Conntrack is how long connections may be idle, in seconds.
type Conntrack struct {
	TCPNew         int `json:"tcpNew"`
	TCPEstablished int `json:"tcpEstablished"`
	TCPClosing     int `json:"tcpClosing"`
	UDPNew         int `json:"udpNew"`         // UDP, SCTP and all others
	UDPEstablished int `json:"udpEstablished"` // likewise
	ICMP           int `json:"icmp"`
}

// Health switches the health endpoint and the probes between nodes.
type Health struct {
	Enabled  bool          `json:"enabled"`
	Port     int           `json:"port"` // TCP, on nodes and health endpoints
	Interval time.Duration `json:"-"`
}

// Prometheus says where metrics can be scraped.
type Prometheus struct {
	Enabled bool `json:"enabled"`
	Port    int  `json:"port"` // TCP, on every address of the node
}

// Hubble is how flows are kept and served.
type Hubble struct {
	Enabled       bool          `json:"enabled"`
	ListenAddress string        `json:"listenAddress"`       // TCP, with certificates or tls.enabled false; empty: the node's socket alone
	BufferBytes   int           `json:"bufferBytes"`         // memory for the latest flows
	DNSNames      bool          `json:"dnsNames"`            // answers of DNS that pods get are read
	BufferFlows   int           `json:"eventBufferCapacity"` // how many flows to keep, in place of bufferBytes; 0: that counts
	TLS           HubbleTLS     `json:"tls"`
	Metrics       HubbleMetrics `json:"metrics"`
}

// HearsDNS reports whether answers of DNS are read: nobody else wants them.
func (c Config) HearsDNS() bool { return c.Hubble.Enabled && c.Hubble.DNSNames }

// HubbleMetrics are the metrics of flows.
type HubbleMetrics struct {
	Enabled []string `json:"enabled"` // of FlowMetrics
}

// FlowMetrics are what of flows can be counted.
func FlowMetrics() []string {
	return []string{"drop", "flow", "tcp", "icmp", "port-distribution", "dns"}
}

// HubbleTLS are the certificates for TCP, files in PEM that are read again when they change.
type HubbleTLS struct {
	Enabled      bool   `json:"enabled"`
	CertFile     string `json:"certFile"` // of this node; empty: nothing is served on TCP
	KeyFile      string `json:"keyFile"`
	ClientCAFile string `json:"clientCAFile"` // whose certificates clients must have; empty: they need none
}

// CNI says which files the agent installs for the container runtime.
type CNI struct {
	ConfDir string `json:"confDir"` // empty: CNI configuration file management is disabled
	BinDir  string `json:"binDir"`  // empty: the plugin is not copied
}

// Defaults returns the configuration in force when nobody sets anything.
func Defaults() Config {
	return Config{
		Cluster: Cluster{Name: "default"},

		K8sServicePort: 6443,

		RunDir: "/var/run/weir",
		BPF: BPF{Root: "/sys/fs/bpf", HostRouting: "auto", AttachMode: "auto", IPCacheSize: 512000, Endpoints: 4096,
			CTSize: 65536, PolicyRules: 65536, MonitorAggregation: "medium", MonitorInterval: "5s", EventsSize: 4 << 20, TracesSize: 4 << 20},
		IPv4:             Family{Enabled: true},
		IPAM:             IPAM{Mode: "cluster-pool"},
		RoutingMode:      "tunnel",
		TunnelProtocol:   "vxlan",
		TunnelPort:       8472,
		UnderlayProtocol: "auto",

		EnableIPv4Masquerade: true, EnableIPv6Masquerade: true,
		IPMasqAgent: IPMasqAgent{ConfigFile: "/etc/config/ip-masq-agent"},

		KubeProxyReplacement: true,
		HealthzBindAddr:      ":10256",
		LoadBalancer:         LoadBalancer{Algorithm: "random", Mode: "snat", DSRDispatch: "opt", Acceleration: "disabled"},
		NodePort:             NodePort{Range: "30000-32767"},

		Policy: Policy{EnforcementMode: "default", DenyResponse: "drop"},
		HostFirewall: HostFirewall{FailSafe: []string{"ingress:TCP/22", "ingress:TCP/6443", "ingress:TCP/10250", "ingress:UDP/68", "ingress:TCP/4240",
			"egress:UDP/53", "egress:TCP/53", "egress:UDP/67", "egress:TCP/6443", "egress:TCP/4240", "egress:UDP/123"}},
		Conntrack:  Conntrack{TCPNew: 60, TCPEstablished: 8000, TCPClosing: 10, UDPNew: 60, UDPEstablished: 60, ICMP: 60},
		Health:     Health{Enabled: true, Port: 4240, Interval: 10 * time.Second},
		Prometheus: Prometheus{Port: 9962},
		Hubble:     Hubble{Enabled: true, DNSNames: true, ListenAddress: ":4244", BufferBytes: 16 << 20, TLS: HubbleTLS{Enabled: true}, Metrics: HubbleMetrics{Enabled: FlowMetrics()}},
	}
}
