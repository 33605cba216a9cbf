package observe

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"weir/api/flow"
	"weir/api/observer"
)

const (
	maxReaders = 256              // at a time
	readAtOnce = 64               // records
	straggling = time.Second      // how much older than the one before a flow may be
	heartbeat  = 10 * time.Second // how often a reader that waits looks whether it may end
)

// request is what a reader asks for, checked.
type request struct {
	filter       *filter
	mask         mask
	since, until int64 // nanoseconds since 1970; 0: not given
	number       uint64
	first        bool
	follow       bool
}

func (o *Observer) parse(q *observer.GetFlowsRequest) (*request, error) {
	if err := unknownFields(q); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if q.Extensions != nil {
		return nil, status.Errorf(codes.InvalidArgument, "extensions: %s is not known here: leave it out", q.Extensions.TypeUrl)
	}
	r := &request{number: q.Number, first: q.First, follow: q.Follow}
	var err error
	if r.since, err = moment("since", q.Since); err == nil {
		r.until, err = moment("until", q.Until)
	}
	if err == nil && r.since != 0 && r.until != 0 && r.until < r.since {
		err = status.Errorf(codes.InvalidArgument, "until: %s is before since, %s: exchange them", stamp(r.until), stamp(r.since))
	}
	if err == nil {
		r.mask, err = parseMask(q.FieldMask)
	}
	if err == nil {
		r.filter, err = compile(q.Whitelist, q.Blacklist)
	}
	return r, err
}

func moment(name string, t *timestamppb.Timestamp) (int64, error) {
	if t == nil {
		return 0, nil
	}
	if err := t.CheckValid(); err != nil || t.AsTime().Year() < 1970 || t.AsTime().Year() > 2200 {
		return 0, status.Errorf(codes.InvalidArgument, "%s: %d s and %d ns is not a time of the years 1970 to 2200", name, t.Seconds, t.Nanos)
	}
	return max(t.AsTime().UnixNano(), 1), nil
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

func (r *request) wants(v *view) bool {
	return (r.since == 0 || v.when >= r.since) && (r.until == 0 || v.when <= r.until) && r.filter.matches(v)
}

// start is where the ring is to be read from, and up to where without following.
func (o *Observer) start(r *request) (from, to uint64) {
	from, to = o.ring.bounds()
	switch {
	case r.number > 0 && !r.first:
		from = o.latest(r, from, to)
	case r.follow && r.number == 0 && r.since == 0:
		from = to
	}
	return from, to
}

// latest is the number of the first of the last flows that are wanted.
func (o *Observer) latest(r *request, oldest, next uint64) uint64 {
	v := view{o: o}
	batch := make([]record, readAtOnce)
	left := r.number
	for at := next; at > oldest; {
		from := max(oldest, at-min(at, readAtOnce))
		first, n := o.ring.read(from, batch[:at-from])
		for i := n - 1; i >= 0; i-- {
			v.record, v.number = batch[i], first+uint64(i)
			if v.when < r.since-int64(straggling) {
				return v.number + 1
			}
			if v.part != lost && r.wants(&v) {
				if left--; left == 0 {
					return v.number
				}
			}
		}
		if first > from {
			return first // what is before was overwritten meanwhile
		}
		at = from
	}
	return oldest
}

// errDone ends a stream that has told all.
var errDone = errors.New("done")

// flows sends what a request asks for until there is no more, or ctx ends.
func (o *Observer) flows(ctx context.Context, r *request, send func(*observer.GetFlowsResponse) error) error {
	from, to := o.start(r)
	batch := make([]record, readAtOnce)
	s := teller{o: o, r: r, send: send, left: r.number}
	for ctx.Err() == nil {
		want := batch
		if !r.follow {
			if from >= to {
				return nil
			}
			want = batch[:min(uint64(len(batch)), to-from)]
		}
		first, n := o.ring.read(from, want)
		if first > from {
			o.tally.lost[lostByReaders].Add(first - from)
			if err := send(o.lostEvent(first-from, flow.LostEventSource_HUBBLE_RING_BUFFER)); err != nil {
				return err
			}
		}
		for i := range n {
			if err := s.tell(&batch[i], first+uint64(i)); errors.Is(err, errDone) {
				return nil
			} else if err != nil {
				return err
			}
		}
		from = first + uint64(n)
		if n == 0 && r.follow {
			if r.until != 0 && time.Now().UnixNano() > r.until+int64(straggling) {
				return nil
			}
			o.bell.wait(ctx, o.ring, from, heartbeat)
		}
	}
	return ctx.Err()
}

// teller is a stream on its way.
type teller struct {
	o    *Observer
	r    *request
	send func(*observer.GetFlowsResponse) error
	left uint64 // of number
}

func (s *teller) tell(x *record, number uint64) error {
	v := &view{record: *x, number: number, o: s.o}
	if !s.r.wants(v) {
		return nil
	}
	if v.part == lost {
		return s.send(s.o.lostEvent(uint64(v.lost), flow.LostEventSource_PERF_EVENT_RING_BUFFER))
	}
	f := s.r.mask.apply(v.tell())
	reply := &observer.GetFlowsResponse{ResponseTypes: &observer.GetFlowsResponse_Flow{Flow: f}, NodeName: s.o.nodeName(), Time: timestamppb.New(time.Unix(0, v.when))}
	if err := s.send(reply); err != nil {
		return err
	}
	if s.r.number > 0 && s.r.first {
		if s.left--; s.left == 0 {
			return errDone
		}
	}
	return nil
}

// lostEvent tells that n flows are missing at this place.
func (o *Observer) lostEvent(n uint64, source flow.LostEventSource) *observer.GetFlowsResponse {
	return &observer.GetFlowsResponse{ResponseTypes: &observer.GetFlowsResponse_LostEvents{LostEvents: &flow.LostEvent{Source: source, NumEventsLost: n}},
		NodeName: o.nodeName(), Time: timestamppb.Now()}
}
