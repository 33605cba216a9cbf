package bpftest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"weir/bpf"
)

// Verdicts of XDP programs.
const (
	xdpPass = 2
	xdpTX   = 3
)

// xdpMD is struct xdp_md.
type xdpMD struct{ Data, DataEnd, DataMeta, IngressIfindex, RXQueueIndex, EgressIfindex uint32 }

// accelerated is the configuration of a node with from_xdp.
func accelerated(c bpf.Config) bpf.Config {
	c.Acceleration = 1
	return c
}

// runXDP sends a frame through from_xdp, as one of the underlay device.
func (n *node) runXDP(t testing.TB, in []byte) (verdict uint32, out []byte, reason bpf.Reason) {
	t.Helper()
	o := ebpf.RunOptions{Data: arriving(bpf.ProgFromXDP, in), DataOut: make([]byte, len(in)+256), Context: xdpMD{DataEnd: uint32(len(in)), IngressIfindex: underlayIfindex}}
	verdict, err := n.exec(bpf.ProgFromXDP, &o)
	if err != nil {
		t.Fatalf("run from_xdp: %v", err)
	}
	rose, err := n.count()
	if err != nil {
		t.Fatal(err)
	}
	if len(rose) != 1 || rose[0].Place != bpf.PlaceFromXDP || rose[0].Packets != 1 {
		t.Fatalf("counted %v for one frame, want one at from_xdp", rose)
	}
	if verdict == xdpPass { // as it came
		copy(o.DataOut, in[:min(len(in), 6)])
	}
	return verdict, o.DataOut, rose[0].Reason
}

// bounces sends a packet and compares what goes back out of the device: built
// anew, with sums by another implementation.
func (n *node) bounces(t *testing.T, what string, in, out packet) {
	t.Helper()
	verdict, got, reason := n.runXDP(t, in.bytes())
	want := out.hop().to(underlayMAC, otherMAC).bytes()
	if verdict != xdpTX || reason != bpf.ReasonToNetwork || !bytes.Equal(got, want) {
		t.Errorf("%s: verdict %d, %s, want %d, %s\n got % x\nwant % x", what, verdict, reason, xdpTX, bpf.ReasonToNetwork, head(got), head(want))
	}
}

// left sends a frame that is to pass to from_netdev as it came, and leave nothing behind.
func (n *node) left(t *testing.T, what string, in []byte) {
	t.Helper()
	before := len(n.entries(t))
	verdict, got, reason := n.runXDP(t, in)
	if verdict != xdpPass || reason != bpf.ReasonPassed || !bytes.Equal(got, in) {
		t.Errorf("%s: verdict %d, %s\n got % x\nwant % x", what, verdict, reason, head(got), head(in))
	}
	if after := len(n.entries(t)); after != before {
		t.Errorf("%s: %d connections, %d before", what, after, before)
	}
}

// chosen is the port that the node has taken for the one connection in the table.
func (n *node) chosen(t testing.TB) uint16 {
	t.Helper()
	for _, e := range n.entries(t) {
		if f, ok := e.Forward(); ok {
			return bpf.Host(f.NATPort)
		}
	}
	t.Fatal("no connection is translated")
	return 0
}

// xdpNode is a node with from_xdp in native routing and services. Its device is
// looked at by the test's own thread, so its families are no subtests.
func xdpNode(t *testing.T, change func(*bpf.Config)) *node {
	t.Helper()
	c := accelerated(native())
	if change != nil {
		change(&c)
	}
	return serviceNode(t, c)
}

// A backend elsewhere gets the first packet and all others in the node's name,
// and its answers go to the client, without an skb for either.
func TestNodePortLeadsToAnotherNodeByXDP(t *testing.T) {
	n := xdpNode(t, nil)
	for _, f := range families {
		n.offer(t, f, 0, remoteBackend)
		for _, proto := range transports {
			for _, payload := range []int{0, 1, 20, 777} {
				n.forget(t)
				what := fmt.Sprintf("%s, protocol %d, %d octets: ", f.name, proto, payload)
				p := f.asksNode(proto)
				p.payload = payload
				verdict, _, _ := n.runXDP(t, p.bytes())
				if verdict != xdpTX {
					t.Fatalf("%sfirst: verdict %d", what, verdict)
				}
				there := p.source(f.self, n.chosen(t)).destination(f.remote, 8080)
				n.bounces(t, what+"again", p, there)
				back := there.reply().then("SA")
				answer := back.source(f.self, nodePort).destination(f.world, 1234)
				n.bounces(t, what+"answer", back, answer)
				n.bounces(t, what+"second", p.then("A"), there.then("A"))
				if got := len(n.entries(t)); got != 2 {
					t.Errorf("%s%d entries, want one for each direction", what, got)
				}
			}
		}
	}
}

