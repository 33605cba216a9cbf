package datapath

import (
	"context"
	"fmt"
	"time"

	"weir/bpf"
)

// Events reads what programs tell: verdicts, which are drops and new connections,
// and traces, which are all other packets; and the answers of DNS that they copy. Only
// one may read at a time.
type Events struct {
	verdicts, traces *ring[bpf.Event]
	answers          *ring[bpf.DNSAnswer]
}

// OpenEvents maps the rings. What was told while nobody read is still there, as far
// as it found room.
func (d *Datapath) OpenEvents() (*Events, error) {
	verdicts, err := openRing[bpf.Event](d.maps.maps[bpf.MapEvents])
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", bpf.MapEvents, err)
	}
	traces, err := openRing[bpf.Event](d.maps.maps[bpf.MapTraces])
	if err != nil {
		verdicts.close()
		return nil, fmt.Errorf("open %s: %w", bpf.MapTraces, err)
	}
	answers, err := openRing[bpf.DNSAnswer](d.maps.maps[bpf.MapDNS])
	if err != nil {
		verdicts.close()
		traces.close()
		return nil, fmt.Errorf("open %s: %w", bpf.MapDNS, err)
	}
	return &Events{verdicts, traces, answers}, nil
}

// Close gives the rings' memory back.
func (e *Events) Close() {
	e.verdicts.close()
	e.traces.close()
	e.answers.close()
}

// Foreign counts what was found in the rings and is no event: left by programs of
// another version.
func (e *Events) Foreign() uint64 { return e.verdicts.foreign + e.traces.foreign + e.answers.foreign }

// Reader takes what programs tell. What it gets is in the kernel's memory: it is gone
// when the function returns.
type Reader struct {
	Event  func(*bpf.Event)
	Answer func(*bpf.DNSAnswer)
}

// Drain gives a reader all that is there, in the order of time as far as the lanes have
// it, and returns how many events that were.
//
// Where traces end is read first: whatever is told of a connection in them comes after
// its verdict, which is before the end of the other lane then. So does it after the
// answers that the connection was opened for.
func (e *Events) Drain(r Reader) (n int) {
	end := e.traces.end()
	last := e.verdicts.end()
	heard := e.answers.end()
	verdict, trace := e.verdicts.peek(last), e.traces.peek(end)
	for verdict != nil || trace != nil {
		n++
		if trace == nil || verdict != nil && verdict.Time <= trace.Time {
			e.hear(r, heard, verdict.Time)
			r.Event(verdict)
			e.verdicts.next()
			verdict = e.verdicts.peek(last)
			continue
		}
		e.hear(r, heard, trace.Time)
		r.Event(trace)
		e.traces.next()
		trace = e.traces.peek(end)
	}
	e.hear(r, heard, ^uint64(0))
	return n
}

// hear gives the answers up to a time.
func (e *Events) hear(r Reader, end, until uint64) {
	for a := e.answers.peek(end); a != nil && a.Time <= until; a = e.answers.peek(end) {
		r.Answer(a)
		e.answers.next()
	}
}

// RingOctets is what the rings of events have room for.
func (d *Datapath) RingOctets() uint32 {
	return d.maps.maps[bpf.MapEvents].MaxEntries() + d.maps.maps[bpf.MapTraces].MaxEntries()
}

// EventsLost counts the events that found no room since the counters were made.
func (d *Datapath) EventsLost() (verdicts, traces uint64, err error) {
	m := d.maps.maps[bpf.MapMetrics]
	if verdicts, err = counted(m, bpf.PlaceNone, bpf.ReasonEventLost); err != nil {
		return 0, 0, err
	}
	traces, err = counted(m, bpf.PlaceNone, bpf.ReasonTraceLost)
	return verdicts, traces, err
}

// AnswersLost counts the answers of DNS that found no room.
func (d *Datapath) AnswersLost() (uint64, error) {
	return counted(d.maps.maps[bpf.MapMetrics], bpf.PlaceNone, bpf.ReasonDNSLost)
}

// How long a reader waits between two looks. A look costs the same whether there is
// anything to see or not, some 70 to 140 microseconds of a core where this was
// measured, which is 1 % of it every 10 ms.
const (
	lookOften  = 5 * time.Millisecond
	lookRarely = 50 * time.Millisecond
)

// ReadEvents drains the rings until ctx ends, now and then, the more often the fuller
// they are: programs wake nobody, because that would cost more than the packet.
func (d *Datapath) ReadEvents(ctx context.Context, r Reader) error {
	e, err := d.OpenEvents()
	if err != nil {
		return err
	}
	defer e.Close()
	wait := lookOften
	look := time.NewTimer(wait)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			wait = nextLook(wait, max(e.verdicts.fill(), e.traces.fill(), e.answers.fill()))
			e.Drain(r)
			look.Reset(wait)
		}
	}
}

// nextLook is how long to wait when a lane was as full after that wait.
func nextLook(waited time.Duration, full float64) time.Duration {
	switch {
	case full > 1./8:
		return max(waited/2, lookOften)
	case full < 1./32:
		return min(waited*2, lookRarely)
	}
	return waited
}
