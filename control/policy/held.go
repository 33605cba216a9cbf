package policy

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"weir/bpf"
)

// held is what the maps had when the agent started, and what of it means the
// same as something that is wanted: that keeps its number, so that a restart
// without a change writes nothing. A nil one knows nothing.
type held struct {
	image
	selectors map[string]uint32   // by selector.key
	classes   map[string]uint32   // by members
	chains    map[string][]uint32 // sets, by their marks
	spans     map[groupOf]map[uint16]uint32
}

// groupOf names a group of ranges in any class.
type groupOf struct {
	class uint32
	groupKey
}

func (h *held) readChains() {
	row := func(n uint32) (bpf.PolicySet, bool) { r, ok := h.sets[n]; return r, ok }
	heads := map[uint32]bool{}
	for _, n := range h.peers {
		heads[n] = true
	}
	for _, n := range h.cidrs {
		heads[n] = true
	}
	for _, head := range slices.Sorted(maps.Keys(heads)) {
		marks, chain := readSet(row, head)
		same := len(marks) > 0
		for i, want := range chainRows(&set{marks: marks, chain: chain}) {
			same = same && h.sets[chain[i]] == want
		}
		if same {
			h.chains[setKey(marks)] = chain
		}
	}
}

func memberIDs(members iter.Seq[*endpoint]) (ids []uint32) {
	for p := range members {
		ids = append(ids, uint32(p.row.ID))
	}
	return ids
}

func memberKey(ids []uint32) string {
	slices.Sort(ids)
	return fmt.Sprint(ids)
}

// prepare keeps the numbers that the maps use from being given out.
func (h *held) prepare(e *engine) {
	if h == nil {
		return
	}
	taken := func(n *numbers, list ...uint32) {
		m := map[uint32]bool{}
		for _, x := range list {
			m[x] = true
		}
		n.adopt(m)
	}
	var selectors, classes, rules []uint32
	for k, v := range h.rules {
		selectors, classes, rules = append(selectors, uint32(k.Selector)), append(classes, k.Row.PolicyClass), append(rules, v.ID)
	}
	for k := range h.rows {
		classes = append(classes, k.PolicyClass)
	}
	h.spans = map[groupOf]map[uint16]uint32{}
	for k, n := range h.ranges {
		classes = append(classes, k.PolicyClass)
		r := rangeFrom(k)
		g := groupOf{r.class, groupKey{r.direction, r.proto}}
		if h.spans[g] == nil {
			h.spans[g] = map[uint16]uint32{}
		}
		h.spans[g][r.port] = n // each block begins with its first port
	}
	for _, row := range h.endpoints {
		classes = append(classes, row.PolicyClass)
	}
	for _, s := range h.sets {
		for _, x := range s.Selectors[:min(int(s.Count), len(s.Selectors))] {
			selectors = append(selectors, uint32(x&uint16(bpf.SelectorsMax)))
		}
	}
	taken(e.selectorNumbers, selectors...)
	taken(e.classNumbers, classes...)
	taken(e.ruleNumbers, rules...)
	taken(e.sets.numbers, slices.Collect(maps.Keys(h.sets))...)
	e.sets.chains = h.chains
	for k := range h.cidrs {
		e.prefixes.ever[lenKey(k.Prefix())] = true
	}
	for _, row := range h.endpoints {
		e.epoch = max(e.epoch, row.Epoch)
	}
}

func (h *held) selector(key string) uint32 {
	if h == nil {
		return 0
	}
	return h.selectors[key]
}

func (h *held) class(members []*endpoint) uint32 {
	if h == nil {
		return 0
	}
	return h.classes[memberKey(memberIDs(slices.Values(members)))]
}

func (h *held) rule(k ruleKey) ruleValue {
	if h == nil {
		return ruleValue{}
	}
	v := h.rules[k.raw()]
	return ruleValue{v.ID, v.Flags}
}

// rangeNumbers are the numbers of the ranges of a group.
func (h *held) rangeNumbers(class uint32, k groupKey) map[uint32]bool {
	out := map[uint32]bool{}
	if h == nil {
		return out
	}
	for _, n := range h.spans[groupOf{class, k}] {
		out[n] = true
	}
	return out
}

// rangeNumber is the number of the range that begins with the port.
func (h *held) rangeNumber(class uint32, k groupKey, port uint16) uint32 {
	if h == nil {
		return 0
	}
	return h.spans[groupOf{class, k}][port]
}
