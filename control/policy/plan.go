package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"weir/bpf"
	"weir/datapath"
)

// plan is the writes that bring the maps from what they hold to what is wanted,
// in the order of the package's comment. Each step may be done again.
type plan struct {
	e    *engine
	m    *datapath.PolicyMaps
	full bool // what the maps hold is not what the last pass wanted

	live    map[uint32]bool // classes that a row of an endpoint names
	wanted  map[uint32]bool // classes that are wanted
	dirty   map[uint32]bool // classes of which a verdict may differ
	fresh   func(*selector) bool
	borrows []uint32 // sets that only the way needs
	pause   bool     // there is no safe way: nobody is let through until all is written

	deny, open, complete map[bpf.PolicyRuleKey]bpf.PolicyRule // see rules
	close, garbage       []bpf.PolicyRuleKey
	rowsEarly, rowsLate  map[bpf.PolicyRowKey]bpf.PolicyRow
	rowsGone             []bpf.PolicyRowKey
	rangesComplete       map[bpf.PolicyRangeKey]uint32
	rangesSwitch         map[bpf.PolicyRangeKey]uint32
	rangesGone           []bpf.PolicyRangeKey
	rangesGarbage        []bpf.PolicyRangeKey
	setsPut              map[uint32]bpf.PolicySet
	setsGone             []uint32
	peersClose           map[uint32]uint32
	peersPut             map[uint32]uint32
	peersGone            []uint32
	cidrs                cidrPlan
	rowsOf               endpointPlan
}

// newPlan plans the pass. The engine is derived.
func newPlan(e *engine, m *datapath.PolicyMaps, full bool) *plan {
	p := &plan{e: e, m: m, full: full, live: map[uint32]bool{}, wanted: map[uint32]bool{}, dirty: map[uint32]bool{}}
	held := m.Endpoints.Held()
	for _, row := range held {
		p.live[row.PolicyClass] = true
	}
	e.rebirth(m)
	for _, c := range e.classes {
		p.wanted[c.number] = true
	}
	p.freshness()
	p.rules()
	p.rows()
	p.ranges()
	p.peers()
	p.prefixes()
	p.sets()
	p.endpoints(held)
	return p
}

// freshness tells selectors that no rule in the maps names: whoever gains one
// gains nothing yet.
func (p *plan) freshness() {
	p.fresh = func(s *selector) bool { return s.born == p.e.pass }
	if !p.full {
		return
	}
	named := map[uint32]bool{}
	for k := range p.m.Rules.Held() {
		named[uint32(k.Selector)] = true
	}
	p.fresh = func(s *selector) bool { return !named[s.number] }
}

// rules sorts the changed rules: those of classes and ranges that no endpoint
// gets to yet (complete), those that deny, those that allow, and those that go,
// at once (close) or when nothing names them any more (garbage).
func (p *plan) rules() {
	p.complete, p.deny, p.open = map[bpf.PolicyRuleKey]bpf.PolicyRule{}, map[bpf.PolicyRuleKey]bpf.PolicyRule{}, map[bpf.PolicyRuleKey]bpf.PolicyRule{}
	for k := range p.e.rules.touched {
		want, wants := p.e.rules.now[k]
		raw := k.raw()
		old, had := p.m.Rules.Get(raw)
		ranged := k.row.level == uint8(bpf.LevelRange)
		switch {
		case wants && had && old == want.raw(), !wants && !had:
			continue
		case wants && !p.live[k.row.class]:
			p.complete[raw] = want.raw()
		case wants && ranged && !p.heldRow(k.row):
			p.complete[raw] = want.raw()
		case wants && want.flags&uint32(bpf.RuleDeny) != 0:
			p.deny[raw] = want.raw()
		case wants:
			p.open[raw] = want.raw()
		case !p.wanted[k.row.class], ranged && p.e.rows.now[k.row] == 0, old.Flags&uint32(bpf.RuleDeny) != 0:
			p.garbage = append(p.garbage, raw)
		default:
			p.close = append(p.close, raw)
		}
		p.dirty[k.row.class] = true
	}
}

