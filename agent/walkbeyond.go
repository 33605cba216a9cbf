package agent

import (
	"net/netip"

	"weir/api/walk"
	"weir/bpf"
)

// tuple is the end of a connection that tells it from others.
type tuple struct {
	at    netip.AddrPort
	proto uint8
}

// beyond is what other nodes follow: the same, and packets that have this node's address
// in the place of their opener's. Which of those are the walk's own, its steps on this
// node say: see taken.
func (a *Agent) beyond(w bpf.Walk, to netip.AddrPort, proto uint8) bpf.Walk {
	own := a.nodeAddress(to.Addr().Is4())
	if !own.IsValid() || int(w.On) == len(w.Filter) {
		return w
	}
	f := bpf.WalkFilter{Used: 1, A: bpf.AddrFrom(own), Proto: proto}
	if !a.isFrontend(to, proto) { // a service's backend is not known yet
		f.B, f.PortB = bpf.AddrFrom(to.Addr()), bpf.Network(to.Port())
	}
	w.Filter[w.On] = f
	w.On++
	return w
}

// endsOf are the addresses that packets of a walk go between, as far as is known before:
// of a service its backends', too.
func (a *Agent) endsOf(p plan) []netip.Addr {
	out := []netip.Addr{p.src, p.dst.Addr()}
	for _, f := range a.services.Frontends() {
		if f.At.Addr() == p.dst.Addr() || f.At.Addr().IsUnspecified() && f.At.Port() == p.dst.Port() {
			for _, b := range f.Backends {
				out = append(out, b.At.Addr())
			}
		}
	}
	return out
}

// nodeAddress is this node's on the underlay.
func (a *Agent) nodeAddress(is4 bool) netip.Addr {
	cfg := a.dp.Config()
	if is4 {
		return cfg.NodeIPv4.Netip()
	}
	return cfg.NodeIPv6.Netip()
}

// isFrontend reports whether services may be asked at an address; port 0 is any.
func (a *Agent) isFrontend(at netip.AddrPort, proto uint8) bool {
	for _, f := range a.services.Frontends() {
		addr := f.At.Addr()
		if f.Proto == proto && (at.Port() == 0 || f.At.Port() == at.Port()) && (addr == at.Addr() || addr.IsUnspecified()) {
			return true
		}
	}
	return false
}

// taken are the addresses and ports that took an opener's place in a walk's packets.
func taken(steps []bpf.Step) map[tuple]bool {
	out := map[tuple]bool{}
	for _, s := range steps {
		came, _, src, _ := ends(s)
		if s.Reply == 0 && came != src {
			out[tuple{src, s.Proto}] = true
		}
	}
	return out
}

// isOwn reports whether another node's step is of the walk's own packets: the opener has
// sent it or gets it, or what took the opener's place. One that names no packet is taken
// for it: its node has an older version.
func isOwn(p *walk.Between, opener netip.Addr, taken map[tuple]bool) bool {
	if p == nil {
		return true
	}
	src, dst := endOfStep(p.A, p.PortA), endOfStep(p.B, p.PortB)
	return src.Addr() == opener || dst.Addr() == opener ||
		taken[tuple{src, uint8(p.Proto)}] || taken[tuple{dst, uint8(p.Proto)}]
}

func endOfStep(octets []byte, port uint32) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(octets)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port))
}

// packetOf is a step's packet as it came.
func packetOf(s bpf.Step) *walk.Between {
	src, dst, _, _ := ends(s)
	return &walk.Between{A: src.Addr().AsSlice(), PortA: uint32(src.Port()), B: dst.Addr().AsSlice(), PortB: uint32(dst.Port()), Proto: uint32(s.Proto)}
}
