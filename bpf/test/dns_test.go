package bpftest

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// hearing is a configuration whose programs copy answers of DNS.
func hearing(c bpf.Config) bpf.Config {
	c.DNS = 1
	return c
}

// copies are the answers that were copied since it was last asked.
func (r events) copies(t testing.TB) []bpf.DNSAnswer { return records[bpf.DNSAnswer](t, r.Reader) }

// filling is a payload of that many octets, none of which looks like another nearby.
func filling(octets int) []byte {
	out := make([]byte, octets)
	for i := range out {
		out[i] = byte(i*7 + i>>8 + 1)
	}
	return out
}

// saying is the packet's frame with a payload in it.
func (p packet) saying(payload []byte) []byte {
	p.payload = len(payload)
	frame := p.bytes()
	return with(frame, 14+p.header()+8, payload...)
}

func (p packet) header() int {
	if p.src.Is6() {
		return 40
	}
	return 20
}

// copied compares what was copied of one answer, which the client sees come from asked.
func (r events) copied(t *testing.T, what string, client, server, asked netip.AddrPort, payload []byte) {
	t.Helper()
	got := r.copies(t)
	if len(got) != 1 {
		t.Errorf("%s: %d copies, want one", what, len(got))
		return
	}
	a := got[0]
	side := func(a bpf.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Netip(), bpf.Host(port)) }
	if side(a.Dst, a.Dport) != client || side(a.Src, a.Sport) != server || side(a.Asked, a.AskedPort) != asked {
		t.Errorf("%s: from %s, asked as %s, to %s; want %s, %s, %s", what, side(a.Src, a.Sport), side(a.Asked, a.AskedPort), side(a.Dst, a.Dport), server, asked, client)
	}
	family := uint8(unix.AF_INET)
	if client.Addr().Is6() {
		family = unix.AF_INET6
	}
	if a.Time == 0 || a.Family != family || a.Ifindex == 0 || a.Place == 0 {
		t.Errorf("%s: time %d, family %d, ifindex %d, place %d", what, a.Time, a.Family, a.Ifindex, a.Place)
	}
	if a.DstIdentity != idPod || a.SrcIdentity == 0 {
		t.Errorf("%s: identities %d and %d", what, a.SrcIdentity, a.DstIdentity)
	}
	cut := payload[:min(len(payload), int(bpf.DNSOctets))]
	if int(a.Len) != len(payload) || int(a.Copied) != len(cut) || !bytes.Equal(a.Payload[:a.Copied], cut) {
		t.Errorf("%s: %d octets, of which %d: % x; want %d, of which %d: % x", what, a.Len, a.Copied, head(a.Payload[:]), len(payload), len(cut), head(cut))
	}
}

// One question, and each of its answers: over one socket glibc asks for A and AAAA.
func TestEachAnswerOfDNSIsCopiedForThePodThatAsked(t *testing.T) {
	for name, cfg := range map[string]bpf.Config{"tunnel": config(), "native": native(), "told of everything": telling(config(), bpf.MonitorLow)} {
		n := filled(t, hearing(cfg))
		r := n.ring(t, bpf.MapDNS)
		perFamily(t, n, func(t *testing.T, f family) {
			q := f.from(f.peer)
			answer := q.reply().to(peerMAC, peerGW)
			client, server := at(f.pod, 1234), at(f.peer, 53)
			n.want(t, name+": the question", bpf.ProgFromPod, q, bpf.ReasonToEndpoint)
			if got := r.copies(t); len(got) != 0 {
				t.Errorf("%s: the question was copied: %+v", name, got)
			}
			for i := range 5 {
				payload := filling(40 + i)
				n.sendFrame(t, bpf.ProgFromPod, device(peerID), answer.saying(payload))
				r.copied(t, name+": an answer", client, server, server, payload)
			}
		})
	}
}

func TestCopyOfAnAnswerIsCut(t *testing.T) {
	n := filled(t, hearing(config()))
	r := n.ring(t, bpf.MapDNS)
	perFamily(t, n, func(t *testing.T, f family) {
		n.want(t, "the question", bpf.ProgFromPod, f.from(f.peer), bpf.ReasonToEndpoint)
		answer := f.from(f.peer).reply().to(peerMAC, peerGW)
		for _, octets := range []int{1, 511, 512, 513, 1232, 1400} {
			n.sendFrame(t, bpf.ProgFromPod, device(peerID), answer.saying(filling(octets)))
			r.copied(t, "an answer", at(f.pod, 1234), at(f.peer, 53), at(f.peer, 53), filling(octets))
		}
		n.sendFrame(t, bpf.ProgFromPod, device(peerID), answer.saying(nil))
		if got := r.copies(t); len(got) != 0 {
			t.Errorf("of nothing there is a copy: %+v", got)
		}
	})
}

