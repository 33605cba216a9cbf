package policy

import (
	"cmp"
	"slices"

	"weir/datapath"
)

// rebirth gives classes another number whose port ranges change while endpoints
// move in or out: either change is one write for whoever is in the class, both
// together are not.
func (e *engine) rebirth(m *datapath.PolicyMaps) {
	if m == nil || len(e.ranges.touched) == 0 {
		return
	}
	cut := map[uint32]bool{}
	for k := range e.ranges.touched {
		want, wants := e.ranges.now[k]
		if old, had := m.Ranges.Get(k.raw()); had != wants || old != want {
			cut[k.class] = true
		}
	}
	moved, live := e.moves(m)
	var again []*class
	for _, c := range e.classes {
		if cut[c.number] && moved[c.number] && live[c.number] {
			again = append(again, c)
		}
	}
	slices.SortFunc(again, func(a, b *class) int { return cmp.Compare(a.number, b.number) })
	for _, c := range again {
		e.renumber(c)
	}
}

// moves tells the classes that endpoints enter or leave, and those that rows in
// the map name.
func (e *engine) moves(m *datapath.PolicyMaps) (moved, live map[uint32]bool) {
	moved, live = map[uint32]bool{}, map[uint32]bool{}
	held := m.Endpoints.Held()
	move := func(id, to uint32) {
		if from := held[id].PolicyClass; from != to {
			moved[from], moved[to] = true, true
		}
	}
	for id, p := range e.endpoints {
		if p.class == nil {
			move(uint32(id), 0)
		} else {
			move(uint32(id), p.class.number)
		}
	}
	for id, row := range held {
		live[row.PolicyClass] = true
		if e.endpoints[endpointID(id)] == nil {
			move(id, 0)
		}
	}
	return moved, live
}
