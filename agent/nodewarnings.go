package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weir/state"
)

// nodeWarnings is what of the node's objects does not fit this machine, and costs
// nobody his network yet.
func nodeWarnings(t *state.Tables) []string {
	var out []string
	for _, n := range t.Nodes.All() {
		if !n.Local {
			continue
		}
		if text := otherMachine(t, n); text != "" {
			out = append(out, text)
		}
		if text := outsideCIDRs(t, n); text != "" {
			out = append(out, text)
		}
	}
	return out
}

// otherMachine says that the cluster knows this node by addresses of another machine: two
// kubelets of one name have one Node, with the addresses of who wrote it last.
func otherMachine(t *state.Tables, local state.Node) string {
	if len(local.Addresses) == 0 || t.HostAddresses.Len() == 0 {
		return ""
	}
	for _, a := range local.Addresses {
		if _, here := t.HostAddresses.Get(a); here {
			return ""
		}
	}
	return fmt.Sprintf("the cluster has node %s at %s, which is no address of this machine: if another machine has this name, too, give one of them another", local.Name, joined(local.Addresses))
}

// outsideCIDRs names pods whose addresses are in no pod CIDR of the node any more.
func outsideCIDRs(t *state.Tables, local state.Node) string {
	var pods []string
	var addrs []netip.Addr
	for _, e := range t.Endpoints.All() {
		for _, a := range e.Addrs() {
			if !e.Health && len(local.PodCIDRs) > 0 && !slices.ContainsFunc(local.PodCIDRs, func(c netip.Prefix) bool { return c.Contains(a) }) {
				addrs = append(addrs, a)
				pods = append(pods, e.Pod.String())
			}
		}
	}
	if len(addrs) == 0 {
		return ""
	}
	slices.Sort(pods)
	pods = slices.Compact(pods)
	return fmt.Sprintf("%d pods (%s) have addresses that are in no pod CIDR of node %s (%s): another node may be given them: create these pods anew, or let the node have their CIDR beside the new one until they are gone",
		len(pods), firstFew(pods), local.Name, joined(local.PodCIDRs))
}

// firstFew keeps a line readable on a node of many pods.
func firstFew(names []string) string {
	if len(names) > 3 {
		return strings.Join(names[:3], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}

func joined[T fmt.Stringer](all []T) string {
	var out []string
	for _, a := range all {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}
