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
	NodeName string   `json:"nodeName"` // default: the host name
	Cluster  Cluster  `json:"cluster"`
	Source   Source   `json:"source"`
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

	Health     Health `json:"health"`
	CNI        CNI    `json:"cni"`
	CleanState bool   `json:"cleanState"`    // at start: wipe pins and endpoint state
	CleanBPF   bool   `json:"cleanBPFState"` // at start: wipe pins
}

// Cluster names the cluster.
type Cluster struct {
	Name string `json:"name"` // RFC 1123 label, at most 32 characters
}

// Source says where Kubernetes objects come from.
type Source struct {
	Files string `json:"files"` // a folder of YAML files
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
	Mode string `json:"mode"` // "cluster-pool": out of the pod CIDRs that the operator gave the node
}

// BPF says how the datapath is laid out on this host.
type BPF struct {
	Root        string `json:"root"`        // where bpffs is mounted; our tree is the folder weir in it
	HostRouting string `json:"hostRouting"` // "auto", "bpf" or "legacy"
	AttachMode  string `json:"attachMode"`  // "auto", "tcx" or "tc"
	VLANBypass  []int  `json:"vlanBypass"`  // VLAN ids that pass unjudged; 0 means all
	IPCacheSize int    `json:"ipcacheSize"` // entries of weir_ipcache
	Endpoints   int    `json:"endpoints"`   // slots of weir_endpoints, at most 16384
}

// Health switches the health endpoint and the probes between nodes.
type Health struct {
	Enabled  bool          `json:"enabled"`
	Port     int           `json:"port"` // TCP, on nodes and health endpoints
	Interval time.Duration `json:"-"`
}

// CNI says which files the agent installs for the container runtime.
type CNI struct {
	ConfDir string `json:"confDir"` // empty: CNI configuration file management is disabled
	BinDir  string `json:"binDir"`  // empty: the plugin is not copied
}

// Defaults returns the configuration in force when nobody sets anything.
func Defaults() Config {
	return Config{
		Cluster:          Cluster{Name: "default"},
		RunDir:           "/var/run/weir",
		BPF:              BPF{Root: "/sys/fs/bpf", HostRouting: "auto", AttachMode: "auto", IPCacheSize: 512000, Endpoints: 4096},
		IPv4:             Family{Enabled: true},
		IPAM:             IPAM{Mode: "cluster-pool"},
		RoutingMode:      "tunnel",
		TunnelProtocol:   "vxlan",
		TunnelPort:       8472,
		UnderlayProtocol: "auto",
		Health:           Health{Enabled: true, Port: 4240, Interval: 10 * time.Second},
	}
}
