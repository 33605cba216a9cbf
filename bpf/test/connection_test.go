package bpftest

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"weir/bpf"
)

// perFamily runs a test on a fresh table for each family.
func perFamily(t *testing.T, n *node, test func(t *testing.T, f family)) {
	t.Helper()
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			n.forget(t)
			for _, id := range []uint32{0, podID, peerID} {
				n.open(t, id)
			}
			n.noRules(t)
			table := n.table
			defer func() { // a table that the test made ends with it
				n.table = table
				n.set(t, bpf.MapCT, uint32(0), table)
			}()
			test(t, f)
		})
	}
}

// fromPeer is a packet of the other pod of the node.
func (f family) fromPeer(dst netip.Addr) packet {
	return packet{src: f.peer, dst: dst, srcMAC: peerMAC, dstMAC: peerGW, ttl: 64}
}

// less is the order of a key's ends: the last word first, as the words lie in memory.
func less(a, b bpf.Addr) bool {
	for i := 3; i >= 0; i-- {
		if a.W[i] != b.W[i] {
			return a.W[i] < b.W[i]
		}
	}
	return false
}

func TestFirstPacketMakesOneEntryForBothDirections(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		self := f.into(f.peer)
		self.src = f.self
		world := f.into(f.peer)
		world.src = f.world
		for _, c := range []struct {
			name, program string
			first         packet
			reason        bpf.Reason
			there, back   bpf.CTOut
			to, from      uint16
		}{
			{"pod to pod", bpf.ProgFromPod, f.from(f.peer), bpf.ReasonToEndpoint, bpf.OutEndpoint, bpf.OutEndpoint, peerID, podID},
			{"pod to pod, the other way", bpf.ProgFromPod, f.fromPeer(f.pod), bpf.ReasonToEndpoint, bpf.OutEndpoint, bpf.OutEndpoint, podID, peerID},
			{"pod to another node's", bpf.ProgFromPod, f.from(f.remote), bpf.ReasonToOverlay, bpf.OutTunnel, bpf.OutEndpoint, 1, podID},
			{"pod to the world", bpf.ProgFromPod, f.from(f.world), bpf.ReasonToNetwork, bpf.OutFIB, bpf.OutEndpoint, 0, podID},
			{"pod to its node", bpf.ProgFromPod, f.from(f.self), bpf.ReasonToHost, bpf.OutHost, bpf.OutEndpoint, 0, podID},
			{"node to pod", bpf.ProgFromHost, self, bpf.ReasonToEndpoint, bpf.OutEndpoint, bpf.OutHost, peerID, 0},
			{"world to pod", bpf.ProgFromNetdev, world, bpf.ReasonToEndpoint, bpf.OutEndpoint, bpf.OutFIB, peerID, 0},
		} {
			for _, tcp := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, TCP %v", c.name, tcp), func(t *testing.T) {
					n.forget(t)
					p := c.first
					p.tcp, p.flags = tcp, "S"
					n.want(t, "the first", c.program, p, c.reason)
					k, e := n.entry(t)
					proto := uint8(unix.IPPROTO_UDP)
					if tcp {
						proto = unix.IPPROTO_TCP
					}
					if k.Proto != proto || k.Echo != 0 || k.Pad != [2]uint8{} || !less(k.A, k.B) {
						t.Errorf("key %+v: want protocol %d, no padding, the lesser end first", k, proto)
					}
					sport, dport := p.ports()
					opener, other := k.Ends(e)
					if opener != netip.AddrPortFrom(p.src, sport) || other != netip.AddrPortFrom(p.dst, dport) {
						t.Errorf("opened by %s to %s, want %s:%d to %s:%d", opener, other, p.src, sport, p.dst, dport)
					}
					if e.Way != [2]uint8{uint8(c.there), uint8(c.back)} || e.Out != [2]uint16{c.to, c.from} {
						t.Errorf("ways %v %v, want %d:%d there and %d:%d back", e.Way, e.Out, c.there, c.to, c.back, c.from)
					}
					size := uint64(len(p.bytes()))
					if e.Packets != [2]uint32{1, 0} || e.Bytes != [2]uint64{size, 0} || e.Flags != 0 || e.Stamp == 0 {
						t.Errorf("after one packet of %d octets: %s", size, e)
					}
					p.flags = "A"
					n.want(t, "the second", c.program, p, c.reason)
					if _, e = n.entry(t); e.Packets != [2]uint32{2, 0} || e.Bytes[0] != 2*size {
						t.Errorf("after two packets: %s", e)
					}
				})
			}
		}
	})
}

