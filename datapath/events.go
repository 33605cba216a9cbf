package datapath

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"weir/bpf"
)

// ReadEvents calls see for each event of weir_events until ctx ends, looking
// every so often: programs wake nobody, because that would cost more than the
// packet.
func (d *Datapath) ReadEvents(ctx context.Context, every time.Duration, see func(bpf.Event)) error {
	r, err := ringbuf.NewReader(d.maps.maps[bpf.MapEvents])
	if err != nil {
		return fmt.Errorf("open %s: %w", bpf.MapEvents, err)
	}
	defer r.Close()
	var record ringbuf.Record
	for ctx.Err() == nil {
		r.SetDeadline(time.Now().Add(every))
		err := r.ReadInto(&record)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return fmt.Errorf("read %s: %w", bpf.MapEvents, err)
		}
		var e bpf.Event
		if err := binary.Read(bytes.NewReader(record.RawSample), binary.NativeEndian, &e); err != nil {
			return fmt.Errorf("decode an event of %d octets: %w", len(record.RawSample), err)
		}
		see(e)
	}
	return nil
}
