// Package agent is the contract of the agent's unix socket: requests of the
// CNI plugin and of the CLI as JSON over HTTP, with the shapes that both sides
// share and a client.
//
// Everything under /v1/cni changes the node; everything else only reads. The
// socket has mode 0600: whoever can open it is root on the node already.
package agent

import (
	"net/netip"
	"time"
)

// Paths of the socket's requests. GET unless said otherwise.
const (
	PathCNI       = "/v1/cni/"       // what follows is the operation
	PathCNIAdd    = "/v1/cni/add"    // POST AddRequest -> AddReply
	PathCNIDel    = "/v1/cni/del"    // POST Attachment -> {}
	PathCNICheck  = "/v1/cni/check"  // POST CheckRequest -> {}
	PathCNIGC     = "/v1/cni/gc"     // POST GCRequest -> GCReply
	PathCNIStatus = "/v1/cni/status" // -> {} when an ADD would be served
	PathStatus    = "/v1/status"     // -> Status
	PathConfig    = "/v1/config"     // -> Config
	PathKeys      = "/v1/keys"       // -> []ConfigKey; ?key=NAME: of one key, a group or another spelling
	PathEndpoints = "/v1/endpoints"  // -> []Endpoint
	PathNodes     = "/v1/nodes"      // -> []Node
	PathIPs       = "/v1/ips"        // -> []IP
	PathMaps      = "/v1/maps"       // -> []Map; PathMaps/NAME -> MapDump
	PathMetrics   = "/v1/metrics"    // -> []Metric
	PathExport    = "/v1/prometheus" // -> Export
	PathLog       = "/v1/log"        // -> []LogLine, oldest first
	PathTables    = "/v1/tables"     // -> []string; PathTables/NAME -> Table
	PathHealth    = "/v1/health"     // -> []Peer; ?probe=1 probes first
)

// DefaultSocket is where the agent listens unless told otherwise.
const DefaultSocket = "/var/run/weir/weir.sock"

// ErrorCode tells the CNI plugin which CNI error a refusal is.
type ErrorCode uint

// The codes an agent answers with; below 100 they are those of the CNI
// specification (section "Error").
const (
	CodeInvalidEnvironment ErrorCode = 4   // the netns does not exist, the interface is taken
	CodeUnknownContainer   ErrorCode = 3   // CHECK of what was never added
	CodeTryAgainLater      ErrorCode = 11  // the agent is not ready
	CodeUnavailable        ErrorCode = 50  // STATUS: an ADD would not be served
	CodeExhausted          ErrorCode = 100 // no address or endpoint number left
	CodeAlreadyAdded       ErrorCode = 101 // the attachment exists
	CodeBroken             ErrorCode = 102 // CHECK found something amiss
	CodeInternal           ErrorCode = 999
)

// Error is the body of every answer that is not 200.
type Error struct {
	Code    ErrorCode `json:"code"`
	Message string    `json:"message"`           // names the thing, the value and the way out
	Details string    `json:"details,omitempty"` // the cause underneath
}

func (e *Error) Error() string {
	if e.Details == "" {
		return e.Message
	}
	return e.Message + ": " + e.Details
}

// Attachment names one interface of one container: the key of the CNI protocol.
type Attachment struct {
	ContainerID string `json:"containerID"`
	Interface   string `json:"interface"`
	Netns       string `json:"netns,omitempty"` // path; may be gone on DEL
	// Issued is when the plugin was started, in nanoseconds of CLOCK_MONOTONIC, or
	// 0. An ADD that is older than a DEL of the same attachment is refused: its
	// plugin was killed, and the request was still on its way.
	Issued int64 `json:"issued,omitempty"`
}

// AddRequest asks for an interface.
type AddRequest struct {
	Attachment
	PodNamespace string `json:"podNamespace"`
	PodName      string `json:"podName"`
	PodUID       string `json:"podUID,omitempty"` // empty when the runtime does not tell
}