func TestReplyPassesByItsConnectionAlone(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.isolate(t, podID, bpf.PolicyIngress)
		p, r := f.from(f.peer), f.from(f.peer).reply()
		n.want(t, "a reply to nothing", bpf.ProgFromPod, r, bpf.DropPolicy)
		n.noEntries(t, "a denied packet")
		n.want(t, "the opener", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		n.want(t, "its reply", bpf.ProgFromPod, r, bpf.ReasonToEndpoint)
		_, e := n.entry(t)
		size := uint64(len(p.bytes()))
		if e.Packets != [2]uint32{1, 1} || e.Bytes != [2]uint64{size, size} || e.Flags != uint8(bpf.CTReplied) {
			t.Errorf("after a packet each way: %s", e)
		}
		other := r
		other.dport = 4321
		n.want(t, "a reply to another port", bpf.ProgFromPod, other, bpf.DropPolicy)
		other = r
		other.tcp = true
		n.want(t, "a reply of another protocol", bpf.ProgFromPod, other, bpf.DropPolicy)
		n.forget(t)
		n.want(t, "a reply after its entry is gone", bpf.ProgFromPod, r, bpf.DropPolicy)
	})
}

func TestTCPStateFollowsBothEnds(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		out, in := f.from(f.peer), f.from(f.peer)
		out.tcp, in.tcp = true, true
		in = in.reply()
		flags := uint8(0)
		for _, step := range []struct {
			back  bool
			flags string
			adds  bpf.CTFlag
		}{
			{false, "S", 0}, {true, "SA", bpf.CTReplied}, {false, "A", bpf.CTEstablished}, {true, "FA", bpf.CTFinReply},
			{false, "FA", bpf.CTFinOriginal}, {true, "R", bpf.CTResetReply},
		} {
			p := out
			if step.back {
				p = in
			}
			p.flags = step.flags
			n.want(t, step.flags, bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
			flags |= uint8(step.adds)
			if _, e := n.entry(t); e.Flags != flags {
				t.Errorf("after %s: flags %#x, want %#x", step.flags, e.Flags, flags)
			}
		}
		in.flags = "A" // it goes on, so the reset was another's
		n.want(t, "after the reset", bpf.ProgFromPod, in, bpf.ReasonToEndpoint)
		if _, e := n.entry(t); e.Flags != flags&^uint8(bpf.CTResetReply) {
			t.Errorf("after a packet of who has reset: flags %#x, want %#x", e.Flags, flags&^uint8(bpf.CTResetReply))
		}
		out.flags = "R"
		n.want(t, "R", bpf.ProgFromPod, out, bpf.ReasonToEndpoint)
		n.want(t, "on its way before", bpf.ProgFromPod, in, bpf.ReasonToEndpoint)
		if _, e := n.entry(t); bpf.CTFlag(e.Flags)&bpf.CTReset == 0 {
			t.Errorf("the other end's packets undo a reset: flags %#x", e.Flags)
		}
		out.flags = "S"
		n.want(t, "the ports are used again", bpf.ProgFromPod, out, bpf.ReasonToEndpoint)
		if _, e := n.entry(t); e.Flags != 0 || e.Packets != [2]uint32{1, 0} {
			t.Errorf("a new connection inherits the old one's state: %s", e)
		}
	})
}

