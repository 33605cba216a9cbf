package state

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"time"
)

// ServiceName names a service in the cluster.
type ServiceName struct{ Namespace, Name string }

func (n ServiceName) String() string { return n.Namespace + "/" + n.Name }

// ServiceKind is how far a service can be reached.
type ServiceKind string

// The kinds of services. What only has a name (ExternalName) or no address of
// its own (headless) has no frontends, and is of kind ServiceNone.
const (
	ServiceNone         ServiceKind = ""
	ServiceClusterIP    ServiceKind = "ClusterIP"
	ServiceNodePort     ServiceKind = "NodePort"
	ServiceLoadBalancer ServiceKind = "LoadBalancer"
)

// Service is a Kubernetes Service: whom policies select by it, and what the
// datapath forwards to its backends.
type Service struct {
	Name     ServiceName
	Labels   map[string]string
	Selector map[string]string // of pods in its namespace; nil: its backends are those of its slices

	Kind            ServiceKind
	ClusterIPs      []netip.Addr // at most one of each family
	ExternalIPs     []netip.Addr // spec.externalIPs
	LoadBalancerIPs []netip.Addr // of status.loadBalancer.ingress; not those whose ipMode is Proxy
	Ports           []ServicePort

	Affinity       time.Duration // of a client to its backend; 0: none
	ExternalLocal  bool          // externalTrafficPolicy: Local
	InternalLocal  bool          // internalTrafficPolicy: Local
	Class          string        // loadBalancerClass: who is to serve it; empty: anybody
	HealthPort     uint16        // healthCheckNodePort; 0: none
	SourceRanges   []netip.Prefix
	Distribution   Distribution
	PublishUnready bool      // publishNotReadyAddresses
	Algorithm      Algorithm // by annotation; empty: the agent's
	Forwarding     string    // by annotation: "snat", "dsr" or "hybrid"; empty: the agent's
}

// Distribution is a service's trafficDistribution: which ready backends are
// preferred.
type Distribution string

// The distributions.
const (
	DistributeAll      Distribution = ""
	DistributeSameZone Distribution = "PreferSameZone" // PreferClose is the same
	DistributeSameNode Distribution = "PreferSameNode"
)

// Algorithm is how a backend is chosen.
type Algorithm string

// The algorithms.
const (
	AlgorithmRandom Algorithm = "random"
	AlgorithmMaglev Algorithm = "maglev"
)

// ServicePort is a port of a service.
type ServicePort struct {
	Name     string // by which slices know it; empty: the only one
	Proto    uint8  // IANA number: TCP, UDP or SCTP
	Port     uint16
	NodePort uint16 // 0: none
}

// Same reports whether two rows say the same.
func (s Service) Same(o Service) bool { return reflect.DeepEqual(s, o) }

// Columns implements table.Row.
func (s Service) Columns() []string {
	var ports []string
	for _, p := range s.Ports {
		ports = append(ports, fmt.Sprintf("%d/%s", p.Port, ProtoName(p.Proto)))
	}
	return []string{s.Name.String(), string(s.Kind), join(s.ClusterIPs), strings.Join(ports, ","), labelList(s.Selector)}
}

// SliceName names an EndpointSlice in the cluster.
type SliceName struct{ Namespace, Name string }

func (n SliceName) String() string { return n.Namespace + "/" + n.Name }

// Slice is one EndpointSlice.
type Slice struct {
	Name      SliceName
	Service   ServiceName  // by its label kubernetes.io/service-name; empty: of none
	Addrs     []netip.Addr // all of Endpoints, in whatever condition; sorted
	Ports     []SlicePort
	Endpoints []SliceEndpoint
}

// SlicePort is a port that every endpoint of a slice has.
type SlicePort struct {
	Name  string // of the service's port
	Proto uint8
	Port  uint16 // 0: any, as the API allows; such a port has no backends
}

// SliceEndpoint is a backend of a service.
type SliceEndpoint struct {
	Addr        netip.Addr
	Ready       bool // nil in the object means true
	Serving     bool // nil in the object means as Ready
	Terminating bool
	Node        string   // empty: not said
	Zone        string   // empty: not said
	HintZones   []string // for which zones it is meant; none: for all
	HintNodes   []string
}

// Same reports whether two rows say the same.
func (s Slice) Same(o Slice) bool { return reflect.DeepEqual(s, o) }

// Columns implements table.Row.
func (s Slice) Columns() []string {
	return []string{s.Name.String(), s.Service.String(), join(s.Addrs)}
}
