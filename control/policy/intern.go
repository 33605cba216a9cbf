package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// intern gives every peer and prefix that changed its set, and those another
// chance for whose sets there was no room.
func (e *engine) intern() {
	for id := range e.poorPeers {
		e.dirtyPeers[id] = true
	}
	for id := range e.dirtyPeers {
		n, poor := uint32(0), false
		if p := e.peers[id]; p != nil {
			n, poor = e.setOf(e.fit(p.marks, &p.over))
		}
		note(e.poorPeers, id, poor)
		e.sets.give(e.peerSets.now[uint32(id)])
		if n == 0 {
			e.peerSets.del(uint32(id))
		} else {
			e.peerSets.set(uint32(id), n)
		}
	}
	clear(e.dirtyPeers)
	write := func(p netip.Prefix, n *prefixNode) {
		old, poor := n.set, false
		n.set, poor = e.setOf(e.fit(n.marks, &n.over))
		note(e.poorPrefixes, p, poor)
		e.sets.give(old)
		e.cidrs.set(p, n.set)
	}
	e.prefixes.flush(write, func(p netip.Prefix, n *prefixNode) {
		if n.over {
			e.over--
		}
		delete(e.poorPrefixes, p)
		e.sets.give(n.set)
		e.cidrs.del(p)
	})
	for p := range e.poorPrefixes {
		write(p, e.prefixes.nodes[p])
	}
}

func note[K comparable](m map[K]bool, k K, on bool) {
	if on {
		m[k] = true
	} else {
		delete(m, k)
	}
}

// setOf returns the number of a set. Without room for it that is the set that
// comes closest and allows nothing more: it has all marks that deny, and of the
// others no stranger.
func (e *engine) setOf(marks []mark) (n uint32, poor bool) {
	n = e.sets.take(marks)
	if n == 0 || e.sets.byHead[n].room(e.sets) {
		return n, false
	}
	best, found := e.closest(marks)
	if !found {
		return n, true // it is not written, and the error says so
	}
	e.sets.give(n)
	if best == nil {
		return 0, true
	}
	best.refs++
	return best.chain[0], true
}

// looks is among how many sets the closest one is looked for: a set that has to
// do with less is safe, and to compare all with all would take minutes.
const looks = 64

// closest returns the largest set that may stand for one with these marks; a nil
// one is the empty set.
func (e *engine) closest(marks []mark) (best *set, found bool) {
	found = e.poorer(nil, marks)
	left := looks
	try := func(x *set) {
		if x.refs > 0 && e.poorer(x.marks, marks) && (!found || best == nil || len(x.marks) > len(best.marks)) {
			best, found = x, true
		}
	}
	for _, m := range marks {
		if s := e.byNumber[m.number()]; !found && s != nil && !s.deny {
			continue // whoever stands for it has all marks that deny
		}
		for _, x := range e.sets.having(m) {
			if left--; left < 0 {
				return best, found
			}
			try(x)
		}
	}
	return best, found
}

// poorer reports whether a set denies all that another does, and allows no more.
// What a selector did that is no more nobody knows: both.
func (e *engine) poorer(a, than []mark) bool {
	for _, m := range a {
		if s := e.byNumber[m.number()]; (s == nil || !s.deny) && !slices.Contains(than, m) {
			return false
		}
	}
	for _, m := range than {
		if s := e.byNumber[m.number()]; (s == nil || s.deny) && !slices.Contains(a, m) {
			return false
		}
	}
	return true
}

func (e *engine) denies(m mark) bool { return e.byNumber[m.number()].deny }

// fit returns what of the marks a set takes, those that deny first, and counts
// who meets more.
func (e *engine) fit(marks []mark, over *bool) []mark {
	if *over != (len(marks) > most) {
		*over = !*over
		e.over += map[bool]int{true: 1, false: -1}[*over]
	}
	if !*over {
		return marks
	}
	out := slices.Clone(marks)
	rank := map[bool]int{true: 0, false: 1}
	slices.SortStableFunc(out, func(a, b mark) int { return cmp.Compare(rank[e.denies(a)], rank[e.denies(b)]) })
	out = out[:most]
	slices.Sort(out)
	return out
}
