package bpftest

import (
	"testing"

	"weir/bpf"
)

// What the routing table answered, and what would have fitted, is in the drop's event and
// in the step of whoever follows the packet.
func TestDropSaysWhyThereIsNoWay(t *testing.T) {
	for name, cfg := range map[string]bpf.Config{"vxlan": config(), "native": native()} {
		t.Run(name, func(t *testing.T) {
			n := filled(t, cfg)
			r := n.events(t)
			perFamily(t, n, func(t *testing.T, f family) {
				narrow, remote := f.from(f.narrow).sized(narrowMTU+1), f.from(f.remote).sized(tunnelMTU+1)
				narrow.dontFragment, remote.dontFragment = true, true
				tests := map[string]struct {
					p   packet
					is  bpf.Reason
					fib bpf.FIBAnswer
					mtu uint16
				}{
					"unreachable":            {p: f.from(f.refused), is: bpf.DropFIB, fib: bpf.FIBUnreachable},
					"prohibited":             {p: f.from(f.prohibitRoute()), is: bpf.DropFIB, fib: bpf.FIBProhibited},
					"black hole":             {p: f.from(f.blackholeRoute()), is: bpf.DropFIB, fib: bpf.FIBBlackhole},
					"too big for the route":  {p: narrow, is: bpf.DropFragNeeded, mtu: narrowMTU},
					"too big for the tunnel": {p: remote, is: bpf.DropFragNeeded, mtu: tunnelMTU},
					"not for want of a way":  {p: spoofedBy(f), is: bpf.DropInvalidSourceIP},
				}
				if cfg.TunnelIfindex == 0 {
					delete(tests, "too big for the tunnel")
				}
				for what, c := range tests {
					s := n.follow(t, bpf.WalkFilter{B: bpf.AddrFrom(c.p.dst)})
					r.all(t)
					n.send(t, bpf.ProgFromPod, c.p)
					got := r.all(t)
					if len(got) != 1 || got[0].Reason != uint8(c.is) || bpf.FIBAnswer(got[0].FIB) != c.fib || got[0].MTU != c.mtu {
						t.Errorf("%s: %+v, want %s, the answer %d and %d octets", what, got, c.is, c.fib, c.mtu)
					}
					if got := step(t, s); bpf.FIBAnswer(got.FIB) != c.fib || got.MTU != c.mtu {
						t.Errorf("%s: the step %+v, want the answer %d and %d octets", what, got, c.fib, c.mtu)
					}
				}
			})
		})
	}
}

// spoofedBy is a packet that the pod sends in another's name.
func spoofedBy(f family) packet {
	p := f.from(f.peer)
	p.src = f.remote
	return p
}

// The stack takes no packet that was translated, so one without a route is dropped.
func TestATranslatedPacketWithoutARouteSaysSo(t *testing.T) {
	n := masquerading(t, native())
	r := n.events(t)
	perFamily(t, n, func(t *testing.T, f family) {
		r.all(t)
		n.want(t, "no route", bpf.ProgFromPod, f.from(f.nowhere), bpf.DropFIB)
		if got := r.all(t); len(got) != 1 || bpf.FIBAnswer(got[0].FIB) != bpf.FIBNotForwarded {
			t.Errorf("%+v, want the answer %d", got, bpf.FIBNotForwarded)
		}
	})
}

// Somebody's sysctl has switched forwarding off for a pod's device. IPv4's stack drops what
// comes from there without a word, so the program that leaves it to the stack says so; of
// IPv6 the stack asks another setting. What is translated is not for the stack.
func TestForwardingThatIsOffIsADrop(t *testing.T) {
	for _, name := range []string{"plain", "masqueraded"} {
		cfg := native()
		if name == "masqueraded" {
			cfg.Masquerade = uint8(bpf.MasqueradeIPv4 | bpf.MasqueradeIPv6)
		}
		n := serviceNode(t, cfg)
		sysctl(t, "net/ipv4/conf/pod/forwarding", "0")
		sysctl(t, "net/ipv6/conf/pod/forwarding", "0")
		r := n.events(t)
		for _, f := range families {
			c := fixture{name: f.name + ", " + name, program: bpf.ProgFromPod, in: f.from(f.world).bytes(), verdict: next, reason: bpf.DropFIB}
			switch {
			case name == "masqueraded":
				c.verdict = shot
			case f.v6:
				c.reason = bpf.ReasonToStack
			}
			n.check(t, c)
			if got := r.all(t); c.reason == bpf.DropFIB && (len(got) != 1 || bpf.FIBAnswer(got[0].FIB) != bpf.FIBForwardingOff) {
				t.Errorf("%s: %+v, want the answer %d", c.name, got, bpf.FIBForwardingOff)
			}
		}
	}
}
