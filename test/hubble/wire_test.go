package hubble

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/cilium/api/v1/flow"
	"github.com/cilium/cilium/api/v1/observer"
	"github.com/cilium/cilium/api/v1/peer"
	"github.com/cilium/cilium/api/v1/relay"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// servers starts Weir's and returns connections to the agent and the relay.
func servers(t *testing.T) (agent, relay *grpc.ClientConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "hubble") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "flowserver")
	if out, err := exec.Command("go", "build", "-C", "../..", "-o", program, "./test/flowserver").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	c := exec.Command(program, dir)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); c.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the server said %q, %v", line, err)
	}
	dial := func(name string) *grpc.ClientConn {
		conn, err := grpc.NewClient("unix://"+filepath.Join(dir, name), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	return dial("agent.sock"), dial("relay.sock")
}

// get returns all that a request gets. Whatever it is, upstream knows every field of it.
func get(t *testing.T, c *grpc.ClientConn, q *observer.GetFlowsRequest) []*observer.GetFlowsResponse {
	t.Helper()
	s, err := observer.NewObserverClient(c).GetFlows(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var out []*observer.GetFlowsResponse
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		known(t, r)
		out = append(out, r)
	}
}

func flows(t *testing.T, c *grpc.ClientConn, q *observer.GetFlowsRequest) (out []*flow.Flow) {
	t.Helper()
	for _, r := range get(t, c, q) {
		if f := r.GetFlow(); f != nil {
			out = append(out, f)
		}
	}
	return out
}

// known fails where a message has a field that upstream does not know.
func known(t *testing.T, m proto.Message) {
	t.Helper()
	for _, x := range Unknown(m) {
		t.Error(x)
	}
}

func TestFlowsInUpstreamsTypes(t *testing.T) {
	agent, relayed := servers(t)
	for name, c := range map[string]*grpc.ClientConn{"agent": agent, "relay": relayed} {
		t.Run(name, func(t *testing.T) {
			all := flows(t, c, &observer.GetFlowsRequest{})
			var kinds []string
			for _, f := range all {
				kinds = append(kinds, strings.TrimSpace(f.Verdict.String()+" "+f.TrafficDirection.String()+" "+f.TraceObservationPoint.String()+" "+f.DropReasonDesc.String()))
			}
			want := []string{
				"FORWARDED EGRESS UNKNOWN_POINT DROP_REASON_UNKNOWN", "FORWARDED INGRESS UNKNOWN_POINT DROP_REASON_UNKNOWN", "FORWARDED INGRESS TO_ENDPOINT DROP_REASON_UNKNOWN",
				"FORWARDED EGRESS TO_ENDPOINT DROP_REASON_UNKNOWN",
				"DROPPED INGRESS UNKNOWN_POINT POLICY_DENY", "DROPPED INGRESS UNKNOWN_POINT POLICY_DENY",
				"DROPPED INGRESS UNKNOWN_POINT POLICY_DENIED", "DROPPED INGRESS UNKNOWN_POINT POLICY_DENIED",
				"DROPPED INGRESS UNKNOWN_POINT 221", "FORWARDED EGRESS TO_NETWORK DROP_REASON_UNKNOWN", "FORWARDED EGRESS TO_OVERLAY DROP_REASON_UNKNOWN", "FORWARDED EGRESS TO_STACK DROP_REASON_UNKNOWN",
			}
			if !slices.Equal(kinds, want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(kinds, "\n"), strings.Join(want, "\n"))
			}
			everyField(t, all)
		})
	}
}

