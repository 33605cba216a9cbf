package bpftest

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

const hostEnd = 0 // the host's row of weir_policy

// guarded is the configuration of a node whose host has a policy.
func guarded() bpf.Config {
	c := native()
	c.HostFirewall = 1
	c.TunnelPort = bpf.Network(vxlanPort)
	c.Failsafe = [16]uint32{1<<24 | unix.IPPROTO_TCP<<16 | 22, unix.IPPROTO_UDP<<16 | 67}
	return c
}

// arriving and leaving are packets of the host's own connections.
func (f family) arriving(src netip.Addr) packet { p := f.into(f.self); p.src = src; return p }
func (f family) leaving(dst netip.Addr) packet  { p := f.into(dst); p.src = f.self; return p }

func TestHostsPolicyIsAskedInBothDirections(t *testing.T) {
	n := filled(t, guarded())
	perFamily(t, n, func(t *testing.T, f family) {
		in, out := f.arriving(f.world), f.leaving(f.world)
		n.want(t, "open: in", bpf.ProgFromNetdev, in, bpf.ReasonToHost)
		n.want(t, "open: out", bpf.ProgToNetdev, out, bpf.ReasonPassed)
		n.isolate(t, hostEnd, bpf.PolicyIngress)
		n.want(t, "isolated: what came before", bpf.ProgFromNetdev, in, bpf.DropPolicy)
		n.want(t, "isolated: to the router's address", bpf.ProgFromNetdev, packetTo(in, f.router), bpf.DropPolicy)
		n.want(t, "isolated for ingress: out", bpf.ProgToNetdev, out, bpf.ReasonPassed)
		n.want(t, "its reply", bpf.ProgFromNetdev, out.reply(), bpf.ReasonToHost)
		n.isolate(t, hostEnd, bpf.PolicyEgress)
		n.forget(t)
		n.want(t, "isolated for egress: out", bpf.ProgToNetdev, out, bpf.DropPolicy)
		n.want(t, "isolated for egress: in", bpf.ProgFromNetdev, in, bpf.ReasonToHost)
		n.want(t, "the host's reply", bpf.ProgToNetdev, in.reply(), bpf.ReasonPassed)
		n.rules(t, rule{level: bpf.LevelPort, proto: udp, port: 53, id: 3})
		n.isolate(t, hostEnd, bpf.PolicyIngress|bpf.PolicyEgress)
		n.want(t, "a rule for egress", bpf.ProgToNetdev, out, bpf.ReasonPassed)
		n.want(t, "is none for ingress", bpf.ProgFromNetdev, in, bpf.DropPolicy)
		n.set(t, bpf.MapPolicy, uint32(hostEnd), bpf.Policy{})
		n.want(t, "no policy in force: in", bpf.ProgFromNetdev, in, bpf.DropNoPolicy)
		n.want(t, "no policy in force: out", bpf.ProgToNetdev, out, bpf.DropNoPolicy)
	})
}

// The host is whoever the stack delivers to or sends from: the addresses that
// somebody has told us, and all others.
func TestHostsPolicyHoldsForAddressesThatNobodyHasTold(t *testing.T) {
	n := filled(t, guarded())
	n.do(func() {
		for _, a := range []string{"192.0.2.77/32", "2001:db8::77/128"} {
			addr, err := netlink.ParseAddr(a)
			if err == nil {
				err = netlink.AddrAdd(linktest.Link(t, "lo"), addr)
			}
			if err != nil {
				t.Errorf("add %s: %v", a, err)
			}
		}
		linktest.Up(t, "lo")
	})
	perFamily(t, n, func(t *testing.T, f family) {
		own := addrs("192.0.2.77", "192.0.2.255")
		groups := addrs("224.0.0.251", "255.255.255.255")
		if f.v6 {
			own, groups = addrs("2001:db8::77", "fe80::5"), addrs("ff02::1")
		}
		n.isolate(t, hostEnd, bpf.PolicyIngress|bpf.PolicyEgress)
		for _, a := range append(slices.Clone(own), groups...) {
			n.want(t, "to "+a.String(), bpf.ProgFromNetdev, packetTo(f.arriving(f.world), a), bpf.DropPolicy)
		}
		for _, a := range own {
			p := f.leaving(f.world)
			p.src = a
			n.want(t, "from "+a.String(), bpf.ProgToNetdev, p, bpf.DropPolicy)
		}
		for _, a := range groups {
			n.want(t, "to the group "+a.String(), bpf.ProgToNetdev, f.leaving(a), bpf.DropPolicy)
		}
		n.want(t, "forwarded", bpf.ProgFromNetdev, packetTo(f.arriving(f.gateway), f.world), bpf.ReasonPassed)
		n.noEntries(t, "denials")
		n.open(t, hostEnd)
		n.want(t, "an open host", bpf.ProgFromNetdev, packetTo(f.arriving(f.world), own[0]), bpf.ReasonToHost)
		n.want(t, "again", bpf.ProgFromNetdev, packetTo(f.arriving(f.world), own[0]), bpf.ReasonToHost)
	})
}

