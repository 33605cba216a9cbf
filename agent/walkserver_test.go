package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	api "weir/api/agent"
	"weir/api/walk"
	"weir/api/wire"
	"weir/bpf"
)

// flood is programs that tell of packets without end.
type flood struct {
	first bpf.Step // before all others
	on    atomic.Uint32
}

func (f *flood) Follow(w bpf.Walk) error {
	f.on.Store(w.On)
	return nil
}

func (f *flood) ReadSteps(ctx context.Context, see func(bpf.Step)) error {
	for see(f.first); ctx.Err() == nil; {
		see(bpf.Step{Time: uint64(time.Since(wallClock(0)))})
	}
	return nil
}

// askedWalk is a walk of another node.
func askedWalk(t *testing.T, s *walkServer) walk.Walk_FollowClient {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	server := wire.Server(nil)
	walk.RegisterWalkServer(server, s)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	conn, err := wire.Dial("unix://"+path, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	stream, err := walk.NewWalkClient(conn).Follow(t.Context(), &walk.FollowRequest{Between: []*walk.Between{{A: netip.MustParseAddr("10.0.0.3").AsSlice()}}})
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func newWalkServer(f *flood, patience time.Duration) *walkServer {
	return &walkServer{log: slog.New(slog.DiscardHandler), walks: &walks{}, steps: f, readers: wire.NewReaders("1", walkReaders, patience),
		tell: func(s bpf.Step) api.Step { return api.Step{Packet: strings.Repeat("x", int(s.Len))} }}
}

func (s *walkServer) isFree() bool {
	if !s.walks.begin() {
		return false
	}
	s.walks.end()
	return true
}

func wantRest(t *testing.T, s *walkServer, f *flood) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); f.on.Load() != 0 || !s.isFree(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("on %d, free %v: the walk goes on", f.on.Load(), s.isFree())
		}
	}
}

// Who asks for a walk and reads nothing may not keep this node's programs at it.
func TestAWalkThatNobodyReadsEnds(t *testing.T) {
	f := &flood{}
	s := newWalkServer(f, 200*time.Millisecond)
	s.tell = func(bpf.Step) api.Step { return api.Step{Packet: strings.Repeat("x", 4096)} }
	stream := askedWalk(t, s)
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	wantRest(t, s, f)
}

func TestAWalkOfTooManyPacketsEnds(t *testing.T) {
	f := &flood{}
	s := newWalkServer(f, time.Minute)
	stream := askedWalk(t, s)
	for n := 0; ; n++ {
		if _, err := stream.Recv(); err != nil {
			if n != stepsKept || status.Code(err) != grpccodes.ResourceExhausted {
				t.Errorf("after %d steps %v, want %d and that there are more", n, err, stepsKept)
			}
			break
		}
	}
	wantRest(t, s, f)
}

// A walk whose agent was killed leaves steps behind.
func TestStepsOfTheWalkBeforeAreNotTold(t *testing.T) {
	f := &flood{first: bpf.Step{Time: 1, Len: 7}}
	stream := askedWalk(t, newWalkServer(f, time.Minute))
	r, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(r.Step), "xxxxxxx") {
		t.Errorf("told %s, of before", r.Step)
	}
}
