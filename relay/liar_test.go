package relay

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weir/api/flow"
	"weir/api/observer"
	"weir/api/peer"
	"weir/api/relay"
	"weir/api/wire"
)

// liar is an agent that is not what it should be.
type liar struct {
	observer.UnimplementedObserverServer
	tells []*observer.GetFlowsResponse
	ends  func(context.Context) error
}

func (l liar) GetFlows(_ *observer.GetFlowsRequest, out grpc.ServerStreamingServer[observer.GetFlowsResponse]) error {
	for _, m := range l.tells {
		if err := out.Send(m); err != nil {
			return err
		}
	}
	return l.ends(out.Context())
}

// lies adds an agent to what a relay knows.
func lies(t *testing.T, r *Relay, d *directory, name string, l liar) {
	t.Helper()
	on, err := net.Listen("unix", filepath.Join(short(t), "l"))
	if err != nil {
		t.Fatal(err)
	}
	s := wire.Server(nil)
	observer.RegisterObserverServer(s, l)
	go s.Serve(on)
	t.Cleanup(s.Stop)
	added(t, r, d, &node{name: name, address: "unix://" + on.Addr().String()})
}

func never(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func atOnce(context.Context) error { return nil }

// all is what a request gets until its end.
func all(t *testing.T, c observer.ObserverClient, q *observer.GetFlowsRequest) (flows []*observer.GetFlowsResponse, said []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := c.GetFlows(ctx, q)
	for err == nil {
		var m *observer.GetFlowsResponse
		if m, err = s.Recv(); err != nil {
			break
		}
		if st := m.GetNodeStatus(); st != nil {
			said = append(said, st.StateChange.String()+" "+strings.Join(st.NodeNames, ",")+" "+st.Message)
		} else {
			flows = append(flows, m)
		}
	}
	return flows, said, err
}

func TestANodeThatNeitherTellsNorEndsIsGivenUp(t *testing.T) {
	r, d, c := startRelay(t, Options{Plain: true})
	r.silence = 300 * time.Millisecond
	a := startNode(t, "a", "unix", filepath.Join(short(t), "a"), nil)
	added(t, r, d, a)
	for n := range uint16(10) {
		a.add(time.Second, n)
	}
	lies(t, r, d, "b", liar{ends: never})
	flows, said, err := all(t, c, &observer.GetFlowsRequest{Number: 20})
	if err == nil || status.Code(err) != codes.Unknown || len(flows) != 10 || !slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, "NODE_ERROR b it has told neither") }) {
		t.Errorf("%d flows, said %q, %v: want 10, what is wrong with b, and the end", len(flows), said, err)
	}
}

func TestANodeSpeaksOfItselfAlone(t *testing.T) {
	r, d, c := startRelay(t, Options{Plain: true})
	forged := &observer.GetFlowsResponse{NodeName: "a", ResponseTypes: &observer.GetFlowsResponse_Flow{Flow: &flow.Flow{NodeName: "a"}}}
	gone := &observer.GetFlowsResponse{NodeName: "a", ResponseTypes: &observer.GetFlowsResponse_NodeStatus{
		NodeStatus: &relay.NodeStatusEvent{StateChange: relay.NodeState_NODE_GONE, NodeNames: []string{"a"}}}}
	lies(t, r, d, "b", liar{tells: []*observer.GetFlowsResponse{gone, {}, forged}, ends: atOnce})
	flows, said, _ := all(t, c, &observer.GetFlowsRequest{})
	if len(flows) != 1 || flows[0].NodeName != "b" || flows[0].GetFlow().NodeName != "b" || len(said) != 1 {
		t.Errorf("flows %v, said %q: want one of b, and that b is there", flows, said)
	}
}

func TestAFlowThatIsTooLargeIsNotTaken(t *testing.T) {
	r, d, c := startRelay(t, Options{Plain: true})
	large := &observer.GetFlowsResponse{ResponseTypes: &observer.GetFlowsResponse_Flow{Flow: &flow.Flow{Summary: strings.Repeat("x", flowOctets)}}}
	lies(t, r, d, "b", liar{tells: []*observer.GetFlowsResponse{large}, ends: atOnce})
	flows, said, _ := all(t, c, &observer.GetFlowsRequest{})
	if len(flows) != 0 || !slices.ContainsFunc(said, func(s string) bool {
		return strings.HasPrefix(s, "NODE_ERROR b ") && strings.Contains(s, "larger than max")
	}) {
		t.Errorf("%d flows, said %q", len(flows), said)
	}
}

func TestAgentsWithoutEndAreLeftOut(t *testing.T) {
	r := New(slog.New(slog.DiscardHandler), Options{})
	for n := range maxPeers + 10 {
		r.change(&peer.ChangeNotification{Name: fmt.Sprint(n)})
	}
	r.change(&peer.ChangeNotification{Name: "0", Address: "192.0.2.1:4244"})
	if n := len(r.peers.all()); n != maxPeers || r.peers.known["0"].address == "" {
		t.Errorf("%d agents, 0 at %q: want %d, and what changes of those", n, r.peers.known["0"].address, maxPeers)
	}
}

// A node of another version may refuse a filter that all others know.
func TestOneNodeThatRefusesIsOneNode(t *testing.T) {
	r, d, c := startRelay(t, Options{Plain: true})
	lies(t, r, d, "b", liar{ends: func(context.Context) error { return status.Error(codes.InvalidArgument, "who knows") }})
	if _, _, err := all(t, c, &observer.GetFlowsRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("the only node refuses: %v", err)
	}
	a := startNode(t, "a", "unix", filepath.Join(short(t), "a"), nil)
	added(t, r, d, a)
	a.add(time.Second, 1)
	flows, said, err := all(t, c, &observer.GetFlowsRequest{})
	if status.Code(err) == codes.InvalidArgument || len(flows) != 1 || !slices.Contains(said, "NODE_ERROR b who knows") {
		t.Errorf("%d flows, said %q, %v: want one, and what b says", len(flows), said, err)
	}
}

func TestWhatIsHeldForAllReadersIsBounded(t *testing.T) {
	r := New(nil, Options{})
	last := func(n uint64) (func(), error) { return r.hold(&observer.GetFlowsRequest{Number: n}) }
	letGo, err := last(maxNumber)
	if _, other := last(maxNumber); err != nil || other != nil {
		t.Fatal(err, other)
	}
	if _, err := last(smallNumber + 1); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more gets %v", err)
	}
	if _, err := last(smallNumber); err != nil {
		t.Errorf("a small one gets %v", err)
	}
	letGo()
	if _, err := last(maxNumber); err != nil {
		t.Errorf("when one has ended %v", err)
	}
}
