package observe

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/protobuf/proto"

	"weir/api/flow"
	"weir/api/observer"
	"weir/bpf"
	"weir/state"
)

// heard is an answer to default/client from a server in the world, with those addresses.
func heard(t testing.TB, name string, ips ...string) *bpf.DNSAnswer {
	t.Helper()
	n := dnsmessage.MustNewName(name)
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Questions: []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	if len(ips) == 0 {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, ip := range ips {
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: n, Class: dnsmessage.ClassINET, TTL: 30}}
		if a := addr(ip); a.Is4() {
			r.Body = &dnsmessage.AResource{A: a.As4()}
		} else {
			m.Questions[0].Type, r.Body = dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: a.As16()}
		}
		m.Answers = append(m.Answers, r)
	}
	payload, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	x := &bpf.DNSAnswer{Time: mono(), Src: bpf.AddrFrom(addr("192.0.2.53")), Asked: bpf.AddrFrom(addr("192.0.2.53")), Dst: bpf.AddrFrom(addr("10.0.0.5")), Sport: bpf.Network(53), AskedPort: bpf.Network(53),
		Dport: bpf.Network(5555), SrcIdentity: 2, DstIdentity: 1001, Family: 2, Place: uint8(bpf.PlaceFromNetdev), Ifindex: 4, Len: uint16(len(payload))}
	x.Copied = uint16(copy(x.Payload[:], payload))
	return x
}

// outward is a packet of default/client to an address of the world.
func outward(ip string) func(*bpf.Event) {
	return func(e *bpf.Event) {
		e.Dst, e.DstIdentity, e.Reason = bpf.AddrFrom(addr(ip)), 2, uint8(bpf.ReasonToNetwork)
	}
}

// namesIn are the names in flows: "from > to".
func namesIn(t testing.TB, o *Observer, q *observer.GetFlowsRequest) (out []string) {
	for _, f := range flowsOf(t, o, q) {
		out = append(out, strings.Join(f.SourceNames, ",")+" > "+strings.Join(f.DestinationNames, ","))
	}
	return out
}

