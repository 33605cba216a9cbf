package observe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"weir/api/flow"
	"weir/api/observer"
	"weir/api/peer"
	"weir/api/wire"
	"weir/bpf"
	"weir/internal/heaptest"
	"weir/state"
)

// serve makes an observer answer on a socket, and returns a connection to it.
func serve(t *testing.T, o *Observer, peers PeerOptions) *grpc.ClientConn {
	t.Helper()
	dir, err := os.MkdirTemp("", "flows") // the path has to be short
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := wire.Server(nil)
	o.Register(s, peers)
	go s.Serve(wire.Limit(l))
	go o.Run(ctx)
	c, err := wire.Dial("unix://"+l.Addr().String(), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Stop()
		cancel()
		os.RemoveAll(dir)
	})
	return c
}

func TestFlowsOverTheWire(t *testing.T) {
	o := mixed(t)
	c := observer.NewObserverClient(serve(t, o, PeerOptions{}))
	stream, err := c.GetFlows(t.Context(), &observer.GetFlowsRequest{Number: 2, Whitelist: []*flow.FlowFilter{{Verdict: []flow.Verdict{flow.Verdict_DROPPED}}}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.NodeName != "n1" || r.Time.AsTime() != r.GetFlow().Time.AsTime() {
			t.Errorf("node %q, time %v of a flow of %v", r.NodeName, r.Time.AsTime(), r.GetFlow().Time.AsTime())
		}
		got = append(got, say(r.GetFlow()))
	}
	if len(got) != 2 || !strings.Contains(got[1], "drop POLICY_DENY") {
		t.Errorf("got %q", got)
	}
	if h, err := stream.Header(); err != nil || !slices.Equal(h.Get(wire.VersionKey), []string{"1.2.3"}) {
		t.Errorf("header %v, %v", h, err)
	}
}

func TestUnaryAnswers(t *testing.T) {
	o := mixed(t)
	conn := serve(t, o, PeerOptions{Port: 4244, TLS: true})
	c := observer.NewObserverClient(conn)
	if s, err := c.ServerStatus(t.Context(), &observer.ServerStatusRequest{}); err != nil || s.NumFlows != 5 || s.MaxFlows != 16 || s.SeenFlows != 5 || s.UptimeNs == 0 || s.Version != "1.2.3" || s.NumConnectedNodes != nil {
		t.Errorf("status %v, %v", s, err)
	}
	if n, err := c.GetNodes(t.Context(), &observer.GetNodesRequest{}); err != nil || len(n.Nodes) != 1 || n.Nodes[0].Name != "n1" || n.Nodes[0].Address != "192.168.0.1:4244" || n.Nodes[0].Tls.ServerName != "n1.default.hubble-grpc.cilium.io" {
		t.Errorf("nodes %v, %v", n, err)
	}
	if n, err := c.GetNamespaces(t.Context(), &observer.GetNamespacesRequest{}); err != nil || len(n.Namespaces) != 1 || n.Namespaces[0].Namespace != "default" || n.Namespaces[0].Cluster != "default" {
		t.Errorf("namespaces %v, %v", n, err)
	}
	if h, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "observer.Observer"}); err != nil || h.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health %v, %v", h, err)
	}
	debug, err := c.GetDebugEvents(t.Context(), &observer.GetDebugEventsRequest{})
	if err == nil {
		_, err = debug.Recv()
	}
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "weir drops") {
		t.Errorf("debug events: %v", err)
	}
}

