package bpftest

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"weir/bpf"
)

const udp = unix.IPPROTO_UDP

// selectors gives an identity a chain of sets with those selectors, thirty in a row.
func (n *node) selectors(t testing.TB, first uint32, selectors ...uint16) {
	t.Helper()
	for at := first; ; at++ {
		row := bpf.PolicySet{Count: uint16(min(len(selectors), int(bpf.SetSelectors)))}
		copy(row.Selectors[:], selectors)
		selectors = selectors[row.Count:]
		if len(selectors) > 0 {
			row.Next = uint16(at + 1)
		}
		n.set(t, bpf.MapPolicySets, at, row)
		if row.Next == 0 {
			return
		}
	}
}

// Seed: deny before allow, whatever the level and the selector; then allow; then isolation.
func TestDenyBeatsAllowAtEveryLevel(t *testing.T) {
	n := filled(t, config())
	levels := []rule{
		{level: bpf.LevelPort, proto: udp, port: 53}, {level: bpf.LevelRange, proto: udp, port: 3},
		{level: bpf.LevelProto, proto: udp}, {level: bpf.LevelAny},
	}
	prepare := func(ingress bool, f family) {
		n.noRules(t)
		direction := uint8(0)
		identity := uint32(1000 + peerID)
		if ingress {
			direction, identity = 1, 1000+podID
		}
		n.set(t, bpf.MapPolicyRanges, bpf.PolicyRangeKey{PrefixLen: 48 + 13, PolicyClass: testClass, Direction: direction, Proto: udp, Port: bpf.Network(48)}, uint32(3))
		n.selectors(t, 10, 70, 71)
		n.selectors(t, 12, 90)
		n.set(t, bpf.MapPolicyPeers, identity, uint32(10))
		peer := f.peer
		if ingress {
			peer = f.pod
		}
		n.set(t, bpf.MapPolicyCIDRs, bpf.IPCacheKeyFrom(netip.PrefixFrom(peer, f.bits())), uint32(12))
	}
	perFamily(t, n, func(t *testing.T, f family) {
		for _, ingress := range []bool{false, true} {
			end, isolated := uint32(podID), bpf.PolicyEgress
			if ingress {
				end, isolated = peerID, bpf.PolicyIngress
			}
			for _, selector := range []uint16{0, 70, 71, 90} {
				for i, r := range levels {
					r.ingress, r.selector = ingress, selector
					name := fmt.Sprintf("ingress %v, selector %d, level %d", ingress, selector, i)
					prepare(ingress, f)
					n.isolate(t, end, isolated)
					n.want(t, name+": isolated", bpf.ProgFromPod, f.from(f.peer), bpf.DropPolicy)
					r.id = 11
					n.rules(t, r)
					n.isolate(t, end, isolated)
					n.want(t, name+": allowed", bpf.ProgFromPod, f.from(f.peer), bpf.ReasonToEndpoint)
					for _, other := range []uint16{0, 70, 71, 90} {
						for j, d := range levels {
							if j == i && other == selector {
								continue
							}
							prepare(ingress, f)
							d.ingress, d.selector, d.id, d.flags = ingress, other, 12, bpf.RuleDeny
							n.rules(t, r, d)
							n.isolate(t, end, isolated)
							n.want(t, fmt.Sprintf("%s: and denied for selector %d at level %d", name, other, j), bpf.ProgFromPod, f.from(f.peer), bpf.DropPolicyDeny)
						}
					}
					prepare(ingress, f)
					r.flags = bpf.RuleDeny
					n.rules(t, r)
					n.isolate(t, end, 0)
					n.want(t, name+": a denial counts without isolation", bpf.ProgFromPod, f.from(f.peer), bpf.DropPolicyDeny)
				}
			}
		}
	})
}