// A connection's entry lets its answers pass, so nothing that opens another
// one may look like an answer.
func TestSYNIsJudgedWhateverTheTableKnows(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.isolate(t, podID, bpf.PolicyIngress)
		p := f.from(f.peer)
		p.tcp, p.flags = true, "S"
		n.want(t, "the opener", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		r := p.reply()
		r.flags = "SA"
		n.want(t, "its answer", bpf.ProgFromPod, r, bpf.ReasonToEndpoint)
		k, before := n.entry(t)
		for _, flags := range []string{"S", "SF", "SP", "SR"} {
			r.flags = flags
			n.want(t, "a SYN back: "+flags, bpf.ProgFromPod, r, bpf.DropPolicy)
		}
		after := n.entries(t)[k]
		before.Seen, after.Seen = 0, 0
		if after != before {
			t.Errorf("a denied SYN changed the connection:\n was %s\n  is %s", before, after)
		}
		p.flags, r.flags = "A", "A"
		n.want(t, "the opener goes on", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		n.want(t, "and its answers", bpf.ProgFromPod, r, bpf.ReasonToEndpoint)
	})
}

func TestChangeOfPolicyAsksTheOpenerAgain(t *testing.T) {
	n := filled(t, config())
	allow := rule{ingress: true, level: bpf.LevelPort, proto: unix.IPPROTO_UDP, port: 53, id: 3}
	for _, c := range []struct {
		name      string
		isolated  uint32
		direction bpf.PolicyFlag
	}{{"of the opener", podID, bpf.PolicyEgress}, {"of the other end", peerID, bpf.PolicyIngress}} {
		perFamily(t, n, func(t *testing.T, f family) {
			allow.ingress = c.direction == bpf.PolicyIngress
			p, r := f.from(f.peer), f.from(f.peer).reply()
			both := func(what string, reason bpf.Reason) {
				t.Helper()
				n.want(t, c.name+": "+what, bpf.ProgFromPod, p, reason)
				n.want(t, c.name+": "+what+": reply", bpf.ProgFromPod, r, reason)
			}
			both("at first", bpf.ReasonToEndpoint)
			n.isolate(t, c.isolated, c.direction)
			both("isolated", bpf.DropPolicy)
			n.rules(t, allow)
			n.isolate(t, c.isolated, c.direction)
			n.want(t, c.name+": a reply is asked as the opener's packet", bpf.ProgFromPod, r, bpf.ReasonToEndpoint)
			both("allowed by a rule", bpf.ReasonToEndpoint)
			if _, e := n.entry(t); e.Rule[0]+e.Rule[1] != 3 {
				t.Errorf("%s: the entry names the rules %v, want 3", c.name, e.Rule)
			}
			other := uint32(podID + peerID - c.isolated)
			n.open(t, other)
			both("the other end's policy is another, too", bpf.ReasonToEndpoint)
			n.set(t, bpf.MapPolicy, c.isolated, bpf.Policy{})
			both("no policy in force", bpf.DropNoPolicy)
		})
	}
}

func TestChangeOfARemoteAddressAsksAgain(t *testing.T) {
	n := filled(t, native())
	generation := uint32(0)
	perFamily(t, n, func(t *testing.T, f family) {
		n.isolate(t, podID, bpf.PolicyEgress)
		n.set(t, bpf.MapPolicySets, uint32(7), bpf.PolicySet{Count: 1, Selectors: [30]uint16{70}})
		n.set(t, bpf.MapPolicyPeers, uint32(2000), uint32(7))
		n.rules(t, rule{level: bpf.LevelAny, selector: 70, id: 4})
		become := func(identity uint32) {
			n.know(t, netip.PrefixFrom(f.remote, f.bits()), bpf.IPCacheEntry{Identity: identity})
			generation++
			n.set(t, bpf.MapGenerations, bpf.AddrSlot(f.remote), generation)
		}
		p, in := f.from(f.remote), f.from(f.remote).reply()
		in.ttl = 63
		become(2000)
		n.want(t, "allowed", bpf.ProgFromPod, p, bpf.ReasonToNetwork)
		n.want(t, "reply", bpf.ProgFromNetdev, in, bpf.ReasonToEndpoint)
		become(2001)
		n.want(t, "the address is somebody else's", bpf.ProgFromPod, p, bpf.DropPolicy)
		n.want(t, "whose packets are no replies", bpf.ProgFromNetdev, in, bpf.DropPolicy)
		become(2000)
		n.want(t, "and back", bpf.ProgFromPod, p, bpf.ReasonToNetwork)
		n.want(t, "reply", bpf.ProgFromNetdev, in, bpf.ReasonToEndpoint)
	})
}

