package service

import (
	"time"
)

// span is rows of weir_slots that follow each other.
type span struct{ first, rows uint32 }

// slotSpace is which rows of weir_slots are free. A span that was freed rests before
// it is used again: a program may have read where it is, and not yet what is in it.
type slotSpace struct {
	end     uint32                     // rows from here on were never used
	size    map[uint32]map[uint32]bool // free spans by their length
	from    map[uint32]uint32          // length of the free span that begins there
	till    map[uint32]uint32          // length of the free span that ends before
	resting []rested
}

type rested struct {
	span
	since time.Time
}

// slotRest is how long a span rests.
const slotRest = time.Second

func newSlotSpace() *slotSpace {
	return &slotSpace{size: map[uint32]map[uint32]bool{}, from: map[uint32]uint32{}, till: map[uint32]uint32{}}
}

// take returns rows that nothing names: of the smallest free span that has as many.
func (s *slotSpace) take(rows uint32) span {
	best := uint32(0)
	for n := range s.size {
		if n >= rows && (best == 0 || n < best) {
			best = n
		}
	}
	if best == 0 {
		s.end += rows
		return span{s.end - rows, rows}
	}
	first := uint32(0)
	for f := range s.size[best] {
		first = f
		break
	}
	s.remove(span{first, best})
	if best > rows {
		s.add(span{first + rows, best - rows})
	}
	return span{first, rows}
}

func (s *slotSpace) add(x span) {
	if s.size[x.rows] == nil {
		s.size[x.rows] = map[uint32]bool{}
	}
	s.size[x.rows][x.first] = true
	s.from[x.first], s.till[x.first+x.rows] = x.rows, x.rows
}

func (s *slotSpace) remove(x span) {
	delete(s.size[x.rows], x.first)
	if len(s.size[x.rows]) == 0 {
		delete(s.size, x.rows)
	}
	delete(s.from, x.first)
	delete(s.till, x.first+x.rows)
}

// give takes rows back.
func (s *slotSpace) give(x span, now time.Time) { s.resting = append(s.resting, rested{x, now}) }

// wake ends the rest of spans that have rested long enough.
func (s *slotSpace) wake(now time.Time) {
	n := 0
	for ; n < len(s.resting) && now.Sub(s.resting[n].since) >= slotRest; n++ {
		s.free(s.resting[n].span)
	}
	s.resting = s.resting[n:]
}

// free joins a span with the free ones beside it.
func (s *slotSpace) free(x span) {
	if n, ok := s.till[x.first]; ok {
		s.remove(span{x.first - n, n})
		x = span{x.first - n, n + x.rows}
	}
	if n, ok := s.from[x.first+x.rows]; ok {
		s.remove(span{x.first + x.rows, n})
		x.rows += n
	}
	if x.first+x.rows == s.end {
		s.end = x.first
		return
	}
	s.add(x)
}

// adopt makes all rows free but those of these spans, which must not overlap and
// come in their order.
func (s *slotSpace) adopt(used []span) {
	for _, x := range used {
		if x.first > s.end {
			s.add(span{s.end, x.first - s.end})
		}
		s.end = x.first + x.rows
	}
}
