package bpftest

import (
	"errors"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"weir/bpf"
)

// events reads what the programs have said since it was last asked.
type events struct{ *ringbuf.Reader }

func (n *node) events(t testing.TB) events { return n.ring(t, bpf.MapEvents) }

func (n *node) ring(t testing.TB, name string) events {
	t.Helper()
	r, err := ringbuf.NewReader(n.maps[name])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	r.SetDeadline(time.Unix(1, 0)) // what is there, now: nobody is ever woken
	return events{r}
}

func (r events) all(t testing.TB) []bpf.Event { return records[bpf.Event](t, r.Reader) }

// records are those that have come since it was last asked.
func records[T any](t testing.TB, r *ringbuf.Reader) (out []T) {
	t.Helper()
	for {
		rec, err := r.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		var x T
		if len(rec.RawSample) != int(unsafe.Sizeof(x)) {
			t.Fatalf("a record of %d octets, want a %T of %d", len(rec.RawSample), x, unsafe.Sizeof(x))
		}
		out = append(out, *(*T)(unsafe.Pointer(&rec.RawSample[0])))
	}
}

func TestDropSaysWhoWhereAndWhy(t *testing.T) {
	n := filled(t, config())
	r := n.events(t)
	perFamily(t, n, func(t *testing.T, f family) {
		n.rules(t, rule{ingress: true, level: bpf.LevelPort, proto: 6, port: 80, id: 31, flags: bpf.RuleDeny})
		n.isolate(t, peerID, bpf.PolicyIngress)
		fam := f.pick(unix.AF_INET, unix.AF_INET6)
		host := f.into(f.peer)
		host.src = f.self
		spoofed := f.from(f.peer)
		spoofed.src = f.remote
		tcp := tcpOf(f.from(f.peer))
		tcp.flags = "S"
		sent := bpf.Event{Kind: uint8(bpf.EventDrop), Src: bpf.AddrFrom(f.pod), Dst: bpf.AddrFrom(f.peer), SrcIdentity: 1000 + podID, DstIdentity: 1000 + peerID, Family: fam,
			Proto: udp, Sport: bpf.Network(1234), Dport: bpf.Network(53), Place: uint8(bpf.PlaceFromPod), Ifindex: device(podID)}
		for name, c := range map[string]struct {
			program string
			p       packet
			want    func(e *bpf.Event)
		}{
			"isolated": {bpf.ProgFromPod, f.from(f.peer), func(e *bpf.Event) { e.Reason, e.Endpoint, e.Direction = uint8(bpf.DropPolicy), peerID, 1 }},
			"denied by a rule": {bpf.ProgFromPod, tcp, func(e *bpf.Event) {
				e.Reason, e.Endpoint, e.Direction, e.Rule[1] = uint8(bpf.DropPolicyDeny), peerID, 1, 31
				e.Proto, e.Dport, e.TCPFlags = 6, bpf.Network(80), 2
			}},
			"ping": {bpf.ProgFromPod, f.ping(f.from(f.peer), 77), func(e *bpf.Event) {
				e.Reason, e.Endpoint, e.Direction = uint8(bpf.DropPolicy), peerID, 1
				e.Proto, e.Sport, e.Dport = uint8(f.icmp()), bpf.Network(77), bpf.Network(uint16(f.pick(8, 128)))
			}},
			"answer to nothing": {bpf.ProgFromPod, f.pong(f.from(f.peer), 77), func(e *bpf.Event) {
				e.Reason, e.Endpoint, e.Direction = uint8(bpf.DropPolicy), peerID, 1
				e.Proto, e.Sport, e.Dport = uint8(f.icmp()), bpf.Network(uint16(f.pick(8, 128))), bpf.Network(uint16(f.pick(0, 129)))
			}},
			"from the host": {bpf.ProgFromHost, host, func(e *bpf.Event) {
				e.Reason, e.Endpoint, e.Direction = uint8(bpf.DropPolicy), peerID, 1
				e.Place, e.Ifindex, e.Src, e.SrcIdentity = uint8(bpf.PlaceFromHost), underlayIfindex, bpf.AddrFrom(f.self), uint32(bpf.IdentityHost)
			}},
			"from the underlay": {bpf.ProgFromNetdev, f.fromWorld(f.peer), func(e *bpf.Event) {
				e.Reason, e.Endpoint, e.Direction = uint8(bpf.DropPolicy), peerID, 1
				e.Place, e.Ifindex, e.Src, e.SrcIdentity = uint8(bpf.PlaceFromNetdev), underlayIfindex, bpf.AddrFrom(f.world), uint32(bpf.IdentityWorld)
			}},
			"spoofed": {bpf.ProgFromPod, spoofed, func(e *bpf.Event) {
				e.Reason, e.Endpoint, e.Src, e.SrcIdentity = uint8(bpf.DropInvalidSourceIP), uint32(bpf.EndpointsMax), bpf.AddrFrom(f.remote), 2000
				e.Sport, e.Dport = 0, 0 // it is dropped before they are looked at
			}},
		} {
			r.all(t)
			n.send(t, c.program, c.p)
			got := r.all(t)
			if len(got) != 1 {
				t.Errorf("%s: %d events, want one", name, len(got))
				continue
			}
			want := sent
			want.Len, want.Protocol, want.Time = uint32(len(c.p.bytes())), bpf.Network(0x0800), got[0].Time
			if f.v6 {
				want.Protocol = bpf.Network(0x86dd)
			}
			c.want(&want)
			if got[0] != want || got[0].Time == 0 {
				t.Errorf("%s:\n got %+v\nwant %+v", name, got[0], want)
			}
		}
		n.open(t, peerID)
		r.all(t)
		n.want(t, "let through", bpf.ProgFromPod, f.from(f.peer), bpf.ReasonToEndpoint)
		if got := r.all(t); len(got) != 0 {
			t.Errorf("a packet that was let through is an event: %+v", got)
		}
	})
}

