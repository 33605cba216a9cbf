package node

import (
	"net/netip"

	"weir/datapath/link"
	"weir/datapath/route"
	"weir/state"
)

// input is everything the routes depend on. Exactly one node is local.
type input struct {
	Options
	Nodes   []state.Node   // by name
	Devices []state.Device // by name, at least one
	Host    int            // interface index of weir_host
}

// output is what the kernel shall hold.
type output struct {
	Routes    []route.Route
	Neighbors []route.Neighbor
	Skipped   []string // nodes of which pod CIDRs have no route, with the reason
}

// compile derives the routes. R is the local router address; IPv6 knows no
// gateway that is an address of the host, and needs none on weir_host.
//
//	                        IPv4                              IPv6
//	router                  R dev weir_host scope link        R dev weir_host
//	own pod CIDR            C via R dev weir_host src R       C dev weir_host src R
//	another's, tunnel       the same, with mtu                the same, with mtu
//	another's, direct       C via NODE dev eth0               C via NODE dev eth0
//
// Where two nodes claim one CIDR the local one wins, then the first by name.
func compile(in input) output {
	c := compiler{input: in, taken: map[netip.Prefix]bool{}}
	for _, n := range in.Nodes {
		if n.Local {
			c.local = n
		}
	}
	c.mtu = in.MTU
	if c.mtu == 0 {
		c.mtu = state.UnderlayMTU(in.Devices)
	}
	c.mtu = link.RouteMTU(c.mtu, in.Tunnel, c.local.Underlay6(in.Underlay))
	c.own()
	for _, n := range in.Nodes {
		if !n.Local {
			c.other(n)
		}
	}
	return c.out
}

type compiler struct {
	input
	local state.Node
	mtu   int // of routes to other nodes
	taken map[netip.Prefix]bool
	out   output
}

func (c *compiler) own() {
	for _, r := range c.local.Routers {
		if c.enabled(r) {
			c.add(route.Route{Prefix: netip.PrefixFrom(r, r.BitLen()), Device: c.Host, Link: r.Is4()})
		}
	}
	for _, cidr := range c.local.PodCIDRs {
		if !c.shadows(c.local, cidr) {
			c.viaHost(cidr, 0)
		}
	}
}

func (c *compiler) other(n state.Node) {
	for _, a := range n.Addresses {
		if d := c.deviceTo(a); d != 0 {
			c.out.Neighbors = append(c.out.Neighbors, route.Neighbor{Device: d, Addr: a})
		}
	}
	for _, cidr := range n.PodCIDRs {
		switch {
		case !c.enabled(cidr.Addr()) || c.shadows(n, cidr):
		case c.Tunnel:
			c.viaHost(cidr, c.mtu)
		case c.Direct:
			c.direct(n, cidr)
		}
	}
}

// shadows reports a pod CIDR whose route would take hosts of the underlay away.
func (c *compiler) shadows(n state.Node, cidr netip.Prefix) bool {
	for _, d := range c.Devices {
		for _, p := range d.Addrs {
			if p.Overlaps(cidr) {
				c.out.Skipped = append(c.out.Skipped, n.Name+": "+cidr.String()+" collides with the underlay network "+p.Masked().String())
				return true
			}
		}
	}
	return false
}

// viaHost routes a pod CIDR into weir_host, where a program takes over. The
// router address as the source lets the answer find back to this node.
func (c *compiler) viaHost(cidr netip.Prefix, mtu int) {
	router := c.local.Router(cidr.Addr().Is4())
	if !router.IsValid() || !c.enabled(router) {
		return
	}
	r := route.Route{Prefix: cidr, Device: c.Host, Src: router, MTU: mtu}
	if router.Is4() {
		r.Via = router
	}
	c.add(r)
}

func (c *compiler) direct(n state.Node, cidr netip.Prefix) {
	hop := n.Address(cidr.Addr().Is4())
	if !hop.IsValid() {
		c.out.Skipped = append(c.out.Skipped, n.Name+": no address of the family of "+cidr.String())
		return
	}
	d := c.deviceTo(hop)
	if d == 0 {
		c.out.Skipped = append(c.out.Skipped, n.Name+": "+hop.String()+" is on no common link")
		return
	}
	c.add(route.Route{Prefix: cidr, Via: hop, Device: d})
}

func (c *compiler) add(r route.Route) {
	r.Prefix = r.Prefix.Masked()
	if c.taken[r.Prefix] {
		return
	}
	c.taken[r.Prefix] = true
	c.out.Routes = append(c.out.Routes, r)
}

// deviceTo returns the device whose link the address is on, or 0. Of several
// the one with the longest prefix is it, as for the kernel.
func (c *compiler) deviceTo(a netip.Addr) int {
	index, bits := 0, -1
	for _, d := range c.Devices {
		for _, p := range d.Addrs {
			if p.Contains(a) && p.Addr() != a && p.Bits() > bits {
				index, bits = d.Index, p.Bits()
			}
		}
	}
	return index
}

func (c *compiler) enabled(a netip.Addr) bool {
	if a.Is4() {
		return c.IPv4
	}
	return c.IPv6
}
