package relay

import (
	"context"
	"errors"
	"fmt"
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
	// lookForNodes is how often a stream that follows asks nodes that were away.
	lookForNodes = 2 * time.Second
	// silence is how long a node may tell neither a flow nor its end, where others wait for
	// that.
	silence = 10 * time.Second
	// waiting is how many messages of a node may be ahead of the merge, and flowOctets how
	// large each of them may be.
	waiting    = 64
	flowOctets = 64 << 10
)

// GetFlows merges what the nodes tell.
func (r *Relay) GetFlows(q *observer.GetFlowsRequest, out grpc.ServerStreamingServer[observer.GetFlowsResponse]) error {
	letGo, err := r.hold(q)
	if err != nil {
		return err
	}
	defer letGo()
	return r.readers.Serve(out, func(ctx context.Context, guard wire.Guard) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s := &stream{r: r, q: q, ctx: ctx, began: time.Now(), wake: make(chan struct{}, 1), nodes: map[*peerNode]bool{}}
		s.send = func(m *observer.GetFlowsResponse) error {
			err := guard(func() error { return out.Send(m) })
			if err == nil {
				r.told.count(m)
			}
			return err
		}
		return s.run()
	})
}

// stream is one client's.
type stream struct {
	r     *Relay
	q     *observer.GetFlowsRequest
	ctx   context.Context
	send  func(*observer.GetFlowsResponse) error
	began time.Time
	wake  chan struct{} // something has come of a node

	lanes  []*lane
	nodes  map[*peerNode]bool           // that are known: whether they are asked, or have told all
	count  uint64                       // of flows that were sent
	kept   []*observer.GetFlowsResponse // the last ones, where only those are wanted; from oldest on when they are number
	oldest int

	accepted bool     // a node has taken the request
	refused  []string // nodes that have not, and were not said yet
	refusal  error
}

// told is what came of a node's stream: a message, or its end.
type told struct {
	what *observer.GetFlowsResponse
	when time.Time // it was received
	err  error     // of the end; io.EOF: it has told all
}

func (s *stream) run() error {
	looked := time.Now()
	if err := s.look(s.q); err != nil {
		return err
	}
	tick := time.NewTicker(heldBack / 5)
	defer tick.Stop()
	for {
		if done, err := s.merge(); done || err != nil {
			return err
		}
		if err := s.sayRefused(); err != nil {
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
			s.giveUp(now)
			if !s.q.Follow || now.Sub(looked) < lookForNodes {
				continue
			}
			late := since(s.q, looked)
			looked = now
			if err := s.look(late); err != nil {
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
		l.head, l.since = nil, time.Now()
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
		if uint64(len(s.kept)) < s.q.Number {
			s.kept = append(s.kept, m)
			return false, nil
		}
		s.kept[s.oldest] = m
		s.oldest = (s.oldest + 1) % len(s.kept)
		return false, nil
	}
	s.count++
	return s.q.First && s.q.Number > 0 && s.count >= s.q.Number, s.send(m)
}

// since is a request of a node that joins late: for what it has seen since it was away.
func since(q *observer.GetFlowsRequest, away time.Time) *observer.GetFlowsRequest {
	late := proto.Clone(q).(*observer.GetFlowsRequest)
	late.Number, late.Since = 0, timestamppb.New(away)
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
		l := &lane{node: n, ch: make(chan told, waiting), asked: time.Now(), since: time.Now()}
		var ctx context.Context
		ctx, l.stop = context.WithCancel(s.ctx)
		s.lanes = append(s.lanes, l)
		joined = append(joined, n.name)
		go s.ask(ctx, l, q)
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
func (s *stream) ask(ctx context.Context, l *lane, q *observer.GetFlowsRequest) {
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
	defer l.stop()
	from, err := l.node.client().GetFlows(ctx, q, grpc.MaxCallRecvMsgSize(flowOctets))
	for err == nil {
		var m *observer.GetFlowsResponse
		if m, err = from.Recv(); err == nil && !tell(told{what: m, when: time.Now()}) {
			return
		}
	}
	tell(told{err: err})
}

// take is what a node told. What is no flow has no turn to wait for.
func (s *stream) take(l *lane, t told) error {
	if t.err == nil {
		s.accepted = true
		return s.takeMessage(l, t)
	}
	s.lanes = slices.DeleteFunc(s.lanes, func(x *lane) bool { return x == l })
	said := status.Convert(t.err)
	switch {
	case errors.Is(t.err, io.EOF):
		s.accepted = true
		return nil // there is nothing to ask it again
	case said.Code() == codes.InvalidArgument:
		s.refused, s.refusal = append(s.refused, l.node.name), t.err
		return nil // it would refuse it again
	}
	s.nodes[l.node] = false
	if l.mute {
		return s.say(relay.NodeState_NODE_ERROR, []string{l.node.name}, fmt.Sprintf("it has told neither a flow nor its end for %s", s.r.silence))
	}
	state := relay.NodeState_NODE_ERROR
	if said.Code() == codes.Unavailable {
		state = relay.NodeState_NODE_UNAVAILABLE
	}
	return s.say(state, []string{l.node.name}, said.Message())
}

// takeMessage is what a node tells of itself: by whatever name, it is that node's.
func (s *stream) takeMessage(l *lane, t told) error {
	m := t.what
	m.NodeName = l.node.name
	f := m.GetFlow()
	switch {
	case f != nil:
		if f.NodeName != "" { // else nobody asked for it
			f.NodeName = l.node.name
		}
		l.came(m, t.when)
	case m.GetLostEvents() != nil:
		return s.send(m)
	}
	return nil
}

// sayRefused tells of nodes that have refused what others take: theirs may be another version.
// What all refuse is refused.
func (s *stream) sayRefused() error {
	switch {
	case s.refusal == nil:
		return nil
	case !s.accepted && len(s.lanes) == 0:
		return s.refusal
	case !s.accepted && time.Since(s.began) < s.r.silence:
		return nil
	}
	names := s.refused
	s.refused = nil
	return s.say(relay.NodeState_NODE_ERROR, names, status.Convert(s.refusal).Message())
}

// giveUp ends the streams of nodes that all others wait for in vain.
func (s *stream) giveUp(now time.Time) {
	if s.q.Follow {
		return
	}
	for _, l := range s.lanes {
		if l.head == nil && len(l.ch) == 0 && now.Sub(l.since) > s.r.silence {
			l.mute = true
			l.stop()
		}
	}
}

// tellKept sends the last of all that came.
func (s *stream) tellKept() error {
	for i := range s.kept {
		m := s.kept[(s.oldest+i)%len(s.kept)]
		if err := s.send(m); err != nil {
			return err
		}
	}
	return nil
}