// Connections of one are connections of the other: who made the entries does not matter.
func TestXDPAndTCShareConnections(t *testing.T) {
	n := xdpNode(t, nil)
	for _, f := range families {
		n.offer(t, f, 0, remoteBackend)
		for _, proto := range transports {
			n.forget(t)
			p := f.asksNode(proto)
			n.want(t, "first by tc", bpf.ProgFromNetdev, p, bpf.ReasonToNetwork)
			there := p.source(f.self, n.chosen(t)).destination(f.remote, 8080)
			back := there.reply().then("SA")
			answer := back.source(f.self, nodePort).destination(f.world, 1234)
			n.bounces(t, "answer by XDP", back, answer)
			n.passes(t, "answer by tc", bpf.ProgFromNetdev, underlayIfindex, back, answer.hop(), bpf.ReasonToNetwork)
			n.bounces(t, "second by XDP", p.then("A"), there.then("A"))
			n.forget(t)
			n.runXDP(t, p.bytes())
			there = p.source(f.self, n.chosen(t)).destination(f.remote, 8080)
			n.passes(t, "second by tc", bpf.ProgFromNetdev, underlayIfindex, p.then("A"), there.then("A").hop(), bpf.ReasonToNetwork)
			back = there.reply().then("SA")
			n.passes(t, "answer by tc", bpf.ProgFromNetdev, underlayIfindex, back, back.source(f.self, nodePort).destination(f.world, 1234).hop(), bpf.ReasonToNetwork)
			for _, e := range n.entries(t) {
				if fwd, ok := e.Forward(); ok && fwd.Packets != 2 {
					t.Errorf("%s: %d packets counted, want 2", f.name, fwd.Packets)
				}
				if r, ok := e.Reverse(); ok && r.Packets != 1 {
					t.Errorf("%s: %d answers counted, want 1", f.name, r.Packets)
				}
			}
		}
	}
}

// Of backends here and elsewhere each gets its share: what is left to tc is not chosen anew.
func TestXDPLeavesBackendsOfThisNodeToTCWithTheirShare(t *testing.T) {
	n := xdpNode(t, nil)
	for _, f := range families {
		n.offer(t, f, 0, remoteBackend, peerBackend)
		here := 0
		const connections = 400
		for i := range connections {
			p := f.asksNode(unix.IPPROTO_UDP)
			p.sport = uint16(2000 + 7*i)
			verdict, _, _ := n.runXDP(t, p.bytes())
			if verdict == xdpTX {
				continue
			}
			here++
			if got := n.send(t, bpf.ProgFromNetdev, p).reason; got != bpf.ReasonToEndpoint {
				t.Fatalf("%s: XDP chose the backend of this node, tc another: %s", f.name, got)
			}
		}
		if here < connections*2/5 || here > connections*3/5 {
			t.Errorf("%s: %d of %d connections got the backend of this node, want about half", f.name, here, connections)
		}
		n.forget(t)
	}
}

func TestXDPLeavesAloneWhatIsNotPlain(t *testing.T) {
	n := xdpNode(t, nil)
	for _, f := range families {
		n.offer(t, f, 0, remoteBackend)
		for _, proto := range transports {
			p := f.asksNode(proto)
			n.runXDP(t, p.bytes())
			known := p.then("A")
			for what, q := range map[string]packet{"of nobody's port": p.destination(f.self, 9), "for the node": f.fromWorld(f.self),
				"for a pod": f.fromWorld(f.pod), "at the end of its hops": {}} {
				if what == "at the end of its hops" {
					q = p
					q.ttl = 1
				}
				n.left(t, f.name+" "+what, q.bytes())
			}
			big := p.sized(1600)
			n.left(t, f.name+" too big for the way", big.bytes())
			echo := f.fromWorld(f.self)
			echo.proto, echo.raw = layers.IPProtocolICMPv4, make([]byte, 16)
			n.left(t, f.name+" of another protocol", echo.bytes())
			frame := known.bytes()
			n.left(t, f.name+" for a group", with(frame, 0, 0xff))
			n.left(t, f.name+" with a VLAN tag", append(append(append([]byte(nil), frame[:12]...), 0x81, 0, 0, 5), frame[12:]...))
			long := known
			long.payload = 100                                            // more than what pads a short frame
			for whole, cut := long.bytes(), 14; cut < len(whole); cut++ { // a test run gives programs no less
				n.left(t, fmt.Sprintf("%s cut at %d", f.name, cut), whole[:cut])
			}
			if f.v6 {
				n.left(t, "IPv6 with an extension", with(frame, 20, 0))
				n.left(t, "an IPv4-mapped source", with(frame, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff))
				continue
			}
			first, later, options := known, known, known
			first.fragment, later.fragment = 1, 2
			options.options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 1}}
			n.left(t, "a first fragment", first.bytes())
			n.left(t, "a later fragment", later.bytes())
			n.left(t, "IPv4 with options", options.bytes())
		}
	}
}

