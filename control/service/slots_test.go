package service

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestSlotsRestForASecondBeforeTheyAreUsedAgain(t *testing.T) {
	s, now := newSlotSpace(), time.Unix(0, 0)
	a, b := s.take(3), s.take(2)
	s.give(a, now)
	s.wake(now.Add(slotRest - 1))
	if c := s.take(2); c.first < b.first {
		t.Errorf("%v was used again at once", c)
	}
	s.wake(now.Add(slotRest))
	if c := s.take(2); c.first != a.first {
		t.Errorf("got %v, want rows of %v", c, a)
	}
}

// Whatever is taken and freed, no two spans overlap, and all that is free joins.
func TestSpansNeverOverlap(t *testing.T) {
	for seed := range uint64(50) {
		r, s := rand.New(rand.NewPCG(seed, 1)), newSlotSpace()
		var live []span
		owner := map[uint32]bool{}
		for range 400 {
			if r.IntN(5) < 3 {
				x := s.take(uint32(1 + r.IntN(9)))
				for i := range x.rows {
					if owner[x.first+i] {
						t.Fatalf("seed %d: row %d is of two", seed, x.first+i)
					}
					owner[x.first+i] = true
				}
				live = append(live, x)
			} else if len(live) > 0 {
				i := r.IntN(len(live))
				for j := range live[i].rows {
					delete(owner, live[i].first+j)
				}
				s.free(live[i])
				live = append(live[:i], live[i+1:]...)
			}
		}
		for _, x := range live {
			s.free(x)
		}
		if s.end != 0 || len(s.from)+len(s.till)+len(s.size) != 0 {
			t.Fatalf("seed %d: all is free, and %+v is left", seed, s)
		}
	}
}

func TestNumbersAreUsedAgainAsLateAsPossible(t *testing.T) {
	n := newNumbers(2)
	n.adopt(map[uint32]bool{3: true})
	for i, want := range []uint32{4, 5, 6} { // 1 and 2 are free, and rest
		if got := n.take(); got != want {
			t.Errorf("take %d: %d, want %d", i, got, want)
		}
	}
	n.give(5)
	if got := n.take(); got != 1 {
		t.Errorf("got %d, want the one that is free for longest", got)
	}
	n.claim(5)
	if got := n.take(); got != 7 {
		t.Errorf("got %d, want another", got)
	}
}
