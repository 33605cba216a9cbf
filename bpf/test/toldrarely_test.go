package bpftest

import (
	"encoding/binary"
	"fmt"
	"testing"
	"unsafe"

	"weir/bpf"
)

// What the levels of aggregation leave out, of the packets of one connection.
func TestLevelsLeaveOutMoreAndMore(t *testing.T) {
	tests := map[bpf.Monitor][]string{ // SYN, SYN ACK, ACK, data, data, FIN, RST of the other
		bpf.MonitorOff:     {"", "", "", "", "", "", ""},
		bpf.MonitorMaximum: {"new", "", "", "", "", "going", "going"},
		bpf.MonitorMedium:  {"new", "going", "", "", "", "going", "going"},
		bpf.MonitorLow:     {"new", "going", "packet", "packet", "packet", "going", "going"},
		bpf.MonitorNone:    {"new", "going", "packet", "packet", "packet", "going", "going"},
	}
	for level, want := range tests {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			n := filled(t, telling(config(), level))
			l := n.lanes(t)
			perFamily(t, n, func(t *testing.T, f family) {
				p := tcpOf(f.from(f.peer))
				back := p.reply().to(peerMAC, peerGW)
				for i, p := range []packet{p.then("S"), back.then("SA"), p.then("A"), p.then("PA"), back.then("A"), p.then("FA"), back.then("R")} {
					n.want(t, "a packet", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
					n.kinds(t, l, fmt.Sprintf("packet %d", i), want[i])
				}
				n.want(t, "an error", bpf.ProgFromPod, f.unreachable(f.fromPeer(f.pod), f.from(f.peer)), bpf.ReasonToEndpoint)
				judged, passing := "", ""
				if level >= bpf.MonitorMedium {
					judged = "packet"
				}
				if level >= bpf.MonitorNone {
					passing = "packet"
				}
				n.kinds(t, l, "what is of no connection", judged)
				for program, p := range map[string]packet{bpf.ProgToOverlay: f.from(f.remote), bpf.ProgToHost: f.from(f.self),
					bpf.ProgToNetdev: f.leaving(f.world), bpf.ProgFromNetdev: f.fromWorld(f.self)} {
					n.send(t, program, p)
					n.kinds(t, l, program, passing)
				}
				n.isolate(t, peerID, bpf.PolicyIngress)
				n.want(t, "denied", bpf.ProgFromPod, f.from(f.peer), bpf.DropPolicy)
				n.kinds(t, l, "denied", "drop")
			})
		})
	}
}

// kinds compares the kind of the one event that there is; empty: there is none.
func (n *node) kinds(t *testing.T, l lanes, what, want string) {
	t.Helper()
	got := append(l.verdicts.all(t), l.traces.all(t)...)
	switch {
	case len(got) == 0 && want == "":
	case len(got) != 1:
		t.Errorf("%s: %d events, want %q", what, len(got), want)
	case kinds[bpf.EventKind(got[0].Kind)] != want:
		t.Errorf("%s: %s, want %q", what, said(got[0]), want)
	}
}

// What only passes a program is told of by its addresses, as far as it has any.
func TestPassingPacketsAreToldOfByTheirAddresses(t *testing.T) {
	n := filled(t, telling(config(), bpf.MonitorNone))
	l := n.lanes(t)
	perFamily(t, n, func(t *testing.T, f family) {
		p, q := f.from(f.remote), tcpOf(f.leaving(f.world))
		n.tells(t, l,
			tell{"into the tunnel", bpf.ProgToOverlay, p, bpf.ReasonPassed, p.said("packet", udp, idPod, idRemote, "")},
			tell{"the node's own", bpf.ProgToNetdev, q, bpf.ReasonPassed, q.said("packet", 6, idHost, idWorld, "")})
		n.sendFrame(t, bpf.ProgToHost, underlayIfindex, frame(0x0806, 46))
		got := l.traces.all(t)
		if len(got) != 1 || got[0].Family != 0 || bpf.Host(got[0].Protocol) != 0x0806 || got[0].Ifindex != underlayIfindex || got[0].Len != 60 {
			t.Errorf("ARP: %+v", got)
		}
	})
}

