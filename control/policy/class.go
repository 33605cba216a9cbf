package policy

import (
	"slices"

	"weir/bpf"
	"weir/state"
)

// class is what endpoints share that the same specs select.
type class struct {
	number  uint32
	key     string
	members map[*endpoint]bool
	specs   []*spec
	respond state.DenyResponse // to what deny rules deny that do not say
	own     []namedPort        // that the members have and the specs use
	born    uint64             // the pass
	grown   uint64             // the pass in which it last got more rules

	parts   map[*spec][]contribution
	entries map[entryKey]*entry
	rows    map[rowKey]*[64]uint16 // selectors by bit
	groups  map[groupKey]*group    // of port ranges
	dirty   map[groupKey]bool
}

// entryKey is the key of a rule in a class: see policy_rule_key.
type entryKey struct {
	direction, level, proto uint8
	port                    uint32 // of LEVEL_RANGE the number
	selector                *selector
}

// entry is one row of weir_policy_rules, with the rules that it comes from.
type entry struct {
	id    uint32
	rules []*rule
}

// The keys and values of the maps as the engine has them: numbers are wider
// here, so that what does not fit is seen before it is written.
type (
	rowKey struct {
		class                   uint32
		direction, level, proto uint8
		port                    uint32
	}
	ruleKey struct {
		row      rowKey
		selector uint32
	}
	ruleValue struct{ id, flags uint32 }
	rangeKey  struct {
		class            uint32
		direction, proto uint8
		bits             uint8
		port             uint16
	}
)

func (s *selector) num() uint32 {
	if s == nil {
		return uint32(bpf.SelectorEverybody)
	}
	return s.number
}

func (k entryKey) rule(class uint32) ruleKey {
	return ruleKey{row: rowKey{class, k.direction, k.level, k.proto, k.port}, selector: k.selector.num()}
}

func (e *engine) newClass(number uint32) *class {
	return &class{number: number, born: e.pass, members: map[*endpoint]bool{}, parts: map[*spec][]contribution{}, entries: map[entryKey]*entry{},
		rows: map[rowKey]*[64]uint16{}, groups: map[groupKey]*group{}, dirty: map[groupKey]bool{}}
}

// compile brings the class's entries in step with its specs. What both its last
// version and this one have is not touched.
func (e *engine) compile(c *class, specs []*spec, own []namedPort, respond state.DenyResponse, again func(*spec) bool) {
	anew := !slices.Equal(own, c.own)
	old, respondAgain := c.parts, respond != c.respond
	c.specs, c.own, c.respond = specs, own, respond
	c.parts = make(map[*spec][]contribution, len(specs))
	var x changed
	for _, s := range specs {
		if part, ok := old[s]; ok && !again(s) && (!anew || len(s.names[ingress]) == 0) {
			c.parts[s] = part
			delete(old, s)
			continue
		}
		c.parts[s] = e.expand(s, own)
		c.grown = e.pass
		x.note(c.parts[s], 1)
	}
	for _, part := range old {
		x.note(part, -1)
	}
	e.apply(c, &x)
	for k := range c.dirty {
		e.regroup(c, k)
	}
	clear(c.dirty)
	if respondAgain {
		for k, x := range c.entries {
			e.emit(c, k, x)
		}
	}
}

func (x contribution) entryKey() entryKey {
	return entryKey{x.direction, x.level, x.proto, uint32(x.span.first), x.selector}
}

// changed is which rules come and go, by what they have in common; many rules
// may make one entry.
type changed struct {
	of    map[contribution]int // index of lists, without the rule
	lists []sameEntry
}

type sameEntry struct {
	what  contribution
	rules []more
}

// more is so many more of a rule, or fewer.
type more struct {
	rule *rule
	by   int
}

func (x *changed) note(part []contribution, by int) {
	if x.of == nil {
		x.of = make(map[contribution]int, len(part))
	}
	for _, one := range part {
		r := one.rule
		one.rule = nil
		i, known := x.of[one]
		if !known {
			i = len(x.lists)
			x.of[one] = i
			x.lists = append(x.lists, sameEntry{what: one})
		}
		x.lists[i].rules = append(x.lists[i].rules, more{r, by})
	}
}

