package observe

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"weir/api/flow"
	"weir/api/observer"
	"weir/bpf"
	"weir/state"
)

// Rules and endpoints of the tests.
const (
	ruleEgress  = 11 // of default/client, allows
	ruleIngress = 22 // of default/web, allows
	ruleDeny    = 33 // of default/web, denies
	clientID    = 5
	webID       = 7
)

type fakeRules struct {
	asked atomic.Int32
	busy  chan struct{} // nil: never
}

func (f *fakeRules) Version() uint64 { return 1 }

func (f *fakeRules) Rule(id uint32) Rule {
	if f.busy != nil {
		<-f.busy
	}
	f.asked.Add(1)
	names := map[uint32]string{ruleEgress: "let-out", ruleIngress: "let-in", ruleDeny: "keep-out"}
	if names[id] == "" {
		return Rule{}
	}
	return Rule{Policies: []state.PolicyKey{{Kind: state.KindCNP, Namespace: "default", Name: names[id]}}, Match: 2}
}

func (f *fakeRules) Isolated(endpoint uint32, ingress bool) []state.PolicyKey {
	if endpoint != webID || !ingress {
		return nil
	}
	return []state.PolicyKey{{Kind: state.KindNetworkPolicy, Namespace: "default", Name: "isolate"}}
}

// cluster is a node with two pods, one more elsewhere, and a service.
func cluster() *state.Tables {
	t := state.New()
	t.Identities.Put(state.AllReserved()...)
	t.Identities.Put(state.Identity{ID: 1001, Labels: state.Labels{"k8s:app=client"}}, state.Identity{ID: 1002, Labels: state.Labels{"k8s:app=web"}})
	t.Nodes.Put(state.Node{Name: "n1", Cluster: "default", Local: true, Addresses: []netip.Addr{addr("192.168.0.1")}, Labels: map[string]string{"zone": "a", "arch": "amd64"}},
		state.Node{Name: "n2", Cluster: "default", Addresses: []netip.Addr{addr("192.168.0.2")}})
	put := func(name, ip string, id state.IdentityID, ep state.EndpointID, app string) {
		pod := state.PodName{Namespace: "default", Name: name}
		row := state.IP{Prefix: netip.PrefixFrom(addr(ip), addr(ip).BitLen()), Identity: id, Endpoint: ep, Source: state.IPPod, Of: pod.String()}
		if ep != 0 {
			row.Source = state.IPEndpoint
			t.Endpoints.Put(state.Endpoint{ID: ep, Pod: pod, Device: "weir" + name, Ifindex: int(bpf.IfindexBase) + int(ep)})
		}
		t.Pods.Put(state.Pod{Name: pod, Labels: map[string]string{"app": app, "version": "1"}, ServiceAccount: "default", Workload: state.Workload{Kind: "Deployment", Name: app}})
		t.IPs.Put(row)
	}
	put("client", "10.0.0.5", 1001, clientID, "client")
	put("web", "10.0.0.7", 1002, webID, "web")
	put("web-6", "fd00::7", 1002, 0, "web")
	t.Services.Put(state.Service{Name: state.ServiceName{Namespace: "default", Name: "web"}, ClusterIPs: []netip.Addr{addr("10.96.0.10")},
		Ports: []state.ServicePort{{Proto: protoTCP, Port: 80, NodePort: 30080}}})
	return t
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func newObserver(t testing.TB, flows int) *Observer {
	t.Helper()
	return New(Options{Cluster: "default", Node: "n1", Version: "1.2.3", Flows: flows}, cluster(), &fakeRules{})
}

func mono() uint64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return uint64(t.Nano())
}

// packet is an event about a TCP packet of default/client to default/web.
func packet(change ...func(*bpf.Event)) *bpf.Event {
	e := &bpf.Event{Time: mono(), Src: bpf.AddrFrom(addr("10.0.0.5")), Dst: bpf.AddrFrom(addr("10.0.0.7")), SrcIdentity: 1001, DstIdentity: 1002,
		Sport: bpf.Network(43210), Dport: bpf.Network(8080), Family: 2, Proto: protoTCP, TCPFlags: 2, Ifindex: uint32(bpf.IfindexBase) + clientID,
		Kind: uint8(bpf.EventNew), Reason: uint8(bpf.ReasonToEndpoint), Place: uint8(bpf.PlaceFromPod), Len: 74}
	for _, c := range change {
		c(e)
	}
	return e
}