// everyField looks at what a trace, a verdict and an answer say.
func everyField(t *testing.T, all []*flow.Flow) {
	t.Helper()
	verdict, trace, answer, denied, isolated := all[1], all[2], all[3], all[5], all[7]
	for what, x := range map[string][2]any{
		"source":           {trace.Source.Namespace + "/" + trace.Source.PodName, "shop/client"},
		"ids":              {trace.Source.ID*100 + trace.Destination.ID, uint32(507)},
		"identities":       {trace.Source.Identity*10000 + trace.Destination.Identity, uint32(10011002)},
		"cluster":          {trace.Source.ClusterName, "east"},
		"labels":           {slices.Contains(trace.Source.Labels, "k8s:app=client"), true},
		"workloads":        {trace.Source.Workloads[0].Kind + " " + trace.Source.Workloads[0].Name, "Deployment client"},
		"IP":               {trace.IP.Source + " " + trace.IP.Destination + " " + trace.IP.SourceXlated + " " + trace.IP.IpVersion.String(), "10.0.0.5 10.0.0.7 192.168.0.1 IPv4"},
		"ports":            {trace.L4.GetTCP().SourcePort + trace.L4.GetTCP().DestinationPort, uint32(43210 + 8080)},
		"flags":            {trace.L4.GetTCP().Flags.String(), (&flow.TCPFlags{SYN: true}).String()},
		"service":          {trace.DestinationService.GetNamespace() + "/" + trace.DestinationService.GetName(), "shop/web"},
		"event type":       {trace.EventType.String(), (&flow.CiliumEventType{Type: 4}).String()},
		"trace reason":     {trace.TraceReason, flow.TraceReason_NEW},
		"no reply":         {trace.IsReply.GetValue() || trace.IsReply == nil, false},
		"type":             {trace.Type, flow.FlowType_L3_L4},
		"node":             {trace.NodeName + " " + strings.Join(trace.NodeLabels, ","), "east/n1 zone=a"},
		"interface":        {trace.Interface.Name, "weirclient"},
		"emitter":          {trace.Emitter.Name, "Weir"},
		"uuid":             {len(trace.Uuid), 36},
		"time":             {time.Since(trace.Time.AsTime()) > time.Second && time.Since(trace.Time.AsTime()) < time.Minute, true},
		"summary":          {trace.Summary, "TCP Flags: SYN"}, //nolint:staticcheck // old clients print it
		"allowed by":       {verdict.IngressAllowedBy[0].Name + " " + verdict.IngressAllowedBy[0].Kind + " " + verdict.IngressAllowedBy[0].Namespace, "lets-in CiliumNetworkPolicy shop"},
		"match":            {verdict.PolicyMatchType, uint32(2)},
		"verdict type":     {verdict.EventType.Type, int32(5)},
		"reply":            {answer.IsReply.GetValue(), true},
		"answering":        {answer.SourceService.GetName(), "web"},
		"answer's reason":  {answer.TraceReason, flow.TraceReason_REPLY},
		"denied by":        {denied.IngressDeniedBy[0].Name, "keeps-out"},
		"drop's type":      {denied.EventType.String(), (&flow.CiliumEventType{Type: 1, SubType: 181}).String()},
		"isolated by":      {isolated.IngressDeniedBy[0].Name, "isolates"},
		"unknown reply":    {all[8].IsReply == nil, true},
		"world":            {strings.Join(all[9].Destination.Labels, ","), "reserved:world"},
		"UDP":              {all[9].L4.GetUDP().GetDestinationPort(), uint32(8080)},
		"ICMPv6":           {all[10].L4.GetICMPv6().GetType(), uint32(128)},
		"SCTP":             {all[11].L4.GetSCTP().GetSourcePort(), uint32(43210)},
		"IPv6":             {all[10].IP.IpVersion, flow.IPVersion_IPv6},
		"overlay sub type": {all[10].EventType.SubType, int32(4)},
	} {
		if x[0] != x[1] {
			t.Errorf("%s: got %v, want %v", what, x[0], x[1])
		}
	}
}

