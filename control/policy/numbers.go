package policy

import (
	"maps"
	"slices"
)

// numbers gives out numbers from 1, each to one user at a time. A number that
// was given back rests until the maps no longer name it, and is used again as
// late as possible.
type numbers struct {
	most    uint32 // numbers above are given out, too, and do not fit
	next    uint32
	free    []uint32 // oldest first
	resting []uint32
	above   int // in use above most
	used    int
	// Numbers that the map had when the agent started and nobody has claimed yet.
	unclaimed map[uint32]bool
}

func newNumbers(most int) *numbers { return &numbers{most: uint32(most), next: 1} }

func (n *numbers) take() uint32 {
	n.used++
	if n.next > n.most && len(n.free) > 0 {
		x := n.free[0]
		n.free = n.free[1:]
		return x
	}
	x := n.next
	n.next++
	if x > n.most {
		n.above++
	}
	return x
}

// give takes a number back. One that did not fit was never in a map.
func (n *numbers) give(x uint32) {
	n.used--
	if x > n.most {
		if n.above--; n.above == 0 && n.next > n.most {
			n.next = n.most + 1
		}
		return
	}
	n.resting = append(n.resting, x)
}

// settle ends the rest: no map names what was given back.
func (n *numbers) settle() {
	n.free = append(n.free, n.resting...)
	n.free = append(n.free, slices.Sorted(maps.Keys(n.unclaimed))...)
	n.used -= len(n.unclaimed)
	n.resting, n.unclaimed = nil, nil
}

// fits reports whether every number in use is one that the maps can hold.
func (n *numbers) fits() bool { return n.above == 0 }

// adopt learns which numbers are in use already, before any is given out. Those
// that nobody claims until the first pass is done are free then.
func (n *numbers) adopt(taken map[uint32]bool) {
	n.unclaimed = map[uint32]bool{}
	for _, x := range slices.Sorted(maps.Keys(taken)) {
		if x == 0 || x > n.most {
			continue
		}
		for ; n.next < x; n.next++ {
			n.free = append(n.free, n.next)
		}
		n.next = x + 1
		n.used++
		n.unclaimed[x] = true
	}
}

// claimOrTake returns the number that the map has for something, when nobody
// else has claimed it, or another one.
func (n *numbers) claimOrTake(x uint32) uint32 {
	if !n.unclaimed[x] {
		return n.take()
	}
	delete(n.unclaimed, x)
	return x
}
