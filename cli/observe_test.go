package cli

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"context"

	"weir/api/flow"
	"weir/api/observer"
	"weir/api/relay"
)

// fakeFlows serves what a test wants, and keeps what it was asked.
type fakeFlows struct {
	observer.UnimplementedObserverServer
	grpc_health_v1.UnimplementedHealthServer
	replies []*observer.GetFlowsResponse
	refuse  error
	asked   *observer.GetFlowsRequest
}

func (f *fakeFlows) GetFlows(q *observer.GetFlowsRequest, out grpc.ServerStreamingServer[observer.GetFlowsResponse]) error {
	f.asked = q
	for _, r := range f.replies {
		if err := out.Send(r); err != nil {
			return err
		}
	}
	return f.refuse
}

func (f *fakeFlows) ServerStatus(context.Context, *observer.ServerStatusRequest) (*observer.ServerStatusResponse, error) {
	return &observer.ServerStatusResponse{NumFlows: 1024, MaxFlows: 4096, FlowsRate: 12.5, NumConnectedNodes: wrapperspb.UInt32(2), NumUnavailableNodes: wrapperspb.UInt32(1), UnavailableNodes: []string{"n3"}}, nil
}

func (f *fakeFlows) GetNodes(context.Context, *observer.GetNodesRequest) (*observer.GetNodesResponse, error) {
	return &observer.GetNodesResponse{Nodes: []*observer.Node{
		{Name: "n1", State: relay.NodeState_NODE_CONNECTED, UptimeNs: uint64(100 * time.Second), NumFlows: 10, MaxFlows: 4096, SeenFlows: 250, Version: "1.0", Address: "192.168.0.1:4244", Tls: &observer.TLS{Enabled: true}},
		{Name: "n3", State: relay.NodeState_NODE_UNAVAILABLE, Address: "192.168.0.3:4244"},
	}}, nil
}

func (f *fakeFlows) GetNamespaces(context.Context, *observer.GetNamespacesRequest) (*observer.GetNamespacesResponse, error) {
	return &observer.GetNamespacesResponse{Namespaces: []*observer.Namespace{{Cluster: "default", Namespace: "kube-system"}, {Cluster: "default", Namespace: "shop"}}}, nil
}

func (f *fakeFlows) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

// serve returns where the agent's own socket would be.
func (f *fakeFlows) serve(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "flows")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, flowSocket))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	observer.RegisterObserverServer(s, f)
	grpc_health_v1.RegisterHealthServer(s, f)
	go s.Serve(l)
	t.Cleanup(func() { s.Stop(); os.RemoveAll(dir) })
	return filepath.Join(dir, "weir.sock")
}