// A connection that goes on is told of once in each interval, whoever's packet it
// is, and the connections of a node are not all told of at once.
func TestConnectionThatGoesOnIsToldOfOnceInAnInterval(t *testing.T) {
	cfg := telling(config(), bpf.MonitorMedium)
	n := filled(t, cfg)
	l := n.lanes(t)
	const interval = (1 << 32) / seldom // jiffies
	perFamily(t, n, func(t *testing.T, f family) {
		p := f.from(f.peer)
		back := p.reply().to(peerMAC, peerGW)
		n.want(t, "first", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		n.want(t, "answer", bpf.ProgFromPod, back, bpf.ReasonToEndpoint)
		n.want(t, "second", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		l.say(t)
		for range 3 {
			n.age(t, interval)
			n.tells(t, l,
				tell{"an interval later", bpf.ProgFromPod, back, bpf.ReasonToEndpoint, back.answered("going", udp, idPeer, idPod, "|1 flags 0x22")},
				tell{"at once again", bpf.ProgFromPod, back, bpf.ReasonToEndpoint, ""},
				tell{"its opener", bpf.ProgFromPod, p, bpf.ReasonToEndpoint, ""})
		}
		n.age(t, 10*interval)
		n.isolate(t, podID, 0) // judged anew, with the same result
		n.tells(t, l,
			tell{"ten intervals later", bpf.ProgFromPod, p, bpf.ReasonToEndpoint, p.said("going", udp, idPod, idPeer, "|2 flags 0x22")},
			tell{"at once again", bpf.ProgFromPod, p, bpf.ReasonToEndpoint, ""})
	})
}

// age makes every connection one that was last seen so many jiffies earlier.
func (n *node) age(t *testing.T, jiffies uint32) {
	t.Helper()
	for k, e := range n.entries(t) {
		e.Seen -= jiffies
		n.put(t, n.table, k, e)
	}
}

func TestConnectionsAreNotToldOfAllAtOnce(t *testing.T) {
	cfg := telling(config(), bpf.MonitorMedium)
	cfg.MonitorRate = (1 << 32) / 5000 // five seconds, where there are 1000 jiffies in one
	n := filled(t, cfg)
	l := n.lanes(t)
	const flows = 200
	for _, f := range families {
		n.forget(t)
		send := func() {
			for i := range flows {
				p := f.from(f.peer)
				p.sport = uint16(32768 + 2*i)
				n.sendFrame(t, bpf.ProgFromPod, device(podID), p.bytes())
			}
		}
		send()
		l.say(t)
		n.age(t, 2500)
		send()
		if got := len(l.say(t)); got < flows/3 || got > flows*2/3 {
			t.Errorf("%s: half an interval later %d of %d connections are told of, want about half", f.name, got, flows)
		}
	}
}

// Judged anew is not new: but another rule, another backend and another way are.
func TestKnownConnectionIsNewWhenItsVerdictIs(t *testing.T) {
	n := serviceNode(t, telling(config(), bpf.MonitorMedium))
	l := n.lanes(t)
	perFamily(t, n, func(t *testing.T, f family) {
		p := f.from(f.peer)
		n.rules(t, rule{ingress: true, level: bpf.LevelAny, id: 4})
		n.isolate(t, peerID, bpf.PolicyIngress)
		by := func(id int) string { return p.said("new", udp, idPod, idPeer, fmt.Sprintf(" rules 0/%d|2", id)) }
		n.tells(t, l, tell{"first", bpf.ProgFromPod, p, bpf.ReasonToEndpoint, by(4)})
		n.isolate(t, peerID, bpf.PolicyIngress)
		n.isolate(t, podID, 0)
		n.tells(t, l, tell{"the same verdict", bpf.ProgFromPod, p, bpf.ReasonToEndpoint, ""})
		n.rules(t, rule{ingress: true, level: bpf.LevelAny, id: 5})
		n.isolate(t, peerID, bpf.PolicyIngress)
		n.tells(t, l, tell{"another rule", bpf.ProgFromPod, p, bpf.ReasonToEndpoint, by(5)})
		n.noRules(t)
		n.isolate(t, peerID, bpf.PolicyIngress)
		n.tells(t, l, tell{"denied", bpf.ProgFromPod, p, bpf.DropPolicy, p.said("drop", udp, idPod, idPeer, "")})
		n.rules(t, rule{ingress: true, level: bpf.LevelAny, id: 5})
		n.isolate(t, peerID, bpf.PolicyIngress)
		n.tells(t, l, tell{"allowed as before", bpf.ProgFromPod, p, bpf.ReasonToEndpoint, ""})

		n.forget(t)
		n.noRules(t)
		n.open(t, peerID)
		n.offer(t, f, 0, peerBackend)
		q, asked := f.asks(udp), " asked "+at(vip[f.v6], servicePort).String()
		n.tells(t, l, tell{"a service", bpf.ProgFromPod, q, bpf.ReasonToEndpoint, q.destination(f.peer, 8080).said("new", udp, idPod, idPeer, asked+"|2 flags 0x40")})
		n.offer(t, f, 0, remoteBackend)
		n.backend(t, 2*peerBackend+uint32(f.pick(0, 1)), 8, at(f.peer, 8080), 0)
		n.tells(t, l, tell{"its other backend", bpf.ProgFromPod, q, bpf.ReasonToOverlay, q.destination(f.remote, 8080).said("new", udp, idPod, idRemote, asked+"|1 flags 0x40")})
	})
}

// A denial of a service's client is about the backend.
func TestDenialOfAServiceNamesBackendAndService(t *testing.T) {
	n := serviceNode(t, config())
	l := n.lanes(t)
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, peerBackend)
		n.isolate(t, peerID, bpf.PolicyIngress)
		q := f.asks(udp)
		n.tells(t, l, tell{"denied", bpf.ProgFromPod, q, bpf.DropPolicy,
			q.destination(f.peer, 8080).said("drop", udp, idPod, idPeer, " asked "+at(vip[f.v6], servicePort).String())})
	})
}

