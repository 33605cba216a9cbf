package state

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// PodName names a pod in the cluster.
type PodName struct{ Namespace, Name string }

func (n PodName) String() string { return n.Namespace + "/" + n.Name }

// Pod is a pod anywhere in the cluster, as its Kubernetes object tells.
type Pod struct {
	Name           PodName
	Labels         map[string]string
	ServiceAccount string
	Node           string       // empty until scheduled
	IPs            []netip.Addr // empty until its network is set up
	HostNetwork    bool         // shares the node's addresses, and has no endpoint
}

// Same reports whether two rows say the same.
func (p Pod) Same(o Pod) bool {
	return p.Name == o.Name && p.ServiceAccount == o.ServiceAccount && p.Node == o.Node &&
		p.HostNetwork == o.HostNetwork && maps.Equal(p.Labels, o.Labels) && slices.Equal(p.IPs, o.IPs)
}

// Columns implements table.Row.
func (p Pod) Columns() []string {
	var labels []string
	for _, k := range slices.Sorted(maps.Keys(p.Labels)) {
		labels = append(labels, k+"="+p.Labels[k])
	}
	return []string{p.Name.String(), p.Node, join(p.IPs), strings.Join(labels, ",")}
}