// someFlows are one of each kind.
func someFlows() []*observer.GetFlowsResponse {
	client := &flow.Endpoint{ID: 5, Identity: 1001, Namespace: "default", PodName: "client", Labels: []string{"k8s:app=client"}}
	web := &flow.Endpoint{ID: 7, Identity: 1002, Namespace: "shop", PodName: "web-0"}
	world := &flow.Endpoint{Identity: 2, Labels: []string{"reserved:world"}}
	tcp := func(from, to uint32, summary string) *flow.Flow {
		return &flow.Flow{IP: &flow.IP{Source: "10.0.0.5", Destination: "10.0.0.7", IpVersion: flow.IPVersion_IPv4}, Source: client, Destination: web, Summary: summary,
			L4: &flow.Layer4{Protocol: &flow.Layer4_TCP{TCP: &flow.TCP{SourcePort: from, DestinationPort: to}}}, Verdict: flow.Verdict_FORWARDED, NodeName: "n1", IsReply: wrapperspb.Bool(false)}
	}
	allowed := tcp(43210, 8080, "TCP Flags: SYN")
	allowed.EventType, allowed.PolicyMatchType, allowed.TrafficDirection = &flow.CiliumEventType{Type: typeVerdict}, 2, flow.TrafficDirection_INGRESS
	allowed.IngressAllowedBy = []*flow.Policy{{Name: "let-in", Namespace: "shop", Kind: "CiliumNetworkPolicy"}, {Name: "all", Kind: "CiliumClusterwideNetworkPolicy"}}
	trace := tcp(43210, 8080, "TCP Flags: SYN")
	trace.EventType, trace.TraceObservationPoint = &flow.CiliumEventType{Type: typeTrace}, flow.TraceObservationPoint_TO_ENDPOINT
	reply := tcp(8080, 43210, "TCP Flags: SYN, ACK")
	reply.EventType, reply.TraceObservationPoint, reply.IsReply = &flow.CiliumEventType{Type: typeTrace, SubType: 4}, flow.TraceObservationPoint_TO_OVERLAY, wrapperspb.Bool(true)
	reply.Source, reply.Destination, reply.IP = web, client, &flow.IP{Source: "10.0.0.7", Destination: "10.0.0.5"}
	denied := tcp(43211, 81, "TCP Flags: SYN")
	denied.EventType, denied.Verdict, denied.TrafficDirection = &flow.CiliumEventType{Type: typeVerdict}, flow.Verdict_DROPPED, flow.TrafficDirection_INGRESS
	denied.IngressDeniedBy = []*flow.Policy{{Name: "isolate", Namespace: "shop", Kind: "NetworkPolicy"}}
	drop := tcp(43211, 81, "TCP Flags: SYN")
	drop.EventType, drop.Verdict, drop.DropReasonDesc, drop.IsReply = &flow.CiliumEventType{Type: typeDrop, SubType: 133}, flow.Verdict_DROPPED, flow.DropReason_POLICY_DENIED, nil
	six := &flow.Flow{IP: &flow.IP{Source: "fd00::5", Destination: "2001:db8::1", IpVersion: flow.IPVersion_IPv6}, Source: client, Destination: world, Summary: "UDP", NodeName: "n1",
		L4:      &flow.Layer4{Protocol: &flow.Layer4_UDP{UDP: &flow.UDP{SourcePort: 1000, DestinationPort: 53}}},
		Verdict: flow.Verdict_FORWARDED, IsReply: wrapperspb.Bool(false), EventType: &flow.CiliumEventType{Type: typeTrace, SubType: 11}, TraceObservationPoint: flow.TraceObservationPoint_TO_NETWORK}
	vip := tcp(43212, 80, "TCP Flags: SYN")
	vip.Destination, vip.DestinationService, vip.IP.Destination = &flow.Endpoint{}, &flow.Service{Namespace: "shop", Name: "web"}, "10.96.0.10"
	vip.EventType, vip.Verdict, vip.DropReasonDesc, vip.IsReply = &flow.CiliumEventType{Type: typeDrop, SubType: 158}, flow.Verdict_DROPPED, flow.DropReason_SERVICE_BACKEND_NOT_FOUND, nil
	var out []*observer.GetFlowsResponse
	for i, f := range []*flow.Flow{allowed, trace, reply, denied, drop, six, vip} {
		f.Time = timestamppb.New(now.Add(time.Duration(i) * 1500 * time.Millisecond))
		out = append(out, &observer.GetFlowsResponse{ResponseTypes: &observer.GetFlowsResponse_Flow{Flow: f}, NodeName: f.NodeName, Time: f.Time})
	}
	return append(out, &observer.GetFlowsResponse{ResponseTypes: &observer.GetFlowsResponse_LostEvents{LostEvents: &flow.LostEvent{Source: flow.LostEventSource_HUBBLE_RING_BUFFER, NumEventsLost: 25}}, NodeName: "n1"})
}