// The client knows the service's address, and the copy both.
func TestAnswerThroughAServiceNamesItsBackendAndWhatWasAsked(t *testing.T) {
	n := serviceNode(t, hearing(config()))
	r := n.ring(t, bpf.MapDNS)
	perFamily(t, n, func(t *testing.T, f family) {
		odd := uint32(f.pick(0, 1))
		asked := at(vip[f.v6], 53)
		n.backend(t, 2+odd, 7, at(f.peer, 8053), 0)
		n.add(t, service{id: 50 + odd, at: asked, proto: unix.IPPROTO_UDP, first: 16 * (2 + odd), backends: []uint32{2 + odd}})
		q := f.from(vip[f.v6])
		n.want(t, "the question", bpf.ProgFromPod, q, bpf.ReasonToEndpoint)
		answer := q.destination(f.peer, 8053).reply().to(peerMAC, peerGW)
		for range 3 {
			n.sendFrame(t, bpf.ProgFromPod, device(peerID), answer.saying(filling(60)))
			r.copied(t, "an answer", at(f.pod, 1234), at(f.peer, 8053), asked, filling(60))
		}
	})
}

func TestAnswerToAMasqueradedQuestionIsCopiedForThePod(t *testing.T) {
	legacy := native()
	legacy.HostRouting = 0
	for name, cfg := range map[string]bpf.Config{"native": native(), "tunnel": config(), "legacy host routing": legacy} {
		n := masquerading(t, hearing(cfg))
		r := n.ring(t, bpf.MapDNS)
		perFamily(t, n, func(t *testing.T, f family) {
			q := f.from(f.world)
			there := f.as(q, f.self, n.sourcePort(t, q))
			for range 3 {
				n.sendFrame(t, bpf.ProgFromNetdev, underlayIfindex, there.reply().to(otherMAC, peerGW).saying(filling(99)))
				r.copied(t, name, at(f.pod, 1234), at(f.world, 53), at(f.world, 53), filling(99))
			}
		})
	}
}

// Through the tunnel, and with a plain redirect into the pod, which to_pod sees once more.
func TestAnswerIsCopiedOnceWhereThePodIs(t *testing.T) {
	t.Run("tunnel", func(t *testing.T) {
		n := tunnelledBy(t, hearing(config()))
		n.attach(t, bpf.ProgFromOverlay, tunnelIfindex)
		r := n.ring(t, bpf.MapDNS)
		mac := linktest.Link(t, "underlay").Attrs().HardwareAddr
		perFamily(t, n, func(t *testing.T, f family) {
			q := f.from(f.remote)
			n.want(t, "the question", bpf.ProgFromPod, q, bpf.ReasonToOverlay)
			for range 3 {
				n.inject(t, "underlay-in", wrapped(mac, q.reply().to(otherMAC, podGW).saying(filling(70))))
				n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.ReasonToEndpoint: 1})
				r.copied(t, "an answer", at(f.pod, 1234), at(f.remote, 53), at(f.remote, 53), filling(70))
			}
			q = f.into(f.pod)
			n.inject(t, "underlay-in", wrapped(mac, q.bytes()))
			n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.ReasonToEndpoint: 1})
			n.want(t, "the answer of a pod to another node's", bpf.ProgFromPod, q.reply().to(podMAC, podGW), bpf.ReasonToOverlay)
			if got := r.copies(t); len(got) != 0 {
				t.Errorf("an answer that leaves was copied: %+v", got)
			}
		})
	})
	t.Run("redirect", func(t *testing.T) {
		cfg := hearing(config())
		cfg.HostRouting = 0
		n := filled(t, cfg)
		alone(t)
		n.attach(t, bpf.ProgFromPod, device(peerID))
		n.attachOut(t, bpf.ProgToPod, device(podID))
		r := n.ring(t, bpf.MapDNS)
		perFamily(t, n, func(t *testing.T, f family) {
			n.want(t, "the question", bpf.ProgFromPod, f.from(f.peer), bpf.ReasonToEndpoint)
			answer := f.from(f.peer).reply().to(peerMAC, peerGW)
			n.inject(t, "peer-in", answer.saying(filling(70)))
			n.expect(t, bpf.ProgToPod, map[bpf.Reason]uint64{bpf.ReasonToEndpoint: 1})
			r.copied(t, "from_pod, and not to_pod", at(f.pod, 1234), at(f.peer, 53), at(f.peer, 53), filling(70))
			n.sendFrame(t, bpf.ProgToPod, device(podID), answer.saying(filling(71)))
			r.copied(t, "the stack's", at(f.pod, 1234), at(f.peer, 53), at(f.peer, 53), filling(71))
		})
	})
}