// What the stack of this machine sends on a virtual device has no sums yet.
// The sum over the pseudo header, in the place of the sum, says so.
func TestXDPLeavesSumsThatAreNotCompleteToTC(t *testing.T) {
	n := xdpNode(t, nil)
	for _, f := range families {
		n.offer(t, f, 0, remoteBackend)
		for _, proto := range transports {
			p := f.asksNode(proto)
			frame := p.bytes()
			_, covered := l4(frame)
			segment := 8
			at := 14 + 20 + 6
			if f.v6 {
				at += 20
			}
			if p.tcp {
				segment, at = 20, at+10
			}
			pseudo := sum(covered[:len(covered)-segment])
			n.left(t, f.name, with(frame, at, byte(pseudo>>8), byte(pseudo)))
		}
	}
	f := families[0]
	p := f.asksNode(unix.IPPROTO_UDP)
	n.runXDP(t, p.bytes())
	there := p.source(f.self, n.chosen(t)).destination(f.remote, 8080)
	none := with(p.bytes(), 40, 0, 0)
	_, got, _ := n.runXDP(t, none)
	want := with(there.hop().to(underlayMAC, otherMAC).bytes(), 40, 0, 0)
	if !bytes.Equal(got, want) {
		t.Errorf("UDP without a sum\n got % x\nwant % x", head(got), head(want))
	}
	v6 := families[1].asksNode(unix.IPPROTO_UDP).bytes()
	n.left(t, "UDP without a sum over IPv6", with(v6, 60, 0, 0))
}

// Sums are right for every content, 0xffff in place of 0 among them.
func TestXDPKeepsEverySumRight(t *testing.T) {
	n := xdpNode(t, nil)
	random := rand.New(rand.NewPCG(1, 2))
	for _, f := range families {
		n.offer(t, f, 0, remoteBackend)
		for i := range 3000 {
			p := f.asksNode(transports[i%2])
			p.sport, p.seq, p.ttl, p.payload = uint16(1+random.IntN(65535)), random.Uint32(), uint8(2+random.IntN(250)), random.IntN(40)
			if i%100 == 0 {
				n.forget(t)
			}
			verdict, got, _ := n.runXDP(t, p.bytes())
			if verdict == xdpPass {
				continue // its sum looks like one that is not complete
			}
			if _, covered := l4(got); sum(covered) != 0xffff || !f.v6 && sum(got[14:34]) != 0xffff {
				t.Fatalf("%s: sums are wrong of % x", f.name, head(got))
			}
		}
	}
}

// Who is not let through by from_netdev is not let through, by name.
func TestXDPLeavesRefusalsToTC(t *testing.T) {
	n := xdpNode(t, nil)
	for _, f := range families {
		p := f.asksNode(unix.IPPROTO_TCP)
		n.offer(t, f, 0)
		n.left(t, "no backend", p.bytes())
		if got := n.send(t, bpf.ProgFromNetdev, p); got.reason != bpf.DropNoBackend || got.told != bpf.ReasonReset {
			t.Errorf("without a backend: %s, the sender is told %s", got.reason, got.told)
		}
		n.offer(t, f, bpf.ServiceRanges, remoteBackend)
		n.left(t, "outside of the ranges", p.bytes())
		n.want(t, "outside of the ranges", bpf.ProgFromNetdev, p, bpf.DropSourceRange)
		n.offer(t, f, 0, remoteBackend)
		cluster := p.destination(vip[f.v6], servicePort)
		n.left(t, "a ClusterIP", cluster.bytes())
		n.want(t, "a ClusterIP", bpf.ProgFromNetdev, cluster, bpf.DropClusterIP)
		spoofed := p
		spoofed.src = f.pod
		n.left(t, "a pod of this node, from outside", spoofed.bytes())
		n.want(t, "a pod of this node, from outside", bpf.ProgFromNetdev, spoofed, bpf.DropInvalidSourceIP)
		unknown := p.then("A").destination(f.self, 20000).bytes()
		n.left(t, "an answer of no connection", unknown)
	}
}

