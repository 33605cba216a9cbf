package service

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"weir/bpf"
)

// set is backends among which a new connection finds its own. Ports that have the
// same share one. What is in its slots never changes.
type set struct {
	key     string
	maglev  bool
	members []*backend // by number
	count   uint32     // of slots
	span    span
	written bool
	refs    int // ports that want it, and entries of weir_services that name it
}

// selection names the set's slots.
func (s *set) selection() bpf.Selection {
	if s == nil {
		return bpf.Selection{}
	}
	return bpf.Selection{First: s.span.first * uint32(bpf.RowSlots), Count: s.count}
}

// sets are all there are.
type sets struct {
	backends  *backends
	space     *slotSpace
	of        map[string]*set
	at        map[bpf.Selection]*set
	unwritten map[*set]bool
	idle      map[*set]bool // may have no user any more
}

func newSets(b *backends) *sets {
	return &sets{backends: b, space: newSlotSpace(), of: map[string]*set{}, at: map[bpf.Selection]*set{},
		unwritten: map[*set]bool{}, idle: map[*set]bool{}}
}

// setKey tells sets apart; members are in their order.
func setKey(members []*backend, maglev bool) string {
	out := make([]byte, 0, 4*len(members)+1)
	if maglev {
		out = append(out, 'm')
	}
	for _, b := range members {
		out = binary.NativeEndian.AppendUint32(out, b.number)
	}
	return string(out)
}

// use returns the set of these backends, with one user more; none of them is nil.
func (s *sets) use(members []*backend, maglev bool) *set {
	if len(members) == 0 {
		return nil
	}
	slices.SortFunc(members, func(a, b *backend) int { return cmp.Compare(a.number, b.number) })
	key := setKey(members, maglev)
	x := s.of[key]
	if x == nil {
		x = &set{key: key, maglev: maglev, members: members, count: slotCount(len(members), maglev)}
		x.span = s.space.take(rowsFor(x.count))
		s.keep(x)
		s.unwritten[x] = true
	}
	x.refs++
	return x
}

func (s *sets) keep(x *set) {
	s.of[x.key], s.at[x.selection()] = x, x
	for _, b := range x.members {
		b.refs++
	}
}

// replan gives other slots to sets that had no room, the small ones first: what
// fits is not to wait for what does not.
func (s *sets) replan() {
	all := slices.SortedFunc(maps.Keys(s.unwritten), func(a, b *set) int {
		return cmp.Or(cmp.Compare(a.span.rows, b.span.rows), cmp.Compare(a.key, b.key))
	})
	for _, x := range all {
		delete(s.at, x.selection())
		s.space.free(x.span)
	}
	for _, x := range all {
		x.span = s.space.take(x.span.rows)
		s.at[x.selection()] = x
	}
}

func (s *sets) leave(x *set) {
	if x == nil {
		return
	}
	if x.refs--; x.refs == 0 {
		s.idle[x] = true
	}
}

// sweep frees the slots of sets that nobody uses.
func (s *sets) sweep(now time.Time) {
	for x := range s.idle {
		if x.refs > 0 {
			continue
		}
		if s.of[x.key] == x {
			delete(s.of, x.key)
		}
		delete(s.at, x.selection())
		delete(s.unwritten, x)
		for _, b := range x.members {
			s.backends.leave(b)
		}
		switch {
		case x.span.rows == 0:
		case x.written:
			s.space.give(x.span, now)
		default:
			s.space.free(x.span)
		}
	}
	clear(s.idle)
}

func slotCount(members int, maglev bool) uint32 {
	if maglev {
		return tableSize(members)
	}
	return uint32(members)
}

func rowsFor(count uint32) uint32 { return (count + uint32(bpf.RowSlots) - 1) / uint32(bpf.RowSlots) }

// rows are the set's slots.
func (s *set) rows() []bpf.Slots {
	out := make([]bpf.Slots, s.span.rows)
	put := func(i int, b *backend) { out[i/int(bpf.RowSlots)].Backends[i%int(bpf.RowSlots)] = b.number }
	if !s.maglev {
		for i, b := range s.members {
			put(i, b)
		}
		return out
	}
	keys := make([]backendKey, len(s.members))
	for i, b := range s.members {
		keys[i] = b.key
	}
	for i, who := range maglev(keys) {
		put(i, s.members[who])
	}
	return out
}