// dnsFlows are an answer of DNS, and what a pod did with it.
func dnsFlows() []*observer.GetFlowsResponse {
	client := &flow.Endpoint{ID: 5, Identity: 1001, Namespace: "default", PodName: "client"}
	server := &flow.Endpoint{Identity: 1003, Namespace: "kube-system", PodName: "coredns-x"}
	world := &flow.Endpoint{Identity: 2, Labels: []string{"reserved:world"}}
	udp := &flow.Layer4{Protocol: &flow.Layer4_UDP{UDP: &flow.UDP{SourcePort: 53, DestinationPort: 4444}}}
	tcp := func(from, to uint32) *flow.Layer4 {
		return &flow.Layer4{Protocol: &flow.Layer4_TCP{TCP: &flow.TCP{SourcePort: from, DestinationPort: to}}}
	}
	dns := &flow.DNS{Query: "example.org.", Ips: []string{"192.0.2.1"}, Ttl: 30, ObservationSource: "passive", Qtypes: []string{"A"}, Rrtypes: []string{"A"}}
	answer := &flow.Flow{Type: flow.FlowType_L7, EventType: &flow.CiliumEventType{Type: typeLayer7}, Source: server, Destination: client, IP: &flow.IP{Source: "10.0.0.53", Destination: "10.0.0.5"}, L4: udp,
		IsReply: wrapperspb.Bool(true), L7: &flow.Layer7{Type: flow.L7FlowType_RESPONSE, Record: &flow.Layer7_Dns{Dns: dns}}, Summary: `DNS Answer "192.0.2.1" TTL: 30 (Query example.org. A)`}
	there := &flow.Flow{EventType: &flow.CiliumEventType{Type: typeTrace, SubType: 11}, TraceObservationPoint: flow.TraceObservationPoint_TO_NETWORK, Source: client, Destination: world,
		IP: &flow.IP{Source: "10.0.0.5", Destination: "192.0.2.1"}, L4: tcp(5555, 443), DestinationNames: []string{"example.org", "alias.org"}, IsReply: wrapperspb.Bool(false), Summary: "TCP Flags: SYN"}
	back := &flow.Flow{EventType: &flow.CiliumEventType{Type: typeTrace}, TraceObservationPoint: flow.TraceObservationPoint_TO_ENDPOINT, Source: world, Destination: client,
		IP: &flow.IP{Source: "192.0.2.1", Destination: "10.0.0.5"}, L4: tcp(443, 5555), SourceNames: []string{"exam\x1b[31mple.org"}, IsReply: wrapperspb.Bool(true), Summary: "TCP Flags: SYN, ACK"}
	var out []*observer.GetFlowsResponse
	for _, f := range []*flow.Flow{answer, there, back} {
		f.Time, f.Verdict, f.NodeName = timestamppb.New(now), flow.Verdict_FORWARDED, "n1"
		out = append(out, &observer.GetFlowsResponse{ResponseTypes: &observer.GetFlowsResponse_Flow{Flow: f}, NodeName: f.NodeName, Time: f.Time})
	}
	return out
}

func TestNamesOfDNSArePrintedInPlaceOfAddresses(t *testing.T) {
	socket := (&fakeFlows{replies: dnsFlows()}).serve(t)
	for name, args := range map[string]string{"observe-dns": "observe", "observe-dns-numeric": "observe --ip-translation=false"} {
		stdout, stderr, code := weir(t, socket, strings.Fields(args)...)
		if code != 0 || stderr != "" {
			t.Errorf("exit code %d, stderr %q", code, stderr)
		}
		golden(t, name, stdout)
	}
}

func TestFlowsArePrintedAsHubbleDoes(t *testing.T) {
	socket := (&fakeFlows{replies: someFlows()}).serve(t)
	for name, args := range map[string]string{
		"observe":            "observe",
		"observe-policies":   "observe --print-policy-names --print-node-name",
		"observe-numeric":    "observe --numeric",
		"observe-tab":        "observe -o tab",
		"observe-tab-node":   "observe -o tab --print-node-name",
		"observe-dict":       "observe -o dict",
		"observe-json":       "observe -o json",
		"observe-jsonpb":     "observe -o jsonpb",
		"observe-nodes":      "observe nodes",
		"observe-namespaces": "observe namespaces",
		"observe-nodes-json": "observe nodes -o json",
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := weir(t, socket, strings.Fields(args)...)
			if code != 0 || stderr != "" {
				t.Errorf("exit code %d, stderr %q", code, stderr)
			}
			golden(t, name, stdout)
		})
	}
}

func TestStatusOfFlows(t *testing.T) {
	stdout, _, code := weir(t, (&fakeFlows{}).serve(t), "observe", "status")
	for _, line := range []string{"Healthcheck (via unix:///", "Current/Max Flows: 1024/4096 (25.00%)\n", "Flows/s: 12.50\n", "Connected Nodes: 2/3\nUnavailable Nodes: n3\n"} {
		if code != 0 || !strings.Contains(stdout, line) {
			t.Errorf("exit code %d, %q lacks %q", code, stdout, line)
		}
	}
}