func (p *plan) heldRow(k rowKey) bool {
	_, ok := p.m.Rows.Get(k.raw())
	return ok
}

// rows plans the bits of rows: a bit is there before its first rule, and until
// after its last.
func (p *plan) rows() {
	p.rowsEarly, p.rowsLate = map[bpf.PolicyRowKey]bpf.PolicyRow{}, map[bpf.PolicyRowKey]bpf.PolicyRow{}
	for k := range p.e.rows.touched {
		raw, want := k.raw(), p.e.rows.now[k]
		old, had := p.m.Rows.Get(raw)
		if want != 0 {
			p.rowsEarly[raw] = bpf.PolicyRow{Selectors: old.Selectors | want}
			p.rowsLate[raw] = bpf.PolicyRow{Selectors: want}
		} else if had {
			p.rowsGone = append(p.rowsGone, raw)
		}
	}
}

func (p *plan) ranges() {
	p.rangesComplete, p.rangesSwitch = map[bpf.PolicyRangeKey]uint32{}, map[bpf.PolicyRangeKey]uint32{}
	for k := range p.e.ranges.touched {
		raw := k.raw()
		want, wants := p.e.ranges.now[k]
		old, had := p.m.Ranges.Get(raw)
		switch {
		case wants && had && old == want, !wants && !had:
			continue
		case wants && !p.live[k.class]:
			p.rangesComplete[raw] = want
		case wants:
			p.rangesSwitch[raw] = want
		case !p.wanted[k.class]:
			p.rangesGarbage = append(p.rangesGarbage, raw)
		default:
			p.rangesGone = append(p.rangesGone, raw)
		}
		p.dirty[k.class] = true
	}
}

// between returns what a peer may meet on the way from its old marks to its new
// ones: all that deny of either, those that allow of both, and those that no
// rule names yet, or any more.
func (p *plan) between(old, now []mark) []mark {
	var out []mark
	rank := map[mark]int{}
	keep := func(m mark, r int) {
		out = insert(out, m)
		rank[m] = r
	}
	for _, m := range old {
		s := p.e.byNumber[m.number()]
		if s == nil || s.deny || slices.Contains(now, m) {
			keep(m, 0)
		}
	}
	for _, m := range now {
		s := p.e.byNumber[m.number()]
		switch {
		case s.deny:
			keep(m, 0)
		case p.fresh(s):
			keep(m, 1)
		}
	}
	if len(out) > most {
		slices.SortStableFunc(out, func(a, b mark) int { return cmp.Compare(rank[a], rank[b]) })
		out = out[:most]
		slices.Sort(out)
	}
	return out
}

// borrow returns a set for the way from one to another. Without room for it that
// is one of those wanted that allows nothing more; or none, and then everybody is
// cut off while the maps are written.
func (p *plan) borrow(way []mark) (uint32, bool) {
	n := p.e.sets.take(way)
	if p.e.sets.numbers.fits() {
		p.borrows = append(p.borrows, n)
		return n, true
	}
	p.e.sets.give(n)
	if p.e.poorer(nil, way) {
		return 0, true
	}
	if x, ok := p.e.closest(way); ok && x != nil {
		return x.chain[0], true
	}
	p.pause = true
	return 0, false
}

// heldMarks reads a set as the maps have it.
func (p *plan) heldMarks(head uint32) []mark {
	marks, _ := readSet(p.m.Sets.Get, head)
	return marks
}

// judge notes the classes for which the change of a peer's marks takes away what
// was allowed: what was denied hangs on no epoch.
func (p *plan) judge(old, now []mark) {
	note := func(m mark, deny bool) {
		if s := p.e.byNumber[m.number()]; s != nil && s.deny == deny {
			for c := range s.users {
				p.dirty[c.number] = true
			}
		}
	}
	for _, m := range old {
		if !slices.Contains(now, m) {
			note(m, false)
		}
	}
	for _, m := range now {
		if !slices.Contains(old, m) {
			note(m, true)
		}
	}
}

