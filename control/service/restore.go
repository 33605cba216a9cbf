package service

import (
	"cmp"
	"slices"

	"weir/bpf"
	"weir/datapath"
)

// restore reads back what an earlier agent left: numbers go on meaning what they
// mean, and a restart without a change writes nothing.
func restore(maps *datapath.ServiceMaps) (*model, error) {
	rows, err := maps.Slots.Rows()
	if err != nil {
		return nil, err
	}
	m := newModel()
	held := maps.Services.Held()
	m.backends.adopt(maps.Backends.Held())
	m.frontends.adopt(maps.Frontends.Held(), held)
	for r := range maps.SourceRanges.Held() {
		m.dirty.ranges[r] = true
	}
	for k, v := range held {
		c := &claim{held: true, heldID: v.ID}
		m.claims[k], m.dirty.keys[k] = c, true
		maglev := bpf.ServiceFlag(v.Flags)&bpf.ServiceMaglev != 0
		for i, sel := range []bpf.Selection{v.Inside, v.Outside} {
			if c.named[i] = m.sets.recall(sel, maglev, rows); c.named[i] != nil {
				c.named[i].refs++
			}
		}
	}
	m.sets.occupy()
	return m, nil
}

// recall finds the set whose slots these are. One that is in a form that this agent
// would not have written is nobody's, and goes when nothing names it any more.
func (s *sets) recall(sel bpf.Selection, maglev bool, rows []bpf.Slots) *set {
	if sel.Count == 0 {
		return nil
	}
	if x := s.at[sel]; x != nil {
		return x
	}
	x := &set{maglev: maglev, count: sel.Count, written: true,
		span: span{sel.First / uint32(bpf.RowSlots), rowsFor(sel.Count)}}
	s.at[sel] = x
	end := uint64(x.span.first) + uint64(x.span.rows)
	if sel.First%uint32(bpf.RowSlots) != 0 || end > uint64(len(rows)) {
		x.span.rows = 0
		return x
	}
	there := rows[x.span.first:end]
	if x.members = s.membersOf(there, sel.Count); len(x.members) == 0 || slotCount(len(x.members), maglev) != sel.Count {
		x.members = nil
		return x
	}
	x.key = setKey(x.members, maglev)
	if s.of[x.key] != nil || !slices.Equal(x.rows(), there) {
		x.key, x.members = "", nil
		return x
	}
	s.keep(x)
	return x
}

// membersOf returns the backends that slots name, by number; none when one of them
// is not known.
func (s *sets) membersOf(rows []bpf.Slots, count uint32) []*backend {
	seen := map[uint32]bool{}
	var out []*backend
	for i := range count {
		n := rows[i/uint32(bpf.RowSlots)].Backends[i%uint32(bpf.RowSlots)]
		if seen[n] {
			continue
		}
		b := s.backends.by(n)
		if b == nil {
			return nil
		}
		seen[n] = true
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b *backend) int { return cmp.Compare(a.number, b.number) })
	return out
}

// occupy takes the slots of what was recalled.
func (s *sets) occupy() {
	var all []*set
	for _, x := range s.at {
		if x.span.rows > 0 {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b *set) int { return cmp.Compare(a.span.first, b.span.first) })
	var used []span
	for _, x := range all {
		if n := len(used); n > 0 && x.span.first < used[n-1].first+used[n-1].rows {
			x.span.rows = 0 // nothing of ours overlaps: it is not this one's to free
			continue
		}
		used = append(used, x.span)
	}
	s.space.adopt(used)
}