func TestPeersAreToldAndFollowed(t *testing.T) {
	o := newObserver(t, 4)
	stream, err := peer.NewPeerClient(serve(t, o, PeerOptions{Port: 4244, TLS: true})).Notify(t.Context(), &peer.NotifyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func() string {
		c, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join([]string{c.Type.String(), c.Name, c.Address, c.Tls.GetServerName()}, " ")
	}
	want := func(text string) {
		t.Helper()
		if got := next(); got != text {
			t.Errorf("got %s, want %s", got, text)
		}
	}
	want("PEER_ADDED n1 192.168.0.1:4244 n1.default.hubble-grpc.cilium.io")
	want("PEER_ADDED n2 192.168.0.2:4244 n2.default.hubble-grpc.cilium.io")
	o.tables.Nodes.Put(state.Node{Name: "n.3", Cluster: "east", Addresses: []netip.Addr{addr("fd00:2::3")}})
	want("PEER_ADDED east/n.3 [fd00:2::3]:4244 n-3.east.hubble-grpc.cilium.io")
	o.tables.Nodes.Put(state.Node{Name: "n2", Cluster: "default", Addresses: []netip.Addr{addr("192.168.0.22")}})
	want("PEER_UPDATED n2 192.168.0.22:4244 n2.default.hubble-grpc.cilium.io")
	o.tables.Nodes.Delete("n2")
	want("PEER_DELETED n2 192.168.0.22:4244 n2.default.hubble-grpc.cilium.io")
}

func TestAgentEvents(t *testing.T) {
	o := newObserver(t, 4)
	o.tables.Endpoints.MarkSynced()
	c := observer.NewObserverClient(serve(t, o, PeerOptions{}))
	follow, err := c.GetAgentEvents(t.Context(), &observer.GetAgentEventsRequest{Follow: true, Number: 100})
	if err != nil {
		t.Fatal(err)
	}
	wait := func(kind flow.AgentEventType) *flow.AgentEvent {
		t.Helper()
		for {
			r, err := follow.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if r.AgentEvent.Type == kind {
				return r.AgentEvent
			}
		}
	}
	wait(flow.AgentEventType_AGENT_STARTED)
	o.tables.Policies.Put(state.Policy{Key: state.PolicyKey{Name: "first"}}) // once this is told, the endpoints have been read
	wait(flow.AgentEventType_POLICY_UPDATED)
	o.tables.Endpoints.Put(state.Endpoint{ID: 9, ContainerID: "c", Pod: state.PodName{Namespace: "shop", Name: "cart"}})
	if e := wait(flow.AgentEventType_ENDPOINT_CREATED).GetEndpointUpdate(); e.Id != 9 { // the others were there from the start
		t.Errorf("endpoint %v", e)
	}
	o.tables.Endpoints.Delete(9)
	if e := wait(flow.AgentEventType_ENDPOINT_DELETED).GetEndpointUpdate(); e.PodName != "cart" || e.Namespace != "shop" || e.Id != 9 {
		t.Errorf("endpoint %v", e)
	}
	key := state.PolicyKey{Kind: state.KindCNP, Namespace: "shop", Name: "p"}
	o.tables.Policies.Put(state.Policy{Key: key, Specs: []state.PolicySpec{{Ingress: make([]state.PolicyRule, 2)}}})
	if p := wait(flow.AgentEventType_POLICY_UPDATED).GetPolicyUpdate(); p.RuleCount != 2 || !slices.Contains(p.Labels, "k8s:io.cilium.k8s.policy.name=p") {
		t.Errorf("policy %v", p)
	}
	o.tables.Policies.Delete(key)
	wait(flow.AgentEventType_POLICY_DELETED)
	last, err := c.GetAgentEvents(t.Context(), &observer.GetAgentEventsRequest{Number: 1})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := last.Recv(); err != nil || r.AgentEvent.Type != flow.AgentEventType_POLICY_DELETED {
		t.Errorf("the last is %v, %v", r, err)
	}
}

// Ten thousand clients that read nothing: some are served and wait, all others are told
// that there is no room. Add goes on as if nobody was there, nothing is kept for them, and
// when they vanish nothing of them is left. Who reads again is told how many it has missed.
func TestTenThousandSlowReaders(t *testing.T) {
	const history, flood = 1000, 200000
	o := newObserver(t, history)
	for range history {
		o.Add(packet())
	}
	var refused, served int
	var last grpc.ServerStreamingClient[observer.GetFlowsResponse]
	var conns []*grpc.ClientConn
	address := serve(t, o, PeerOptions{}).Target()
	before, goroutines := heaptest.Alive(), runtime.NumGoroutine()
	for range 200 {
		conn, err := wire.Dial(address, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conns = append(conns, conn)
		for range 50 { // as many as a client might
			stream, err := observer.NewObserverClient(conn).GetFlows(t.Context(), &observer.GetFlowsRequest{Follow: true, Number: 1000})
			if err == nil {
				_, err = stream.Recv() // one flow, and then nothing more
			}
			switch {
			case err == nil:
				served++
				last = stream
			case status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "256 clients read here"):
				refused++
			default:
				t.Fatal(err)
			}
		}
	}
	if served != maxReaders || refused != 10000-maxReaders {
		t.Errorf("%d were served and %d refused, want %d and the others", served, refused, maxReaders)
	}
	heaptest.Within(t, "with as many readers as are served, and the clients of all", before, 64)
	beside := heaptest.Alive()
	begin := time.Now()
	for range flood {
		o.Add(packet())
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("%d events took %s beside slow readers", flood, took)
	}
	heaptest.Within(t, "while nobody reads", beside, 4)
	wantAll(t, last, history+flood-1) // one was read above
	for _, c := range conns {
		c.Close()
	}
	for end := time.Now().Add(20 * time.Second); o.readers.Count() > 0 || runtime.NumGoroutine() > goroutines+20; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d readers that are gone have their places, and there are %d goroutines, before %d", o.readers.Count(), runtime.NumGoroutine(), goroutines)
		}
	}
	heaptest.Within(t, "when all readers are gone", before, 8)
}

