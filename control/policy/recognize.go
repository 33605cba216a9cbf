package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weir/bpf"
)

// recognize compares what the maps have with what an engine made from scratch
// wants. Selectors are known by whom they select and by the rules that name them;
// those that are alike in both are interchangeable.
func recognize(have image, fresh *engine) *held {
	h := &held{image: have, selectors: map[string]uint32{}, classes: map[string]uint32{}, chains: map[string][]uint32{}}
	if len(have.endpoints)+len(have.rules)+len(have.peers)+len(have.cidrs)+len(have.sets) == 0 {
		return h
	}
	named := h.recognizeClasses(fresh) // our class to the one of the maps
	theirs := signatures(have, func(n uint32) uint32 { return n })
	delete(theirs, uint32(bpf.SelectorEverybody))
	h.recognizeSelectors(fresh, theirs, signatures(fresh.image(), func(n uint32) uint32 { return named[n] }))
	h.readChains()
	return h
}

// recognizeClasses knows each class by most of its members: some may have come or
// gone while no agent ran.
func (h *held) recognizeClasses(fresh *engine) map[uint32]uint32 {
	type pair struct{ ours, theirs uint32 }
	common := map[pair]int{}
	for _, c := range fresh.classes {
		for p := range c.members {
			if n := h.endpoints[uint32(p.row.ID)].PolicyClass; n != 0 {
				common[pair{c.number, n}]++
			}
		}
	}
	out, taken := map[uint32]uint32{}, map[uint32]bool{}
	for _, p := range slices.SortedFunc(maps.Keys(common), func(a, b pair) int {
		return cmp.Or(cmp.Compare(common[b], common[a]), cmp.Compare(a.ours, b.ours), cmp.Compare(a.theirs, b.theirs))
	}) {
		if out[p.ours] == 0 && !taken[p.theirs] {
			out[p.ours], taken[p.theirs] = p.theirs, true
		}
	}
	for _, c := range fresh.classes {
		if n := out[c.number]; n != 0 {
			h.classes[memberKey(memberIDs(maps.Keys(c.members)))] = n
		}
	}
	return out
}

// recognizeSelectors gives our selectors the numbers of theirs: first of those
// that are alike in all, then of those that have most in common, so that a peer
// or a rule more or fewer does not make another selector of it.
func (h *held) recognizeSelectors(fresh *engine, theirs, ours map[uint32]*signature) {
	alike, meeting := map[string][]uint32{}, map[string][]uint32{}
	for _, n := range slices.Sorted(maps.Keys(theirs)) {
		alike[theirs[n].String()] = append(alike[theirs[n].String()], n)
	}
	var left []*selector
	for _, s := range slices.SortedFunc(maps.Values(fresh.selectors), func(a, b *selector) int { return strings.Compare(a.key, b.key) }) {
		sig := ours[s.number].String()
		if list := alike[sig]; len(list) > 0 {
			h.selectors[s.key], alike[sig] = list[0], list[1:]
			delete(theirs, list[0])
		} else {
			left = append(left, s)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(theirs)) {
		for who := range theirs[n].who {
			meeting[who] = append(meeting[who], n)
		}
	}
	for _, s := range left {
		if n := closestOf(ours[s.number], theirs, meeting); n != 0 {
			h.selectors[s.key] = n
			delete(theirs, n)
		}
	}
}

// closestOf returns the one of theirs that has most peers and rules in common
// with a selector, some of each, and does the same; 0 when there is none.
func closestOf(s *signature, theirs map[uint32]*signature, meeting map[string][]uint32) (best uint32) {
	if s == nil {
		return 0
	}
	common := map[uint32]int{}
	for who := range s.who {
		for _, n := range meeting[who] {
			common[n]++
		}
	}
	most := 0
	for _, n := range slices.Sorted(maps.Keys(common)) {
		t := theirs[n]
		if t == nil || t.deny != s.deny {
			continue
		}
		rules := 0
		for r := range s.rules {
			if t.rules[r] {
				rules++
			}
		}
		if rules > 0 && common[n]+rules > most {
			best, most = n, common[n]+rules
		}
	}
	return best
}

// signature is all that a selector means.
type signature struct {
	who, rules map[string]bool
	deny       bool
}

// String is the same for those that are alike. A selector that nobody meets and
// no rule names has none.
func (s *signature) String() string {
	if s == nil {
		return ""
	}
	return strings.Join(slices.Concat(slices.Sorted(maps.Keys(s.who)), slices.Sorted(maps.Keys(s.rules))), "\n")
}

// signatures tells the selectors of an image apart.
func signatures(m image, class func(uint32) uint32) map[uint32]*signature {
	out := map[uint32]*signature{}
	of := func(n uint32) *signature {
		if out[n] == nil {
			out[n] = &signature{who: map[string]bool{}, rules: map[string]bool{}}
		}
		return out[n]
	}
	row := func(n uint32) (bpf.PolicySet, bool) { r, ok := m.sets[n]; return r, ok }
	note := func(head uint32, who string) {
		marks, _ := readSet(row, head)
		for _, x := range marks {
			of(x.number()).who[fmt.Sprint(who, x&outside != 0)] = true
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
		s := of(r.selector)
		s.rules[fmt.Sprint("rule ", class(r.row.class), r.row.direction, r.row.level, r.row.proto, " ", port, " ", v.Flags)] = true
		s.deny = s.deny || v.Flags&uint32(bpf.RuleDeny) != 0
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
