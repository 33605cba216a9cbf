package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	api "weir/api/agent"
	"weir/api/walk"
	"weir/api/wire"
	"weir/bpf"
	"weir/internal/version"
)

const (
	walkReaders  = 8               // who ask at a time, of whom one is served
	walkPatience = 5 * time.Second // with a reader who takes nothing
)

// walkServer serves this node's part of others' walks.
type walkServer struct {
	walk.UnimplementedWalkServer
	log     *slog.Logger
	walks   *walks
	steps   steps
	tell    func(bpf.Step) api.Step
	why     func(context.Context, api.ExplainRequest) (api.Why, error)
	readers *wire.Readers
}

// steps is where the programs tell of packets.
type steps interface {
	Follow(bpf.Walk) error
	ReadSteps(context.Context, func(bpf.Step)) error
}

func (a *Agent) walkServer() *walkServer {
	return &walkServer{log: a.log, walks: &a.walks, steps: a.dp, tell: a.step, why: a.whyHere, readers: wire.NewReaders(version.Version, walkReaders, walkPatience)}
}

// Follow implements walk.proto.
func (s *walkServer) Follow(q *walk.FollowRequest, out grpc.ServerStreamingServer[walk.FollowResponse]) error {
	w, err := walkOf(q)
	if err != nil {
		return err
	}
	return s.readers.Serve(out, func(ctx context.Context, guard wire.Guard) error {
		if !s.walks.begin() {
			return status.Error(grpccodes.Unavailable, walkBusy)
		}
		defer s.walks.end()
		if err := s.steps.Follow(w); err != nil {
			return status.Error(grpccodes.Internal, err.Error())
		}
		defer s.rest()
		if err := out.SendHeader(nil); err != nil {
			return err
		}
		return s.read(ctx, func(m *walk.FollowResponse) error { return guard(func() error { return out.Send(m) }) })
	})
}

// rest has the programs tell of nothing.
func (s *walkServer) rest() {
	if err := s.steps.Follow(bpf.Walk{}); err != nil {
		s.log.Warn("packets of a walk that has ended are still followed", "err", err)
	}
}

// read sends what the programs tell until ctx ends, it lasts too long, or there is too
// much: what is not told any more need not be followed.
func (s *walkServer) read(ctx context.Context, send func(*walk.FollowResponse) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, liveLimit+probeLimit)
	defer cancel()
	told := 0
	failed := s.steps.ReadSteps(ctx, func(x bpf.Step) {
		if err != nil || !s.walks.own(x) {
			return
		}
		if told++; told > stepsKept {
			err = status.Errorf(grpccodes.ResourceExhausted, "only its first %d steps are told", stepsKept)
			cancel()
			return
		}
		text, broken := json.Marshal(s.tell(x))
		if err = broken; err == nil {
			err = send(&walk.FollowResponse{Step: text, Packet: packetOf(x)})
		}
		if err != nil {
			cancel()
		}
	})
	if err == nil {
		err = failed
	}
	return err
}