func dropped(r bpf.Reason) func(*bpf.Event) {
	return func(e *bpf.Event) { e.Kind, e.Reason = uint8(bpf.EventDrop), uint8(r) }
}

func judgedBy(egress, ingress uint32) func(*bpf.Event) {
	return func(e *bpf.Event) { e.Rule = [2]uint32{egress, ingress} }
}

func answer(e *bpf.Event) {
	e.Src, e.Dst, e.SrcIdentity, e.DstIdentity, e.Sport, e.Dport = e.Dst, e.Src, e.DstIdentity, e.SrcIdentity, e.Dport, e.Sport
	e.Reply, e.Kind, e.TCPFlags, e.Ifindex = 1, uint8(bpf.EventGoing), 0x12, uint32(bpf.IfindexBase)+webID
}

// get returns what a request gets.
func get(t testing.TB, o *Observer, q *observer.GetFlowsRequest) []*observer.GetFlowsResponse {
	t.Helper()
	r, err := o.parse(q)
	if err != nil {
		t.Fatal(err)
	}
	var out []*observer.GetFlowsResponse
	if err := o.flows(t.Context(), r, func(x *observer.GetFlowsResponse) error { out = append(out, x); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func flowsOf(t testing.TB, o *Observer, q *observer.GetFlowsRequest) []*flow.Flow {
	t.Helper()
	var out []*flow.Flow
	for _, r := range get(t, o, q) {
		if f := r.GetFlow(); f != nil {
			out = append(out, f)
		}
	}
	return out
}

// say is a flow in the words that these tests are about.
func say(f *flow.Flow) string {
	names := func(list []*flow.Policy) string {
		var out []string
		for _, p := range list {
			out = append(out, p.Name)
		}
		return strings.Join(out, ",")
	}
	out := []string{f.Verdict.String(), f.TrafficDirection.String()}
	switch f.EventType.Type {
	case typeTrace:
		out = append(out, f.TraceObservationPoint.String(), f.TraceReason.String())
	case typeDrop:
		out = append(out, "drop", f.DropReasonDesc.String())
	case typeVerdict:
		out = append(out, "policy")
	}
	for label, list := range map[string][]*flow.Policy{"out+": f.EgressAllowedBy, "in+": f.IngressAllowedBy, "out-": f.EgressDeniedBy, "in-": f.IngressDeniedBy} {
		if len(list) > 0 {
			out = append(out, label+names(list))
		}
	}
	if f.IsReply != nil && f.IsReply.Value {
		out = append(out, "reply")
	}
	if f.IsReply == nil {
		out = append(out, "reply?")
	}
	if s := f.DestinationService; s != nil {
		out = append(out, "for "+s.Name)
	}
	if s := f.SourceService; s != nil {
		out = append(out, "by "+s.Name)
	}
	return strings.Join(out, " ")
}

func TestAnEventGivesTheFlowsThatHubbleUsersExpect(t *testing.T) {
	asked := func(a string, port uint16) func(*bpf.Event) {
		return func(e *bpf.Event) { e.Asked, e.AskedPort = bpf.AddrFrom(addr(a)), bpf.Network(port) }
	}
	at := func(p bpf.Place, r bpf.Reason) func(*bpf.Event) {
		return func(e *bpf.Event) { e.Place, e.Reason = uint8(p), uint8(r) }
	}
	from := func(a string, id uint32) func(*bpf.Event) {
		return func(e *bpf.Event) { e.Src, e.SrcIdentity = bpf.AddrFrom(addr(a)), id }
	}
	to := func(a string, id uint32) func(*bpf.Event) {
		return func(e *bpf.Event) { e.Dst, e.DstIdentity = bpf.AddrFrom(addr(a)), id }
	}
	ingress := func(e *bpf.Event) { e.Direction, e.Endpoint = 1, webID }
	icmp := func(kind uint16) func(*bpf.Event) {
		return func(e *bpf.Event) {
			e.Proto, e.Kind, e.Sport, e.Dport, e.TCPFlags = protoICMP, uint8(bpf.EventPacket), 0, bpf.Network(kind), 0
		}
	}
	cases := map[string]struct {
		event *bpf.Event
		want  []string
	}{
		"no policy":    {packet(), []string{"FORWARDED INGRESS TO_ENDPOINT NEW"}},
		"both allowed": {packet(judgedBy(ruleEgress, ruleIngress)), []string{"FORWARDED EGRESS policy out+let-out", "FORWARDED INGRESS policy in+let-in", "FORWARDED INGRESS TO_ENDPOINT NEW"}},
		"going on":     {packet(judgedBy(ruleEgress, ruleIngress), func(e *bpf.Event) { e.Kind = uint8(bpf.EventGoing) }), []string{"FORWARDED INGRESS TO_ENDPOINT ESTABLISHED"}},
		"answer":       {packet(answer), []string{"FORWARDED EGRESS TO_ENDPOINT REPLY reply"}},
		"denied by nobody's allowing": {packet(dropped(bpf.DropPolicy), judgedBy(ruleEgress, 0), ingress),
			[]string{"FORWARDED EGRESS policy out+let-out", "DROPPED INGRESS policy in-isolate", "DROPPED INGRESS drop POLICY_DENIED in-isolate"}},
		"denied by a rule": {packet(dropped(bpf.DropPolicyDeny), judgedBy(0, ruleDeny), ingress),
			[]string{"DROPPED INGRESS policy in-keep-out", "DROPPED INGRESS drop POLICY_DENY in-keep-out"}},
		"denied on the way out": {packet(dropped(bpf.DropPolicy)), []string{"DROPPED EGRESS policy", "DROPPED EGRESS drop POLICY_DENIED"}},
		"dropped otherwise":     {packet(dropped(bpf.DropCTFull)), []string{"DROPPED EGRESS drop CT_MAP_INSERTION_FAILED reply?"}},
		"our own reason":        {packet(dropped(bpf.DropTunnelSource), at(bpf.PlaceFromOverlay, bpf.DropTunnelSource), from("10.0.9.9", 2)), []string{"DROPPED INGRESS drop DROP_TUNNEL_SOURCE reply?"}},
		"a service":             {packet(asked("10.96.0.10", 80)), []string{"FORWARDED INGRESS TO_ENDPOINT NEW for web"}},
		"a service's answer":    {packet(answer, asked("10.96.0.10", 80)), []string{"FORWARDED EGRESS TO_ENDPOINT REPLY reply by web"}},
		"a NodePort":            {packet(asked("192.168.0.1", 30080), at(bpf.PlaceFromNetdev, bpf.ReasonToEndpoint), from("192.0.2.1", 2)), []string{"FORWARDED INGRESS TO_ENDPOINT NEW for web"}},
		"no backend": {packet(dropped(bpf.DropNoBackend), to("10.96.0.10", 0), func(e *bpf.Event) { e.Dport = bpf.Network(80) }),
			[]string{"DROPPED EGRESS drop SERVICE_BACKEND_NOT_FOUND reply? for web"}},
		"to another node":               {packet(at(bpf.PlaceFromPod, bpf.ReasonToOverlay), to("10.0.2.9", 1002)), []string{"FORWARDED EGRESS TO_OVERLAY NEW"}},
		"from another node":             {packet(at(bpf.PlaceFromOverlay, bpf.ReasonToEndpoint), from("10.0.2.9", 1001)), []string{"FORWARDED INGRESS TO_ENDPOINT NEW"}},
		"to the world":                  {packet(at(bpf.PlaceFromPod, bpf.ReasonToNetwork), to("192.0.2.1", 2)), []string{"FORWARDED EGRESS TO_NETWORK NEW"}},
		"to the host":                   {packet(at(bpf.PlaceFromPod, bpf.ReasonToHost), to("192.168.0.1", 1)), []string{"FORWARDED INGRESS TO_HOST NEW"}},
		"the host asks":                 {packet(at(bpf.PlaceFromHost, bpf.ReasonToEndpoint), from("192.168.0.1", 1)), []string{"FORWARDED INGRESS TO_ENDPOINT NEW"}},
		"through this node":             {packet(at(bpf.PlaceFromNetdev, bpf.ReasonToNetwork), from("192.0.2.1", 2), to("10.0.2.9", 1002)), []string{"FORWARDED TRAFFIC_DIRECTION_UNKNOWN TO_NETWORK NEW"}},
		"an error about another packet": {packet(icmp(3)), []string{"FORWARDED INGRESS TO_ENDPOINT RELATED"}},
		"of no connection":              {packet(icmp(13)), []string{"FORWARDED INGRESS TO_ENDPOINT TRACE_REASON_UNKNOWN"}},
		"left to the stack":             {packet(at(bpf.PlaceFromPod, bpf.ReasonToStack), to("192.0.2.1", 2)), []string{"FORWARDED EGRESS TO_STACK NEW"}},
		"passed by to_netdev":           {packet(at(bpf.PlaceToNetdev, bpf.ReasonPassed), from("192.168.0.1", 1), to("192.0.2.1", 2)), []string{"FORWARDED EGRESS TO_NETWORK NEW"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := newObserver(t, 16)
			o.Add(c.event)
			var got []string
			for _, f := range flowsOf(t, o, &observer.GetFlowsRequest{}) {
				got = append(got, say(f))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestAFlowHasEverything(t *testing.T) {
	o := newObserver(t, 16)
	before := time.Now()
	o.Add(packet(func(e *bpf.Event) { e.Taken = bpf.AddrFrom(addr("192.168.0.1")) }, judgedBy(ruleEgress, 0)))
	flows := flowsOf(t, o, &observer.GetFlowsRequest{})
	if len(flows) != 2 {
		t.Fatalf("got %d flows, want a verdict and a trace", len(flows))
	}
	f := flows[1]
	labels := "k8s:app=client,k8s:io.cilium.k8s.policy.cluster=default,k8s:io.cilium.k8s.policy.serviceaccount=default,k8s:io.kubernetes.pod.namespace=default,k8s:version=1"
	for what, x := range map[string][2]any{
		"source":      {f.Source.PodName + " " + f.Source.Namespace + " " + f.Source.ClusterName, "client default default"},
		"source id":   {f.Source.ID, uint32(clientID)},
		"identity":    {f.Source.Identity, uint32(1001)},
		"labels":      {strings.Join(f.Source.Labels, ","), labels},
		"workload":    {f.Destination.Workloads[0].Kind + "/" + f.Destination.Workloads[0].Name, "Deployment/web"},
		"addresses":   {f.IP.Source + " " + f.IP.Destination + " " + f.IP.SourceXlated + " " + f.IP.IpVersion.String(), "10.0.0.5 10.0.0.7 192.168.0.1 IPv4"},
		"ports":       {fmt.Sprint(f.L4.GetTCP().SourcePort, f.L4.GetTCP().DestinationPort), "43210 8080"},
		"flags":       {f.L4.GetTCP().Flags.SYN && !f.L4.GetTCP().Flags.ACK, true},
		"summary":     {f.Summary, "TCP Flags: SYN"},
		"node":        {f.NodeName + " " + strings.Join(f.NodeLabels, ","), "n1 arch=amd64,zone=a"},
		"device":      {f.Interface.Name, "weirclient"},
		"type":        {f.Type, flow.FlowType_L3_L4},
		"match":       {flows[0].PolicyMatchType, uint32(2)},
		"sub type":    {f.EventType.SubType, int32(0)},
		"emitter":     {f.Emitter.Name + " " + f.Emitter.Version, "Weir 1.2.3"},
		"different":   {flows[0].Uuid != f.Uuid && len(f.Uuid) == 36, true},
		"same again":  {flowsOf(t, o, &observer.GetFlowsRequest{})[1].Uuid, f.Uuid},
		"policy kind": {flows[0].EgressAllowedBy[0].Kind + " " + flows[0].EgressAllowedBy[0].Namespace, "CiliumNetworkPolicy default"},
	} {
		if x[0] != x[1] {
			t.Errorf("%s: got %v, want %v", what, x[0], x[1])
		}
	}
	if at := f.Time.AsTime(); at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("time %v, want now", at)
	}
}

func TestIPv6AndICMP(t *testing.T) {
	o := newObserver(t, 4)
	o.Add(packet(func(e *bpf.Event) {
		e.Family, e.Proto, e.Src, e.Dst, e.Dport = 10, protoICMPv6, bpf.AddrFrom(addr("fd00::1")), bpf.AddrFrom(addr("fd00::7")), bpf.Network(128)
	}))
	f := flowsOf(t, o, &observer.GetFlowsRequest{})[0]
	if f.IP.IpVersion != flow.IPVersion_IPv6 || f.IP.Destination != "fd00::7" || f.L4.GetICMPv6().GetType() != 128 || f.Destination.PodName != "web-6" || f.Summary != "ICMPv6 EchoRequest" {
		t.Errorf("got %v", f)
	}
}

// What is no IP has neither ends nor layer 4.
func TestWhatIsNoIP(t *testing.T) {
	o := newObserver(t, 4)
	o.Add(&bpf.Event{Time: mono(), Kind: uint8(bpf.EventDrop), Reason: uint8(bpf.DropUnsupportedL2), Place: uint8(bpf.PlaceFromPod), Protocol: bpf.Network(0x88cc)})
	f := flowsOf(t, o, &observer.GetFlowsRequest{})[0]
	if f.IP != nil || f.L4 != nil || f.Source != nil || f.Verdict != flow.Verdict_DROPPED || f.Summary != "EtherType 0x88cc" {
		t.Errorf("got %v", f)
	}
}

// The name is that of the pod on the device, whosever address it took.
func TestWhoSpoofsIsNamed(t *testing.T) {
	o := newObserver(t, 4)
	o.Add(packet(dropped(bpf.DropInvalidSourceIP), func(e *bpf.Event) { e.Src, e.SrcIdentity = bpf.AddrFrom(addr("10.0.0.7")), 0 }))
	f := flowsOf(t, o, &observer.GetFlowsRequest{})[0]
	if f.Source.PodName != "client" || f.Source.Identity != 1001 || f.IP.Source != "10.0.0.7" {
		t.Errorf("source %v of %s, want default/client", f.Source, f.IP.Source)
	}
}

// The identity is the one that was judged, and the name that of the moment.
func TestNamesAreThoseOfTheMoment(t *testing.T) {
	tables := cluster()
	o := New(Options{Node: "n1", Flows: 16}, tables, &fakeRules{})
	o.Add(packet(func(e *bpf.Event) { e.SrcIdentity = 5 }))
	pod := state.PodName{Namespace: "default", Name: "other"}
	tables.Pods.Put(state.Pod{Name: pod, Labels: map[string]string{"app": "other"}})
	tables.IPs.Put(state.IP{Prefix: netip.MustParsePrefix("10.0.0.5/32"), Identity: 1003, Source: state.IPPod, Of: pod.String()})
	o.Add(packet())
	tables.IPs.Delete(netip.MustParsePrefix("10.0.0.5/32"))
	o.Add(packet())
	var got []string
	for _, f := range flowsOf(t, o, &observer.GetFlowsRequest{}) {
		got = append(got, f.Source.PodName+" "+f.Source.Labels[0]+" "+state.IdentityID(f.Source.Identity).String())
	}
	want := []string{"client k8s:app=client 5", "other k8s:app=other 1001", " k8s:app=client 1001"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPodsThatChangeTheirLabels(t *testing.T) {
	tables := cluster()
	o := New(Options{Node: "n1", Flows: 16}, tables, &fakeRules{})
	o.Add(packet())
	tables.Pods.Put(state.Pod{Name: state.PodName{Namespace: "default", Name: "client"}, Labels: map[string]string{"app": "new"}})
	o.Add(packet())
	flows := flowsOf(t, o, &observer.GetFlowsRequest{})
	if a, b := flows[0].Source.Labels[0], flows[1].Source.Labels[0]; a != "k8s:app=client" || b != "k8s:app=new" {
		t.Errorf("got %s, then %s", a, b)
	}
}

func TestPolicyIsAskedOnceForEachRule(t *testing.T) {
	rules := &fakeRules{}
	o := New(Options{Node: "n1", Flows: 16}, cluster(), rules)
	for range 5 {
		o.Add(packet(judgedBy(ruleEgress, ruleIngress)))
	}
	flowsOf(t, o, &observer.GetFlowsRequest{})
	flowsOf(t, o, &observer.GetFlowsRequest{})
	if n := rules.asked.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

// Policy may be at work for long. What it says then comes when it is done.
func TestAddDoesNotWaitForPolicy(t *testing.T) {
	rules := &fakeRules{busy: make(chan struct{})}
	o := New(Options{Node: "n1", Flows: 16}, cluster(), rules)
	go o.Run(t.Context())
	added := make(chan struct{})
	go func() {
		for range 3 {
			o.Add(packet(judgedBy(ruleEgress, ruleIngress)))
		}
		close(added)
	}()
	select {
	case <-added:
	case <-time.After(10 * time.Second):
		t.Fatal("it waits")
	}
	close(rules.busy)
	if f := flowsOf(t, o, &observer.GetFlowsRequest{Number: 1, First: true})[0]; len(f.EgressAllowedBy) != 1 || f.EgressAllowedBy[0].Name != "let-out" {
		t.Errorf("got %v", f.EgressAllowedBy)
	}
}

func TestNumberFirstSinceUntil(t *testing.T) {
	o := newObserver(t, 100)
	var times []time.Time
	for i := range 10 {
		o.Add(packet(func(e *bpf.Event) { e.Sport = bpf.Network(uint16(1000 + i)) }))
		times = append(times, time.Now())
		time.Sleep(2 * time.Millisecond)
	}
	for _, f := range flowsOf(t, o, &observer.GetFlowsRequest{}) {
		times[f.L4.GetTCP().SourcePort-1000] = f.Time.AsTime()
	}
	ports := func(q *observer.GetFlowsRequest) (out []uint32) {
		for _, f := range flowsOf(t, o, q) {
			out = append(out, f.L4.GetTCP().SourcePort-1000)
		}
		return out
	}
	at := func(i int) *timestamppb.Timestamp { return timestamppb.New(times[i]) }
	even := []*flow.FlowFilter{{SourcePort: []string{"1000", "1002", "1004", "1006", "1008"}}}
	for name, c := range map[string]struct {
		q    *observer.GetFlowsRequest
		want []uint32
	}{
		"all":             {&observer.GetFlowsRequest{}, []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		"last":            {&observer.GetFlowsRequest{Number: 3}, []uint32{7, 8, 9}},
		"more than are":   {&observer.GetFlowsRequest{Number: 30}, []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		"first":           {&observer.GetFlowsRequest{Number: 3, First: true}, []uint32{0, 1, 2}},
		"last that match": {&observer.GetFlowsRequest{Number: 2, Whitelist: even}, []uint32{6, 8}},
		"left out":        {&observer.GetFlowsRequest{Number: 2, Blacklist: even}, []uint32{7, 9}},
		"since":           {&observer.GetFlowsRequest{Since: at(7)}, []uint32{7, 8, 9}},
		"until":           {&observer.GetFlowsRequest{Until: at(1)}, []uint32{0, 1}},
		"between":         {&observer.GetFlowsRequest{Since: at(2), Until: at(4)}, []uint32{2, 3, 4}},
		"last of those":   {&observer.GetFlowsRequest{Since: at(2), Until: at(6), Number: 2}, []uint32{5, 6}},
		"first of those":  {&observer.GetFlowsRequest{Since: at(2), Number: 2, First: true}, []uint32{2, 3}},
		"none":            {&observer.GetFlowsRequest{Since: timestamppb.New(time.Now().Add(time.Hour))}, nil},
	} {
		if got := ports(c.q); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// The ring keeps the latest, and tells exactly how much is gone to who was too slow.
func TestWhoIsTooSlowIsToldHowMuch(t *testing.T) {
	o := newObserver(t, 10)
	r, err := o.parse(&observer.GetFlowsRequest{Follow: true, Number: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go o.Run(ctx)
	o.Add(packet())
	var flows, lost uint64
	at := 0
	err = o.flows(ctx, r, func(x *observer.GetFlowsResponse) error {
		if at++; at == 1 { // it has read one: while it thinks, 35 come
			for range 35 {
				o.Add(packet())
			}
		}
		if x.GetFlow() != nil {
			flows++
		}
		if l := x.GetLostEvents(); l != nil {
			lost += l.NumEventsLost
			if l.Source != flow.LostEventSource_HUBBLE_RING_BUFFER {
				t.Errorf("source %s", l.Source)
			}
		}
		if flows+lost == 36 {
			cancel()
		}
		return nil
	})
	if flows != 11 || lost != 25 {
		t.Errorf("got %d flows and %d lost, want 11 and 25 (%v)", flows, lost, err)
	}
}

func TestWhatProgramsLostIsTold(t *testing.T) {
	o := newObserver(t, 10)
	o.Add(packet())
	o.Lost(7)
	o.Add(packet())
	got := get(t, o, &observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{{Verdict: []flow.Verdict{flow.Verdict_DROPPED}}}})
	if len(got) != 1 || got[0].GetLostEvents().GetNumEventsLost() != 7 || got[0].GetLostEvents().GetSource() != flow.LostEventSource_PERF_EVENT_RING_BUFFER {
		t.Errorf("got %v", got)
	}
}

func TestFollowingGetsWhatComes(t *testing.T) {
	o := newObserver(t, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go o.Run(ctx)
	o.Add(packet())
	r, _ := o.parse(&observer.GetFlowsRequest{Follow: true})
	seen := make(chan uint32, 100)
	go o.flows(ctx, r, func(x *observer.GetFlowsResponse) error {
		seen <- x.GetFlow().L4.GetTCP().SourcePort
		return nil
	})
	for o.bell.waiting.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	for i := range uint16(50) {
		o.Add(packet(func(e *bpf.Event) { e.Sport = bpf.Network(i + 1) }))
	}
	for i := range uint32(50) {
		select {
		case got := <-seen:
			if got != i+1 {
				t.Fatalf("flow %d: got port %d, in another order or one from before", i, got)
			}
		case <-ctx.Done():
			t.Fatalf("flow %d did not come", i)
		}
	}
}

func TestTheRingTakesMemoryAsItFills(t *testing.T) {
	r := newRing(1000)
	if len(r.chunks) != 0 {
		t.Errorf("%d chunks before the first record", len(r.chunks))
	}
	for i := range 2500 {
		r.put(&record{lost: uint32(i)})
	}
	into := make([]record, 3000)
	first, n := r.read(0, into)
	if first != 1500 || n != 1000 || into[0].lost != 1500 || into[999].lost != 2499 {
		t.Errorf("first %d, %d records from %d to %d", first, n, into[0].lost, into[n-1].lost)
	}
	size := 0
	for _, c := range r.chunks {
		size += len(c)
	}
	if size != 1000 {
		t.Errorf("room for %d records, want 1000", size)
	}
}

func TestRate(t *testing.T) {
	o := newObserver(t, 100000)
	now := time.Now()
	o.started = now.Add(-time.Hour)
	for i := range 600 { // 5 a second, for two minutes
		o.ring.put(&record{when: now.Add(-2*time.Minute + time.Duration(i)*200*time.Millisecond).UnixNano()})
	}
	if got := o.rate(now); got < 4.9 || got > 5.1 {
		t.Errorf("rate %f, want 5", got)
	}
}

func BenchmarkAdd(b *testing.B) {
	for name, e := range map[string]*bpf.Event{"trace": packet(), "new": packet(judgedBy(ruleEgress, ruleIngress)), "drop": packet(dropped(bpf.DropPolicy), func(e *bpf.Event) { e.Direction, e.Endpoint = 1, webID })} {
		b.Run(name, func(b *testing.B) {
			o := newObserver(b, 65536)
			b.ReportAllocs()
			for b.Loop() {
				o.Add(e)
			}
		})
	}
}

func BenchmarkTell(b *testing.B) {
	o := newObserver(b, 16)
	o.Add(packet())
	records := make([]record, 1)
	o.ring.read(0, records)
	v := view{record: records[0], o: o}
	b.ReportAllocs()
	for b.Loop() {
		v.tell()
	}
}

// Flows from before the day's clock was set back are later than those that came after.
func TestAClockThatIsSetBackHidesNothing(t *testing.T) {
	o := newObserver(t, 16)
	o.Add(packet(func(e *bpf.Event) { e.Time += uint64(time.Hour) }))
	o.Add(packet())
	o.Add(packet())
	for name, q := range map[string]*observer.GetFlowsRequest{
		"until":           {Until: timestamppb.New(time.Now().Add(time.Second))},
		"until, the last": {Until: timestamppb.New(time.Now().Add(time.Second)), Number: 5},
		"and followed":    {Until: timestamppb.New(time.Now().Add(-time.Minute)), Since: timestamppb.New(time.Now().Add(-time.Hour)), Follow: true},
	} {
		want := 2
		if q.Follow {
			want = 0
		}
		if got := len(flowsOf(t, o, q)); got != want {
			t.Errorf("%s: %d flows, want %d", name, got, want)
		}
	}
}