// What nobody has asked for says nothing about anybody's address.
func TestWhatIsNoAnswerOfDNSIsNotCopied(t *testing.T) {
	n := filled(t, hearing(config()))
	r := n.ring(t, bpf.MapDNS)
	perFamily(t, n, func(t *testing.T, f family) {
		unasked := f.from(f.peer).reply().to(podMAC, podGW)
		unasked.src, unasked.dst, unasked.dport = f.pod, f.peer, 4444
		n.want(t, "nobody asked", bpf.ProgFromPod, unasked, bpf.ReasonToEndpoint)
		n.want(t, "and goes on", bpf.ProgFromPod, unasked, bpf.ReasonToEndpoint)
		for what, q := range map[string]packet{"another port": f.from(f.peer).destination(f.peer, 5353), "TCP": tcpOf(f.from(f.peer)).destination(f.peer, 53)} {
			n.want(t, what, bpf.ProgFromPod, q, bpf.ReasonToEndpoint)
			n.want(t, what+": the answer", bpf.ProgFromPod, q.reply().to(peerMAC, peerGW), bpf.ReasonToEndpoint)
		}
		n.want(t, "the question", bpf.ProgFromPod, f.from(f.peer), bpf.ReasonToEndpoint)
		if !f.v6 {
			answer := f.from(f.peer).reply().to(peerMAC, peerGW)
			answer.fragment, answer.payload = 1, 16
			n.want(t, "the first fragment", bpf.ProgFromPod, answer, bpf.ReasonToEndpoint)
			if got := r.copies(t); len(got) != 1 || got[0].Copied != 16 {
				t.Errorf("of the first fragment: %+v", got)
			}
			answer.fragment = 2
			n.want(t, "a later fragment", bpf.ProgFromPod, answer, bpf.ReasonToEndpoint)
		}
		n.isolate(t, podID, bpf.PolicyEgress)
		n.want(t, "denied", bpf.ProgFromPod, f.from(f.peer), bpf.DropPolicy)
		n.want(t, "an answer to what is denied", bpf.ProgFromPod, f.from(f.peer).reply().to(peerMAC, peerGW), bpf.DropPolicy)
		if got := r.copies(t); len(got) != 0 {
			t.Errorf("%d copies: %+v", len(got), got)
		}
	})
}

func TestNothingIsCopiedUnlessConfigured(t *testing.T) {
	n := filled(t, config())
	r := n.ring(t, bpf.MapDNS)
	for range 3 {
		n.want(t, "the question", bpf.ProgFromPod, families[0].from(families[0].peer), bpf.ReasonToEndpoint)
		n.want(t, "the answer", bpf.ProgFromPod, families[0].from(families[0].peer).reply().to(peerMAC, peerGW), bpf.ReasonToEndpoint)
	}
	if got := r.copies(t); len(got) != 0 {
		t.Errorf("%d copies", len(got))
	}
}

func TestCopyThatFindsNoRoomIsCounted(t *testing.T) {
	n := filled(t, hearing(config()))
	r := n.ring(t, bpf.MapDNS)
	f := families[0]
	n.want(t, "the question", bpf.ProgFromPod, f.from(f.peer), bpf.ReasonToEndpoint)
	answer := f.from(f.peer).reply().to(peerMAC, peerGW).saying(filling(50))
	sent := int(n.maps[bpf.MapDNS].MaxEntries())/int(unsafe.Sizeof(bpf.DNSAnswer{})+8) + 10
	for range sent {
		if got := n.sendFrame(t, bpf.ProgFromPod, device(peerID), answer); got.reason != bpf.ReasonToEndpoint {
			t.Fatalf("an answer that finds no room is %s", got.reason)
		}
	}
	var perCPU []bpf.Metric
	if err := n.metrics.Lookup(bpf.MetricIndex(bpf.PlaceNone, bpf.ReasonDNSLost), &perCPU); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, m := range perCPU {
		lost += int(m.Packets)
	}
	if kept := len(r.copies(t)); kept+lost != sent || lost < 10 {
		t.Errorf("%d copies kept and %d lost of %d", kept, lost, sent)
	}
	n.sendFrame(t, bpf.ProgFromPod, device(peerID), answer)
	linktest.Eventually(t, time.Second, "room again", func() bool { return len(r.copies(t)) == 1 })
}
