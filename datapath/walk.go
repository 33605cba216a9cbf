package datapath

import (
	"context"
	"fmt"
	"time"

	"weir/bpf"
)

// Follow has the programs tell of the packets that w says; of none by the zero Walk.
func (d *Datapath) Follow(w bpf.Walk) error {
	if err := d.maps.maps[bpf.MapWalk].Put(uint32(0), w); err != nil {
		return fmt.Errorf("write %s: %w", bpf.MapWalk, err)
	}
	return nil
}

// lookForSteps is how often the ring is looked at while somebody follows packets.
const lookForSteps = 2 * time.Millisecond

// ReadSteps calls see for each step that the programs tell of until ctx ends, and for
// those that are there then.
func (d *Datapath) ReadSteps(ctx context.Context, see func(bpf.Step)) error {
	r, err := openRing[bpf.Step](d.maps.maps[bpf.MapSteps])
	if err != nil {
		return fmt.Errorf("open %s: %w", bpf.MapSteps, err)
	}
	defer r.close()
	look := time.NewTicker(lookForSteps)
	defer look.Stop()
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-look.C:
		}
		for end := r.end(); ; r.next() {
			s := r.peek(end)
			if s == nil {
				break
			}
			see(*s)
		}
	}
	return nil
}