// Between a pod's end and the ipcache's knowing of it, its slot may be another's.
func TestEntryOfAReusedSlotNeverReachesTheNewPod(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		p := f.from(f.peer)
		n.want(t, "the old pod", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		var old bpf.Endpoint
		if err := n.endpoints.Lookup(uint32(peerID), &old); err != nil {
			t.Fatal(err)
		}
		defer n.put(t, n.endpoints, uint32(peerID), old)
		next := old
		next.IPv4, next.IPv6, next.Identity = bpf.AddrFrom(netip.MustParseAddr("10.0.1.77")), bpf.AddrFrom(netip.MustParseAddr("fd00:1::77")), 1077
		n.put(t, n.endpoints, uint32(peerID), next) // the epoch is as it was: the worst case
		n.want(t, "the new one", bpf.ProgFromPod, p, bpf.DropPodNotReady)
		n.put(t, n.endpoints, uint32(peerID), bpf.Endpoint{})
		n.want(t, "nobody", bpf.ProgFromPod, p, bpf.DropPodNotReady)
		n.want(t, "the old one's packets", bpf.ProgFromPod, p.reply(), bpf.DropPodNotReady)
	})
}

func TestFullTableRefusesNewConnectionsAndKeepsTheOthers(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.newTable(t, 4)
		n.rules(t, rule{level: bpf.LevelAny, id: 9})
		n.isolate(t, podID, bpf.PolicyEgress)
		count, _ := n.hits(t, 9)
		for port := range uint16(4) {
			p := f.from(f.peer)
			p.dport = 1000 + port
			n.want(t, "there is room", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		}
		p := f.from(f.peer)
		for _, tcp := range []bool{false, true} {
			p.tcp, p.flags = tcp, "S"
			n.want(t, "there is none", bpf.ProgFromPod, p, bpf.DropCTFull)
		}
		for port := range uint16(4) {
			p := f.from(f.peer)
			p.dport = 1000 + port
			n.want(t, "established", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
			n.want(t, "reply", bpf.ProgFromPod, p.reply(), bpf.ReasonToEndpoint)
		}
		if now, _ := n.hits(t, 9); now-count != 8 {
			t.Errorf("the rule counted %d packets, want the 8 of openers that were let through", now-count)
		}
		if got := len(n.entries(t)); got != 4 {
			t.Errorf("%d entries, want 4", got)
		}
	})
}

// While the agent moves to another table, what it has not moved yet is found.
func TestEntryOfThePredecessorIsFoundAndTakenOver(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		p, r := f.from(f.peer), f.from(f.peer).reply()
		n.want(t, "the opener", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		old := n.table
		n.set(t, bpf.MapCT, uint32(1), old)
		defer func() {
			if err := n.maps[bpf.MapCT].Delete(uint32(1)); err != nil {
				t.Error(err)
			}
		}()
		n.newTable(t, 16)
		n.isolate(t, podID, bpf.PolicyIngress) // the reply has nothing but its entry
		n.want(t, "the reply", bpf.ProgFromPod, r, bpf.ReasonToEndpoint)
		k, e := n.entry(t)
		if opener, _ := k.Ends(e); opener.Addr() != f.pod {
			t.Errorf("opened by %s, want %s", opener, f.pod)
		}
		if e.Packets != [2]uint32{1, 1} || e.Flags != uint8(bpf.CTReplied) {
			t.Errorf("taken over as %s, want the predecessor's counters and one reply", e)
		}
		if got := entriesOf(t, old)[k]; got.Packets != [2]uint32{1, 0} {
			t.Errorf("the predecessor's entry is %s: it is only read", got)
		}
		n.want(t, "the next reply", bpf.ProgFromPod, r, bpf.ReasonToEndpoint)
		about := f.fromPeer(f.pod)
		n.forget(t)
		n.want(t, "an error about it", bpf.ProgFromPod, f.unreachable(about, p), bpf.ReasonToEndpoint)
	})
}