func TestHostsPolicyHoldsForAFamilyThatPodsDoNotHave(t *testing.T) {
	for i, f := range families {
		cfg := guarded()
		cfg.IPv4, cfg.IPv6 = uint8(i), uint8(1-i)
		n := filled(t, cfg)
		n.isolate(t, hostEnd, bpf.PolicyIngress|bpf.PolicyEgress)
		n.want(t, f.name+" in", bpf.ProgFromNetdev, f.arriving(f.world), bpf.DropPolicy)
		n.want(t, f.name+" out", bpf.ProgToNetdev, f.leaving(f.world), bpf.DropPolicy)
	}
}

func packetTo(p packet, dst netip.Addr) packet { p.dst = dst; return p }

// The host and a pod of its own have a policy each, and both are asked.
func TestHostsPolicyIsAskedOfItsOwnPods(t *testing.T) {
	n := filled(t, guarded())
	perFamily(t, n, func(t *testing.T, f family) {
		up, down := f.from(f.self), f.into(f.pod)
		down.src = f.self
		n.want(t, "pod to host", bpf.ProgFromPod, up, bpf.ReasonToHost)
		n.want(t, "the host's reply", bpf.ProgFromHost, up.reply(), bpf.ReasonToEndpoint)
		n.isolate(t, hostEnd, bpf.PolicyIngress)
		n.want(t, "pod to isolated host", bpf.ProgFromPod, up, bpf.DropPolicy)
		n.want(t, "the reply of before", bpf.ProgFromHost, up.reply(), bpf.DropPolicy)
		n.forget(t)
		n.want(t, "host to pod", bpf.ProgFromHost, down, bpf.ReasonToEndpoint)
		n.want(t, "the pod's reply", bpf.ProgFromPod, down.reply(), bpf.ReasonToHost)
		n.isolate(t, hostEnd, bpf.PolicyEgress)
		n.want(t, "isolated host to pod", bpf.ProgFromHost, down, bpf.DropPolicy)
		n.want(t, "pods talk", bpf.ProgFromPod, f.from(f.peer), bpf.ReasonToEndpoint)
		n.want(t, "with the world, too", bpf.ProgFromNetdev, f.fromWorld(f.pod), bpf.ReasonToEndpoint)
	})
}

func TestFailsafePortsAreNeverClosed(t *testing.T) {
	n := filled(t, guarded())
	perFamily(t, n, func(t *testing.T, f family) {
		n.rules(t, rule{level: bpf.LevelAny, id: 3, flags: bpf.RuleDeny}, rule{ingress: true, level: bpf.LevelAny, id: 4, flags: bpf.RuleDeny})
		n.isolate(t, hostEnd, bpf.PolicyIngress|bpf.PolicyEgress)
		for _, c := range []struct {
			in   bool
			tcp  bool
			port uint16
			ok   bool
		}{{true, true, 22, true}, {true, false, 22, false}, {true, true, 23, false}, {false, true, 22, false}, {false, false, 67, true}, {false, true, 67, false}, {true, false, 67, false}} {
			program, p, reason := bpf.ProgToNetdev, f.leaving(f.world), bpf.ReasonPassed
			if c.in {
				program, p, reason = bpf.ProgFromNetdev, f.arriving(f.world), bpf.ReasonToHost
			}
			p.tcp, p.flags, p.dport = c.tcp, "S", c.port
			if !c.ok {
				reason = bpf.DropPolicyDeny
			}
			name := fmt.Sprintf("ingress %v, TCP %v, port %d", c.in, c.tcp, c.port)
			n.want(t, name, program, p, reason)
			if !c.ok {
				continue
			}
			back, seen := bpf.ProgFromNetdev, bpf.ReasonToHost
			if c.in {
				back, seen = bpf.ProgToNetdev, bpf.ReasonPassed
			}
			r := p.reply()
			r.flags = "SA"
			n.want(t, name+": reply", back, r, seen)
		}
		pod := tcpOf(f.from(f.self))
		pod.flags, pod.dport = "S", 22
		n.want(t, "for a pod, too", bpf.ProgFromPod, pod, bpf.ReasonToHost)
	})
}

