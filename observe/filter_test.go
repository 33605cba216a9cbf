package observe

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"weir/api/flow"
	"weir/api/observer"
	"weir/bpf"
)

// mixed are four flows, by their place in the ring: a trace for a service, its answer, a
// ping of the world, and a denial.
func mixed(t testing.TB) *Observer {
	o := newObserver(t, 16)
	service := func(e *bpf.Event) { e.Asked, e.AskedPort = bpf.AddrFrom(addr("10.96.0.10")), bpf.Network(80) }
	o.Add(packet(service, func(e *bpf.Event) { e.Taken = bpf.AddrFrom(addr("192.168.0.9")) }))
	o.Add(packet(answer, service))
	o.Add(packet(func(e *bpf.Event) {
		e.Dst, e.DstIdentity, e.Proto, e.Dport, e.Place, e.Reason = bpf.AddrFrom(addr("192.0.2.1")), 2, protoICMP, bpf.Network(8), uint8(bpf.PlaceFromPod), uint8(bpf.ReasonToNetwork)
	}))
	o.Add(packet(dropped(bpf.DropPolicyDeny), judgedBy(0, ruleDeny), func(e *bpf.Event) { e.Direction, e.Endpoint = 1, webID }))
	return o
}

func TestEveryFilterFindsWhatItIsFor(t *testing.T) {
	o := mixed(t)
	uuid := flowsOf(t, o, &observer.GetFlowsRequest{})[2].Uuid
	cases := map[string]struct {
		f    *flow.FlowFilter
		want []int // 0 trace, 1 answer, 2 ping, 3 verdict, 4 drop
	}{
		"nothing":             {&flow.FlowFilter{}, []int{0, 1, 2, 3, 4}},
		"uuid":                {&flow.FlowFilter{Uuid: []string{uuid}}, []int{2}},
		"source ip in IPv6":   {&flow.FlowFilter{SourceIp: []string{"::ffff:10.0.0.7"}}, []int{1}},
		"source ip":           {&flow.FlowFilter{SourceIp: []string{"10.0.0.7"}}, []int{1}},
		"cidr":                {&flow.FlowFilter{DestinationIp: []string{"192.0.2.0/24", "fd00::/8"}}, []int{2}},
		"xlated":              {&flow.FlowFilter{SourceIpXlated: []string{"192.168.0.0/16"}}, []int{0}},
		"pod":                 {&flow.FlowFilter{SourcePod: []string{"default/web"}}, []int{1}},
		"pod prefix":          {&flow.FlowFilter{SourcePod: []string{"default/cli"}}, []int{0, 2, 3, 4}},
		"pod of default":      {&flow.FlowFilter{SourcePod: []string{"web"}}, []int{1}},
		"pod anywhere":        {&flow.FlowFilter{SourcePod: []string{"/web"}}, []int{1}},
		"namespace":           {&flow.FlowFilter{DestinationPod: []string{"default/"}}, []int{0, 1, 3, 4}},
		"other namespace":     {&flow.FlowFilter{SourcePod: []string{"kube-system/"}}, nil},
		"label":               {&flow.FlowFilter{SourceLabel: []string{"app=web"}}, []int{1}},
		"label of source":     {&flow.FlowFilter{DestinationLabel: []string{"reserved:world"}}, []int{2}},
		"label set":           {&flow.FlowFilter{DestinationLabel: []string{"app in (web, db), !debug"}}, []int{0, 3, 4}},
		"label notin":         {&flow.FlowFilter{DestinationLabel: []string{"k8s:app notin (web)"}}, []int{1, 2}},
		"label not equal":     {&flow.FlowFilter{DestinationLabel: []string{"app!=client"}}, []int{0, 2, 3, 4}},
		"label exists":        {&flow.FlowFilter{DestinationLabel: []string{"version"}}, []int{0, 1, 3, 4}},
		"service":             {&flow.FlowFilter{DestinationService: []string{"default/web"}}, []int{0}},
		"service that answer": {&flow.FlowFilter{SourceService: []string{"web"}}, []int{1}},
		"workload":            {&flow.FlowFilter{SourceWorkload: []*flow.Workload{{Name: "web"}}}, []int{1}},
		"workload kind":       {&flow.FlowFilter{DestinationWorkload: []*flow.Workload{{Kind: "Deployment"}}}, []int{0, 1, 3, 4}},
		"cluster":             {&flow.FlowFilter{DestinationClusterName: []string{"default"}}, []int{0, 1, 3, 4}},
		"source cluster":      {&flow.FlowFilter{SourceClusterName: []string{"other"}}, nil},
		"direction":           {&flow.FlowFilter{TrafficDirection: []flow.TrafficDirection{flow.TrafficDirection_EGRESS}}, []int{1, 2}},
		"verdict":             {&flow.FlowFilter{Verdict: []flow.Verdict{flow.Verdict_DROPPED}}, []int{3, 4}},
		"reason":              {&flow.FlowFilter{DropReasonDesc: []flow.DropReason{flow.DropReason_POLICY_DENY}}, []int{3, 4}},
		"device":              {&flow.FlowFilter{Interface: []*flow.NetworkInterface{{Name: "weirweb"}}}, []int{1}},
		"type":                {&flow.FlowFilter{EventType: []*flow.EventTypeFilter{{Type: 4}}}, []int{0, 1, 2}},
		"sub type":            {&flow.FlowFilter{EventType: []*flow.EventTypeFilter{{Type: 4, MatchSubType: true, SubType: 11}, {Type: 1}}}, []int{2, 4}},
		"protocol":            {&flow.FlowFilter{Protocol: []string{"ICMP"}}, []int{2}},
		"source port":         {&flow.FlowFilter{SourcePort: []string{"8080"}}, []int{1}},
		"port range":          {&flow.FlowFilter{DestinationPort: []string{"8000-9000"}}, []int{0, 3, 4}},
		"reply":               {&flow.FlowFilter{Reply: []bool{true}}, []int{1}},
		"no reply":            {&flow.FlowFilter{Reply: []bool{false}}, []int{0, 2, 3, 4}},
		"fqdn":                {&flow.FlowFilter{SourceFqdn: []string{"*"}}, nil}, // nobody has asked: see TestFiltersByNameAndByWhatDNSWasAskedFor
		"fqdn of the other":   {&flow.FlowFilter{DestinationFqdn: []string{"*"}}, nil},
		"dns query":           {&flow.FlowFilter{DnsQuery: []string{""}}, nil},
		"identity":            {&flow.FlowFilter{DestinationIdentity: []uint32{2, 99}}, []int{2}},
		"source identity":     {&flow.FlowFilter{SourceIdentity: []uint32{1002}}, []int{1}},
		"flags":               {&flow.FlowFilter{TcpFlags: []*flow.TCPFlags{{SYN: true, ACK: true}}}, []int{1}},
		"node":                {&flow.FlowFilter{NodeName: []string{"n*"}}, []int{0, 1, 2, 3, 4}},
		"node of cluster":     {&flow.FlowFilter{NodeName: []string{"default/"}}, []int{0, 1, 2, 3, 4}},
		"other node":          {&flow.FlowFilter{NodeName: []string{"default/n2", "x/n1"}}, nil},
		"node label":          {&flow.FlowFilter{NodeLabels: []string{"zone=a"}}, []int{0, 1, 2, 3, 4}},
		"other node label":    {&flow.FlowFilter{NodeLabels: []string{"zone=b"}}, nil},
		"version":             {&flow.FlowFilter{IpVersion: []flow.IPVersion{flow.IPVersion_IPv6}}, nil},
		"encrypted":           {&flow.FlowFilter{Encrypted: []bool{true}}, nil},
		"policy":              {&flow.FlowFilter{Policy: []string{"default/keep-out"}}, []int{3, 4}},
		"policy by name":      {&flow.FlowFilter{Policy: []string{"keep-out"}}, []int{3, 4}},
		"two fields":          {&flow.FlowFilter{SourcePod: []string{"client"}, Verdict: []flow.Verdict{flow.Verdict_FORWARDED}}, []int{0, 2}},
	}
	covered := map[string]bool{}
	for name, c := range cases {
		c.f.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
			covered[string(field.Name())] = true
			return true
		})
		if got := numbers(t, o, &observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{c.f}}); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
		var rest []int
		for i := range 5 {
			if !slices.Contains(c.want, i) {
				rest = append(rest, i)
			}
		}
		if got := numbers(t, o, &observer.GetFlowsRequest{Blacklist: []*flow.FlowFilter{c.f}}); !slices.Equal(got, rest) {
			t.Errorf("not %s: got %v, want %v", name, got, rest)
		}
	}
	for name := range matchers {
		if !covered[name] {
			t.Errorf("no case is about %s", name)
		}
	}
	fields := (&flow.FlowFilter{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		name := string(fields.Get(i).Name())
		if (matchers[name] == nil) == (absent[name] == "") {
			t.Errorf("%s: want it either matched or refused with a reason", name)
		}
	}
}