func TestRuleMatchesNothingElse(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.isolate(t, podID, bpf.PolicyEgress)
		n.selectors(t, 10, 70)
		n.set(t, bpf.MapPolicyPeers, uint32(1000+peerID), uint32(10))
		for name, r := range map[string]rule{
			"another port":                      {level: bpf.LevelPort, proto: udp, port: 54},
			"another protocol":                  {level: bpf.LevelProto, proto: unix.IPPROTO_TCP},
			"ingress":                           {ingress: true, level: bpf.LevelAny},
			"another peer":                      {level: bpf.LevelAny, selector: 71},
			"a peer whose bit is the same":      {level: bpf.LevelAny, selector: 70 + 64},
			"a range that the port is not in":   {level: bpf.LevelRange, proto: udp, port: 3},
			"a range that no port is in":        {level: bpf.LevelRange, proto: udp, port: 0},
			"every port of a protocol, at port": {level: bpf.LevelPort, proto: udp, port: 0},
		} {
			r.id = 5
			n.rules(t, r)
			n.want(t, name, bpf.ProgFromPod, f.from(f.peer), bpf.DropPolicy)
		}
		n.rules(t, rule{level: bpf.LevelAny, selector: 70, id: 6})
		n.want(t, "the peer", bpf.ProgFromPod, f.from(f.peer), bpf.ReasonToEndpoint)
	})
}

func TestEverySelectorOfAChainOfSetsCounts(t *testing.T) {
	n := filled(t, config())
	const most = int(bpf.SetSelectors) * int(bpf.SetChain)
	var all []uint16
	for s := range uint16(most) {
		all = append(all, 100+s)
	}
	perFamily(t, n, func(t *testing.T, f family) {
		n.selectors(t, 10, all...)
		byIdentity := func() { n.set(t, bpf.MapPolicyPeers, uint32(1000+peerID), uint32(10)) }
		byAddress := func() {
			n.set(t, bpf.MapPolicyCIDRs, bpf.IPCacheKeyFrom(netip.PrefixFrom(f.peer, f.bits()-8)), uint32(10))
		}
		for _, give := range []func(){byIdentity, byAddress} {
			for _, at := range []int{0, 29, 30, 59, 60, 89, 90, most - 1} {
				n.noRules(t)
				give()
				n.rules(t, rule{level: bpf.LevelAny, selector: all[at], id: 7})
				n.isolate(t, podID, bpf.PolicyEgress)
				n.want(t, fmt.Sprintf("selector %d of %d allows", at, most), bpf.ProgFromPod, f.from(f.peer), bpf.ReasonToEndpoint)
				n.rules(t, rule{level: bpf.LevelAny, id: 8}, rule{level: bpf.LevelPort, proto: udp, port: 53, selector: all[at], id: 9, flags: bpf.RuleDeny})
				n.isolate(t, podID, bpf.PolicyEgress)
				n.want(t, fmt.Sprintf("selector %d of %d denies", at, most), bpf.ProgFromPod, f.from(f.peer), bpf.DropPolicyDeny)
			}
		}
	})
}