// Fragments are packets of their datagram's connection.
func TestFragmentsAreToldOfAsTheirDatagram(t *testing.T) {
	n := filled(t, telling(config(), bpf.MonitorMedium))
	l := n.lanes(t)
	perFamily(t, n, func(t *testing.T, f family) {
		p := f.from(f.peer).sized(600)
		first, later := f.fragments(p, 7)
		n.tells(t, l,
			tell{"first", bpf.ProgFromPod, first, bpf.ReasonToEndpoint, p.said("new", udp, idPod, idPeer, "|2")},
			tell{"later", bpf.ProgFromPod, later, bpf.ReasonToEndpoint, ""})
	})
}

// However many packets there are to tell of, they take no room from verdicts; and
// what finds none is counted, each once.
func TestLanesLoseByThemselvesAndCount(t *testing.T) {
	n := filled(t, telling(config(), bpf.MonitorLow))
	l := n.lanes(t)
	f := families[0]
	const size = int(unsafe.Sizeof(bpf.Event{})) + 8
	traces, verdicts := int(n.maps[bpf.MapTraces].MaxEntries())/size, int(n.maps[bpf.MapEvents].MaxEntries())/size
	in := f.from(f.peer).bytes()
	send := func(ctx skb, in []byte) {
		t.Helper()
		ctx.Ifindex = device(podID)
		if got, err := n.run(bpf.ProgFromPod, ctx, in); err != nil || got.verdict != redirect {
			t.Fatalf("a packet is not let through: verdict %d, %v", got.verdict, err)
		}
	}
	for range traces + 8 {
		send(skb{}, in)
	}
	send(skb{GSOSegs: 3, GSOSize: 100}, f.from(f.peer).sized(400).bytes()) // one event, though three packets
	if got := n.lost(t); got != [2]int{0, 8} {
		t.Errorf("lost %v, want no verdict and 8 traces", got)
	}
	for i := range verdicts + 5 {
		binary.BigEndian.PutUint16(in[34:], uint16(2000+i)) // no sum of UDP: 0
		send(skb{}, with(in, 40, 0, 0))
	}
	if got := n.lost(t); got != [2]int{6, 8} { // one verdict there was before
		t.Errorf("lost %v, want 6 verdicts and 8 traces", got)
	}
	if got := len(l.verdicts.all(t)); got != verdicts {
		t.Errorf("%d verdicts are there, want %d", got, verdicts)
	}
	if got := len(l.traces.all(t)); got != traces {
		t.Errorf("%d traces are there, want %d", got, traces)
	}
	send(skb{}, with(in, 34, 1, 1, 0, 53))
	send(skb{}, with(in, 34, 1, 1, 0, 53))
	if v, traces := l.verdicts.all(t), l.traces.all(t); len(v) != 1 || len(traces) != 1 || n.lost(t) != [2]int{6, 8} {
		t.Errorf("there is room again: %d verdicts and %d traces, lost %v", len(v), len(traces), n.lost(t))
	}
}

// lost are the events that found no room, verdicts first.
func (n *node) lost(t *testing.T) (out [2]int) {
	t.Helper()
	for i, r := range []bpf.Reason{bpf.ReasonEventLost, bpf.ReasonTraceLost} {
		var perCPU []bpf.Metric
		if err := n.metrics.Lookup(bpf.MetricIndex(bpf.PlaceNone, r), &perCPU); err != nil {
			t.Fatal(err)
		}
		for _, m := range perCPU {
			out[i] += int(m.Packets)
		}
	}
	return out
}