// numbers are the places of the flows that a request gets.
func numbers(t testing.TB, o *Observer, q *observer.GetFlowsRequest) []int {
	t.Helper()
	place := map[string]int{}
	for i, f := range flowsOf(t, o, &observer.GetFlowsRequest{}) {
		place[f.Uuid] = i
	}
	var out []int
	for _, f := range flowsOf(t, o, q) {
		out = append(out, place[f.Uuid])
	}
	return out
}

func TestFiltersOfAListAreAlternatives(t *testing.T) {
	o := mixed(t)
	q := &observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{{Reply: []bool{true}}, {Protocol: []string{"icmp"}}}, Blacklist: []*flow.FlowFilter{{SourceIp: []string{"10.0.0.7"}}, {Verdict: []flow.Verdict{flow.Verdict_ERROR}}}}
	if got := numbers(t, o, q); !slices.Equal(got, []int{2}) {
		t.Errorf("got %v, want the ping", got)
	}
}

func TestWhatCannotBeFilteredByIsRefusedByName(t *testing.T) {
	newer := &flow.FlowFilter{SourcePod: []string{"x"}}
	newer.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 77, protowire.VarintType), 1))
	inner := &flow.EventTypeFilter{Type: 4}
	inner.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1))
	for name, c := range map[string]struct {
		f    *flow.FlowFilter
		says []string
	}{
		"address":      {&flow.FlowFilter{SourceIp: []string{"10.0.0.256"}}, []string{`whitelist[0].source_ip: "10.0.0.256" is neither`, "write 10.0.0.7"}},
		"cidr":         {&flow.FlowFilter{DestinationIp: []string{"10.0.0.0/33"}}, []string{`destination_ip: "10.0.0.0/33"`}},
		"pod":          {&flow.FlowFilter{SourcePod: []string{"a/b/c"}}, []string{`source_pod: "a/b/c" is not a name: write NAMESPACE/NAME`}},
		"empty":        {&flow.FlowFilter{DestinationService: []string{""}}, []string{`destination_service: "" is not a name`}},
		"label":        {&flow.FlowFilter{SourceLabel: []string{"app in (web"}}, []string{`source_label: "app in (web"`, "is not a label's key", "write k8s:app=web"}},
		"label value":  {&flow.FlowFilter{DestinationLabel: []string{"app=(x)"}}, []string{`"(x)" is not a label's value`}},
		"regex":        {&flow.FlowFilter{NodeName: []string{"n[1"}}, []string{`node_name: "n[1" is not a pattern`, "CLUSTER/NODE"}},
		"port":         {&flow.FlowFilter{SourcePort: []string{"http"}}, []string{`source_port: "http" is neither a port nor a range`}},
		"backwards":    {&flow.FlowFilter{DestinationPort: []string{"90-80"}}, []string{`"90-80"`}},
		"protocol":     {&flow.FlowFilter{Protocol: []string{"http"}}, []string{`protocol: "http" is not a protocol that flows have: write tcp`}},
		"layer 7":      {&flow.FlowFilter{HttpPath: []string{"/x"}}, []string{"http_path: this version of Weir cannot filter by it", "port and protocol"}},
		"fqdn":         {&flow.FlowFilter{SourceFqdn: []string{"exa mple.org"}}, []string{`source_fqdn: "exa mple.org" is not a name`, "*.example.org"}},
		"no fqdn":      {&flow.FlowFilter{DestinationFqdn: []string{"."}}, []string{`destination_fqdn: "." is not a name`}},
		"long query":   {&flow.FlowFilter{DnsQuery: []string{strings.Repeat("x", maxQuery+1)}}, []string{"dns_query: an expression of 129 characters"}},
		"count":        {&flow.FlowFilter{DnsQuery: []string{"x{1000}"}}, []string{"dns_query: an expression of", "without {"}},
		"queries":      {&flow.FlowFilter{DnsQuery: make([]string, maxQueries+1)}, []string{"dns_query: 9 expressions: at most 8"}},
		"dns query":    {&flow.FlowFilter{DnsQuery: []string{"(x"}}, []string{`dns_query: "(x" is not a regular expression`}},
		"cel":          {&flow.FlowFilter{Experimental: &flow.FlowFilter_Experimental{CelExpression: []string{"true"}}}, []string{"experimental: this version", "no CEL"}},
		"policy":       {&flow.FlowFilter{Policy: []string{"a/b/c"}}, []string{`policy: "a/b/c" is not a policy`}},
		"flag":         {&flow.FlowFilter{TcpFlags: []*flow.TCPFlags{{NS: true}}}, []string{"tcp_flags: NS"}},
		"unknown":      {newer, []string{"field number 77 is not known to this version of Weir: leave it out"}},
		"unknown part": {&flow.FlowFilter{EventType: []*flow.EventTypeFilter{inner}}, []string{"event_type.field number 9 is not known"}},
		"too many":     {&flow.FlowFilter{SourceIp: make([]string, maxValues+1)}, []string{"source_ip: 1025 values: at most 1024"}},
	} {
		_, err := compile([]*flow.FlowFilter{c.f}, nil)
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v, want InvalidArgument", name, err)
			continue
		}
		for _, text := range c.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %q does not say %q", name, err, text)
			}
		}
	}
}