func TestFlowsNameWhatAPodHasAskedFor(t *testing.T) {
	o := newObserver(t, 64)
	o.Hear(heard(t, "Example.ORG.", "192.0.2.1", "2001:db8::1"))
	o.Hear(heard(t, "web.default.svc.cluster.local.", "10.96.0.10"))
	o.Hear(heard(t, "other.org.", "192.0.2.2"))
	o.Hear(heard(t, "alias.org.", "192.0.2.2"))
	vip := func(e *bpf.Event) { e.Asked, e.AskedPort = bpf.AddrFrom(addr("10.96.0.10")), bpf.Network(80) }
	for what, c := range map[string]struct {
		e    *bpf.Event
		want string
	}{
		"where it goes":            {packet(outward("192.0.2.1")), " > example.org"},
		"IPv6":                     {packet(outward("2001:db8::1")), " > example.org"},
		"its answer":               {packet(outward("192.0.2.1"), answer), "example.org > "},
		"what is dropped":          {packet(outward("192.0.2.1"), dropped(bpf.DropPolicy)), " > example.org"},
		"two names":                {packet(outward("192.0.2.2")), " > alias.org,other.org"},
		"a service":                {packet(vip), " > web.default.svc.cluster.local"},
		"a service's answer":       {packet(vip, answer), "web.default.svc.cluster.local > "},
		"nobody's":                 {packet(outward("192.0.2.3")), " > "},
		"who has not asked":        {packet(func(e *bpf.Event) { e.Src, e.Dst, e.DstIdentity = e.Dst, bpf.AddrFrom(addr("192.0.2.1")), 2 }), " > "},
		"whom the pod has asked":   {packet(func(e *bpf.Event) { e.Src, e.SrcIdentity, e.Dst = bpf.AddrFrom(addr("192.0.2.1")), 2, e.Src }), "example.org > "},
		"what is no IP, of no end": {packet(func(e *bpf.Event) { e.Family = 0 }), " > "},
	} {
		o.Add(c.e)
		got := namesIn(t, o, &observer.GetFlowsRequest{Number: 1})
		if len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func TestNamesGoWithThePod(t *testing.T) {
	o := newObserver(t, 64)
	o.Hear(heard(t, "example.org.", "192.0.2.1"))
	row, _ := o.tables.IPs.Get(netip.MustParsePrefix("10.0.0.5/32"))
	row.Identity = 1002
	o.tables.IPs.Put(row) // another identity of the same pod
	o.Add(packet(outward("192.0.2.1")))
	o.tables.IPs.Delete(row.Prefix)
	o.Add(packet(outward("192.0.2.1")))
	row.Of = "default/next"
	o.tables.IPs.Put(row)
	o.Add(packet(outward("192.0.2.1")))
	if got, want := namesIn(t, o, &observer.GetFlowsRequest{Number: 3}), []string{" > example.org", " > ", " > "}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAnswerIsAFlow(t *testing.T) {
	o := newObserver(t, 64)
	x := heard(t, "example.org.", "192.0.2.1", "192.0.2.2")
	x.Src, x.Sport, x.SrcIdentity, x.Asked, x.AskedPort = bpf.AddrFrom(addr("10.0.0.7")), bpf.Network(8053), 1002, bpf.AddrFrom(addr("10.96.0.10")), bpf.Network(53)
	o.tables.Services.Put(state.Service{Name: state.ServiceName{Namespace: "kube-system", Name: "kube-dns"}, ClusterIPs: []netip.Addr{addr("10.96.0.10")}, Ports: []state.ServicePort{{Proto: protoUDP, Port: 53}}})
	o.Hear(x)
	f := flowsOf(t, o, &observer.GetFlowsRequest{})[0]
	want := &flow.DNS{Query: "example.org.", Ips: []string{"192.0.2.1", "192.0.2.2"}, Ttl: 30, ObservationSource: "passive", Qtypes: []string{"A"}, Rrtypes: []string{"A"}}
	if !proto.Equal(f.L7.GetDns(), want) || f.L7.Type != flow.L7FlowType_RESPONSE || f.Type != flow.FlowType_L7 || f.EventType.Type != 129 {
		t.Errorf("%v of %v: %v", f.Type, f.EventType, f.L7)
	}
	if f.Verdict != flow.Verdict_FORWARDED || !f.IsReply.GetValue() || f.TrafficDirection != flow.TrafficDirection_EGRESS || f.Source.PodName != "web" || f.SourceService.GetName() != "kube-dns" ||
		f.Destination.PodName != "client" || f.L4.GetUDP().GetSourcePort() != 8053 || f.L4.GetUDP().GetDestinationPort() != 5555 || f.IP.Source != "10.0.0.7" {
		t.Errorf("%+v", f)
	}
	if want := `DNS Answer "192.0.2.1,192.0.2.2" TTL: 30 (Query example.org. A)`; f.Summary != want {
		t.Errorf("%s, want %s", f.Summary, want)
	}
	o.Hear(heard(t, "nobody.org."))
	f = flowsOf(t, o, &observer.GetFlowsRequest{Number: 1})[0]
	if want := "DNS Answer RCode: Non-Existent Domain (Query nobody.org. A)"; f.Summary != want || f.L7.GetDns().Rcode != 3 {
		t.Errorf("%s, want %s", f.Summary, want)
	}
	garbage := heard(t, "x.org.", "192.0.2.9")
	garbage.Payload = [512]uint8{}
	o.Hear(garbage)
	garbage.Copied = 9999
	o.Hear(garbage)
	if n := len(flowsOf(t, o, &observer.GetFlowsRequest{})); n != 2 {
		t.Errorf("%d flows, want 2: what is no answer is no flow", n)
	}
}

func TestFiltersByNameAndByWhatDNSWasAskedFor(t *testing.T) {
	o := newObserver(t, 64)
	o.Hear(heard(t, "api.example.org.", "192.0.2.1"))
	o.Add(packet(outward("192.0.2.1")))
	o.Add(packet(outward("192.0.2.1"), answer))
	o.Add(packet(outward("192.0.2.99")))
	dns := []*flow.EventTypeFilter{{Type: 129}}
	for name, c := range map[string]struct {
		f    *flow.FlowFilter
		want string // 0 the answer of DNS, 1 there, 2 back, 3 elsewhere
	}{
		"to":            {&flow.FlowFilter{DestinationFqdn: []string{"api.example.org"}}, "[1]"},
		"from":          {&flow.FlowFilter{SourceFqdn: []string{"API.Example.org."}}, "[2]"},
		"any below":     {&flow.FlowFilter{DestinationFqdn: []string{"*.example.org"}}, "[1]"},
		"stars":         {&flow.FlowFilter{DestinationFqdn: []string{"a*.ex*.o*"}}, "[1]"},
		"all":           {&flow.FlowFilter{DestinationFqdn: []string{"*"}}, "[1]"},
		"a part":        {&flow.FlowFilter{DestinationFqdn: []string{"example.org"}}, "[]"},
		"a dot is one":  {&flow.FlowFilter{DestinationFqdn: []string{"apixexample.org"}}, "[]"},
		"one of two":    {&flow.FlowFilter{DestinationFqdn: []string{"x.org", "api.*"}}, "[1]"},
		"query":         {&flow.FlowFilter{DnsQuery: []string{`^api\.`}}, "[0]"},
		"another query": {&flow.FlowFilter{DnsQuery: []string{`^web`}}, "[]"},
		"type":          {&flow.FlowFilter{EventType: dns}, "[0]"},
		"dns":           {&flow.FlowFilter{Protocol: []string{"dns"}}, "[0]"},
		"DNS or TCP":    {&flow.FlowFilter{Protocol: []string{"DNS", "tcp"}}, "[0 1 2 3]"},
		"UDP":           {&flow.FlowFilter{Protocol: []string{"udp"}}, "[0]"},
	} {
		places := map[string]int{}
		for i, f := range flowsOf(t, o, &observer.GetFlowsRequest{}) {
			places[f.Uuid] = i
		}
		got := []int{}
		for _, f := range flowsOf(t, o, &observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{c.f}}) {
			got = append(got, places[f.Uuid])
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

func TestAnswersAreCountedAsHubbleDoes(t *testing.T) {
	o := counting(t, CountDNS, CountFlows)
	o.Hear(heard(t, "a.org.", "192.0.2.1", "192.0.2.2"))
	o.Hear(heard(t, "b.org.", "192.0.2.1", "192.0.2.3"))
	o.Hear(heard(t, "c.org.", "2001:db8::1"))
	o.Hear(heard(t, "d.org."))
	odd := heard(t, "d.org.")
	odd.Payload[12+7] = 0xff // TYPE65281
	o.Hear(odd)
	want := `dns No Error A 2: 2
dns No Error AAAA 1: 1
dns Non-Existent Domain A 0: 1
dns Non-Existent Domain other 0: 1
dns-queries  A 0: 3
dns-queries  AAAA 0: 1
dns-queries  other 0: 1
dns-response-types A A: 2
dns-response-types AAAA AAAA: 1
flow DNS L7 DNS FORWARDED: 5`
	if got := counted(o); got != want {
		t.Errorf("counted\n%s\nwant\n%s", got, want)
	}
}

// What a node that hears of names pays for each event.
func BenchmarkAddNamed(b *testing.B) {
	o := newObserver(b, 4096)
	o.Hear(heard(b, "example.org.", "192.0.2.1"))
	e := packet(outward("192.0.2.1"))
	b.ReportAllocs()
	for b.Loop() {
		o.Add(e)
	}
}

// What a node pays for each answer.
func BenchmarkHear(b *testing.B) {
	o := newObserver(b, 4096)
	x := heard(b, "example.org.", "192.0.2.1", "192.0.2.2")
	b.ReportAllocs()
	for b.Loop() {
		o.Hear(x)
	}
}
