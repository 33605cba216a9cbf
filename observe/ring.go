package observe

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// chunkRecords is how much memory the ring takes at a time, until it is full.
const chunkRecords = 256

// ring holds the latest records. Records have numbers from 0 on.
type ring struct {
	mu     sync.Mutex
	size   uint64
	chunks [][]record
	next   uint64 // number of the next record: how many there ever were
}

func newRing(size int) *ring { return &ring{size: uint64(size)} }

// put copies a record in, over the oldest one if need be.
func (r *ring) put(x *record) {
	r.mu.Lock()
	at := r.next % r.size
	if at/chunkRecords == uint64(len(r.chunks)) {
		r.chunks = append(r.chunks, make([]record, min(chunkRecords, r.size-at)))
	}
	r.chunks[at/chunkRecords][at%chunkRecords] = *x
	r.next++
	r.mu.Unlock()
}

// bounds are the numbers of the oldest record and of the next.
func (r *ring) bounds() (oldest, next uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.oldest(), r.next
}

func (r *ring) oldest() uint64 {
	if r.next > r.size {
		return r.next - r.size
	}
	return 0
}

// read copies records from a number on, as many as there are and fit. first is the number
// of the first one: a larger one than asked for when that was overwritten.
func (r *ring) read(from uint64, into []record) (first uint64, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first = max(from, r.oldest())
	for n < len(into) && first+uint64(n) < r.next {
		at := (first + uint64(n)) % r.size
		chunk := r.chunks[at/chunkRecords][at%chunkRecords:]
		room := min(uint64(len(into)-n), r.next-first-uint64(n))
		n += copy(into[n:n+int(room)], chunk)
	}
	return first, n
}

// lookForRecords is how often readers who wait for more are woken if there is.
const lookForRecords = 10 * time.Millisecond

// bell wakes readers. It rings a few times a second and not for every record, so that
// Add has nothing to do with them, and looks at nothing while nobody waits.
type bell struct {
	waiting atomic.Int64
	wanted  chan struct{} // of one: somebody waits
	mu      sync.Mutex
	rung    chan struct{} // closed by the next ring
}

func newBell() bell { return bell{wanted: make(chan struct{}, 1)} }

// wait returns when the ring has a record of this number, or the time is up.
func (b *bell) wait(ctx context.Context, r *ring, number uint64, patience time.Duration) {
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	select {
	case b.wanted <- struct{}{}:
	default: // it is looked for already
	}
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		b.mu.Lock()
		if b.rung == nil {
			b.rung = make(chan struct{})
		}
		rung := b.rung
		b.mu.Unlock()
		if _, next := r.bounds(); next > number {
			return
		}
		select {
		case <-rung:
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// run rings until ctx ends, when anybody waits and there is something new.
func (b *bell) run(ctx context.Context, r *ring) {
	tick := time.NewTicker(lookForRecords)
	defer tick.Stop()
	var seen uint64
	for {
		if b.waiting.Load() == 0 {
			tick.Stop()
			select {
			case <-ctx.Done():
				return
			case <-b.wanted:
			}
			tick.Reset(lookForRecords)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, next := r.bounds(); next != seen {
			seen = next
			b.ring()
		}
	}
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}
