package bpftest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// An interval of 2^20 jiffies: none begins by chance while a test runs.
const seldom = 1 << 12

// telling is a configuration with events of that level.
func telling(c bpf.Config, level bpf.Monitor) bpf.Config {
	c.Monitor, c.MonitorRate = uint8(level), seldom
	return c
}

// lanes are both rings of a node.
type lanes struct{ verdicts, traces events }

func (n *node) lanes(t testing.TB) lanes {
	t.Helper()
	return lanes{n.ring(t, bpf.MapEvents), n.ring(t, bpf.MapTraces)}
}

// say is everything that was told since it was last asked: verdicts first.
func (l lanes) say(t testing.TB) (out []string) {
	t.Helper()
	for _, e := range l.verdicts.all(t) {
		if k := bpf.EventKind(e.Kind); k != bpf.EventDrop && k != bpf.EventNew {
			t.Errorf("%s among the verdicts", said(e))
		}
		out = append(out, said(e))
	}
	for _, e := range l.traces.all(t) {
		if k := bpf.EventKind(e.Kind); k != bpf.EventGoing && k != bpf.EventPacket {
			t.Errorf("%s among the traces", said(e))
		}
		out = append(out, said(e))
	}
	return out
}

// told compares what is said about a packet, without its place and reason where
// want has none.
func (l lanes) told(t testing.TB, what string, want ...string) {
	t.Helper()
	if got := l.say(t); !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

var kinds = map[bpf.EventKind]string{bpf.EventDrop: "drop", bpf.EventNew: "new", bpf.EventGoing: "going", bpf.EventPacket: "packet"}

// said is an event in words: fields that are empty are left out.
func said(e bpf.Event) string {
	var b strings.Builder
	side := func(a bpf.Addr, port uint16) string {
		return netip.AddrPortFrom(a.Netip(), bpf.Host(port)).String()
	}
	arrow := "->"
	if e.Reply != 0 {
		arrow = "=>" // an answer
	}
	fmt.Fprintf(&b, "%s %d %s (%d) %s %s (%d)", kinds[bpf.EventKind(e.Kind)], e.Proto, side(e.Src, e.Sport), e.SrcIdentity, arrow, side(e.Dst, e.Dport), e.DstIdentity)
	if e.Asked != (bpf.Addr{}) {
		fmt.Fprintf(&b, " asked %s", side(e.Asked, e.AskedPort))
	}
	if e.Taken != (bpf.Addr{}) {
		fmt.Fprintf(&b, " taken %s", side(e.Taken, e.TakenPort))
	}
	if e.Rule != [2]uint32{} {
		fmt.Fprintf(&b, " rules %d/%d", e.Rule[0], e.Rule[1])
	}
	fmt.Fprintf(&b, ": %s %s", bpf.Place(e.Place), bpf.Reason(e.Reason))
	if e.Out != 0 {
		fmt.Fprintf(&b, " %d", e.Out)
	}
	if e.Flags != 0 {
		fmt.Fprintf(&b, " flags %#x", e.Flags)
	}
	return b.String()
}

// say is the event that a test wants, in the same words: rest is what follows the
// other end.
func (p packet) said(kind string, proto uint8, from, to uint32, rest string) string {
	src, dst := p.ports()
	return fmt.Sprintf("%s %d %s (%d) -> %s (%d)%s", kind, proto, at(p.src, src), from, at(p.dst, dst), to, rest)
}

func (p packet) answered(kind string, proto uint8, from, to uint32, rest string) string {
	return strings.Replace(p.said(kind, proto, from, to, rest), "->", "=>", 1)
}

// The number of the other node's pods, of the pods here, and of everybody else.
const (
	idPod    = 1000 + podID
	idPeer   = 1000 + peerID
	idRemote = 2000
	idHost   = uint32(bpf.IdentityHost)
	idWorld  = uint32(bpf.IdentityWorld)
)

// The life of a connection between two pods of the node, in each protocol.
func TestConnectionIsToldOfWhenItBeginsIsAnsweredAndEnds(t *testing.T) {
	n := filled(t, telling(config(), bpf.MonitorMedium))
	l := n.lanes(t)
	perFamily(t, n, func(t *testing.T, f family) {
		n.rules(t, rule{level: bpf.LevelAny, id: 3}, rule{ingress: true, level: bpf.LevelAny, id: 4})
		n.isolate(t, podID, bpf.PolicyEgress|bpf.PolicyIngress)
		n.isolate(t, peerID, bpf.PolicyIngress|bpf.PolicyEgress)
		p := tcpOf(f.from(f.peer))
		back := p.reply().to(peerMAC, peerGW)
		send := func(what string, p packet, want ...string) {
			t.Helper()
			n.want(t, what, bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
			l.told(t, what, want...)
		}
		there := func(kind, rest string) string {
			return p.said(kind, 6, idPod, idPeer, " rules 3/4: from_pod Forwarded to endpoint 2"+rest)
		}
		answer := func(kind, rest string) string {
			return back.answered(kind, 6, idPeer, idPod, " rules 3/4: from_pod Forwarded to endpoint 1"+rest)
		}
		l.say(t)
		send("SYN", p.then("S"), there("new", ""))
		send("SYN once more", p.then("S"))
		send("SYN ACK", back.then("SA"), answer("going", " flags 0x2"))
		send("SYN ACK once more", back.then("SA"))
		send("ACK", p.then("A"))
		for range 1000 {
			n.sendFrame(t, bpf.ProgFromPod, device(podID), p.then("A").bytes())
			n.sendFrame(t, bpf.ProgFromPod, device(peerID), back.then("A").bytes())
		}
		l.told(t, "1000 packets each way")
		send("FIN", p.then("FA"), there("going", " flags 0x26"))
		send("FIN once more", p.then("FA"))
		send("the other FIN", back.then("FA"), answer("going", " flags 0x2e"))
		send("the last ACK", p.then("A"))
		send("another SYN", p.then("S"), there("new", ""))
		send("its answer", back.then("SA"), answer("going", " flags 0x2"))
		send("RST", back.then("R"), answer("going", " flags 0x3"))
		send("what comes late", p.then("A"))
	})
}

// tell is a packet through a program, and all that is said of it.
type tell struct {
	what    string
	program string
	p       packet
	reason  bpf.Reason
	want    string // without place and reason; empty: nothing is said
}

func (n *node) tells(t *testing.T, l lanes, cases ...tell) {
	t.Helper()
	l.say(t)
	for _, c := range cases {
		n.want(t, c.what, c.program, c.p, c.reason)
		if c.want == "" {
			l.told(t, c.what)
			continue
		}
		before, after, _ := strings.Cut(c.want, "|")
		if after != "" {
			after = " " + after
		}
		l.told(t, c.what, fmt.Sprintf("%s: %s %s%s", before, c.program, c.reason, after))
	}
}

// Where to and where from, by datagrams and pings.
func TestEachWayIsToldOf(t *testing.T) {
	for name, cfg := range ways() {
		t.Run(name, func(t *testing.T) {
			n := serviceNode(t, telling(cfg, bpf.MonitorMedium))
			l := n.lanes(t)
			elsewhere, from, over := bpf.ReasonToNetwork, bpf.ProgFromNetdev, "|"
			if cfg.TunnelIfindex != 0 {
				elsewhere, from, over = bpf.ReasonToOverlay, bpf.ProgFromOverlay, "|1"
			}
			if cfg.HostRouting == 0 {
				elsewhere = bpf.ReasonToStack
			}
			perFamily(t, n, func(t *testing.T, f family) {
				if from == bpf.ProgFromOverlay {
					from = "" // a test run has no tunnel: see TestTunnelTellsOfWhatItBrings
				}
				peer, remote, self := f.from(f.peer), f.from(f.remote), f.from(f.self)
				host := f.into(f.pod).source(f.self, 4000)
				hostBack := host.reply().to(podMAC, podGW)
				id := "|flags 0x2"
				n.tells(t, l,
					tell{"to a pod", bpf.ProgFromPod, peer, bpf.ReasonToEndpoint, peer.said("new", udp, idPod, idPeer, "|2")},
					tell{"its answer", bpf.ProgFromPod, peer.reply().to(peerMAC, peerGW), bpf.ReasonToEndpoint, peer.reply().answered("going", udp, idPeer, idPod, "|1 flags 0x2")},
					tell{"again", bpf.ProgFromPod, peer, bpf.ReasonToEndpoint, ""},
					tell{"to this node", bpf.ProgFromPod, self, bpf.ReasonToHost, self.said("new", udp, idPod, idHost, "")},
					tell{"its answer", bpf.ProgFromHost, self.reply(), bpf.ReasonToEndpoint, self.reply().answered("going", udp, idHost, idPod, "|1 flags 0x2")},
					tell{"from this node", bpf.ProgFromHost, host, bpf.ReasonToEndpoint, host.said("new", udp, idHost, idPod, "|1")},
					tell{"its answer", bpf.ProgFromPod, hostBack, bpf.ReasonToHost, hostBack.answered("going", udp, idPod, idHost, id)},
					tell{"to another node's pod", bpf.ProgFromPod, remote, elsewhere, remote.said("new", udp, idPod, idRemote, over)},
					tell{"the device's own", bpf.ProgToNetdev, f.leaving(f.world), bpf.ReasonPassed, ""},
				)
				if from != "" {
					in := f.into(f.peer)
					n.tells(t, l,
						tell{"its answer", from, remote.reply(), bpf.ReasonToEndpoint, remote.reply().answered("going", udp, idRemote, idPod, "|1 flags 0x2")},
						tell{"from another node's pod", from, in, bpf.ReasonToEndpoint, in.said("new", udp, idRemote, idPeer, "|2")},
						tell{"for nobody here", from, f.fromWorld(f.world), bpf.ReasonPassed, ""})
				}
				n.tells(t, l, f.pings()...)
			})
		})
	}
}

// pings are an echo request between two pods, its answer, one that nobody asked
// for, and an error about a datagram.
func (f family) pings() []tell {
	asks, answers := f.from(f.peer), f.fromPeer(f.pod)
	proto := uint8(f.icmp())
	request, reply := f.pick(8, 128), f.pick(0, 129)
	line := func(kind, arrow string, src netip.Addr, sport uint16, from uint32, dst netip.Addr, kindOf byte, to uint32, rest string) string {
		return fmt.Sprintf("%s %d %s (%d) %s %s (%d)%s", kind, proto, at(src, sport), from, arrow, at(dst, uint16(kindOf)), to, rest)
	}
	lost := f.unreachable(answers, f.from(f.peer))
	return []tell{
		{"ping", bpf.ProgFromPod, f.ping(asks, 77), bpf.ReasonToEndpoint, line("new", "->", f.pod, 77, idPod, f.peer, request, idPeer, "|2")},
		{"pong", bpf.ProgFromPod, f.pong(answers, 77), bpf.ReasonToEndpoint, line("going", "=>", f.peer, uint16(request), idPeer, f.pod, reply, idPod, "|1 flags 0x2")},
		{"ping again", bpf.ProgFromPod, f.ping(asks, 77), bpf.ReasonToEndpoint, ""},
		{"an answer to nothing", bpf.ProgFromPod, f.pong(answers, 78), bpf.ReasonToEndpoint, line("packet", "->", f.peer, uint16(request), idPeer, f.pod, reply, idPod, "|1")},
		{"an error", bpf.ProgFromPod, lost, bpf.ReasonToEndpoint, line("packet", "->", f.peer, 0, idPeer, f.pod, f.pick(3, 1), idPod, "|1")},
	}
}

// In tunnel mode, through the real device.
func TestTunnelTellsOfWhatItBrings(t *testing.T) {
	n := tunnelledBy(t, telling(config(), bpf.MonitorMedium))
	n.attach(t, bpf.ProgFromOverlay, tunnelIfindex)
	l := n.lanes(t)
	mac := linktest.Link(t, "underlay").Attrs().HardwareAddr
	for _, f := range families {
		p := f.into(f.pod)
		arrives := func(what string, p packet, want ...string) {
			t.Helper()
			n.inject(t, "underlay-in", wrapped(mac, p.bytes()))
			n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.ReasonToEndpoint: 1})
			var got []string
			linktest.Eventually(t, 5*time.Second, "as many events", func() bool { // the counter rises first
				got = append(got, l.say(t)...)
				return len(got) >= len(want)
			})
			if !slices.Equal(got, want) {
				t.Errorf("%s %s: got %q, want %q", f.name, what, got, want)
			}
		}
		back := p.reply().to(podMAC, podGW)
		arrives("first", p, p.said("new", udp, idRemote, idPod, ": from_overlay Forwarded to endpoint 1"))
		arrives("second", p)
		n.want(t, "answer", bpf.ProgFromPod, back, bpf.ReasonToOverlay)
		l.told(t, "answer", back.answered("going", udp, idPod, idRemote, ": from_pod Forwarded to overlay 1 flags 0x2"))
	}
}

