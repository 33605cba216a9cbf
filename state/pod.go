package state

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// PodName names a pod in the cluster.
type PodName struct{ Namespace, Name string }

func (n PodName) String() string { return n.Namespace + "/" + n.Name }

// NamedPort is a container's port with a name.
type NamedPort struct {
	Name  string
	Proto uint8 // IANA number
	Port  uint16
}

// Workload is what people know a pod as part of: a Deployment and not its ReplicaSet.
type Workload struct{ Kind, Name string }

// Pod is a pod anywhere in the cluster, as its Kubernetes object tells.
type Pod struct {
	Name           PodName
	Labels         map[string]string
	ServiceAccount string
	Node           string       // empty until scheduled
	IPs            []netip.Addr // empty until its network is set up
	HostIP         netip.Addr   // where it is, as the kubelet says, once it has IPs; zero: not said
	Ports          []NamedPort  // of its containers that have a name, in the object's order
	HostPorts      []HostPort   // of its node, likewise; none with HostNetwork
	HostNetwork    bool         // shares the node's addresses, and has no endpoint
	Workload       Workload     // that made it; zero: nothing did

	// Which pod of this name it is; of two that claim one address, which has it.
	UID      string    // as the runtime knows it; empty for objects that never saw an API server
	Created  time.Time // likewise zero
	Deleting bool      // told to end: its address may be another's by now
}

// Same reports whether two rows say the same.
func (p Pod) Same(o Pod) bool {
	return p.Name == o.Name && p.UID == o.UID && p.Created.Equal(o.Created) && p.Deleting == o.Deleting && p.ServiceAccount == o.ServiceAccount && p.Node == o.Node && p.Workload == o.Workload && p.HostIP == o.HostIP &&
		p.HostNetwork == o.HostNetwork && maps.Equal(p.Labels, o.Labels) && slices.Equal(p.IPs, o.IPs) && slices.Equal(p.Ports, o.Ports) &&
		slices.Equal(p.HostPorts, o.HostPorts)
}

// Columns implements table.Row.
func (p Pod) Columns() []string {
	return []string{p.Name.String(), p.Node, join(p.IPs), labelList(p.Labels)}
}