// apply makes the changes.
func (e *engine) apply(c *class, x *changed) {
	for _, same := range x.lists {
		one, n := same.what, 0
		for _, m := range same.rules {
			n += m.by
		}
		e.use(one.selector, c, n)
		if one.level == uint8(bpf.LevelRange) {
			c.group(one).change(one.span, one.selector, same.rules)
			c.dirty[groupKey{one.direction, one.proto}] = true
			continue
		}
		k := one.entryKey()
		var rules []*rule
		if old := c.entries[k]; old != nil {
			rules = old.rules
		}
		e.setEntry(c, k, changeRules(rules, same.rules))
	}
}

// changeRules returns the rules with those that come, in their order, and without
// those that go.
func changeRules(rules []*rule, list []more) []*rule {
	gone := map[*rule]int{}
	for _, m := range list {
		if m.by < 0 {
			gone[m.rule]++
		}
	}
	out := make([]*rule, 0, len(rules)+len(list))
	keep := func(r *rule) {
		if gone[r] > 0 {
			gone[r]--
		} else {
			out = append(out, r)
		}
	}
	for _, r := range rules {
		keep(r)
	}
	for _, m := range list {
		if m.by > 0 {
			keep(m.rule)
		}
	}
	return out
}

// setEntry makes these the rules of an entry; without rules there is none.
func (e *engine) setEntry(c *class, k entryKey, rules []*rule) {
	x, ok := c.entries[k]
	switch {
	case len(rules) == 0 && !ok:
	case len(rules) == 0:
		delete(c.entries, k)
		delete(e.byRule, x.id)
		e.ruleNumbers.give(x.id)
		e.retract(c, k)
	case !ok:
		x = &entry{rules: rules, id: e.ruleNumbers.claimOrTake(e.held.rule(k.rule(c.number)).id)}
		c.entries[k] = x
		e.byRule[x.id] = located{c, k}
		e.emit(c, k, x)
		e.countRow(c, k, 1)
	default:
		x.rules = rules
		e.emit(c, k, x)
	}
}

// flags of the entry. Of several rules that deny, all must say so for the sender
// to be told.
func (x *entry) flags(usual state.DenyResponse) uint32 {
	deny, reject := false, true
	for _, r := range x.rules {
		if r.row.Deny {
			deny = true
			reject = reject && r.rejects(usual)
		}
	}
	switch {
	case deny && reject:
		return uint32(bpf.RuleDeny | bpf.RuleReject)
	case deny:
		return uint32(bpf.RuleDeny)
	}
	return 0
}

func (e *engine) emit(c *class, k entryKey, x *entry) {
	e.rules.set(k.rule(c.number), ruleValue{x.id, x.flags(c.respond)})
}

func (e *engine) retract(c *class, k entryKey) {
	e.rules.del(k.rule(c.number))
	e.countRow(c, k, -1)
}

// countRow keeps the row's bits: one is set while a selector with that bit has a
// rule.
func (e *engine) countRow(c *class, k entryKey, by int) {
	key := k.rule(c.number).row
	counts := c.rows[key]
	if counts == nil {
		counts = &[64]uint16{}
		c.rows[key] = counts
	}
	bit := k.selector.num() & 63
	counts[bit] = uint16(int(counts[bit]) + by)
	mask := e.rows.now[key]
	if counts[bit] > 0 {
		mask |= 1 << bit
	} else {
		mask &^= 1 << bit
	}
	if mask == 0 {
		delete(c.rows, key)
		e.rows.del(key)
		return
	}
	e.rows.set(key, mask)
}

// renumber gives the class another number: its rows are written as those of a
// new class, and its members move over one by one.
func (e *engine) renumber(c *class) {
	old := c.number
	c.born = e.pass
	for k := range c.entries {
		e.rules.del(k.rule(old))
	}
	for key := range c.rows {
		e.rows.del(key)
	}
	for gk, g := range c.groups {
		for k := range g.ranges {
			e.ranges.del(rangeKey{old, gk.direction, gk.proto, k.bits, k.port})
		}
	}
	e.classNumbers.give(old)
	c.number, c.rows = e.classNumbers.take(), map[rowKey]*[64]uint16{}
	for k, x := range c.entries {
		e.emit(c, k, x)
		e.countRow(c, k, 1)
	}
	for gk, g := range c.groups {
		for k, n := range g.ranges {
			e.ranges.set(rangeKey{c.number, gk.direction, gk.proto, k.bits, k.port}, n)
		}
	}
}

// drop takes a class without members out of the maps.
func (e *engine) drop(c *class) {
	e.compile(c, nil, nil, c.respond, func(*spec) bool { return false })
	e.classNumbers.give(c.number)
}