func TestMasqueradeIsToldOf(t *testing.T) {
	n := masquerading(t, telling(native(), bpf.MonitorMedium))
	l := n.lanes(t)
	perFamily(t, n, func(t *testing.T, f family) {
		for name, p := range f.outbound(77) {
			n.forget(t)
			l.say(t)
			port := n.port(t, bpf.ProgFromPod, device(podID), p)
			got := l.say(t)
			if len(got) != 1 || !strings.HasPrefix(got[0], "new ") || !strings.Contains(got[0], at(f.pod, 0).Addr().String()) ||
				!strings.HasSuffix(got[0], fmt.Sprintf(" (%d) taken %s: from_pod Forwarded to network flags 0x40", idWorld, at(f.self, port))) {
				t.Errorf("%s: %q", name, got)
			}
			back := f.as(p, f.self, port).reply()
			if p.raw != nil {
				back = f.summed(f.pong(f.fromWorld(f.self), port))
			}
			n.want(t, name+" answer", bpf.ProgFromNetdev, back.then("SA"), bpf.ReasonToEndpoint)
			got = l.say(t)
			if len(got) != 1 || !strings.HasPrefix(got[0], "going ") || !strings.Contains(got[0], fmt.Sprintf("(%d) => ", idWorld)) ||
				!strings.HasSuffix(got[0], fmt.Sprintf(" (%d) taken %s: from_netdev Forwarded to endpoint 1 flags 0x82", idPod, at(f.self, port))) {
				t.Errorf("%s answer: %q", name, got)
			}
			n.want(t, name+" again", bpf.ProgFromPod, p.then("A"), bpf.ReasonToNetwork)
			l.told(t, name+" again")
			n.want(t, name+" error", bpf.ProgFromNetdev, f.tells(f.gateway, f.self, f.as(p, f.self, port)), bpf.ReasonToEndpoint)
			icmp := netip.AddrPortFrom(f.pod, uint16(f.pick(3, 1)))
			if got = l.say(t); len(got) != 1 || got[0] != fmt.Sprintf("packet %d %s (%d) -> %s (%d): from_netdev Forwarded to endpoint", f.icmp(), at(f.gateway, 0), idWorld, icmp, idPod) {
				t.Errorf("%s error: %q", name, got)
			}
		}
	})
}

