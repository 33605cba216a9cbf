package bpftest

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"weir/bpf"
)

// follow has the programs tell of packets between these ends.
func (n *node) follow(t testing.TB, filters ...bpf.WalkFilter) *ringbuf.Reader {
	t.Helper()
	w := bpf.Walk{On: uint32(len(filters))}
	for i, f := range filters {
		f.Used = 1
		w.Filter[i] = f
	}
	n.set(t, bpf.MapWalk, uint32(0), w)
	return n.ring(t, bpf.MapSteps).Reader
}

func steps(t testing.TB, r *ringbuf.Reader) []bpf.Step {
	t.Helper()
	out := records[bpf.Step](t, r)
	for i := range out {
		if out[i].Time == 0 {
			t.Error("a step without a time")
		}
		out[i].Time = 0
	}
	return out
}

// step is the only one that there is.
func step(t testing.TB, r *ringbuf.Reader) bpf.Step {
	t.Helper()
	got := steps(t, r)
	if len(got) != 1 {
		t.Fatalf("%d steps, want 1: %+v", len(got), got)
	}
	return got[0]
}

// come is a step of a packet that nothing has happened to yet.
func come(p packet, fam uint8, proto uint8) bpf.Step {
	s := bpf.Step{CameSrc: bpf.AddrFrom(p.src), CameDst: bpf.AddrFrom(p.dst), CameSport: bpf.Network(p.sport), CameDport: bpf.Network(p.dport),
		Family: fam, Proto: proto, TTL: 64, Endpoint: uint32(bpf.EndpointsMax), Len: uint32(len(p.bytes()))}
	s.Src, s.Dst, s.Sport, s.Dport = s.CameSrc, s.CameDst, s.CameSport, s.CameDport
	return s
}

func TestAPacketThatIsFollowedTellsOfEachProgram(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		fam := f.pick(unix.AF_INET, unix.AF_INET6)
		p := f.from(f.peer)
		p.sport, p.dport = 1234, 53
		want := come(p, fam, udp)
		want.Place, want.Reason, want.Ifindex = uint8(bpf.PlaceFromPod), uint8(bpf.ReasonToEndpoint), device(podID)
		want.SrcIdentity, want.DstIdentity = 1000+podID, 1000+peerID
		want.How, want.Way, want.Out = uint8(bpf.StepJudged), uint8(bpf.OutEndpoint), peerID

		r := n.follow(t)
		n.want(t, "nobody follows", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		if got := steps(t, r); len(got) > 0 {
			t.Errorf("nobody follows, and there are steps: %+v", got)
		}
		n.forget(t)
		r = n.follow(t, bpf.WalkFilter{A: bpf.AddrFrom(f.pod), PortA: bpf.Network(p.sport), Proto: udp})
		n.want(t, "the first packet", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		first := step(t, r)
		want.Stamp = first.Stamp
		if first != want || first.Stamp == 0 {
			t.Errorf("judged:\n%+v, want\n%+v", first, want)
		}
		n.want(t, "the second", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		want.How = uint8(bpf.StepHit)
		if got := step(t, r); got != want {
			t.Errorf("by its entry:\n%+v, want\n%+v", got, want)
		}
		back := p.reply()
		n.want(t, "the answer", bpf.ProgFromPod, back, bpf.ReasonToEndpoint)
		if got := step(t, r); got.Reply != 1 || got.CameSrc != bpf.AddrFrom(f.peer) || got.Out != podID {
			t.Errorf("the answer: %+v", got)
		}
		other := p
		other.sport++
		n.want(t, "another connection", bpf.ProgFromPod, other, bpf.ReasonToEndpoint)
		if got := steps(t, r); len(got) > 0 {
			t.Errorf("of another connection: %+v", got)
		}
	})
}

func TestADropThatIsFollowedNamesRuleAndPolicy(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.rules(t, rule{ingress: true, level: bpf.LevelPort, proto: udp, port: 53, id: 31, flags: bpf.RuleDeny})
		n.isolate(t, peerID, bpf.PolicyIngress)
		r := n.follow(t, bpf.WalkFilter{A: bpf.AddrFrom(f.pod), B: bpf.AddrFrom(f.peer)})
		n.want(t, "denied", bpf.ProgFromPod, f.from(f.peer), bpf.DropPolicyDeny)
		if got := step(t, r); got.Rule[1] != 31 || got.Endpoint != peerID || got.Reason != uint8(bpf.DropPolicyDeny) || got.How != uint8(bpf.StepJudged) {
			t.Errorf("denied: %+v", got)
		}
		spoofed := f.from(f.peer)
		spoofed.src = f.remote
		n.follow(t, bpf.WalkFilter{A: bpf.AddrFrom(f.remote)})
		n.want(t, "spoofed", bpf.ProgFromPod, spoofed, bpf.DropInvalidSourceIP)
		if got := step(t, r); got.How != uint8(bpf.StepPassed) || got.Reason != uint8(bpf.DropInvalidSourceIP) {
			t.Errorf("spoofed: %+v", got)
		}
	})
}

