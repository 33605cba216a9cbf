package bpftest

import (
	"testing"
	"time"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// Of a flood of drops as many are told of as the budget of a second allows, by all
// programs of a CPU together; the rest is counted, and so is every drop.
func TestFloodOfDropsIsToldOfAsFarAsItsBudget(t *testing.T) {
	cfg := telling(config(), bpf.MonitorMedium)
	cfg.DropEvents = 10
	n := filled(t, cfg)
	l := n.lanes(t)
	f := families[0]
	spoofed := f.from(f.peer)
	spoofed.src = f.world
	own := f.into(f.peer) // of a pod of this node, which does not come from elsewhere
	own.src = f.pod
	told, lost := 0, 0
	linktest.Eventually(t, 10*time.Second, "both budgets of one window", func() bool { // the clock may tick between two packets
		before := n.lost(t)[0]
		began := time.Now()
		for range 15 {
			n.send(t, bpf.ProgFromPod, spoofed)
			n.send(t, bpf.ProgFromNetdev, own)
		}
		told, lost = len(l.verdicts.all(t)), n.lost(t)[0]-before
		if told+lost != 30 {
			t.Fatalf("%d events and %d lost of 30 drops", told, lost)
		}
		return told == 10 && time.Since(began) < time.Second
	})
	if told != 10 || lost != 20 {
		t.Errorf("%d events, %d lost, want 10 and 20", told, lost)
	}
}
