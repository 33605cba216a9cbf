package service

import (
	"net/netip"
	"slices"

	"weir/state"
)

// look reads what there is to know of this node and the others.
func (c *Control) look() {
	c.view = view{ipv4: c.opts.IPv4, ipv6: c.opts.IPv6, algorithm: c.opts.Algorithm, forwarding: c.opts.Forwarding, ports: c.opts.Ports, taken: c.taken}
	c.owned, c.others = map[netip.Addr]string{}, nil
	var addrs []netip.Addr
	for _, d := range c.tables.Devices.All() {
		for _, p := range d.Addrs {
			addrs = append(addrs, p.Addr())
		}
	}
	for _, n := range c.tables.Nodes.All() {
		for _, a := range slices.Concat(n.Addresses, n.Routers, n.Health) {
			c.owned[a] = "node " + n.Name
		}
		if n.Local {
			c.view.node = node{name: n.Name, zone: n.Labels[zoneLabel]}
			addrs = append(addrs, n.Addresses...)
			c.view.named = n.Addresses
		} else {
			c.others = append(append(c.others, n.Addresses...), n.Routers...)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	c.view.own = slices.Compact(addrs)
	c.view.addrs = slices.DeleteFunc(slices.Clone(c.view.own), func(a netip.Addr) bool {
		return len(c.opts.Addresses) > 0 && !slices.ContainsFunc(c.opts.Addresses, func(p netip.Prefix) bool { return p.Contains(a) })
	})
}

// zoneLabel says in which zone a node is.
const zoneLabel = "topology.kubernetes.io/zone"

// taken says whose address it is: a node's or a pod's.
func (c *Control) taken(a netip.Addr) string {
	if of := c.owned[a]; of != "" {
		return of
	}
	ip, _ := c.tables.IPs.Get(netip.PrefixFrom(a, a.BitLen()))
	if ip.Source == state.IPPod || ip.Source == state.IPEndpoint {
		return "pod " + ip.Of
	}
	return ""
}