// wantAll reads until so many flows have come or are said to be lost.
func wantAll(t *testing.T, s grpc.ServerStreamingClient[observer.GetFlowsResponse], want uint64) {
	t.Helper()
	var flows, missed uint64
	for flows+missed < want {
		r, err := s.Recv()
		if err != nil {
			t.Fatalf("after %d flows, and %d that are lost, of %d: %v", flows, missed, want, err)
		}
		if r.GetFlow() != nil {
			flows++
		}
		missed += r.GetLostEvents().GetNumEventsLost()
	}
	if flows+missed != want || missed == 0 {
		t.Errorf("%d flows and %d lost, want %d together", flows, missed, want)
	}
}

// Who takes nothing for too long is let go, so that there is room for others.
func TestWhoTakesNothingIsLetGo(t *testing.T) {
	o := newObserver(t, 5000)
	o.readers = wire.NewReaders("1.2.3", maxReaders, 400*time.Millisecond)
	for range 5000 {
		o.Add(packet())
	}
	c := observer.NewObserverClient(serve(t, o, PeerOptions{}))
	stream, err := c.GetFlows(t.Context(), &observer.GetFlowsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); o.readers.Count() > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it still has its place")
		}
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "taken nothing") {
		t.Errorf("it is told %v", err)
	}
}

func TestNamesOfNodes(t *testing.T) {
	for want, have := range map[string][2]string{"n": {"default", "n"}, "n2": {"", "n2"}, "east/n": {"east", "n"}} {
		if got := NodeName(have[0], have[1]); got != want {
			t.Errorf("node %s of cluster %q: got %q, want %q", have[1], have[0], got, want)
		}
	}
}

func TestEveryDropReasonHasTheNumberAndTheTextOfThePrograms(t *testing.T) {
	for n := 130; n < 256; n++ {
		text := bpf.Reason(n).String()
		if _, known := flow.DropReason_name[int32(n)]; strings.HasPrefix(text, "Reason ") {
			continue
		} else if !known {
			t.Errorf("flow.proto has no name for reason %d, %q", n, text)
		}
		if got := flow.DropReason(n).Text(); got != text {
			t.Errorf("reason %d: the flow says %q, the programs %q", n, got, text)
		}
		if got, ok := flow.DropReasonOf(strings.ToUpper(text)); !ok || got != flow.DropReason(n) {
			t.Errorf("%q is reason %d, %v, want %d", text, got, ok, n)
		}
	}
}
