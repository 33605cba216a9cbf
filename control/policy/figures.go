package policy

import (
	"fmt"
	"slices"
)

// figure is how much there is of something that may run out.
type figure struct {
	what       string
	used, room int
	change     bool // while it changes: what goes still takes room
}

// figures counts what an engine needs of the maps, with what they still hold
// while a pass is being written. Of the sets a part is spared, for the way from
// one to another and for peers to come.
func (e *engine) figures(spare int) []figure {
	c := e.opts.Capacity
	poor := max(0, len(e.poorPeers)+len(e.poorPrefixes)-e.poorBefore) // who have others' sets
	out := []figure{
		{what: "selectors", used: len(e.selectors), room: c.Selectors},
		{what: "rules", used: e.rules.peak(), room: min(c.Rules, c.Counters-1)},
		{what: "rows", used: e.rows.peak(), room: c.Rows},
		{what: "port ranges", used: e.ranges.peak(), room: c.Ranges},
		{what: "prefixes", used: e.cidrs.peak(), room: c.CIDRs},
		{what: "identities", used: e.peerSets.peak(), room: c.Peers},
		{what: "sets of selectors", used: e.sets.rows.peak() + poor, room: c.Sets - 1 - spare},
	}
	for _, x := range []struct {
		what string
		*numbers
	}{{"selectors", e.selectorNumbers}, {"rules", e.ruleNumbers}, {"sets of selectors", e.sets.numbers}} {
		out = append(out, figure{what: x.what, used: x.used + len(x.resting), room: int(x.most), change: true})
	}
	return out
}

// lack is why a policy does not fit.
type lack struct {
	what   string
	text   string
	need   int  // of what, by the policy alone
	figure bool // there is a figure that tells when there is room
	change bool
}

// lacks says what there is too little of.
func (e *engine) lacks(spare int) []lack {
	var out []lack
	for _, f := range e.figures(spare) {
		switch {
		case f.used <= f.room:
		case !f.change:
			out = append(out, lack{what: f.what, text: fmt.Sprintf("%d %s of %d", f.used, f.what, f.room), figure: true})
		case len(out) == 0:
			out = append(out, lack{what: f.what, text: fmt.Sprintf("%d %s of %d while they change", f.used, f.what, f.room), figure: true, change: true})
		}
	}
	if e.over > e.overBefore {
		out = append(out, lack{text: fmt.Sprintf("a peer or prefix meets more than %d selectors", most)})
	}
	if len(e.poorPeers)+len(e.poorPrefixes) > e.poorBefore && !slices.ContainsFunc(out, func(l lack) bool { return l.what == "sets of selectors" }) {
		out = append(out, lack{text: fmt.Sprintf("more than %d sets of selectors", e.opts.Capacity.Sets-1)})
	}
	if e.wide > 0 {
		out = append(out, lack{text: "overlapping port ranges make more rules than that"})
	}
	return out
}

// find returns the figure that a lack is about.
func (l lack) find(list []figure) figure {
	i := slices.IndexFunc(list, func(f figure) bool { return f.what == l.what && f.change == l.change })
	return list[i]
}

// trial is how trying to find room for something has ended.
type trial struct {
	lacks []lack
	eased uint64 // engine.eased then
}

// needs works out what was tried needs alone: what there was with it, without what
// there is without it.
func (x *trial) needs(with, without []figure) {
	for i, l := range x.lacks {
		if l.figure {
			x.lacks[i].need = l.find(with).used - l.find(without).used
		}
	}
}

// worthTrying reports whether what did not fit may do so by now: there is as much
// room as it needed when it was tried last, or something has gone since that is
// not counted.
func (e *engine) worthTrying(x trial, spare int) bool {
	list := e.figures(spare)
	for _, l := range x.lacks {
		if l.figure {
			if f := l.find(list); f.used+l.need > f.room {
				return false
			}
		} else if x.eased == e.eased {
			return false
		}
	}
	return true
}
