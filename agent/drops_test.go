package agent

import (
	"testing"

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

func TestNoDropsAreAnEmptyList(t *testing.T) {
	var d drops
	if all := d.all(); all == nil || len(all) != 0 {
		t.Errorf("got %v", all)
	}
}
