package state

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Node is a member of the cluster, this one or another.
type Node struct {
	Name      string
	Cluster   string
	Addresses []netip.Addr      // on the underlay, at most one of each family (InternalIP)
	Routers   []netip.Addr      // of its weir_host, at most one of each family (CiliumInternalIP); empty until known
	Health    []netip.Addr      // of its health endpoint, at most one of each family; empty when it has none
	PodCIDRs  []netip.Prefix    // whence its pods' addresses come, in order of preference
	Labels    map[string]string // as its Node object has them
	Local     bool              // the node this agent runs on
	Unready   string            // why the cluster does not count on it; empty: it does, or nobody has said
	Leaves    string            // why it is about to leave the cluster; empty: it stays
}

// Address returns the underlay address of the family, or the zero Addr.
func (n Node) Address(is4 bool) netip.Addr { return family(n.Addresses, is4) }

// AnyAddress returns an underlay address, IPv4 first, or the zero Addr.
func (n Node) AnyAddress() netip.Addr {
	if a := n.Address(true); a.IsValid() {
		return a
	}
	return n.Address(false)
}

// Router returns the router address of the family, or the zero Addr.
func (n Node) Router(is4 bool) netip.Addr { return family(n.Routers, is4) }

// HealthIP returns the health endpoint's address of the family, or the zero Addr.
func (n Node) HealthIP(is4 bool) netip.Addr { return family(n.Health, is4) }

// Underlay6 reports whether the outer addresses of tunnels from this node are
// IPv6: as the choice says ("ipv4", "ipv6"), or else when it has no IPv4 address.
func (n Node) Underlay6(choice string) bool {
	if choice == "ipv4" || choice == "ipv6" {
		return choice == "ipv6"
	}
	return !n.Address(true).IsValid() && n.Address(false).IsValid()
}

// Same reports whether two rows say the same.
func (n Node) Same(o Node) bool {
	return n.Name == o.Name && n.Cluster == o.Cluster && n.Local == o.Local && n.Leaves == o.Leaves && n.Unready == o.Unready && maps.Equal(n.Labels, o.Labels) &&
		slices.Equal(n.Addresses, o.Addresses) && slices.Equal(n.Routers, o.Routers) &&
		slices.Equal(n.Health, o.Health) && slices.Equal(n.PodCIDRs, o.PodCIDRs)
}

// Columns implements table.Row.
func (n Node) Columns() []string {
	return []string{n.Name, join(n.Addresses), join(n.Routers), join(n.PodCIDRs), join(n.Health), fmt.Sprint(n.Local)}
}

func family(addrs []netip.Addr, is4 bool) netip.Addr {
	for _, a := range addrs {
		if a.Is4() == is4 {
			return a
		}
	}
	return netip.Addr{}
}

func join[T fmt.Stringer](xs []T) string {
	out := make([]string, len(xs))
	for i, x := range xs {
		out[i] = x.String()
	}
	return strings.Join(out, ",")
}
