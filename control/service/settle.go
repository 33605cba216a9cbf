package service

import (
	"fmt"
	"slices"
	"time"

	"weir/bpf"
)

// settle decides what depends on several services: numbers, and who has what
// several want.
func (m *model) settle() {
	m.number()
	for k := range m.dirty.keys {
		m.decide(k)
	}
	for _, x := range m.changed {
		if x.touched = false; !x.gone {
			m.setFrontends(x)
			m.setRanges(x)
			m.setSets(x)
		}
	}
	m.changed = nil
}

// setFrontends gives the frontends that a port has their rows.
func (m *model) setFrontends(x *port) {
	for _, f := range x.frontends {
		if m.claims[f.key].owner == x {
			m.frontends.use(f.key)
		}
	}
}

// setSets gives a port the sets that its frontends need. One whose frontends are
// all others' needs none.
func (m *model) setSets(x *port) {
	old := x.sets
	x.sets = [2]*set{}
	for _, f := range x.frontends {
		for _, sc := range []scope{f.inside, f.outside} {
			if sc != nobody && x.set(sc) == nil && m.claims[f.key].owner == x {
				x.sets[sc-everywhere] = m.sets.use(x.chosen[sc-everywhere], x.maglev)
			}
		}
	}
	for _, s := range old {
		m.sets.leave(s)
	}
}

// number gives ports their ids: first to those whose entries are in the map, with
// the one that they have there.
func (m *model) number() {
	slices.SortFunc(m.fresh, func(a, b *port) int { return a.compare(b.ref) })
	for _, known := range []bool{true, false} {
		for _, x := range m.fresh {
			if x.id == 0 && m.services[x.of] != nil {
				x.id = m.free(x, known)
			}
		}
	}
	m.fresh = nil
}

// probes is how many ids a port may have, should others have the same hash.
const probes = 8

// free returns an id that nobody has; known: one that the map's entries of the
// port have, or 0.
func (m *model) free(x *port, known bool) uint32 {
	first := x.ref.id()
	for id := first; ; id++ {
		if known && id-first == probes {
			return 0
		}
		if id == 0 || m.ids[id] != nil || known && !m.holds(x, id) {
			continue
		}
		m.ids[id] = x
		return id
	}
}

func (m *model) holds(x *port, id uint32) bool {
	return slices.ContainsFunc(x.frontends, func(f frontend) bool { return m.claims[f.key].heldID == id })
}

// decide says who has a frontend.
func (m *model) decide(k bpf.ServiceKey) {
	c := m.claims[k]
	if c == nil || len(c.by) == 0 {
		delete(m.disputed, k)
		return
	}
	if c.owner == nil {
		c.owner = c.by[0]
		if i := slices.IndexFunc(c.by, func(p *port) bool { return p.id == c.heldID }); i >= 0 {
			c.owner = c.by[i]
		}
		m.touch(c.owner)
	}
	if len(c.by) == 1 {
		delete(m.disputed, k)
	} else if text := m.conflict(k); text != m.disputed[k] {
		m.disputed[k] = text
		m.news = append(m.news, text)
	}
}

// conflict names who has a frontend and who does without.
func (m *model) conflict(k bpf.ServiceKey) string {
	c := m.claims[k]
	out := fmt.Sprintf("%s is %s's", k, c.owner.ref)
	for _, p := range c.by {
		if p != c.owner {
			out += fmt.Sprintf(", not %s's", p.ref)
		}
	}
	return out
}

// setRanges makes these the ranges of a port.
func (m *model) setRanges(x *port) {
	for _, r := range x.ranges {
		delete(m.ranges, r)
		m.dirty.ranges[r] = true
	}
	x.ranges = nil
	for _, p := range x.prefixes {
		r := bpf.SourceRangeFrom(x.id, p)
		x.ranges = append(x.ranges, r)
		m.ranges[r] = true
		m.dirty.ranges[r] = true
	}
}

// entry is what the map is to have under a key.
func (m *model) entry(k bpf.ServiceKey) (v bpf.Service, named [2]*set, ok bool) {
	c := m.claims[k]
	if c == nil || c.owner == nil {
		return v, named, false
	}
	x := c.owner
	f := x.frontend(k)
	named = [2]*set{x.set(f.inside), x.set(f.outside)}
	return bpf.Service{ID: x.id, Frontend: m.frontends.of[k], Affinity: x.affinity, Flags: uint32(f.flags),
		Inside: named[0].selection(), Outside: named[1].selection()}, named, true
}

// wrote says that the map has what is wanted under a key.
func (m *model) wrote(k bpf.ServiceKey, named [2]*set) {
	c := m.claims[k]
	for i, s := range named {
		if s != nil {
			s.refs++
		}
		m.sets.leave(c.named[i])
	}
	c.held, c.named = true, named
	delete(m.dirty.keys, k)
}

// removed says that the map has nothing under a key.
func (m *model) removed(k bpf.ServiceKey) {
	delete(m.dirty.keys, k)
	c := m.claims[k]
	if c == nil {
		return
	}
	for _, s := range c.named {
		m.sets.leave(s)
	}
	c.held, c.named = false, [2]*set{}
	if len(c.by) == 0 {
		m.frontends.leave(k)
		delete(m.claims, k)
	}
}

// sweep frees what nothing wants and no entry of the map names.
func (m *model) sweep(now time.Time) {
	m.sets.sweep(now)
	m.backends.sweep()
}
