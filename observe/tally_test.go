package observe

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/api/observer"
	"weir/bpf"
)

// counting is an observer that counts all it can, or some.
func counting(t testing.TB, what ...string) *Observer {
	t.Helper()
	if what == nil {
		what = Countable()
	}
	return New(Options{Cluster: "default", Node: "n1", Version: "1.2.3", Flows: 64, Count: what}, cluster(), &fakeRules{})
}

// counted is what an observer has counted, losses apart if there are none.
func counted(o *Observer) string {
	var lines []string
	o.Counted(func(what string, n uint64, labels ...string) {
		if what != CountLost || n > 0 {
			lines = append(lines, fmt.Sprintf("%s %s: %d", what, strings.Join(labels, " "), n))
		}
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func v6(e *bpf.Event) {
	e.Family, e.Src, e.Dst = 10, bpf.AddrFrom(addr("fd00::5")), bpf.AddrFrom(addr("fd00::7"))
}

func icmp(proto, typ uint8) func(*bpf.Event) {
	return func(e *bpf.Event) {
		e.Proto, e.TCPFlags, e.Sport, e.Dport, e.Kind = proto, 0, 0, bpf.Network(uint16(typ)), uint8(bpf.EventPacket)
	}
}

func to(proto uint8, port uint16) func(*bpf.Event) {
	return func(e *bpf.Event) { e.Proto, e.Dport = proto, bpf.Network(port) }
}

func flagged(bits uint8) func(*bpf.Event) { return func(e *bpf.Event) { e.TCPFlags = bits } }

// Flows go in, and come out as Hubble's metrics tell them apart.
func TestFlowsAreCountedAsHubbleTellsThemApart(t *testing.T) {
	overlay := func(e *bpf.Event) { e.Reason = uint8(bpf.ReasonToOverlay) }
	for name, tt := range map[string]struct {
		events []*bpf.Event
		want   string
	}{
		"a new connection, which two policies let through": {
			[]*bpf.Event{packet(judgedBy(ruleEgress, ruleIngress))},
			`flow TCP PolicyVerdict  FORWARDED: 2
flow TCP Trace to-endpoint FORWARDED: 1
port-distribution TCP other: 1
tcp SYN IPv4: 1`},
		"a denial is one drop, and the verdict that it comes of": {
			[]*bpf.Event{packet(dropped(bpf.DropPolicy), func(e *bpf.Event) { e.Direction, e.Endpoint = 1, webID })},
			`drop POLICY_DENIED TCP: 1
flow TCP Drop  DROPPED: 1
flow TCP PolicyVerdict  DROPPED: 1`},
		"a drop of Weir's own kind, and one of what is no IP": {
			[]*bpf.Event{packet(dropped(bpf.DropMulticast), to(protoUDP, 53)), packet(dropped(bpf.DropUnsupportedL2), func(e *bpf.Event) { e.Family, e.Proto = 0, 0 })},
			`drop DROP_MULTICAST UDP: 1
drop UNSUPPORTED_L2_PROTOCOL Unknown: 1
flow UDP Drop  DROPPED: 1
flow Unknown Drop  DROPPED: 1`},
		"flags, each packet by one": {
			[]*bpf.Event{packet(flagged(2)), packet(answer), packet(answer, flagged(0x10)), packet(flagged(0x11), overlay), packet(answer, flagged(0x14)), packet(flagged(2), v6, overlay)},
			`flow TCP Trace to-endpoint FORWARDED: 4
flow TCP Trace to-overlay FORWARDED: 2
port-distribution TCP 8080: 2
port-distribution TCP other: 1
tcp FIN IPv4: 1
tcp RST IPv4: 1
tcp SYN IPv4: 1
tcp SYN IPv6: 1
tcp SYN-ACK IPv4: 1`},
		"types of ICMP": {
			[]*bpf.Event{packet(icmp(protoICMP, 8)), packet(icmp(protoICMP, 8)), packet(icmp(protoICMP, 0)), packet(icmp(protoICMPv6, 129), v6), packet(icmp(protoICMP, 3)), packet(icmp(protoICMP, 77)),
				packet(icmp(protoICMP, 8), dropped(bpf.DropPolicyDeny), judgedBy(0, ruleDeny), func(e *bpf.Event) { e.Direction = 1 })},
			`drop POLICY_DENY ICMPv4: 1
flow ICMPv4 Drop  DROPPED: 1
flow ICMPv4 PolicyVerdict  DROPPED: 1
flow ICMPv4 Trace to-endpoint FORWARDED: 5
flow ICMPv6 Trace to-endpoint FORWARDED: 1
icmp DestinationUnreachable IPv4: 1
icmp EchoReply IPv4: 1
icmp EchoReply IPv6: 1
icmp EchoRequest IPv4: 2
icmp type 77 IPv4: 1`},
		"places where nothing was decided": {
			[]*bpf.Event{packet(to(protoSCTP, 5000), func(e *bpf.Event) {
				e.Reason, e.Place, e.TCPFlags = uint8(bpf.ReasonPassed), uint8(bpf.PlaceFromNetdev), 0
			})},
			`flow SCTP Trace from-network FORWARDED: 1
port-distribution SCTP other: 1`},
	} {
		t.Run(name, func(t *testing.T) {
			o := counting(t)
			for _, e := range tt.events {
				o.Add(e)
			}
			if diff := cmp.Diff(tt.want, counted(o)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// As many flows are counted as there are.
func TestEveryFlowIsCountedOnce(t *testing.T) {
	o := counting(t)
	for range 20 {
		o.Add(packet(judgedBy(ruleEgress, ruleIngress)))
		o.Add(packet(answer))
		o.Add(packet(dropped(bpf.DropPolicy)))
	}
	var n uint64
	o.Counted(func(what string, x uint64, _ ...string) {
		if what == CountFlows {
			n += x
		}
	})
	if seen := o.Status().SeenFlows; n != seen || n != 20*(3+1+2) {
		t.Errorf("%d flows are counted, and %d were seen", n, seen)
	}
}

func TestOnlyWhatIsWantedIsCounted(t *testing.T) {
	events := []*bpf.Event{packet(), packet(dropped(bpf.DropPolicy)), packet(icmp(protoICMP, 8))}
	for _, wanted := range append(Countable(), "") {
		o := counting(t, wanted)
		for _, e := range events {
			o.Add(e)
		}
		o.Hear(heard(t, "example.org.", "192.0.2.1"))
		got := map[string]bool{}
		o.Counted(func(what string, _ uint64, _ ...string) { got[what] = true })
		if got[CountDNS] {
			delete(got, CountDNSQueries)
			delete(got, CountDNSTypes)
		}
		if !got[CountLost] || len(got) > 2 || wanted != "" && !got[wanted] {
			t.Errorf("%q is wanted, and there is %v", wanted, got)
		}
	}
}

// Who tries all ports makes no series; who is somewhere does.
func TestAScanOfPortsMakesNoSeries(t *testing.T) {
	o := counting(t, CountPorts)
	for port := range 65536 {
		o.Add(packet(to(protoTCP, uint16(port))))
		o.Add(packet(to(protoTCP, uint16(port)), answer, flagged(0x14))) // nobody is there
		o.Add(packet(to(protoUDP, uint16(port))))
	}
	if got, want := counted(o), "port-distribution TCP other: 65536\nport-distribution UDP other: 65536"; got != want {
		t.Fatalf("got %s", got)
	}
	o.Add(packet(to(protoUDP, 53), answer))
	o.Add(packet(to(protoUDP, 53)))
	o.Add(packet(to(protoTCP, 33333), answer)) // a client's, by its number
	o.Add(packet(to(protoTCP, 33333)))
	service := func(e *bpf.Event) {
		e.Asked, e.AskedPort = bpf.AddrFrom(addr("10.96.0.10")), bpf.Network(80)
	}
	o.Add(packet(to(protoTCP, 40000), service))
	if got, want := counted(o), `port-distribution TCP 40000: 1
port-distribution TCP other: 65537
port-distribution UDP 53: 1
port-distribution UDP other: 65536`; got != want {
		t.Errorf("got %s", got)
	}
}

func TestPortsThatAreManyShareTheRest(t *testing.T) {
	o := counting(t, CountPorts)
	for port := range uint16(1000) {
		o.Add(packet(to(protoTCP, port+1), answer))
		o.Add(packet(to(protoTCP, port+1)))
	}
	series, others := 0, uint64(0)
	o.Counted(func(what string, n uint64, labels ...string) {
		if what != CountPorts {
			return
		}
		if series++; labels[1] == "other" {
			others = n
		}
	})
	if series != maxPorts+1 || others != 1000-maxPorts {
		t.Errorf("%d series, %d packets to other ports", series, others)
	}
}

func TestLossIsCountedByWhoLost(t *testing.T) {
	o := newObserver(t, 4*readAtOnce)
	o.Lost(7)
	r, err := o.parse(&observer.GetFlowsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 * readAtOnce {
		o.Add(packet())
	}
	err = o.flows(t.Context(), r, func(*observer.GetFlowsResponse) error {
		for range 100 { // it is overtaken while it takes the first one
			o.Add(packet())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lost := map[string]uint64{}
	o.Counted(func(what string, n uint64, labels ...string) {
		if what == CountLost {
			lost[labels[0]] = n
		}
	})
	if lost["perf_event_ring_buffer"] != 7 || lost["hubble_ring_buffer"] == 0 {
		t.Errorf("lost %v", lost)
	}
}

// What a flow costs does not grow, and takes no memory.
func TestCountingTakesNoMemory(t *testing.T) {
	o := counting(t)
	events := []*bpf.Event{packet(judgedBy(ruleEgress, ruleIngress)), packet(answer), packet(dropped(bpf.DropPolicy)), packet(icmp(protoICMP, 8)), packet(to(protoUDP, 53))}
	for range 100 {
		for _, e := range events {
			o.Add(e) // the ring fills
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, e := range events {
			o.Add(e)
		}
	}); n != 0 {
		t.Errorf("%f allocations", n)
	}
}

func TestEveryKindHasItsPlace(t *testing.T) {
	if len(kinds) > maxKinds || len(kinds) <= kindPoint {
		t.Errorf("%d kinds, room for %d", len(kinds), maxKinds)
	}
}

func BenchmarkAddCounting(b *testing.B) {
	for _, c := range []struct {
		name string
		what []string
	}{{"nothing", []string{}}, {"all", Countable()}} {
		for _, e := range []struct {
			name  string
			event *bpf.Event
		}{{"trace", packet()}, {"answer", packet(answer)}, {"new", packet(judgedBy(ruleEgress, ruleIngress))},
			{"drop", packet(dropped(bpf.DropPolicy), func(e *bpf.Event) { e.Direction, e.Endpoint = 1, webID })}} {
			b.Run(c.name+"/"+e.name, func(b *testing.B) {
				o := New(Options{Cluster: "default", Node: "n1", Flows: 65536, Count: c.what}, cluster(), &fakeRules{})
				b.ReportAllocs()
				for b.Loop() {
					o.Add(e.event)
				}
			})
		}
	}
}

func BenchmarkTally(b *testing.B) {
	t := newTally(Countable())
	o := newObserver(b, 16)
	o.Add(packet(answer))
	records := make([]record, 1)
	o.ring.read(0, records)
	b.ReportAllocs()
	for b.Loop() {
		t.count(&records[0])
	}
}
