package agent

import (
	"testing"

	"weir/bpf"
	"weir/internal/heaptest"
)

// A flood of drops beside as many clients as there may be, none of which reads: what is
// kept for them is full soon, and nothing else grows.
func TestAFloodBesideSlowFollowersMakesNothingGrow(t *testing.T) {
	a := &Agent{drops: drops{come: make(chan numberedDrop, dropsKept)}}
	var slow []*follower
	for range followersMax {
		f, err := a.followers.add(func(*bpf.Event) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, f)
	}
	flood := func(events int) {
		for range events {
			a.event(&bpf.Event{Kind: uint8(bpf.EventDrop), Reason: uint8(bpf.DropPolicy)})
		}
	}
	flood(2 * followerQueue)
	before := heaptest.Alive()
	const events = 500000
	flood(events)
	if now := heaptest.Alive(); now > before+2<<20 {
		t.Errorf("%.1f MiB are alive, %.1f before %d drops", float64(now)/(1<<20), float64(before)/(1<<20), events)
	}
	for _, f := range slow {
		if kept, lost := f.take(nil); len(kept) != followerQueue || lost != events+followerQueue {
			t.Errorf("a client is told of %d and that %d are lost, want %d and %d", len(kept), lost, followerQueue, events+followerQueue)
		}
	}
	if a.drops.seq != events+2*followerQueue {
		t.Errorf("%d drops have numbers, want %d", a.drops.seq, events+2*followerQueue)
	}
}