func TestBadRequestsAreRefusedByName(t *testing.T) {
	o := newObserver(t, 4)
	newer := &observer.GetFlowsRequest{Experimental: &observer.GetFlowsRequest_Experimental{}}
	newer.Experimental.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1))
	at := func(s int64) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: s} }
	for says, q := range map[string]*observer.GetFlowsRequest{
		"since: 1 s and -1 ns":                           {Since: &timestamppb.Timestamp{Seconds: 1, Nanos: -1}},
		"until: 999999999999 s":                          {Until: at(999999999999)},
		"until: 1970-01-01T00:01:40Z is before since":    {Since: at(200), Until: at(100)},
		`field_mask: a flow has no field "sauce"`:        {FieldMask: &fieldmaskpb.FieldMask{Paths: []string{"time", "sauce"}}},
		"experimental.field number 1":                    {Experimental: newer.Experimental},
		"whitelist and blacklist: 34":                    {Whitelist: []*flow.FlowFilter{{SourceIdentity: make([]uint32, 1024)}}, Blacklist: slices.Repeat([]*flow.FlowFilter{{SourceIdentity: make([]uint32, 1024)}}, 32)},
		"whitelist: 1025 filters: at most 1024":          {Whitelist: make([]*flow.FlowFilter, maxFilters+1)},
		`blacklist[1].source_ip: "x" is neither`:         {Blacklist: []*flow.FlowFilter{{}, {SourceIp: []string{"x"}}}},
		`whitelist[0].ip_trace_id: this version of Weir`: {Whitelist: []*flow.FlowFilter{{IpTraceId: []uint64{1}}}},
	} {
		if _, err := o.parse(q); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

func TestFieldMask(t *testing.T) {
	o := mixed(t)
	q := &observer.GetFlowsRequest{Number: 1, First: true, FieldMask: &fieldmaskpb.FieldMask{Paths: []string{"verdict", "source.pod_name", "IP", "l7.http", "ethernet"}}}
	got := flowsOf(t, o, q)[0]
	if got.Verdict != flow.Verdict_FORWARDED || got.Source.PodName != "client" || got.IP.Source != "10.0.0.5" {
		t.Errorf("got %v without what was asked for", got)
	}
	if got.Source.Labels != nil || got.Destination != nil || got.Time != nil || got.Summary != "" {
		t.Errorf("got %v with what was not asked for", got)
	}
	if whole := flowsOf(t, o, &observer.GetFlowsRequest{Number: 1, First: true})[0]; whole.Source.Namespace == "" {
		t.Error("the mask has changed what others share")
	}
}

func FuzzSelector(f *testing.F) {
	for _, s := range []string{"app=web", "a in (b, c),!d", "k8s:x!=y", "(", "a in (b", ",", "!", "=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSelector(text)
		if err == nil && len(s) == 0 {
			t.Errorf("%q became a selector of everything", text)
		}
		if err != nil && !strings.Contains(err.Error(), "write k8s:app=web") {
			t.Errorf("%q: %v does not say what to write", text, err)
		}
	})
}
