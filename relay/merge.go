package relay

import (
	"time"

	"weir/api/observer"
)

// heldBack is how long the flow of one node waits for earlier ones of others, of which
// nothing comes, when new flows are followed. Without following it waits for all.
const heldBack = 500 * time.Millisecond

// lane is one node's stream.
type lane struct {
	node *peerNode
	ch   chan told
	head *observer.GetFlowsResponse // a flow that waits for its turn; nil: none has come
	at   time.Time                  // when it was seen on the node
	came time.Time
}

// next is the lane whose flow has its turn: the earliest, once every lane has one or it
// has waited for as long as patience. Without patience it waits for all. nil: wait.
func next(lanes []*lane, now time.Time, patience time.Duration) *lane {
	var first *lane
	all := true
	for _, l := range lanes {
		switch {
		case l.head == nil:
			all = false
		case first == nil || l.at.Before(first.at):
			first = l
		}
	}
	if first == nil || !all && (patience == 0 || now.Sub(first.came) < patience) {
		return nil
	}
	return first
}
