package ipcache

import (
	"net/netip"
	"slices"

	"weir/state"
)

// Rows is everything the map is derived from, for the oracle.
type Rows struct {
	Dual       bool // both families are on
	Underlay6  bool // tunnel endpoints are IPv6 addresses
	Nodes      []state.Node
	Pods       []state.Pod
	Identities map[state.PodName]state.IdentityID
	Endpoints  []state.Endpoint
	Host       []netip.Addr   // addresses of this node's devices, beside its Node row
	Underlay   []netip.Prefix // networks of these devices
	Leaving    []netip.Addr   // of those devices that the node is not known by
}

// compile is the oracle: it derives every row from scratch, in one pass and
// without remembering anything. Step must agree with it after any history.
func compile(r Rows) map[netip.Prefix]state.IP {
	c := compiler{rows: r, out: map[netip.Prefix]state.IP{}, nodes: map[string]state.Node{}, pods: map[netip.Prefix][]state.Pod{}}
	world := map[string]state.IdentityID{"0.0.0.0/0": 2, "::/0": 2}
	if r.Dual {
		world = map[string]state.IdentityID{"0.0.0.0/0": 9, "::/0": 10}
	}
	for p, id := range world {
		c.add(state.IP{Prefix: netip.MustParsePrefix(p), Identity: id, Source: state.IPWorld})
	}
	for _, n := range r.Nodes {
		c.nodes[n.Name] = n
		c.node(n)
	}
	for _, a := range r.Host {
		c.add(state.IP{Prefix: single(a), Identity: state.IdentityHost, Host: true, Source: state.IPHost})
	}
	for _, e := range r.Endpoints {
		c.endpoint(e)
	}
	for _, p := range r.Pods {
		if c.elsewhere(p) {
			for _, a := range p.IPs {
				c.pods[single(a)] = append(c.pods[single(a)], p)
			}
		}
	}
	for prefix, pods := range c.pods {
		c.pod(prefix, heir(pods))
	}
	for _, a := range r.Leaving {
		row := c.out[single(a)]
		row.Leaves = true
		c.out[single(a)] = row
	}
	return c.out
}

type compiler struct {
	rows  Rows
	nodes map[string]state.Node
	out   map[netip.Prefix]state.IP
	pods  map[netip.Prefix][]state.Pod // elsewhere, that claim an address
}

// add keeps the row of the stronger source; among equals the one that sorts
// first by owner, so that the result does not depend on order.
func (c *compiler) add(row state.IP) {
	old, ok := c.out[row.Prefix]
	if ok {
		a, b := strength[row.Source], strength[old.Source]
		if a > b || (a == b && row.Of >= old.Of) {
			return
		}
	}
	c.out[row.Prefix] = row
}

// heir chooses whose an address is among pods: those that are being deleted
// drop out unless nobody else is there, then all but the youngest, and of what
// is left the first by name has it.
func heir(pods []state.Pod) state.Pod {
	drop := func(out func(state.Pod) bool) {
		if left := slices.DeleteFunc(slices.Clone(pods), out); len(left) > 0 {
			pods = left
		}
	}
	drop(func(p state.Pod) bool { return p.Deleting })
	youngest := pods[0].Created
	for _, p := range pods {
		if p.Created.After(youngest) {
			youngest = p.Created
		}
	}
	drop(func(p state.Pod) bool { return p.Created.Before(youngest) })
	first := pods[0]
	for _, p := range pods {
		if p.Name.String() < first.Name.String() {
			first = p
		}
	}
	return first
}

func (c *compiler) node(n state.Node) {
	via := n.Address(!c.rows.Underlay6)
	own := state.IP{Identity: state.IdentityRemoteNode, Source: state.IPNode, Of: n.Name}
	if n.Local {
		own = state.IP{Identity: state.IdentityHost, Source: state.IPHost, Of: n.Name, Host: true}
		via = netip.Addr{}
	}
	for _, a := range n.Addresses {
		row := own
		row.Prefix, row.Via = single(a), via
		c.add(row) // reached over the underlay itself, never through the tunnel
	}
	for _, a := range n.Routers {
		row := own
		row.Prefix, row.TunnelEndpoint = single(a), via
		c.add(row)
	}
	if !n.Local {
		for _, a := range n.Health {
			c.add(state.IP{Prefix: single(a), Identity: state.IdentityHealth, TunnelEndpoint: via, Source: state.IPNode, Of: n.Name})
		}
	}
	for _, p := range n.PodCIDRs {
		if slices.ContainsFunc(c.rows.Underlay, p.Overlaps) {
			continue // it would take hosts of the underlay away; host refuses it by name
		}
		c.add(state.IP{Prefix: p, Identity: state.IdentityUnknown, TunnelEndpoint: via, Source: state.IPPodCIDR, Of: n.Name})
	}
}

func (c *compiler) endpoint(e state.Endpoint) {
	of := e.Pod.String()
	if e.Health {
		of = "health"
	}
	for _, a := range e.Addrs() {
		c.add(state.IP{Prefix: single(a), Identity: e.Identity, Endpoint: e.ID, Source: state.IPEndpoint, Of: of, UID: e.PodUID})
	}
}

// elsewhere is not so of this node's pods: they are endpoints.
func (c *compiler) elsewhere(p state.Pod) bool {
	return !p.HostNetwork && p.Node != "" && c.via(p) != (at{})
}

// at is where a pod is: of a node that is known, or where its kubelet says.
type at struct {
	known bool
	addr  netip.Addr
}

func (c *compiler) via(p state.Pod) at {
	if n, ok := c.nodes[p.Node]; ok {
		if n.Local {
			return at{}
		}
		return at{true, n.Address(!c.rows.Underlay6)}
	}
	for _, n := range c.rows.Nodes {
		if n.Local && slices.Contains(n.Addresses, p.HostIP) {
			return at{}
		}
	}
	if p.HostIP.Is4() && !c.rows.Underlay6 || p.HostIP.Is6() && c.rows.Underlay6 {
		return at{true, p.HostIP}
	}
	return at{}
}

func (c *compiler) pod(prefix netip.Prefix, p state.Pod) {
	id, ok := c.rows.Identities[p.Name]
	if !ok {
		id = state.IdentityInit
	}
	c.add(state.IP{Prefix: prefix, Identity: id, TunnelEndpoint: c.via(p).addr, Source: state.IPPod, Of: p.Name.String(), UID: p.UID})
}