// AddReply is the interface that was made. It is sent when the pod's row is in
// the maps and its programs are attached.
type AddReply struct {
	EndpointID  uint32       `json:"endpointID"`
	HostDevice  string       `json:"hostDevice"`
	HostMAC     string       `json:"hostMAC"`
	MAC         string       `json:"mac"`
	MTU         int          `json:"mtu"`      // of the device
	RouteMTU    int          `json:"routeMTU"` // of its routes
	IPs         []netip.Addr `json:"ips"`      // IPv4 first
	Gateways    []netip.Addr `json:"gateways"` // one for each of IPs
	Description string       `json:"description,omitempty"`
}

// CheckRequest asks whether an attachment is still what ADD answered.
type CheckRequest struct {
	Attachment
	IPs []netip.Addr `json:"ips"` // of prevResult
	MAC string       `json:"mac"`
}

// GCRequest names every attachment that is still wanted; all others go.
type GCRequest struct {
	Valid []Attachment `json:"valid"`
}

// GCReply names the attachments that went.
type GCReply struct {
	Removed []Attachment `json:"removed"`
}

// Status is what `weir status` prints. Every line is read from the thing it
// speaks of when it is asked for.
type Status struct {
	OK          bool              `json:"ok"`
	Version     string            `json:"version"`
	Commit      string            `json:"commit"`
	Node        string            `json:"node"`
	Cluster     string            `json:"cluster"`
	Started     time.Time         `json:"started"`
	Source      Condition         `json:"source"`     // "files" and its folder, or "Kubernetes" and its version
	Devices     []DeviceStatus    `json:"devices"`    // that lead to the underlay
	Routing     RoutingStatus     `json:"routing"`    //
	CNIConfig   string            `json:"cniConfig"`  // the file written, or "CNI configuration file management disabled"
	IPAM        []PoolStatus      `json:"ipam"`       // one for each pod CIDR
	Datapath    Condition         `json:"datapath"`   // programs attached
	Programs    []ProgramStatus   `json:"programs"`   // one for each attachment
	Health      HealthStatus      `json:"health"`     // "Cluster health: 3/3 reachable"
	Controllers ControllersStatus `json:"controller"` // "Controller Status: 35/35 healthy"
	Problems    []Problem         `json:"problems"`   // objects refused
	Warnings    []string          `json:"warnings"`   // what an operator should know
	BPFRoot     string            `json:"bpfRoot"`
	Endpoints   int               `json:"endpoints"`
	Kernel      string            `json:"kernel"`

	Connections *ConnectionsStatus `json:"connections,omitempty"` // nil: the table cannot be read yet
	Policy      *PolicyStatus      `json:"policy,omitempty"`      // nil: nothing was compiled yet
	Identities  *IdentitiesStatus  `json:"identities,omitempty"`
	Services    *ServicesStatus    `json:"services,omitempty"`
	Masquerade  *MasqueradeStatus  `json:"masquerade,omitempty"`
	L2          *L2Status          `json:"l2,omitempty"` // nil: switched off

	KubernetesAPIs []string `json:"kubernetesAPIs,omitempty"` // what is watched, sorted: "core/v1::Pods"

	Monitor     MonitorStatus `json:"monitor"`
	Flows       *FlowsStatus  `json:"flows,omitempty"` // nil: nobody remembers any
	ClockSource string        `json:"clockSource"`     // of connections: "jiffies [250 Hz]"
	Absent      []Absent      `json:"absent"`
}