func TestUpstreamsFilters(t *testing.T) {
	agent, relayed := servers(t)
	for name, x := range map[string]struct {
		f    *flow.FlowFilter
		want int
	}{
		"pod":         {&flow.FlowFilter{SourcePod: []string{"shop/cli"}}, 10},
		"label":       {&flow.FlowFilter{DestinationLabel: []string{"app=client"}}, 1},
		"verdict":     {&flow.FlowFilter{Verdict: []flow.Verdict{flow.Verdict_DROPPED}}, 5},
		"reason":      {&flow.FlowFilter{DropReasonDesc: []flow.DropReason{flow.DropReason_POLICY_DENIED}}, 2},
		"service":     {&flow.FlowFilter{DestinationService: []string{"shop/web"}}, 3},
		"event type":  {&flow.FlowFilter{EventType: []*flow.EventTypeFilter{{Type: 4, MatchSubType: true, SubType: 11}}}, 1},
		"protocol":    {&flow.FlowFilter{Protocol: []string{"icmp", "udp"}}, 2},
		"port":        {&flow.FlowFilter{DestinationPort: []string{"8080"}}, 10},
		"reply":       {&flow.FlowFilter{Reply: []bool{true}}, 1},
		"flags":       {&flow.FlowFilter{TcpFlags: []*flow.TCPFlags{{SYN: true, ACK: true}}}, 1},
		"identity":    {&flow.FlowFilter{DestinationIdentity: []uint32{2}}, 2},
		"direction":   {&flow.FlowFilter{TrafficDirection: []flow.TrafficDirection{flow.TrafficDirection_EGRESS}}, 5},
		"node":        {&flow.FlowFilter{NodeName: []string{"east/"}}, 12},
		"workload":    {&flow.FlowFilter{SourceWorkload: []*flow.Workload{{Name: "web"}}}, 1},
		"interface":   {&flow.FlowFilter{Interface: []*flow.NetworkInterface{{Name: "weirclient"}}}, 11},
		"xlated":      {&flow.FlowFilter{SourceIpXlated: []string{"192.168.0.0/24"}}, 3},
		"ip version":  {&flow.FlowFilter{IpVersion: []flow.IPVersion{flow.IPVersion_IPv6}}, 1},
		"node labels": {&flow.FlowFilter{NodeLabels: []string{"zone in (a, b)"}}, 12},
	} {
		for where, c := range map[string]*grpc.ClientConn{"agent": agent, "relay": relayed} {
			if got := len(flows(t, c, &observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{x.f}})); got != x.want {
				t.Errorf("%s by the %s: got %d flows, want %d", name, where, got, x.want)
			}
			if got := len(flows(t, c, &observer.GetFlowsRequest{Blacklist: []*flow.FlowFilter{x.f}})); got != 12-x.want {
				t.Errorf("not %s by the %s: got %d flows, want %d", name, where, got, 12-x.want)
			}
		}
	}
	for says, q := range map[string]*observer.GetFlowsRequest{
		"http_method: this version of Weir cannot filter by it": {Whitelist: []*flow.FlowFilter{{HttpMethod: []string{"GET"}}}},
		"experimental: this version":                            {Whitelist: []*flow.FlowFilter{{Experimental: &flow.FlowFilter_Experimental{CelExpression: []string{"true"}}}}},
		`"x" is neither an address nor a CIDR`:                  {Blacklist: []*flow.FlowFilter{{SourceIp: []string{"x"}}}},
		`a flow has no field "sauce"`:                           {FieldMask: &fieldmaskpb.FieldMask{Paths: []string{"sauce"}}},
	} {
		for where, c := range map[string]*grpc.ClientConn{"agent": agent, "relay": relayed} {
			s, err := observer.NewObserverClient(c).GetFlows(t.Context(), q)
			for err == nil {
				_, err = s.Recv()
			}
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: got %v, want %q", where, err, says)
			}
		}
	}
}

func TestUpstreamsRequests(t *testing.T) {
	agent, relayed := servers(t)
	for name, c := range map[string]*grpc.ClientConn{"agent": agent, "relay": relayed} {
		all := flows(t, c, &observer.GetFlowsRequest{})
		uuids := func(list []*flow.Flow) (out []string) {
			for _, f := range list {
				out = append(out, f.Uuid)
			}
			return out
		}
		same := func(what string, q *observer.GetFlowsRequest, want []*flow.Flow) {
			t.Helper()
			if got := flows(t, c, q); !slices.Equal(uuids(got), uuids(want)) {
				t.Errorf("%s of the %s: got %v, want %v", what, name, uuids(got), uuids(want))
			}
		}
		same("the last 3", &observer.GetFlowsRequest{Number: 3}, all[9:])
		same("the first 3", &observer.GetFlowsRequest{Number: 3, First: true}, all[:3])
		since := timestamppb.New(all[8].Time.AsTime().Add(-time.Millisecond))
		same("since", &observer.GetFlowsRequest{Since: since}, all[8:])
		same("until", &observer.GetFlowsRequest{Until: since}, all[:8])
		// What Hubble's client asks for when it prints lines.
		mask := &fieldmaskpb.FieldMask{Paths: []string{"time", "verdict", "source.pod_name", "source.namespace", "l4", "l7", "ethernet", "is_reply", "source_names", "proxy_port"}}
		f := flows(t, c, &observer.GetFlowsRequest{Number: 1, First: true, FieldMask: mask})[0]
		if f.Source.GetPodName() != "client" || f.Source.Labels != nil || f.Destination != nil || f.L4.GetTCP() == nil || f.Time == nil {
			t.Errorf("%s: masked %v", name, f)
		}
	}
	lost := 0
	for _, r := range get(t, agent, &observer.GetFlowsRequest{}) {
		if l := r.GetLostEvents(); l != nil && l.Source == flow.LostEventSource_PERF_EVENT_RING_BUFFER {
			lost += int(l.NumEventsLost)
		}
	}
	if lost != 3 {
		t.Errorf("%d events are said to be lost, want 3", lost)
	}
}

