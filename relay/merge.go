package relay

import (
	"context"
	"time"

	"weir/api/observer"
)

// heldBack is how long the flow of one node waits for earlier ones of others, of which
// nothing comes, when new flows are followed. Without following it waits for all.
const heldBack = 500 * time.Millisecond

// lane is one node's stream.
type lane struct {
	node  *peerNode
	ch    chan told
	asked time.Time
	since time.Time                  // when it was waited for: since it was asked, or its last flow had its turn
	stop  context.CancelFunc         // of its stream
	mute  bool                       // it was given up
	told  bool                       // a flow has come
	head  *observer.GetFlowsResponse // a flow that waits for its turn; nil: none has come
	at    time.Time                  // when it was seen, by the node's clock
	ahead time.Duration              // how much that clock is ahead of ours at least
}

// came is told of a flow that was received at a time.
func (l *lane) came(m *observer.GetFlowsResponse, received time.Time) {
	l.head, l.at, l.told = m, m.Time.AsTime(), true
	l.ahead = max(l.ahead, l.at.Sub(received))
}

// next is the lane whose flow has its turn: the earliest, once every lane has one or it is
// older than patience, so that however many come of one node, they go on as they come.
// Whoever has told nothing yet gets as long from when it was asked. Without patience all
// are waited for. nil: wait.
func next(lanes []*lane, now time.Time, patience time.Duration) *lane {
	var first *lane
	all := true
	var asked time.Time
	for _, l := range lanes {
		switch {
		case l.head == nil:
			all = false
			if !l.told && l.asked.After(asked) {
				asked = l.asked
			}
		case first == nil || l.at.Before(first.at):
			first = l
		}
	}
	if first == nil || all {
		return first
	}
	if patience == 0 || now.Sub(first.at.Add(-first.ahead)) < patience || now.Sub(asked) < patience {
		return nil
	}
	return first
}
