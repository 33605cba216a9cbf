package agent

import (
	"testing"

	"weir/bpf"
)

// TestEventsOfNoKindAreCounted, and nobody is told of them.
func TestEventsOfNoKindAreCounted(t *testing.T) {
	a := &Agent{}
	for _, kind := range []uint8{0, uint8(bpf.EventPacket) + 1, 255} {
		a.event(&bpf.Event{Kind: kind})
	}
	if n := a.unknown.Load(); n != 3 {
		t.Errorf("%d, want 3", n)
	}
}
