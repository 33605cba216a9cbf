package datapath

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"

	"weir/bpf"
)

// Follow has the programs tell of the packets that w says; of none by the zero Walk.
func (d *Datapath) Follow(w bpf.Walk) error {
	if err := d.maps.maps[bpf.MapWalk].Put(uint32(0), w); err != nil {
		return fmt.Errorf("write %s: %w", bpf.MapWalk, err)
	}
	return nil
}

// ReadSteps calls see for each step that the programs tell of until ctx ends, and for
// those that are there then.
func (d *Datapath) ReadSteps(ctx context.Context, see func(bpf.Step)) error {
	r, err := ringbuf.NewReader(d.maps.maps[bpf.MapSteps])
	if err != nil {
		return fmt.Errorf("open %s: %w", bpf.MapSteps, err)
	}
	defer r.Close()
	var record ringbuf.Record
	for last := false; ; {
		r.SetDeadline(time.Now().Add(2 * time.Millisecond))
		switch err := r.ReadInto(&record); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if last {
				return nil
			}
			last = ctx.Err() != nil
			continue
		case err != nil:
			return fmt.Errorf("read %s: %w", bpf.MapSteps, err)
		case len(record.RawSample) < int(unsafe.Sizeof(bpf.Step{})):
			return fmt.Errorf("read %s: a step of %d octets", bpf.MapSteps, len(record.RawSample))
		}
		see(*(*bpf.Step)(unsafe.Pointer(unsafe.SliceData(record.RawSample))))
	}
}