// A service's backend is who is told of, beside the service that was asked.
func TestServiceIsToldOf(t *testing.T) {
	n := serviceNode(t, telling(native(), bpf.MonitorMedium))
	l := n.lanes(t)
	perFamily(t, n, func(t *testing.T, f family) {
		for _, proto := range transports {
			n.offer(t, f, 0, peerBackend)
			n.forget(t)
			vip, node := " asked "+at(vip[f.v6], servicePort).String(), " asked "+at(f.self, nodePort).String()
			p := f.asks(proto)
			there := p.destination(f.peer, 8080)
			back := there.reply().to(peerMAC, peerGW)
			n.tells(t, l,
				tell{"a ClusterIP", bpf.ProgFromPod, p, bpf.ReasonToEndpoint, there.said("new", proto, idPod, idPeer, vip+"|2 flags 0x40")},
				tell{"its answer", bpf.ProgFromPod, back.then("SA"), bpf.ReasonToEndpoint, back.answered("going", proto, idPeer, idPod, vip+"|1 flags 0x82")},
				tell{"again", bpf.ProgFromPod, p.then("A"), bpf.ReasonToEndpoint, ""})
			q := f.asksNode(proto)
			in := q.destination(f.peer, 8080)
			n.tells(t, l, tell{"a NodePort", bpf.ProgFromNetdev, q, bpf.ReasonToEndpoint, in.said("new", proto, idWorld, idPeer, node+"|2 flags 0x40")})
			n.offer(t, f, 0, remoteBackend)
			n.forget(t)
			n.want(t, "a NodePort of a backend elsewhere", bpf.ProgFromNetdev, q, bpf.ReasonToNetwork)
			as := at(f.self, n.chosen(t))
			there = q.destination(f.remote, 8080)
			l.told(t, "a NodePort of a backend elsewhere", there.said("new", proto, idWorld, idRemote, node+" taken "+as.String()+": from_netdev Forwarded to network flags 0x40"))
			back = there.reply()
			n.tells(t, l, tell{"its answer", bpf.ProgFromNetdev, back.destination(f.self, as.Port()).then("SA"), bpf.ReasonToNetwork,
				back.answered("going", proto, idRemote, idWorld, node+" taken "+as.String()+"|flags 0x82")})
		}
	})
}

