package convert

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"weir/api/v1"
	"weir/state"
)

// Scope is what an object does not say of itself.
type Scope struct {
	Cluster   string // the name of the cluster the objects belong to
	LocalNode string // the node this agent runs on

	// Pools says that the operator deals out pod CIDRs from pools of its own: those of
	// Nodes, which kube-controller-manager may write all the same, are nobody's.
	Pools bool

	// CIDRMatchMode lists what of the cluster the CIDRs of Cilium's kinds match,
	// besides the world: "pods", "nodes". With either of them they match whoever
	// has the address.
	CIDRMatchMode []string
}

func (s Scope) cidrsMatchCluster() bool {
	return slices.Contains(s.CIDRMatchMode, "pods") || slices.Contains(s.CIDRMatchMode, "nodes")
}

// CiliumNode returns the row of a node. Of several addresses of one type and
// family the first counts.
func CiliumNode(o *v1.CiliumNode, s Scope) (state.Node, error) {
	object := "CiliumNode " + o.Name
	if o.Name == "" {
		return state.Node{}, refuse("CiliumNode", "metadata.name", "is empty: write the node's name")
	}
	if err := checkLabels(where{object, "metadata.labels"}, o.Labels); err != nil {
		return state.Node{}, err
	}
	n := state.Node{Name: o.Name, Cluster: s.Cluster, Labels: maps.Clone(o.Labels), Local: o.Name == s.LocalNode}
	for i, a := range o.Spec.Addresses {
		if a.Type != v1.InternalIP && a.Type != v1.CiliumInternalIP {
			continue
		}
		ip, err := parseAddr(object, fmt.Sprintf("spec.addresses[%d].ip", i), a.IP)
		if err != nil {
			return state.Node{}, err
		}
		if a.Type == v1.InternalIP {
			n.Addresses = append(n.Addresses, ip)
		} else {
			n.Routers = append(n.Routers, ip)
		}
	}
	n.Addresses, n.Routers = firstOfEach(n.Addresses), firstOfEach(n.Routers)
	var err error
	if n.Health, err = healthAddrs(object, o.Spec.Health); err != nil {
		return state.Node{}, err
	}
	if n.PodCIDRs, err = parseCIDRs(object, "spec.ipam.podCIDRs", o.Spec.IPAM.PodCIDRs); err != nil {
		return state.Node{}, err
	}
	n.Routers = derived(n.Routers, state.RouterAddrs(n.PodCIDRs))
	return n, nil
}

// derived adds the addresses of families that the object does not name.
func derived(said, rule []netip.Addr) []netip.Addr { return firstOfEach(append(said, rule...)) }

func healthAddrs(object string, pair v1.AddressPair) ([]netip.Addr, error) {
	fields := []struct {
		name, text string
		is4        bool
	}{{"spec.health.ipv4", pair.IPv4, true}, {"spec.health.ipv6", pair.IPv6, false}}
	var out []netip.Addr
	for _, f := range fields {
		if f.text == "" {
			continue
		}
		a, err := parseAddr(object, f.name, f.text)
		if err != nil {
			return nil, err
		}
		if a.Is4() != f.is4 {
			return nil, refuse(object, f.name, "%q is of the other family: swap ipv4 and ipv6", f.text)
		}
		out = append(out, a)
	}
	return out, nil
}

// Node returns the row of a node that has no CiliumNode: its underlay
// addresses and pod CIDRs are known, the router address follows from them, and
// it has no health endpoint.
func Node(o *corev1.Node, s Scope) (state.Node, error) {
	object := "Node " + o.Name
	if o.Name == "" {
		return state.Node{}, refuse("Node", "metadata.name", "is empty: write the node's name")
	}
	if err := checkLabels(where{object, "metadata.labels"}, o.Labels); err != nil {
		return state.Node{}, err
	}
	n := state.Node{Name: o.Name, Cluster: s.Cluster, Labels: maps.Clone(o.Labels), Local: o.Name == s.LocalNode, Leaves: leaves(o), Unready: unready(o)}
	for i, a := range o.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		ip, err := parseAddr(object, fmt.Sprintf("status.addresses[%d].address", i), a.Address)
		if err != nil {
			return state.Node{}, err
		}
		n.Addresses = append(n.Addresses, ip)
	}
	n.Addresses = firstOfEach(n.Addresses)
	field, cidrs := "spec.podCIDRs", o.Spec.PodCIDRs
	if len(cidrs) == 0 && o.Spec.PodCIDR != "" {
		field, cidrs = "spec.podCIDR", []string{o.Spec.PodCIDR}
	}
	var err error
	if s.Pools {
		cidrs = nil
	}
	if n.PodCIDRs, err = parseCIDRs(object, field, cidrs); err != nil {
		return state.Node{}, err
	}
	n.Routers = state.RouterAddrs(n.PodCIDRs)
	return n, nil
}

// unready says why a node is not to be counted on: its kubelet says so, or is silent.
func unready(o *corev1.Node) string {
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return "its condition Ready is " + string(c.Status)
		}
	}
	return ""
}

// taintLeaving is what the cluster autoscaler puts on a node before it removes it.
const taintLeaving = "ToBeDeletedByClusterAutoscaler"

// leaves says why a node is about to leave the cluster, as kube-proxy's health check
// sees it (KEP-3836): one that is only cordoned stays.
func leaves(o *corev1.Node) string {
	if o.DeletionTimestamp != nil {
		return "it is being deleted"
	}
	if slices.ContainsFunc(o.Spec.Taints, func(t corev1.Taint) bool { return t.Key == taintLeaving }) {
		return "it has the taint " + taintLeaving
	}
	return ""
}
