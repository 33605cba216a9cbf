package relay

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"weir/api/observer"
	"weir/api/relay"
	"weir/api/wire"
)

const (
	// maxNumber bounds what has to be held to know the last so many of all nodes.
	maxNumber = 65536
	// lookForNodes is how often a stream that follows asks nodes that were away.
	lookForNodes = 2 * time.Second
	// waiting is how many messages of a node may be ahead of the merge.
	waiting = 64
)

// GetFlows merges what the nodes tell.
func (r *Relay) GetFlows(q *observer.GetFlowsRequest, out grpc.ServerStreamingServer[observer.GetFlowsResponse]) error {
	if q.Number > maxNumber && !q.Follow {
		return status.Errorf(codes.InvalidArgument, "number: %d: a relay tells at most %d: ask with since and until for more", q.Number, maxNumber)
	}
	return r.readers.Serve(out, func(ctx context.Context, guard wire.Guard) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s := &stream{r: r, q: q, ctx: ctx, wake: make(chan struct{}, 1), nodes: map[*peerNode]bool{}}
		s.send = func(m *observer.GetFlowsResponse) error { return guard(func() error { return out.Send(m) }) }
		return s.run()
	})
}

// stream is one client's.
type stream struct {
	r    *Relay
	q    *observer.GetFlowsRequest
	ctx  context.Context
	send func(*observer.GetFlowsResponse) error
	wake chan struct{} // something has come of a node

	lanes []*lane
	nodes map[*peerNode]bool           // that are known: whether they are asked, or have told all
	count uint64                       // of flows that were sent
	kept  []*observer.GetFlowsResponse // the last ones, where only those are wanted
}

// told is what came of a node's stream: a message, or its end.
type told struct {
	what *observer.GetFlowsResponse
	err  error // of the end; io.EOF: it has told all
}

func (s *stream) run() error {
	if err := s.look(s.q); err != nil {
		return err
	}
	tick := time.NewTicker(heldBack / 5)
	defer tick.Stop()
	looked := time.Now()
	for {
		if done, err := s.merge(); done || err != nil {
			return err
		}
		if len(s.lanes) == 0 && !s.q.Follow {
			return s.tellKept()
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-s.wake:
		case now := <-tick.C:
			if !s.q.Follow || now.Sub(looked) < lookForNodes {
				continue
			}
			looked = now
			if err := s.look(fromNowOn(s.q, now)); err != nil {
				return err
			}
		}
	}
}

// merge sends what has its turn, and reports whether that was all that is wanted.
func (s *stream) merge() (done bool, err error) {
	patience := time.Duration(0)
	if s.q.Follow {
		patience = heldBack
	}
	for {
		if err := s.fill(); err != nil {
			return false, err
		}
		l := next(s.lanes, time.Now(), patience)
		if l == nil {
			return false, nil
		}
		m := l.head
		l.head = nil
		if done, err := s.tell(m); done || err != nil {
			return done, err
		}
	}
}

// fill takes what has come of the lanes whose turn is not settled.
func (s *stream) fill() error {
	for _, l := range slices.Clone(s.lanes) {
		for l.head == nil {
			var t told
			select {
			case t = <-l.ch:
			default:
			}
			if t == (told{}) {
				break
			}
			if err := s.take(l, t); err != nil {
				return err
			}
			if t.err != nil {
				break
			}
		}
	}
	return nil
}

// tell sends a flow, or keeps it until it is known to be among the last.
func (s *stream) tell(m *observer.GetFlowsResponse) (done bool, err error) {
	if s.q.Number > 0 && !s.q.First && !s.q.Follow {
		if s.kept = append(s.kept, m); uint64(len(s.kept)) > 2*s.q.Number {
			s.kept = append(s.kept[:0], s.kept[uint64(len(s.kept))-s.q.Number:]...)
		}
		return false, nil
	}
	s.count++
	return s.q.First && s.q.Number > 0 && s.count >= s.q.Number, s.send(m)
}

// fromNowOn is a request of a node that joins late.
func fromNowOn(q *observer.GetFlowsRequest, now time.Time) *observer.GetFlowsRequest {
	late := proto.Clone(q).(*observer.GetFlowsRequest)
	late.Number, late.Since = 0, timestamppb.New(now.Add(-lookForNodes))
	return late
}

// look asks the nodes that were not asked yet, or were away, and says who is there.
func (s *stream) look(q *observer.GetFlowsRequest) error {
	var joined, gone []string
	away := map[string][]string{} // why -> who
	for _, n := range s.r.peers.all() {
		is, asked := s.nodes[n]
		if is {
			continue
		}
		if why := n.away(); why != "" {
			if !asked {
				away[why] = append(away[why], n.name)
			}
			s.nodes[n] = false
			continue
		}
		s.nodes[n] = true
		l := &lane{node: n, ch: make(chan told, waiting)}
		s.lanes = append(s.lanes, l)
		joined = append(joined, n.name)
		go s.ask(l, q)
	}
	for n := range s.nodes {
		if !s.nodes[n] && !s.r.peers.has(n) {
			delete(s.nodes, n)
			gone = append(gone, n.name)
		}
	}
	if err := s.say(relay.NodeState_NODE_CONNECTED, joined, ""); err != nil {
		return err
	}
	for why, names := range away {
		if err := s.say(relay.NodeState_NODE_UNAVAILABLE, names, why); err != nil {
			return err
		}
	}
	return s.say(relay.NodeState_NODE_GONE, gone, "")
}

// say tells of nodes.
func (s *stream) say(state relay.NodeState, names []string, why string) error {
	if len(names) == 0 {
		return nil
	}
	return s.send(&observer.GetFlowsResponse{Time: timestamppb.Now(), ResponseTypes: &observer.GetFlowsResponse_NodeStatus{
		NodeStatus: &relay.NodeStatusEvent{StateChange: state, NodeNames: names, Message: why}}})
}

// ask reads a node's stream to its end.
func (s *stream) ask(l *lane, q *observer.GetFlowsRequest) {
	tell := func(t told) bool {
		select {
		case l.ch <- t:
		case <-s.ctx.Done():
			return false
		}
		select {
		case s.wake <- struct{}{}:
		default: // it will wake
		}
		return true
	}
	from, err := l.node.client().GetFlows(s.ctx, q)
	for err == nil {
		var m *observer.GetFlowsResponse
		if m, err = from.Recv(); err == nil && !tell(told{what: m}) {
			return
		}
	}
	tell(told{err: err})
}

// take is what a node told. What is no flow has no turn to wait for.
func (s *stream) take(l *lane, t told) error {
	if t.err == nil {
		if t.what.GetFlow() == nil {
			return s.send(t.what)
		}
		l.head, l.at, l.came = t.what, t.what.Time.AsTime(), time.Now()
		return nil
	}
	s.lanes = slices.DeleteFunc(s.lanes, func(x *lane) bool { return x == l })
	said := status.Convert(t.err)
	switch {
	case errors.Is(t.err, io.EOF):
		return nil // there is nothing to ask it again
	case said.Code() == codes.InvalidArgument:
		return t.err // and so would all others
	}
	s.nodes[l.node] = false
	state := relay.NodeState_NODE_ERROR
	if said.Code() == codes.Unavailable {
		state = relay.NodeState_NODE_UNAVAILABLE
	}
	return s.say(state, []string{l.node.name}, said.Message())
}

// tellKept sends the last of all that came.
func (s *stream) tellKept() error {
	for _, m := range s.kept[uint64(len(s.kept))-min(uint64(len(s.kept)), s.q.Number):] {
		if err := s.send(m); err != nil {
			return err
		}
	}
	return nil
}