func (p *plan) peers() {
	p.peersClose, p.peersPut = map[uint32]uint32{}, map[uint32]uint32{}
	for id := range p.e.peerSets.touched {
		want, wants := p.e.peerSets.now[id]
		head, had := p.m.Peers.Get(id)
		old, now := p.heldMarks(head), p.e.sets.marks(want)
		p.judge(old, now)
		switch way := p.between(old, now); {
		case slices.Equal(way, old):
		case slices.Equal(way, now):
			p.peersClose[id] = want
		default:
			if n, ok := p.borrow(way); ok {
				p.peersClose[id] = n
			}
		}
		if wants {
			p.peersPut[id] = want
		} else if had || p.peersClose[id] != 0 {
			p.peersGone = append(p.peersGone, id)
		}
	}
}

func (p *plan) sets() {
	p.setsPut = map[uint32]bpf.PolicySet{}
	for n := range p.e.sets.rows.touched {
		if row, ok := p.e.sets.rows.now[n]; ok {
			p.setsPut[n] = row
		}
	}
	for _, n := range p.borrows {
		p.e.sets.give(n)
	}
	for n := range p.e.sets.rows.touched {
		if _, ok := p.e.sets.rows.now[n]; !ok {
			p.setsGone = append(p.setsGone, n)
		}
	}
}

// cidrPlan is the changes of weir_policy_cidrs, in order.
type cidrPlan struct {
	close, put []cidrWrite
	gone       []bpf.IPCacheKey
}

type cidrWrite struct {
	key bpf.IPCacheKey
	set uint32
}

// prefixes plans prefixes longest first: while one is missing, its addresses
// are under a wider one, and that changes after it.
func (p *plan) prefixes() {
	list := slices.SortedFunc(maps.Keys(p.e.cidrs.touched), func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(trieBits(b), trieBits(a)), comparePrefix(a, b))
	})
	heldAt := func(q netip.Prefix) (uint32, bool) { return p.m.CIDRs.Get(bpf.IPCacheKeyFrom(q)) }
	wantAt := func(q netip.Prefix) (uint32, bool) { n, ok := p.e.cidrs.now[q]; return n, ok }
	for _, q := range list {
		key := bpf.IPCacheKeyFrom(q)
		_, had := heldAt(q)
		want, wants := wantAt(q)
		if !had && !wants {
			continue
		}
		old, now := p.heldMarks(p.e.prefixes.covering(q, heldAt)), p.e.sets.marks(p.e.prefixes.covering(q, wantAt))
		p.judge(old, now)
		way := p.between(old, now)
		switch {
		case had && slices.Equal(way, old):
		case wants && slices.Equal(way, now):
			p.cidrs.close = append(p.cidrs.close, cidrWrite{key, want})
		default:
			if n, ok := p.borrow(way); ok {
				p.cidrs.close = append(p.cidrs.close, cidrWrite{key, n})
			}
		}
		if wants {
			p.cidrs.put = append(p.cidrs.put, cidrWrite{key, want})
		} else {
			p.cidrs.gone = append(p.cidrs.gone, key)
		}
	}
}

// covering returns the value of the longest prefix that has q, itself included;
// 0 when there is none.
func (x *prefixes) covering(q netip.Prefix, at func(netip.Prefix) (uint32, bool)) uint32 {
	look := func(a netip.Addr, most int) (uint32, bool) {
		for bits := most; bits >= 0; bits-- {
			wider, _ := a.Prefix(bits)
			if !x.ever[lenKey(wider)] {
				continue
			}
			if n, ok := at(wider); ok {
				return n, true
			}
		}
		return 0, false
	}
	n, ok := look(q.Addr(), q.Bits())
	if !ok && q.Addr().Is4() {
		n, _ = look(mapped, 95)
	}
	return n
}

// writeCIDRs writes prefixes in turn, those of one length at once.
func (p *plan) writeCIDRs(list []cidrWrite) error {
	for i := 0; i < len(list); {
		batch := map[bpf.IPCacheKey]uint32{}
		for bits := list[i].key.PrefixLen; i < len(list) && list[i].key.PrefixLen == bits; i++ {
			batch[list[i].key] = list[i].set
		}
		if _, err := p.m.CIDRs.Write(batch, nil); err != nil {
			return err
		}
	}
	return nil
}