func TestTunnelPortIsForNodesOnly(t *testing.T) {
	n := filled(t, guarded())
	perFamily(t, n, func(t *testing.T, f family) {
		n.know(t, netip.PrefixFrom(f.node, f.bits()), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityRemoteNode)})
		n.rules(t, rule{level: bpf.LevelAny, id: 3, flags: bpf.RuleDeny}, rule{ingress: true, level: bpf.LevelAny, id: 4, flags: bpf.RuleDeny})
		n.isolate(t, hostEnd, bpf.PolicyIngress|bpf.PolicyEgress)
		vxlan := func(p packet) packet { p.dport = vxlanPort; return p }
		n.want(t, "from a node", bpf.ProgFromNetdev, vxlan(f.arriving(f.node)), bpf.ReasonToHost)
		n.want(t, "to a node", bpf.ProgToNetdev, vxlan(f.leaving(f.node)), bpf.ReasonPassed)
		n.noEntries(t, "packets of the tunnel")
		n.want(t, "from the world", bpf.ProgFromNetdev, vxlan(f.arriving(f.world)), bpf.DropPolicyDeny)
		n.want(t, "to the world", bpf.ProgToNetdev, vxlan(f.leaving(f.world)), bpf.DropPolicyDeny)
		n.want(t, "from a node, another port", bpf.ProgFromNetdev, f.arriving(f.node), bpf.DropPolicyDeny)
		n.want(t, "from a node, over TCP", bpf.ProgFromNetdev, vxlan(tcpOf(f.arriving(f.node))), bpf.DropPolicyDeny)
	})
}

// RFC 4890 section 4.4.1: without them the node has no neighbours.
func TestNeighboursMessagesPassTheHostsPolicy(t *testing.T) {
	n := filled(t, guarded())
	f := families[1]
	n.rules(t, rule{level: bpf.LevelAny, id: 3, flags: bpf.RuleDeny}, rule{ingress: true, level: bpf.LevelAny, id: 4, flags: bpf.RuleDeny})
	n.isolate(t, hostEnd, bpf.PolicyIngress|bpf.PolicyEgress)
	for kind, passes := range map[byte]bool{1: false, 4: false, 128: false, 129: false, 130: true, 133: true, 134: true, 135: true, 136: true, 137: false, 138: false, 139: false, 143: true} {
		in, out := bpf.DropPolicyDeny, bpf.DropPolicyDeny
		if passes {
			in, out = bpf.ReasonToHost, bpf.ReasonPassed
		}
		n.want(t, fmt.Sprint("type in ", kind), bpf.ProgFromNetdev, f.message(f.arriving(f.gateway), kind, 0), in)
		n.want(t, fmt.Sprint("type out ", kind), bpf.ProgToNetdev, f.message(f.leaving(f.gateway), kind, 0), out)
	}
	multicast := f.arriving(f.gateway)
	multicast.dst = netip.MustParseAddr("ff02::1:ff00:1")
	n.want(t, "a solicitation", bpf.ProgFromNetdev, f.message(multicast, 135, 0), bpf.ReasonToHost)
	if got := n.sendFrame(t, bpf.ProgFromNetdev, underlayIfindex, frame(0x0806, 46)); got.reason != bpf.ReasonPassed {
		t.Errorf("ARP: %s", got.reason)
	}
}

func TestErrorsAboutTheHostsConnectionsPass(t *testing.T) {
	n := filled(t, guarded())
	perFamily(t, n, func(t *testing.T, f family) {
		n.isolate(t, hostEnd, bpf.PolicyIngress)
		out := f.leaving(f.world)
		e := f.unreachable(f.arriving(f.gateway), out)
		n.want(t, "about nothing", bpf.ProgFromNetdev, e, bpf.DropPolicy)
		n.want(t, "a connection", bpf.ProgToNetdev, out, bpf.ReasonPassed)
		n.want(t, "about it", bpf.ProgFromNetdev, e, bpf.ReasonToHost)
	})
}

// With the firewall off the host's traffic is nobody's business.
func TestHostWithoutAPolicyIsNotAsked(t *testing.T) {
	n := filled(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.isolate(t, hostEnd, bpf.PolicyIngress|bpf.PolicyEgress)
		n.want(t, "in", bpf.ProgFromNetdev, f.arriving(f.world), bpf.ReasonToHost)
		n.want(t, "out", bpf.ProgToNetdev, f.leaving(f.world), bpf.ReasonPassed)
		n.want(t, "from a pod", bpf.ProgFromPod, f.from(f.self), bpf.ReasonToHost)
		n.forget(t)
		n.want(t, "to a pod", bpf.ProgFromHost, f.from(f.self).reply(), bpf.ReasonToEndpoint)
	})
}
