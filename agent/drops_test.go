package agent

import (
	"testing"
	"time"

	api "weir/api/agent"
	"weir/bpf"
)

// A flood waits for nobody, takes no more memory than there is for it, and leaves its
// numbers out.
func TestFloodOfDropsLeavesSomeOut(t *testing.T) {
	d := drops{come: make(chan numberedDrop, dropsKept)}
	const flood = 5 * dropsKept
	for range flood {
		d.note(&bpf.Event{})
	}
	if len(d.come) != dropsKept {
		t.Errorf("%d wait, want %d", len(d.come), dropsKept)
	}
	for range dropsKept {
		d.keep(api.Drop{Seq: (<-d.come).seq})
	}
	d.note(&bpf.Event{})
	d.keep(api.Drop{Seq: (<-d.come).seq})
	all := d.all()
	if len(all) != dropsKept || all[0].Seq != 2 || all[dropsKept-1].Seq != flood+1 || all[dropsKept-2].Seq != dropsKept {
		t.Errorf("%d are kept, from %d to %d and %d", len(all), all[0].Seq, all[dropsKept-2].Seq, all[dropsKept-1].Seq)
	}
}

// A burst is explained at once, a flood for a share of a core.
func TestExplainingAFloodHasAPace(t *testing.T) {
	var p pace
	now := time.Now()
	count := func(turns int) (got int) {
		for range turns {
			if p.wait(now) == 0 {
				got++
			}
		}
		return got
	}
	if got := count(10 * dropsKept); got != dropsKept {
		t.Errorf("%d of a burst have their turn at once, want %d", got, dropsKept)
	}
	got := 0
	for range 100 {
		now = now.Add(10 * time.Millisecond)
		got += count(1000)
	}
	if got < explainedASecond-1 || got > explainedASecond+1 {
		t.Errorf("%d have their turn in a second, want %d", got, explainedASecond)
	}
	now = now.Add(time.Hour)
	if got := count(10 * dropsKept); got != dropsKept {
		t.Errorf("%d of the next burst, want %d", got, dropsKept)
	}
}

func TestNoDropsAreAnEmptyList(t *testing.T) {
	var d drops
	if all := d.all(); all == nil || len(all) != 0 {
		t.Errorf("got %v", all)
	}
}
