package relay

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weir/api/observer"
)

const (
	// maxNumber bounds what has to be held to know the last so many of all nodes.
	maxNumber = 65536
	// maxHeld bounds that of all readers together; those of at most smallNumber do not count.
	maxHeld     = 2 * maxNumber
	smallNumber = 1024
)

// hold makes room for the flows that have to be held for a request. The caller lets go of it.
func (r *Relay) hold(q *observer.GetFlowsRequest) (letGo func(), err error) {
	switch {
	case q.Follow || q.First || q.Number <= smallNumber:
		return func() {}, nil
	case q.Number > maxNumber:
		return nil, status.Errorf(codes.InvalidArgument, "number: %d: a relay tells at most %d: ask with since and until for more", q.Number, maxNumber)
	}
	n := int64(q.Number)
	if held := r.held.Add(n); held > maxHeld {
		r.held.Add(-n)
		return nil, status.Errorf(codes.ResourceExhausted, "number: %d: the relay holds the last %d flows for others and has no room: ask for %d at most, or with since and until", q.Number, held-n, smallNumber)
	}
	return func() { r.held.Add(-n) }, nil
}
