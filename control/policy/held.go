package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

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

// recognize compares what the maps have with what an engine made from scratch
// wants. Classes are known by their members. Selectors are known by whom they
// select and by the rules that name them; those that are alike in both are
// interchangeable.
func recognize(have image, fresh *engine) *held {
	h := &held{image: have, selectors: map[string]uint32{}, classes: map[string]uint32{}, chains: map[string][]uint32{}}
	if len(have.endpoints)+len(have.rules)+len(have.peers)+len(have.cidrs)+len(have.sets) == 0 {
		return h
	}
	members := map[uint32][]uint32{}
	for id, row := range have.endpoints {
		members[row.PolicyClass] = append(members[row.PolicyClass], id)
	}
	for n, ids := range members {
		h.classes[memberKey(ids)] = n
	}
	named := map[uint32]uint32{} // our class to the one of the maps
	for _, c := range fresh.classes {
		if n := h.class(slices.Collect(maps.Keys(c.members))); n != 0 {
			named[c.number] = n
		}
	}
	theirs := map[string][]uint32{}
	for n, s := range signatures(have, func(n uint32) uint32 { return n }) {
		if n != uint32(bpf.SelectorEverybody) {
			theirs[s] = append(theirs[s], n)
		}
	}
	ours := signatures(fresh.image(), func(n uint32) uint32 { return named[n] })
	for _, list := range theirs {
		slices.Sort(list)
	}
	for _, s := range slices.SortedFunc(maps.Values(fresh.selectors), func(a, b *selector) int { return strings.Compare(a.key, b.key) }) {
		sig := ours[s.number]
		if list := theirs[sig]; len(list) > 0 {
			h.selectors[s.key], theirs[sig] = list[0], list[1:]
		}
	}
	h.readChains()
	return h
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

// signatures tells the selectors of an image apart by all that they mean.
func signatures(m image, class func(uint32) uint32) map[uint32]string {
	lines := map[uint32][]string{}
	row := func(n uint32) (bpf.PolicySet, bool) { r, ok := m.sets[n]; return r, ok }
	note := func(head uint32, who string) {
		marks, _ := readSet(row, head)
		for _, x := range marks {
			lines[x.number()] = append(lines[x.number()], fmt.Sprint(who, x&outside != 0))
		}
	}
	for id, head := range m.peers {
		note(head, fmt.Sprint("peer ", id, " "))
	}
	for k, head := range m.cidrs {
		note(head, fmt.Sprint("cidr ", k, " "))
	}
	spans := rangeTexts(m)
	for k, v := range m.rules {
		r := ruleFrom(k)
		port := fmt.Sprint(r.row.port)
		if r.row.level == uint8(bpf.LevelRange) {
			port = spans[r.row]
		}
		lines[r.selector] = append(lines[r.selector], fmt.Sprint("rule ", class(r.row.class), r.row.direction, r.row.level, r.row.proto, " ", port, " ", v.Flags))
	}
	out := map[uint32]string{}
	for n, list := range lines {
		slices.Sort(list)
		out[n] = strings.Join(list, "\n")
	}
	return out
}

// rangeTexts says which ports the number of each row of ranges means.
func rangeTexts(m image) map[rowKey]string {
	lists := map[rowKey][]string{}
	for k, n := range m.ranges {
		r := rangeFrom(k)
		row := rowKey{r.class, r.direction, uint8(bpf.LevelRange), r.proto, n}
		lists[row] = append(lists[row], fmt.Sprint(r.port, "/", r.bits))
	}
	out := map[rowKey]string{}
	for row, list := range lists {
		slices.Sort(list)
		out[row] = strings.Join(list, ",")
	}
	return out
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
	var ids []uint32
	for _, p := range members {
		ids = append(ids, uint32(p.row.ID))
	}
	return h.classes[memberKey(ids)]
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