func TestOutsideSelectorIsForStrangersOnly(t *testing.T) {
	n := filled(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.selectors(t, 10, 40|uint16(bpf.SelectorOutside))
		n.set(t, bpf.MapPolicyCIDRs, bpf.IPCacheKeyFrom(f.everything()), uint32(10))
		n.rules(t, rule{level: bpf.LevelAny, selector: 40, id: 7})
		n.isolate(t, podID, bpf.PolicyEgress)
		n.want(t, "the world", bpf.ProgFromPod, f.from(f.world), bpf.ReasonToNetwork)
		for name, dst := range map[string]netip.Addr{"a pod": f.peer, "another node's pod": f.remote, "the host": f.self} {
			n.want(t, name, bpf.ProgFromPod, f.from(dst), bpf.DropPolicy)
		}
		prefix := netip.PrefixFrom(f.node, f.bits())
		for identity, want := range map[bpf.Identity]bpf.Reason{
			bpf.IdentityUnknown: bpf.ReasonToNetwork, bpf.IdentityWorld: bpf.ReasonToNetwork, bpf.IdentityWorldIPv4: bpf.ReasonToNetwork,
			bpf.IdentityWorldIPv6: bpf.ReasonToNetwork, bpf.IdentityRemoteNode: bpf.DropPolicy, bpf.IdentityKubeApiserver: bpf.DropPolicy,
			bpf.IdentityUnmanaged: bpf.DropPolicy, bpf.IdentityHealth: bpf.DropPolicy, bpf.IdentityInit: bpf.DropPolicy, bpf.IdentityLocal + 1: bpf.DropPolicy,
		} {
			n.know(t, prefix, bpf.IPCacheEntry{Identity: uint32(identity)})
			n.forget(t)
			n.want(t, fmt.Sprint("identity ", identity), bpf.ProgFromPod, f.from(f.node), want)
		}
		if err := n.ipcache.Delete(bpf.IPCacheKeyFrom(prefix)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRangeHoldsFromItsFirstPortToItsLast(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.isolate(t, podID, bpf.PolicyEgress)
		// 1000 to 1029: 1000/13, 1008/12, 1024/14, 1028/15 are its prefixes.
		for first, bits := range map[uint16]uint32{1000: 13, 1008: 12, 1024: 14, 1028: 15} {
			n.set(t, bpf.MapPolicyRanges, bpf.PolicyRangeKey{PrefixLen: 48 + bits, PolicyClass: testClass, Proto: udp, Port: bpf.Network(first)}, uint32(2))
		}
		n.rules(t, rule{level: bpf.LevelRange, proto: udp, port: 2, id: 5})
		for port := uint16(990); port < 1040; port++ {
			p, want := f.from(f.peer), bpf.DropPolicy
			p.dport = port
			if port >= 1000 && port <= 1029 {
				want = bpf.ReasonToEndpoint
			}
			n.want(t, fmt.Sprint("port ", port), bpf.ProgFromPod, p, want)
			p.tcp = true
			n.want(t, fmt.Sprint("TCP port ", port), bpf.ProgFromPod, p, bpf.DropPolicy)
		}
	})
}

func TestWithoutAPolicyInForceNothingPasses(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		host := f.into(f.pod)
		host.src = f.self
		live := f.from(f.peer)
		n.want(t, "a connection", bpf.ProgFromPod, live, bpf.ReasonToEndpoint)
		for _, end := range []uint32{podID, peerID} {
			n.open(t, podID)
			n.open(t, peerID)
			n.set(t, bpf.MapPolicy, end, bpf.Policy{Epoch: n.nextEpoch()})
			other := live
			other.dport = 77
			n.want(t, "a new one", bpf.ProgFromPod, other, bpf.DropNoPolicy)
			n.want(t, "the old one", bpf.ProgFromPod, live, bpf.DropNoPolicy)
			n.want(t, "its reply", bpf.ProgFromPod, live.reply(), bpf.DropNoPolicy)
			n.want(t, "a ping", bpf.ProgFromPod, f.ping(live, 1), bpf.DropNoPolicy)
			n.set(t, bpf.MapPolicy, end, bpf.Policy{})
			n.want(t, "the old one, row all zero", bpf.ProgFromPod, live, bpf.DropNoPolicy)
			n.want(t, "its reply, row all zero", bpf.ProgFromPod, live.reply(), bpf.DropNoPolicy)
		}
		n.set(t, bpf.MapPolicy, uint32(podID), bpf.Policy{})
		n.want(t, "from the host", bpf.ProgFromHost, host, bpf.DropNoPolicy)
		n.want(t, "from the underlay", bpf.ProgFromNetdev, f.fromWorld(f.pod), bpf.DropNoPolicy)
		n.want(t, "through the device", bpf.ProgToPod, f.into(f.pod), bpf.DropNoPolicy)
	})
}