func TestUpstreamsOtherCalls(t *testing.T) {
	agent, relayed := servers(t)
	a, r := observer.NewObserverClient(agent), observer.NewObserverClient(relayed)
	if s, err := a.ServerStatus(t.Context(), &observer.ServerStatusRequest{}); err != nil || s.NumFlows != 13 || s.MaxFlows != 4095 || s.Version != "1.2.3" {
		t.Errorf("status %v, %v", s, err)
	}
	s, err := r.ServerStatus(t.Context(), &observer.ServerStatusRequest{})
	if err != nil || s.NumConnectedNodes.GetValue() != 1 || s.NumUnavailableNodes.GetValue() != 1 || !slices.Equal(s.UnavailableNodes, []string{"east/n2"}) {
		t.Errorf("relay's status %v, %v", s, err)
	}
	for name, c := range map[string]observer.ObserverClient{"agent": a, "relay": r} {
		n, err := c.GetNodes(t.Context(), &observer.GetNodesRequest{})
		if err != nil || n.Nodes[0].Name != "east/n1" || n.Nodes[0].State != relay.NodeState_NODE_CONNECTED || n.Nodes[0].MaxFlows != 4095 {
			t.Errorf("nodes of the %s: %v, %v", name, n, err)
		}
		known(t, n)
		ns, err := c.GetNamespaces(t.Context(), &observer.GetNamespacesRequest{})
		if err != nil || len(ns.Namespaces) != 1 || ns.Namespaces[0].Namespace != "shop" || ns.Namespaces[0].Cluster != "east" {
			t.Errorf("namespaces of the %s: %v, %v", name, ns, err)
		}
	}
	var said []string
	for _, m := range get(t, relayed, &observer.GetFlowsRequest{Number: 1}) {
		if n := m.GetNodeStatus(); n != nil {
			said = append(said, n.StateChange.String()+" "+strings.Join(n.NodeNames, ","))
		}
	}
	if !slices.Equal(said, []string{"NODE_CONNECTED east/n1", "NODE_UNAVAILABLE east/n2"}) {
		t.Errorf("said of nodes: %q", said)
	}
	events, err := a.GetAgentEvents(t.Context(), &observer.GetAgentEventsRequest{Number: 10, First: true})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := events.Recv(); err != nil || e.AgentEvent.Type != flow.AgentEventType_AGENT_STARTED || e.AgentEvent.GetAgentStart().GetTime() == nil {
		t.Errorf("agent event %v, %v", e, err)
	}
	notify, err := peer.NewPeerClient(agent).Notify(t.Context(), &peer.NotifyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := notify.Recv(); err != nil || p.Name != "east/n1" || p.Address != "192.168.0.1:4244" || p.Type != peer.ChangeNotificationType_PEER_ADDED || p.Tls.ServerName != "n1.east.hubble-grpc.cilium.io" {
		t.Errorf("peer %v, %v", p, err)
	}
	for name, c := range map[string]*grpc.ClientConn{"agent": agent, "relay": relayed} {
		h, err := grpc_health_v1.NewHealthClient(c).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "observer.Observer"})
		if err != nil || h.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of the %s: %v, %v", name, h, err)
		}
	}
}