// A connection that the backend's node answers carries an option, from the first packet on.
func TestXDPLeavesDirectReturnToTC(t *testing.T) {
	n := xdpNode(t, nil)
	for _, f := range families {
		n.forget(t)
		n.offer(t, f, bpf.ServiceDSR, remoteBackend)
		for _, proto := range transports {
			p := f.asksNode(proto)
			n.left(t, "first", p.bytes())
			if got := n.send(t, bpf.ProgFromNetdev, p).reason; got != bpf.ReasonToNetwork {
				t.Fatalf("first, by tc: %s", got)
			}
			n.left(t, "second", p.then("A").bytes())
		}
	}
}

// A connection whose backend's or client's address has another owner is judged anew.
func TestXDPForgetsWhatDoesNotHold(t *testing.T) {
	n := xdpNode(t, nil)
	for _, f := range families {
		n.forget(t)
		n.offer(t, f, 0, remoteBackend)
		p := f.asksNode(unix.IPPROTO_UDP)
		n.runXDP(t, p.bytes())
		there := p.source(f.self, n.chosen(t)).destination(f.remote, 8080)
		back := there.reply()
		n.set(t, bpf.MapGenerations, bpf.AddrSlot(f.remote), uint32(7))
		n.left(t, "an answer", back.bytes())
		n.bounces(t, "the opener", p, there)
		n.want(t, "an answer, by tc", bpf.ProgFromNetdev, back, bpf.ReasonToNetwork)
		n.bounces(t, "an answer after it", back, back.source(f.self, nodePort).destination(f.world, 1234))
		n.offer(t, f, 0) // its row is there as long as a slice names it
		n.bounces(t, "a backend that is not chosen any more", p, there)
		n.backend(t, 2*remoteBackend+uint32(f.pick(0, 1)), 8, netip.AddrPort{}, 0)
		n.left(t, "a backend that is gone", p.bytes())
	}
}

// What the configuration says is nothing for XDP passes, whatever the tables say.
func TestXDPIsOnlyAnAccelerator(t *testing.T) {
	for what, change := range map[string]func(*bpf.Config){
		"switched off":                           func(c *bpf.Config) { c.Acceleration = 0 },
		"services are kube-proxy's":              func(c *bpf.Config) { c.Services = 0 },
		"the backend is at the end of a tunnel":  func(c *bpf.Config) { c.TunnelIfindex, c.TunnelMTU = tunnelIfindex, tunnelMTU },
		"the packet's family is off (the other)": func(c *bpf.Config) { c.IPv4, c.IPv6 = 0, 0 },
	} {
		t.Run(what, func(t *testing.T) {
			n := xdpNode(t, change)
			if what == "services are kube-proxy's" {
				c := native()
				c.Acceleration, c.NATFirst, c.NATLast = 1, 1024, 29999
				n = filled(t, c)
				n.services(t)
			}
			for _, f := range families {
				n.offer(t, f, 0, remoteBackend)
				for _, proto := range transports {
					n.left(t, f.name, f.asksNode(proto).bytes())
				}
			}
		})
	}
}

// A rule that denies what from_xdp leaves to from_netdev has denied it once.
func TestRuleDeniesWhatXDPLeavesOnce(t *testing.T) {
	n := xdpNode(t, nil)
	for _, f := range families {
		n.forget(t)
		n.offer(t, f, 0, peerBackend)
		n.rules(t, rule{ingress: true, level: bpf.LevelPort, proto: udp, port: 8080, id: 5, flags: bpf.RuleDeny})
		n.isolate(t, peerID, bpf.PolicyIngress)
		before, _ := n.hits(t, 5)
		p := f.asksNode(unix.IPPROTO_UDP)
		n.left(t, f.name, p.bytes())
		n.want(t, f.name, bpf.ProgFromNetdev, p, bpf.DropPolicyDeny)
		if after, _ := n.hits(t, 5); after != before+1 {
			t.Errorf("%s: one packet is counted %d times", f.name, after-before)
		}
	}
}