// What the sender's policy has allowed is told of, too, when the receiver's denies.
func TestADenialSaysWhatTheSendersPolicyAllowed(t *testing.T) {
	n := filled(t, config())
	r := n.events(t)
	perFamily(t, n, func(t *testing.T, f family) {
		n.rules(t, rule{level: bpf.LevelAny, id: 7})
		n.isolate(t, podID, bpf.PolicyEgress)
		n.isolate(t, peerID, bpf.PolicyIngress)
		r.all(t)
		n.send(t, bpf.ProgFromPod, f.from(f.peer))
		if got := r.all(t); len(got) != 1 || got[0].Reason != uint8(bpf.DropPolicy) || got[0].Direction != 1 || got[0].Rule != [2]uint32{7, 0} {
			t.Errorf("got %+v, want a denial at ingress that rule 7 allowed at egress", got)
		}
	})
}

func TestEventThatFindsNoRoomIsCounted(t *testing.T) {
	n := filled(t, config())
	n.isolate(t, podID, bpf.PolicyEgress)
	in := families[0].from(families[0].peer).bytes()
	room := int(n.maps[bpf.MapEvents].MaxEntries()) / int(unsafe.Sizeof(bpf.Event{})+8)
	for range room + 10 {
		if _, err := n.run(bpf.ProgFromPod, skb{Ifindex: device(podID)}, in); err != nil {
			t.Fatal(err)
		}
	}
	var perCPU []bpf.Metric
	if err := n.metrics.Lookup(bpf.MetricIndex(bpf.PlaceNone, bpf.ReasonEventLost), &perCPU); err != nil {
		t.Fatal(err)
	}
	lost := uint64(0)
	for _, m := range perCPU {
		lost += m.Packets
	}
	if kept := len(n.events(t).all(t)); kept+int(lost) != room+10 || lost < 10 {
		t.Errorf("%d events kept and %d lost of %d", kept, lost, room+10)
	}
}