func TestPolicyKnowsTheProtocolsAndTypes(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		raw := func(proto layers.IPProtocol, b ...byte) packet {
			p := f.from(f.peer)
			p.proto, p.raw = proto, append(b, make([]byte, 20)...)
			return p
		}
		sctp := raw(layers.IPProtocolSCTP, 4, 210, 0, 80)
		gre, esp := raw(layers.IPProtocolGRE, 0, 80, 0, 80), raw(layers.IPProtocolESP, 0, 80, 0, 80)
		icmp := uint8(f.icmp())
		for _, c := range []struct {
			name string
			p    packet
			same rule // allows it
			no   rule // does not
		}{
			{"SCTP by port", sctp, rule{proto: unix.IPPROTO_SCTP, port: 80}, rule{proto: unix.IPPROTO_SCTP, port: 81}},
			{"SCTP", sctp, rule{proto: unix.IPPROTO_SCTP, level: bpf.LevelProto}, rule{proto: unix.IPPROTO_TCP, level: bpf.LevelProto}},
			{"GRE", gre, rule{proto: 47, level: bpf.LevelProto}, rule{proto: 47, port: 80}},
			{"ESP", esp, rule{proto: 50, level: bpf.LevelProto}, rule{proto: 50, port: 80}},
			{"a protocol without a name", raw(253, 1), rule{proto: 253, level: bpf.LevelProto}, rule{proto: 254, level: bpf.LevelProto}},
			{"echo", f.ping(f.from(f.peer), 99), rule{proto: icmp, port: uint16(f.pick(8, 128))}, rule{proto: icmp, port: 99}},
			{"echo, the other family's protocol", f.ping(f.from(f.peer), 98), rule{proto: icmp, port: uint16(f.pick(8, 128))}, rule{proto: f.pick(58, 1), port: uint16(f.pick(8, 128))}},
			{"echo, every type", f.ping(f.from(f.peer), 97), rule{proto: icmp, level: bpf.LevelProto}, rule{proto: icmp, port: uint16(f.pick(0, 129))}},
			{"TCP", tcpOf(f.from(f.peer)), rule{proto: unix.IPPROTO_TCP, port: 80}, rule{proto: udp, port: 80}},
		} {
			n.noRules(t)
			n.forget(t)
			c.no.id, c.same.id = 5, 6
			n.rules(t, c.no)
			n.isolate(t, podID, bpf.PolicyEgress)
			n.want(t, c.name+": another rule", bpf.ProgFromPod, c.p, bpf.DropPolicy)
			n.rules(t, c.same)
			n.isolate(t, podID, bpf.PolicyEgress)
			n.want(t, c.name, bpf.ProgFromPod, c.p, bpf.ReasonToEndpoint)
			n.want(t, c.name+": again", bpf.ProgFromPod, c.p, bpf.ReasonToEndpoint)
			if _, e := n.entry(t); e.Rule != [2]uint32{6, 0} || e.Packets[0] != 2 {
				t.Errorf("%s: entry %s", c.name, e)
			}
		}
	})
}

func TestRulesCountTheOpenersPackets(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.isolate(t, podID, bpf.PolicyEgress)
		n.isolate(t, peerID, bpf.PolicyIngress)
		n.rules(t, rule{level: bpf.LevelAny, id: 21}, rule{ingress: true, level: bpf.LevelProto, proto: udp, id: 22}, rule{ingress: true, level: bpf.LevelProto, proto: 6, id: 23, flags: bpf.RuleDeny})
		var was [24][2]uint64
		for id := range was {
			was[id][0], was[id][1] = n.hits(t, uint32(id))
		}
		p := f.from(f.peer).sized(300)
		for range 5 {
			n.want(t, "opener", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
			n.want(t, "reply", bpf.ProgFromPod, p.reply(), bpf.ReasonToEndpoint)
			n.want(t, "denied", bpf.ProgFromPod, tcpOf(p), bpf.DropPolicyDeny)
		}
		n.check(t, fixture{program: bpf.ProgFromPod, in: p.bytes(), gsoSize: 100, packets: 3, verdict: redirect, out: p.hop().to(peerGW, peerMAC).bytes(), reason: bpf.ReasonToEndpoint})
		last := p
		last.ttl = 1
		n.want(t, "goes no further", bpf.ProgFromPod, last, bpf.DropTTLExceeded)
		size := uint64(len(p.bytes()))
		for id := range was {
			packets, octets := n.hits(t, uint32(id))
			want := [2]uint64{0, 0}
			switch id {
			case 21, 22:
				want = [2]uint64{5 + 3, 6 * size}
			case 23: // what it denies
				want = [2]uint64{5, 5 * uint64(len(tcpOf(p).bytes()))}
			}
			if got := [2]uint64{packets - was[id][0], octets - was[id][1]}; got != want {
				t.Errorf("rule %d counted %d packets of %d octets, want %d of %d", id, got[0], got[1], want[0], want[1])
			}
		}
	})
}