func TestATranslatedPacketIsFollowedOnBothSides(t *testing.T) {
	n := natNode(t, native(), 20000, 20199)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			p := f.connects(2000)
			r := n.follow(t, bpf.WalkFilter{A: bpf.AddrFrom(f.pod), PortA: bpf.Network(2000), Proto: 6})
			n.want(t, "to the world", bpf.ProgFromPod, p, bpf.ReasonToNetwork)
			got := step(t, r)
			if got.CameSrc != bpf.AddrFrom(f.pod) || got.Src != bpf.AddrFrom(f.self) || got.Sport == got.CameSport || got.Source != uint8(bpf.NATNode) {
				t.Errorf("masqueraded: %+v", got)
			}
			if got.OutIfindex != underlayIfindex || got.Via.Netip() != f.gateway {
				t.Errorf("leaves by %d to %s, want %d to %s", got.OutIfindex, got.Via.Netip(), underlayIfindex, f.gateway)
			}
			there := f.as(p, f.self, bpf.Host(got.Sport))
			back := there.reply()
			back.flags = "SA"
			n.want(t, "its answer", bpf.ProgFromNetdev, back, bpf.ReasonToEndpoint)
			got = step(t, r)
			if got.CameDst != bpf.AddrFrom(f.self) || got.Dst != bpf.AddrFrom(f.pod) || got.Dport != bpf.Network(2000) || got.Reply != 1 {
				t.Errorf("its answer: %+v", got)
			}
		})
	}
}

// What a program only passes on is read for who follows it.
func TestTheTunnelsWayOutIsAStep(t *testing.T) {
	n := tunnelled(t)
	for _, f := range families {
		p := f.from(f.remote)
		r := n.follow(t, bpf.WalkFilter{B: bpf.AddrFrom(f.remote)})
		n.want(t, f.name, bpf.ProgFromPod, p, bpf.ReasonToOverlay)
		n.want(t, f.name, bpf.ProgToOverlay, p, bpf.ReasonPassed)
		got := steps(t, r)
		if len(got) != 2 || got[0].Out != 1 || got[0].Way != uint8(bpf.OutTunnel) || got[1].Place != uint8(bpf.PlaceToOverlay) || got[1].Dst.Netip() != f.remote {
			t.Errorf("%s: %+v", f.name, got)
		}
	}
}

func TestFiltersOfAWalk(t *testing.T) {
	n := filled(t, config())
	f := families[0]
	p := f.from(f.peer)
	a, b := bpf.AddrFrom(f.pod), bpf.AddrFrom(f.peer)
	for name, c := range map[string]struct {
		filter bpf.WalkFilter
		want   int
	}{
		"everybody":      {bpf.WalkFilter{}, 1},
		"one end":        {bpf.WalkFilter{A: b}, 1},
		"both":           {bpf.WalkFilter{A: a, B: b}, 1},
		"the other way":  {bpf.WalkFilter{A: b, B: a}, 1},
		"one and a port": {bpf.WalkFilter{A: a, PortB: bpf.Network(53)}, 1},
		"another port":   {bpf.WalkFilter{A: a, PortB: bpf.Network(54)}, 0},
		"a protocol":     {bpf.WalkFilter{A: a, Proto: udp}, 1},
		"another one":    {bpf.WalkFilter{A: a, Proto: 6}, 0},
		"somebody else":  {bpf.WalkFilter{A: bpf.AddrFrom(netip.MustParseAddr("10.9.9.9"))}, 0},
		"it and itself":  {bpf.WalkFilter{A: a, B: a}, 0},
	} {
		r := n.follow(t, c.filter)
		n.want(t, name, bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		if got := steps(t, r); len(got) != c.want {
			t.Errorf("%s: %d steps, want %d", name, len(got), c.want)
		}
	}
}