// With DSR both nodes tell which service was asked.
func TestDSRIsToldOf(t *testing.T) {
	n := dsrNode(t, telling(native(), bpf.MonitorMedium))
	l := n.lanes(t)
	perFamily(t, n, func(t *testing.T, f family) {
		for _, proto := range transports {
			n.forget(t)
			n.offer(t, f, bpf.ServiceDSR, remoteBackend)
			q := f.asksNode(proto)
			n.tells(t, l, tell{"the asked node", bpf.ProgFromNetdev, q, bpf.ReasonToNetwork,
				q.destination(f.remote, 8080).said("new", proto, idWorld, idRemote, " asked "+at(f.self, nodePort).String()+"|flags 0x40")})
			p := f.asksOther(proto)
			asked := " asked " + at(f.node, nodePort).String()
			back := p.reply().to(peerMAC, peerGW)
			n.tells(t, l,
				tell{"the backend's", bpf.ProgFromNetdev, p.says(at(f.node, nodePort)), bpf.ReasonToEndpoint, p.said("new", proto, idWorld, idPeer, asked+"|2")},
				tell{"its answer", bpf.ProgFromPod, back.then("SA"), bpf.ReasonToNetwork, back.answered("going", proto, idPeer, idWorld, asked+"|flags 0x2")},
				tell{"again", bpf.ProgFromNetdev, p.then("A"), bpf.ReasonToEndpoint, ""})
		}
	})
}

func TestXDPTellsOfWhatItSendsOn(t *testing.T) {
	n := xdpNode(t, func(c *bpf.Config) { *c = telling(*c, bpf.MonitorMedium) })
	l := n.lanes(t)
	for _, f := range families {
		n.offer(t, f, 0, remoteBackend)
		n.forget(t)
		l.say(t)
		q := f.asksNode(unix.IPPROTO_TCP)
		node := " asked " + at(f.self, nodePort).String()
		n.runXDP(t, q.bytes())
		as := at(f.self, n.chosen(t))
		there := q.destination(f.remote, 8080)
		l.told(t, "the first", there.said("new", 6, idWorld, idRemote, node+" taken "+as.String()+": from_xdp Forwarded to network flags 0x40"))
		back := there.reply()
		n.runXDP(t, back.destination(f.self, as.Port()).then("SA").bytes())
		l.told(t, "its answer", back.answered("going", 6, idRemote, idWorld, node+" taken "+as.String()+": from_xdp Forwarded to network flags 0x82"))
		n.runXDP(t, q.then("A").bytes())
		l.told(t, "again")
		n.runXDP(t, f.fromWorld(f.peer).bytes())
		l.told(t, "what it leaves to from_netdev")
	}
}