// Condition is a thing that is well, or says why not.
type Condition struct {
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

// DeviceStatus is a device that leads to the underlay.
type DeviceStatus struct {
	Name  string   `json:"name"`
	MTU   int      `json:"mtu"`
	Addrs []string `json:"addresses"`
}

// RoutingStatus says how packets leave: between nodes, and through the host.
type RoutingStatus struct {
	Mode       string `json:"mode"`       // "Tunnel [vxlan]" or "Native"
	Host       string `json:"host"`       // "BPF" or "Legacy"
	AttachMode string `json:"attachMode"` // "TCX" or "Legacy TC"
	DeviceMode string `json:"deviceMode"` // "veth"
	TunnelPort int    `json:"tunnelPort,omitempty"`
	RouteMTU   int    `json:"routeMTU"`
	NativeIPv4 string `json:"ipv4NativeRoutingCIDR,omitempty"`
	NativeIPv6 string `json:"ipv6NativeRoutingCIDR,omitempty"`
}

// PoolStatus is how full one pod CIDR is: pods, router and health endpoint
// count as allocated.
type PoolStatus struct {
	Family    string `json:"family"` // "IPv4" or "IPv6"
	CIDR      string `json:"cidr"`
	Allocated uint64 `json:"allocated"`
	Capacity  uint64 `json:"capacity"` // usable addresses, saturated at 2^63-1
}

// ProgramStatus is one program at one place.
type ProgramStatus struct {
	Device    string `json:"device"`
	Name      string `json:"name"`      // "from_pod"
	Direction string `json:"direction"` // "ingress" or "egress", as the device sees it
	ProgramID uint32 `json:"programID"`
	Kind      string `json:"kind"` // "tcx", or "tc": in legacy TC mode, and for the first moments of a pod
	Attached  bool   `json:"attached"`
	Error     string `json:"error,omitempty"`
}

// HealthStatus counts the nodes that answered the last probe.
type HealthStatus struct {
	Enabled   bool      `json:"enabled"`
	Daemon    Condition `json:"daemon"` // whether this node answers and probes
	Interval  string    `json:"interval,omitempty"`
	Reachable int       `json:"reachable"`
	Total     int       `json:"total"`
	LastProbe time.Time `json:"lastProbe"`
}

// ControllersStatus sums up the reconcile loops.
type ControllersStatus struct {
	Healthy int          `json:"healthy"`
	Total   int          `json:"total"`
	All     []Controller `json:"all"`
}

// Controller is one reconcile loop.
type Controller struct {
	Name        string    `json:"name"`
	Runs        uint64    `json:"runs"`
	Failures    uint64    `json:"failures"`
	LastSuccess time.Time `json:"lastSuccess,omitzero"`
	LastFailure time.Time `json:"lastFailure,omitzero"`
	LastError   string    `json:"lastError,omitempty"`
}

// Problem is an object that was refused; its last good version stays in force.
type Problem struct {
	Object string `json:"object"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Error  string `json:"error"`
}

// Config is the configuration in force.
type Config struct {
	File     string   `json:"file"`
	Agent    []Option `json:"agent"`    // every key with its value
	Datapath []Option `json:"datapath"` // every constant the programs were loaded with
}

// ConfigKey is all there is to say of one key of the configuration.
type ConfigKey struct {
	Key   string   `json:"key"`
	Value string   `json:"value"`
	Unset string   `json:"unset"`           // the value had nobody set it
	From  string   `json:"from,omitempty"`  // where it was set; empty: nobody did
	Means string   `json:"means"`           // one sentence
	Other []string `json:"other,omitempty"` // other spellings that are taken
}

// Option is one key with its value, as text.
type Option struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Default bool   `json:"default,omitempty"` // nobody set it
	From    string `json:"from,omitempty"`    // where it was set: "weir.yaml:3", "--set mtu"
}

// Endpoint is one line of `weir endpoint list`.
type Endpoint struct {
	ID          uint32   `json:"id"`
	Pod         string   `json:"pod"` // "namespace/name", empty for the health endpoint
	ContainerID string   `json:"containerID"`
	Identity    uint32   `json:"identity"`
	Labels      []string `json:"labels"`
	IPv4        string   `json:"ipv4,omitempty"`
	IPv6        string   `json:"ipv6,omitempty"`
	Device      string   `json:"device"`
	Ifindex     int      `json:"ifindex"`
	MAC         string   `json:"mac"`
	NodeMAC     string   `json:"nodeMAC"`
	MTU         int      `json:"mtu"`
	State       string   `json:"state"`
	PolicyIn    string   `json:"policyIngress"` // "Disabled" until something enforces policy
	PolicyOut   string   `json:"policyEgress"`
}

// Node is one line of `weir node list`.
type Node struct {
	Name      string   `json:"name"`
	Local     bool     `json:"local"`
	IPv4      string   `json:"ipv4,omitempty"`
	IPv6      string   `json:"ipv6,omitempty"`
	IPv4CIDRs []string `json:"ipv4PodCIDRs,omitempty"`
	IPv6CIDRs []string `json:"ipv6PodCIDRs,omitempty"`
	Routers   []string `json:"routers,omitempty"`
	Source    string   `json:"source"` // "local" or "custom-resource"
}

// IP is one line of `weir ip list`: a row of the ipcache with its meaning.
type IP struct {
	Prefix         string   `json:"prefix"`
	Identity       uint32   `json:"identity"`
	Labels         []string `json:"labels"` // "reserved:host", or the pod's labels
	TunnelEndpoint string   `json:"tunnelEndpoint,omitempty"`
	Endpoint       uint32   `json:"endpoint,omitempty"`
	Source         string   `json:"source"`
	Of             string   `json:"of,omitempty"` // the pod or node
}

// Map is one line of `weir map list`.
type Map struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	ID         uint32 `json:"id"`
	KeySize    uint32 `json:"keySize"`
	ValueSize  uint32 `json:"valueSize"`
	MaxEntries uint32 `json:"maxEntries"`
	Entries    int    `json:"entries"` // -1: cannot be counted
	Errors     int    `json:"errors"`  // writes that failed and are being retried
	Memory     uint64 `json:"memory"`  // bytes, as the kernel counts them
	Pin        string `json:"pin"`
	Mirrored   bool   `json:"mirrored"` // the agent writes it and knows what it should hold
}

// MapDump is one map's content, read from the kernel.
type MapDump struct {
	Map
	Rows []MapRow `json:"rows"`
}

// MapRow is one entry. State compares what the kernel holds with what the
// agent wants: "sync", "to-be-updated", "to-be-deleted" or "missing"; "" where
// the agent does not write the map.
type MapRow struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	State string `json:"state"`
	Error string `json:"error,omitempty"`
}

// Metric counts packets that met one end at one place, since the map was made.
type Metric struct {
	Reason    string `json:"reason"` // "Forwarded to endpoint", "Invalid source ip", ...
	Drop      bool   `json:"drop"`
	Place     string `json:"place"`     // the program: "from_pod"
	Direction string `json:"direction"` // "INGRESS" or "EGRESS"
	Packets   uint64 `json:"packets"`
	Bytes     uint64 `json:"bytes"`
}

// Export is every metric of the agent in the text format of Prometheus.
type Export struct {
	Text string `json:"text"`
}

// Table is any table as text.
type Table struct {
	Name    string     `json:"name"`
	Heading []string   `json:"heading"`
	Rows    [][]string `json:"rows"`
}

// Peer is the last health probe of one node.
type Peer struct {
	Node       string        `json:"node"`
	Local      bool          `json:"local"`
	NodeIP     string        `json:"nodeIP"`
	NodeOK     bool          `json:"nodeOK"`
	NodeRTT    time.Duration `json:"nodeRTT"`
	NodeError  string        `json:"nodeError,omitempty"`
	EndpointIP string        `json:"endpointIP"`
	EndpointOK bool          `json:"endpointOK"`
	EndpointRT time.Duration `json:"endpointRTT"`
	Endpoint   string        `json:"endpointError,omitempty"`
	LastProbe  time.Time     `json:"lastProbe"`

	NodePing     Ping `json:"nodePing"`
	EndpointPing Ping `json:"endpointPing"`
}
