package policy

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"weir/bpf"
)

// groupKey names the port ranges of one protocol and direction of a class.
type groupKey struct{ direction, proto uint8 }

// group is the port ranges of a class that are looked up together. The ports
// that the same ranges cover have one number, and the rules of all of these
// ranges stand in the row of that number.
type group struct {
	spans   map[span]map[*selector][]*rule
	numbers *numbers
	covers  map[string]uint32 // number by the ranges that cover
	pieces  map[uint32][]span // which ports have the number
	ranges  map[block]uint32  // as the map has it
	entries map[entryKey]bool
	over    bool // it would make more entries than any map holds
}

// block is ports with the same leading bits.
type block struct {
	bits uint8
	port uint16
}

func (c *class) group(x contribution) *group {
	k := groupKey{x.direction, x.proto}
	if c.groups[k] == nil {
		c.groups[k] = &group{spans: map[span]map[*selector][]*rule{}, covers: map[string]uint32{}, pieces: map[uint32][]span{},
			ranges: map[block]uint32{}, entries: map[entryKey]bool{}}
	}
	return c.groups[k]
}

// change makes so many more or fewer of each rule a span's.
func (g *group) change(s span, sel *selector, by []more) {
	if g.spans[s] == nil {
		g.spans[s] = map[*selector][]*rule{}
	}
	if rules := changeRules(g.spans[s][sel], by); len(rules) > 0 {
		g.spans[s][sel] = rules
		return
	}
	if delete(g.spans[s], sel); len(g.spans[s]) == 0 {
		delete(g.spans, s)
	}
}

// piece is ports that the same ranges cover.
type piece struct {
	span
	covers []span
}

// inPieces counts the rules of all pieces into which overlapping ranges are cut,
// each of which has so many.
func inPieces(spans map[span]int) (total int) {
	steps := map[int]int{}
	for s, n := range spans {
		steps[int(s.first)] += n
		steps[int(s.last)+1] -= n
	}
	open := 0
	for _, at := range slices.Sorted(maps.Keys(steps)) {
		open += steps[at]
		total += open
	}
	return total
}

// cut cuts overlapping ranges into pieces. It gives up when the pieces have more
// rules than limit.
func (g *group) cut(limit int) (out []piece, ok bool) {
	counts := map[span]int{}
	for s, list := range g.spans {
		counts[s] = len(list)
	}
	if inPieces(counts) > limit {
		return nil, false
	}
	spans := slices.SortedFunc(maps.Keys(g.spans), func(a, b span) int { return compareInts(a.first, b.first, a.last, b.last) })
	var edges []int
	for _, s := range spans {
		edges = append(edges, int(s.first), int(s.last)+1)
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	var open []span
	next := 0
	for i := range len(edges) - 1 {
		at := edges[i]
		open = slices.DeleteFunc(slices.Clone(open), func(s span) bool { return int(s.last) < at })
		for ; next < len(spans) && int(spans[next].first) == at; next++ {
			open = append(open, spans[next])
		}
		if len(open) == 0 {
			continue
		}
		slices.SortFunc(open, func(a, b span) int { return compareInts(a.first, b.first, a.last, b.last) })
		out = append(out, piece{span{uint16(at), uint16(edges[i+1] - 1)}, open})
	}
	return out, true
}

// blocks cuts a span into the fewest blocks.
func (s span) blocks() []block {
	var out []block
	for at := uint32(s.first); at <= uint32(s.last); {
		size := uint32(1) << 16
		if at > 0 {
			size = at & -at
		}
		for size > uint32(s.last)-at+1 {
			size >>= 1
		}
		out = append(out, block{uint8(16 - bits.TrailingZeros32(size)), uint16(at)})
		at += size
	}
	return out
}

// regroup derives the ranges and rows of a group, and changes what differs.
func (e *engine) regroup(c *class, k groupKey) {
	g := c.groups[k]
	pieces, ok := g.cut(e.opts.Capacity.Rules)
	if g.over != !ok {
		g.over = !ok
		e.wide += map[bool]int{true: 1, false: -1}[g.over]
	}
	if g.numbers == nil {
		g.numbers = newNumbers(1<<16 - 1)
		g.numbers.adopt(e.held.rangeNumbers(c.number, k))
		e.restingGroups[g] = true
	}
	covers, named := map[string]uint32{}, map[uint32][]span{}
	blocks, rules := map[block]uint32{}, map[entryKey][]*rule{}
	for _, p := range pieces {
		key := fmt.Sprint(p.covers)
		n, known := covers[key]
		if !known {
			n = g.number(key, e.held.rangeNumber(c.number, k, p.first))
			covers[key] = n
			for _, s := range p.covers {
				for sel, list := range g.spans[s] {
					ek := entryKey{k.direction, uint8(bpf.LevelRange), k.proto, n, sel}
					rules[ek] = append(rules[ek], list...)
				}
			}
		}
		named[n] = append(named[n], p.span)
		for _, b := range p.span.blocks() {
			blocks[b] = n
		}
	}
	e.replaceGroup(c, k, g, blocks, rules)
	for key, n := range g.covers {
		if _, ok := covers[key]; !ok {
			g.numbers.give(n)
			e.restingGroups[g] = true
		}
	}
	g.covers, g.pieces = covers, named
}

// number returns the number of ports that certain ranges cover: the one they
// had, the one that the map has, or another.
func (g *group) number(key string, held uint32) uint32 {
	if n, ok := g.covers[key]; ok {
		return n
	}
	return g.numbers.claimOrTake(held)
}

func (e *engine) replaceGroup(c *class, k groupKey, g *group, blocks map[block]uint32, rules map[entryKey][]*rule) {
	for ek, list := range rules {
		if old := c.entries[ek]; old == nil || !slices.Equal(old.rules, list) {
			e.setEntry(c, ek, list)
		}
	}
	for ek := range g.entries {
		if _, ok := rules[ek]; !ok {
			e.setEntry(c, ek, nil)
		}
	}
	clear(g.entries)
	for ek := range rules {
		g.entries[ek] = true
	}
	for b, n := range blocks {
		e.ranges.set(rangeKey{c.number, k.direction, k.proto, b.bits, b.port}, n)
	}
	for b := range g.ranges {
		if _, ok := blocks[b]; !ok {
			e.ranges.del(rangeKey{c.number, k.direction, k.proto, b.bits, b.port})
		}
	}
	g.ranges = blocks
}

func compareInts[T uint16 | int](pairs ...T) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] != pairs[i+1] {
			if pairs[i] < pairs[i+1] {
				return -1
			}
			return 1
		}
	}
	return 0
}

func compareStrings(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if c := strings.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}
