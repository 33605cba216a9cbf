package relay

import (
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weir/api/observer"
	"weir/api/wire"
	"weir/internal/heaptest"
)

// Ten thousand clients of a relay that read nothing: what nodes tell is not kept for them,
// here or there, who has no room is told so, and who reads again how many it has missed.
func TestTenThousandSlowReadersOfTheCluster(t *testing.T) {
	const history, flood = 1000, 200000
	r, d, first := startRelay(t, Options{Plain: true, Version: "1"})
	n := startNode(t, "a", "unix", filepath.Join(short(t), "a"), nil)
	added(t, r, d, n)
	for range history {
		n.add(0, 1)
	}
	_, said := reply(t, first, &observer.GetFlowsRequest{Number: 1}) // the node is there
	if len(said) != 1 {
		t.Fatalf("said %q", said)
	}
	address := "unix://" + r.servedAt(t)
	before, goroutines := heaptest.Alive(), runtime.NumGoroutine()
	var served, refused int
	var last grpc.ServerStreamingClient[observer.GetFlowsResponse]
	var conns []*grpc.ClientConn
	for range 50 {
		conn, err := wire.Dial(address, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		for range 200 {
			s, err := observer.NewObserverClient(conn).GetFlows(t.Context(), &observer.GetFlowsRequest{Follow: true, Number: history})
			if err == nil {
				_, err = s.Recv() // who is there
			}
			switch {
			case err == nil:
				served, last = served+1, s
			case status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "128 clients read here"):
				refused++
			default:
				t.Fatal(err)
			}
		}
	}
	if served != maxReaders || refused != 10000-maxReaders {
		t.Errorf("%d were served and %d refused, want %d and the others", served, refused, maxReaders)
	}
	for range flood / 2 {
		n.add(0, 1)
	}
	time.Sleep(time.Second) // as far as any queue goes it is full
	half := heaptest.Alive()
	heaptest.Within(t, "with as many readers as are served, and their clients", before, 128)
	for range flood / 2 {
		n.add(0, 1)
	}
	heaptest.Within(t, "while nobody reads", half, 8)
	var flows, missed uint64
	for flows+missed < history+flood {
		m, err := last.Recv()
		if err != nil {
			t.Fatalf("after %d flows and %d that are lost: %v", flows, missed, err)
		}
		if m.GetFlow() != nil {
			flows++
		}
		missed += m.GetLostEvents().GetNumEventsLost()
	}
	if flows+missed != history+flood || missed == 0 {
		t.Errorf("%d flows and %d lost, want %d together", flows, missed, history+flood)
	}
	for _, c := range conns {
		c.Close()
	}
	await(t, "the places of those who are gone are free", func() bool { return r.readers.Count() == 0 && runtime.NumGoroutine() < goroutines+20 })
	heaptest.Within(t, "when all readers are gone", before, 8)
}

// servedAt is one more socket of the relay.
func (r *Relay) servedAt(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(short(t), "r"))
	if err != nil {
		t.Fatal(err)
	}
	s := wire.Server(nil)
	r.Register(s)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}