func TestOwnAddressesDoNotComeFromTheUnderlay(t *testing.T) {
	for _, firewall := range []uint8{0, 1} {
		cfg := native()
		cfg.HostFirewall = firewall
		n := filled(t, cfg)
		perFamily(t, n, func(t *testing.T, f family) {
			host := func(p packet) packet { p.src = f.self; return p }
			router := func(p packet) packet { p.src = f.router; return p }
			for name, c := range map[string]struct {
				program string
				live    packet
				spoof   packet
			}{
				"pod, to another":            {bpf.ProgFromPod, f.fromPeer(f.pod), f.fromPeer(f.pod)},
				"pod, answering another":     {bpf.ProgFromPod, f.from(f.peer), f.from(f.peer).reply()},
				"host, to a pod":             {bpf.ProgFromHost, host(f.into(f.pod)), host(f.into(f.pod))},
				"host, answering a pod":      {bpf.ProgFromPod, f.from(f.self), f.from(f.self).reply()},
				"router, to a pod":           {bpf.ProgFromHost, router(f.into(f.pod)), router(f.into(f.pod))},
				"ICMP error of another pod":  {bpf.ProgFromPod, f.from(f.world), f.unreachable(f.fromPeer(f.pod), f.from(f.world))},
				"ICMP error of the host":     {bpf.ProgFromPod, f.from(f.world), f.unreachable(host(f.fromPeer(f.pod)), f.from(f.world))},
				"pod, to the host":           {bpf.ProgFromPod, f.from(f.self), f.from(f.self)},
				"pod, answering the host":    {bpf.ProgFromHost, host(f.into(f.pod)), host(f.into(f.pod)).reply()},
				"the host, to itself":        {bpf.ProgFromPod, f.from(f.self), host(f.into(f.self))},
				"pod, to the host's gateway": {bpf.ProgFromPod, f.from(f.router), f.from(f.router)},
			} {
				t.Run(fmt.Sprintf("%s, host firewall %d", name, firewall), func(t *testing.T) {
					if firewall == 0 && (c.spoof.dst == f.self || c.spoof.dst == f.router) {
						t.Skip("the host's own business")
					}
					n.forget(t)
					c.spoof.ttl = 63
					n.want(t, "without a connection", bpf.ProgFromNetdev, c.spoof, bpf.DropInvalidSourceIP)
					if got := n.send(t, c.program, c.live); got.reason.Drop() {
						t.Fatalf("the live connection: %s", got.reason)
					}
					_, before := n.entry(t)
					n.want(t, "with a connection", bpf.ProgFromNetdev, c.spoof, bpf.DropInvalidSourceIP)
					if _, after := n.entry(t); after != before {
						t.Errorf("the connection is %s, was %s", after, before)
					}
				})
			}
		})
	}
}

// Two CPUs see packets of one new connection at once: neither finds it, both make it.
func TestTwoFirstPacketsAtOnceBothPass(t *testing.T) {
	n := filled(t, config())
	const rounds = 150
	perFamily(t, n, func(t *testing.T, f family) {
		in := f.from(f.peer).bytes()
		var round, ready, shots atomic.Int32
		var running sync.WaitGroup
		n.do(func() {
			for range 2 {
				running.Add(1)
				inNamespace(t, func() {
					defer running.Done()
					for r := int32(1); r <= rounds; r++ {
						ready.Add(1)
						for round.Load() < r { // both are to start at once
							runtime.Gosched()
						}
						ctx := skb{Ifindex: device(podID)}
						verdict, err := n.programs[bpf.ProgFromPod].Run(&ebpf.RunOptions{Data: in, Context: &ctx})
						if verdict != redirect || err != nil {
							shots.Add(1)
						}
					}
				})
			}
		})
		for r := int32(1); r <= rounds; r++ {
			for ready.Load() < 2*r {
				runtime.Gosched()
			}
			n.forget(t)
			round.Store(r)
		}
		running.Wait()
		if got := shots.Load(); got != 0 {
			t.Errorf("%d of %d first packets were dropped", got, 2*rounds)
		}
		if _, err := n.count(); err != nil {
			t.Error(err)
		}
	})
}
