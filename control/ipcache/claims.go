package ipcache

import (
	"iter"
	"net/netip"
	"slices"

	"weir/bpf"
	"weir/state"
)

// view is what the claims of an object depend on beside the object itself.
type view struct {
	dual      bool                  // both families are on
	underlay6 bool                  // tunnel endpoints are IPv6 addresses
	nodes     map[string]state.Node // by name
	local     []netip.Addr          // of this node
	identity  func(state.PodName) (state.PodIdentity, bool)
	underlay  []netip.Prefix // networks of this node's devices
	leaving   map[netip.Addr]bool
}

// leaving are the addresses of devices that have none by which the node is known: of
// what leaves by such a device, the answers come to it, and so for its address.
func leaving(devices iter.Seq2[string, state.Device], local state.Node) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, d := range devices {
		for _, is4 := range []bool{true, false} {
			own := local.Address(is4)
			if !own.IsValid() || slices.ContainsFunc(d.Addrs, func(p netip.Prefix) bool { return p.Addr() == own }) {
				continue
			}
			for _, p := range d.Addrs {
				if p.Addr().Is4() == is4 && p.Addr().IsGlobalUnicast() {
					out[p.Addr()] = true
				}
			}
		}
	}
	return out
}

// The claims functions derive the rows that one object claims. Who gets a
// prefix that several claim is decided by the book. They do no input or output.

func (v view) worldClaims() []state.IP {
	four, six := state.IdentityWorld, state.IdentityWorld
	if v.dual {
		four, six = state.IdentityWorldIPv4, state.IdentityWorldIPv6
	}
	return []state.IP{
		{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Identity: four, Source: state.IPWorld},
		{Prefix: everywhere(), Identity: six, Source: state.IPWorld},
	}
}

func (v view) deviceClaims(d state.Device) []state.IP {
	var out []state.IP
	for _, p := range d.Addrs {
		out = append(out, v.host(p.Addr()))
	}
	return out
}

func (v view) host(a netip.Addr) state.IP {
	return state.IP{Prefix: single(a), Identity: state.IdentityHost, Host: true, Leaves: v.leaving[a], Source: state.IPHost}
}

// hostClaims of an address that has gone are none.
func (v view) hostClaims(a state.HostAddress) []state.IP {
	if !a.Addr.IsValid() {
		return nil
	}
	return []state.IP{v.host(a.Addr)}
}

func (v view) nodeClaims(n state.Node) []state.IP {
	via := n.Address(!v.underlay6)
	own := state.IP{Identity: state.IdentityRemoteNode, Source: state.IPNode, Of: n.Name}
	if n.Local {
		own = state.IP{Identity: state.IdentityHost, Source: state.IPHost, Of: n.Name, Host: true}
		via = netip.Addr{}
	}
	var out []state.IP
	add := func(row state.IP, p netip.Prefix, via netip.Addr) {
		row.Prefix, row.TunnelEndpoint = p, via
		row.Leaves = row.Host && v.leaving[p.Addr()]
		out = append(out, row)
	}
	for _, a := range n.Addresses { // reached over the underlay itself, never through the tunnel
		own := own
		own.Via = via
		add(own, single(a), netip.Addr{})
	}
	for _, a := range n.Routers {
		add(own, single(a), via)
	}
	if !n.Local { // this node's is an endpoint
		for _, a := range n.Health {
			add(state.IP{Identity: state.IdentityHealth, Source: state.IPNode, Of: n.Name}, single(a), via)
		}
	}
	for _, p := range n.PodCIDRs {
		if slices.ContainsFunc(v.underlay, p.Overlaps) {
			continue // it would take hosts of the underlay away; host refuses it by name
		}
		add(state.IP{Identity: state.IdentityUnknown, Source: state.IPPodCIDR, Of: n.Name}, p, via)
	}
	return out
}

func endpointClaims(e state.Endpoint) []state.IP {
	of := e.Pod.String()
	if e.Health {
		of = "health"
	}
	var out []state.IP
	for _, a := range e.Addrs() {
		out = append(out, state.IP{Prefix: single(a), Identity: e.Identity, Endpoint: e.ID, Source: state.IPEndpoint, Of: of, UID: e.PodUID})
	}
	return out
}

// podClaims are those of pods elsewhere: this node's are endpoints. Where the node of a
// pod is not known, as when it has got another name, what its kubelet has said counts.
func (v view) podClaims(p state.Pod) []state.IP {
	n, ok := v.nodes[p.Node]
	if p.HostNetwork || p.Node == "" || n.Local {
		return nil
	}
	via := n.Address(!v.underlay6)
	if !ok {
		if via = p.HostIP; !via.IsValid() || via.Is4() == v.underlay6 || slices.Contains(v.local, via) {
			return nil
		}
	}
	id, ok := v.identity(p.Name)
	if !ok {
		id.ID = state.IdentityInit
	}
	var out []state.IP
	for _, a := range p.IPs {
		out = append(out, state.IP{Prefix: single(a), Identity: id.ID, TunnelEndpoint: via,
			Source: state.IPPod, Of: p.Name.String(), UID: p.UID})
	}
	return out
}

func podLife(p state.Pod) life { return life{p.Deleting, p.Created} }

// numbered is the address that has a number in a row's place: of its tunnel endpoint, of
// the node that it is of, or its own where pods leave the cluster with it.
func numbered(row state.IP) netip.Addr {
	switch {
	case row.Leaves:
		return row.Prefix.Addr()
	case row.Via.IsValid():
		return row.Via
	}
	return row.TunnelEndpoint
}

// entry is the map's form of a row; number is that of its numbered address.
func entry(row state.IP, number uint16) (bpf.IPCacheKey, bpf.IPCacheEntry) {
	e := bpf.IPCacheEntry{
		TunnelEndpoint: bpf.AddrFrom(row.TunnelEndpoint),
		Identity:       uint32(row.Identity),
		Endpoint:       uint32(row.Endpoint),
		Node:           number,
	}
	if row.Host {
		e.Flags |= uint8(bpf.IPCacheHost)
	}
	if row.Source == state.IPPodCIDR && !row.TunnelEndpoint.IsValid() {
		e.Flags |= uint8(bpf.IPCacheLocalCIDR)
	}
	return bpf.IPCacheKeyFrom(row.Prefix), e
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
