package agent

import (
	"testing"

	"weir/bpf"
)

// A client that does not read costs its queue, and nobody else an event.
func TestSlowFollowerLosesAloneAndIsTold(t *testing.T) {
	var f followers
	everything := func(*bpf.Event) bool { return true }
	slow, err := f.add(everything)
	if err != nil {
		t.Fatal(err)
	}
	quick, _ := f.add(func(e *bpf.Event) bool { return e.Sport%2 == 0 })
	var done []bpf.Event
	seen := 0
	for i := range 10 * followerQueue {
		f.tell(&bpf.Event{Sport: uint16(i)})
		if i%100 == 99 {
			events, lost := quick.take(done)
			if lost != 0 {
				t.Fatalf("the quick one lost %d", lost)
			}
			seen += len(events)
			done = events
		}
	}
	events, _ := quick.take(done)
	if seen += len(events); seen != 5*followerQueue {
		t.Errorf("the quick one got %d, want every second of %d", seen, 10*followerQueue)
	}
	events, lost := slow.take(nil)
	if len(events) != followerQueue || lost != 9*followerQueue {
		t.Errorf("the slow one got %d and lost %d", len(events), lost)
	}
	for i, e := range events {
		if e.Sport != uint16(i) {
			t.Fatalf("event %d is number %d: the first ones count", i, e.Sport)
		}
	}
	if events, lost := slow.take(events); len(events) != 0 || lost != 0 {
		t.Errorf("%d more, %d lost", len(events), lost)
	}
	f.remove(slow)
	f.tell(&bpf.Event{})
	if events, _ := slow.take(nil); len(events) != 0 {
		t.Error("one that is gone is told")
	}
}

func TestFollowersAreBounded(t *testing.T) {
	var f followers
	nothing := func(*bpf.Event) bool { return false }
	var last *follower
	for range followersMax {
		one, err := f.add(nothing)
		if err != nil {
			t.Fatal(err)
		}
		last = one
	}
	if _, err := f.add(nothing); err == nil {
		t.Error("one more than there may be")
	}
	f.remove(last)
	if _, err := f.add(nothing); err != nil {
		t.Errorf("after one is gone: %v", err)
	}
}

func BenchmarkTellNobody(b *testing.B) {
	var f followers
	e := bpf.Event{}
	for b.Loop() {
		f.tell(&e)
	}
}