func TestNodesThatGoAreSaidApart(t *testing.T) {
	gone := &observer.GetFlowsResponse{ResponseTypes: &observer.GetFlowsResponse_NodeStatus{NodeStatus: &relay.NodeStatusEvent{StateChange: relay.NodeState_NODE_UNAVAILABLE, NodeNames: []string{"n2", "n3"}, Message: "connection refused"}}}
	state := func(s relay.NodeState, names ...string) *observer.GetFlowsResponse {
		return &observer.GetFlowsResponse{ResponseTypes: &observer.GetFlowsResponse_NodeStatus{NodeStatus: &relay.NodeStatusEvent{StateChange: s, NodeNames: names}}}
	}
	socket := (&fakeFlows{replies: []*observer.GetFlowsResponse{state(relay.NodeState_NODE_CONNECTED, "n1"), someFlows()[0], gone, state(relay.NodeState_NODE_CONNECTED, "n2", "n4")}}).serve(t)
	stdout, stderr, code := weir(t, socket, "observe")
	if code != 0 || strings.Count(stdout, "\n") != 1 || stderr != "weir: n2, n3 unavailable: connection refused\nweir: n2 connected\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestFlagsBecomeFilters(t *testing.T) {
	at := func(text string) string {
		out, _ := protojson.Marshal(timestamppb.New(must(time.Parse(time.RFC3339, text))))
		return string(out)
	}
	for args, want := range map[string]string{
		"":            `{"number":"20"}`,
		"-f":          `{"follow":true}`,
		"-f --last 5": `{"number":"5","follow":true}`,
		"--first 3":   `{"number":"3","first":true}`,
		"--all":       `{}`,
		"--since 5m":  `{"since":` + at("2026-06-27T09:02:00Z") + `}`,
		"--since 2026-06-27 --until 2026-06-27T09:00:00Z --last 2": `{"number":"2","since":` + at("2026-06-27T00:00:00Z") + `,"until":` + at("2026-06-27T09:00:00Z") + `}`,
		"--from-pod a/b":                                       `{"number":"20","whitelist":[{"sourcePod":["a/b"]}]}`,
		"--to-pod a/b --to-pod c/":                             `{"number":"20","whitelist":[{"destinationPod":["a/b","c/"]}]}`,
		"--pod a/b":                                            `{"number":"20","whitelist":[{"sourcePod":["a/b"]},{"destinationPod":["a/b"]}]}`,
		"-n shop --to-port 80":                                 `{"number":"20","whitelist":[{"sourcePod":["shop/"],"destinationPort":["80"]},{"destinationPod":["shop/"],"destinationPort":["80"]}]}`,
		"--pod a --port 1":                                     `{"number":"20","whitelist":[{"sourcePod":["a"],"sourcePort":["1"]},{"sourcePod":["a"],"destinationPort":["1"]},{"sourcePort":["1"],"destinationPod":["a"]},{"destinationPod":["a"],"destinationPort":["1"]}]}`,
		"--verdict dropped":                                    `{"number":"20","whitelist":[{"verdict":["DROPPED"]}]}`,
		"--drop-reason-desc policy-denied":                     `{"number":"20","whitelist":[{"dropReasonDesc":["POLICY_DENIED"]}]}`,
		"--not --verdict DROPPED --protocol tcp":               `{"number":"20","blacklist":[{"verdict":["DROPPED"]}],"whitelist":[{"protocol":["tcp"]}]}`,
		"--not --pod a --not -l x=y":                           `{"number":"20","blacklist":[{"sourcePod":["a"]},{"destinationPod":["a"]},{"sourceLabel":["x=y"]},{"destinationLabel":["x=y"]}]}`,
		"--from-identity host --to-identity 300":               `{"number":"20","whitelist":[{"sourceIdentity":[1],"destinationIdentity":[300]}]}`,
		"--to-identity world":                                  `{"number":"20","whitelist":[{"destinationIdentity":[2,9,10]}]}`,
		"--from-workload Deployment/web --to-workload db":      `{"number":"20","whitelist":[{"sourceWorkload":[{"name":"web","kind":"Deployment"}],"destinationWorkload":[{"name":"db"}]}]}`,
		"--from-service s --to-ip 10.0.0.0/8 --from-cluster c": `{"number":"20","whitelist":[{"sourceService":["s"],"sourceClusterName":["c"],"destinationIp":["10.0.0.0/8"]}]}`,
		"--type trace:to-endpoint -t drop":                     `{"number":"20","whitelist":[{"eventType":[{"type":4,"matchSubType":true},{"type":1}]}]}`,
		"--type trace:to-overlay":                              `{"number":"20","whitelist":[{"eventType":[{"type":4,"matchSubType":true,"subType":4}]}]}`,
		"--fqdn *.x.org --type l7":                             `{"number":"20","whitelist":[{"sourceFqdn":["*.x.org"],"eventType":[{"type":129}]},{"destinationFqdn":["*.x.org"],"eventType":[{"type":129}]}]}`,
		"--to-fqdn a --from-fqdn b":                            `{"number":"20","whitelist":[{"sourceFqdn":["b"],"destinationFqdn":["a"]}]}`,
		"--protocol dns --dns-query ^a":                        `{"number":"20","whitelist":[{"protocol":["dns"],"dnsQuery":["^a"]}]}`,
		"--tcp-flags syn,ack --reply":                          `{"number":"20","whitelist":[{"reply":[true],"tcpFlags":[{"SYN":true,"ACK":true}]}]}`,
		"--not-reply -4":                                       `{"number":"20","whitelist":[{"reply":[false],"ipVersion":["IPv4"]}]}`,
		"--ip-version v6 --traffic-direction ingress":          `{"number":"20","whitelist":[{"trafficDirection":["INGRESS"],"ipVersion":["IPv6"]}]}`,
		"--policy shop/let-in --node-name n* --node-label zone=a --interface eth0 --snat-ip 10.1.1.1 --uuid u": `{"number":"20","whitelist":[{"uuid":["u"],"sourceIpXlated":["10.1.1.1"],"interface":[{"name":"eth0"}],"nodeName":["n*"],"nodeLabels":["zone=a"],"policy":["shop/let-in"]}]}`,
		`--allowlist {"source_pod":["a/"]} --denylist {"verdict":["DROPPED"]}`:                                 `{"number":"20","blacklist":[{"verdict":["DROPPED"]}],"whitelist":[{"sourcePod":["a/"]}]}`,
	} {
		t.Run(args, func(t *testing.T) {
			f := &fakeFlows{}
			if _, stderr, code := weir(t, f.serve(t), append([]string{"observe"}, strings.Fields(args)...)...); code != 0 {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			wanted := &observer.GetFlowsRequest{}
			if err := protojson.Unmarshal([]byte(want), wanted); err != nil {
				t.Fatal(err)
			}
			if got, want := protojson.Format(f.asked), protojson.Format(wanted); got != want {
				t.Errorf("asked for %s, want %s", got, want)
			}
		})
	}
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

func TestBadFlagsOfObserve(t *testing.T) {
	refusing := (&fakeFlows{refuse: grpcstatus.Error(codes.InvalidArgument, `whitelist[0].source_ip: "x" is neither an address nor a CIDR`)}).serve(t)
	for args, want := range map[string]struct {
		code int
		says string
	}{
		"-o yaml":                    {2, `output "yaml": known are compact, tab, dict, json and jsonpb`},
		"--since yesterday":          {2, `--since: "yesterday" is not a time: write 5m`},
		"--last 3 --all":             {2, "--last and --all exclude each other"},
		"--first 3 -f":               {2, "--first and --follow exclude each other"},
		"--verdict lost":             {2, `"lost" is none of AUDIT, DROPPED`},
		"--drop-reason-desc x":       {2, `"x" is none of`},
		"--type l8":                  {2, `"l8" is none of drop, l7, policy-verdict, trace`},
		"--type trace:moon":          {2, `"moon" is none of FROM_CRYPTO`},
		"--tcp-flags XYZ":            {2, `"XYZ" is no flag of TCP`},
		"--from-identity mars":       {2, `"mars" is neither a number nor one of health, host`},
		"--ip-version 5":             {2, `"5" is neither 4 nor 6`},
		"--not":                      {2, "--not turns the filter after it round, and there is none"},
		"--reply=false":              {2, "--not --reply"},
		"--allowlist {x":             {2, "is not a filter"},
		"--tls-ca-cert-files /none":  {2, "/none: no such file"},
		"--from-ip x":                {2, `whitelist[0].source_ip: "x" is neither`},
		"--server 127.0.0.1:1":       {1, "nobody serves flows at 127.0.0.1:1"},
		"--server unix:///none/sock": {1, "no agent serves flows at /none/sock"},
	} {
		_, stderr, code := weir(t, refusing, append([]string{"observe"}, strings.Fields(args)...)...)
		if code != want.code || !strings.Contains(stderr, want.says) {
			t.Errorf("weir observe %s: exit code %d, stderr %q; want %d and %q", args, code, stderr, want.code, want.says)
		}
	}
	if _, stderr, code := weir(t, "/none/weir.sock", "observe"); code != 1 || !strings.Contains(stderr, "is weir-agent running, and hubble.enabled true?") {
		t.Errorf("without an agent: exit code %d, stderr %q", code, stderr)
	}
}
