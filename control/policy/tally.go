package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"weir/bpf"
	"weir/state"
)

// tally counts what policies need at least, before anything is derived of them,
// so that what is hopeless costs next to nothing.
type tally struct {
	e         *engine
	selectors map[string]bool // that nobody has yet
	prefixes  map[netip.Prefix]bool
	sets      map[netip.Prefix]bool // prefixes that have a set of their own
}

func newTally(e *engine) *tally {
	return &tally{e: e, selectors: map[string]bool{}, prefixes: map[netip.Prefix]bool{}, sets: map[netip.Prefix]bool{}}
}

// demand is what one policy needs, or what of it is new.
type demand struct {
	selectors      map[string]bool
	prefixes, sets map[netip.Prefix]bool
	meet           map[netip.Prefix]int // how many selectors a prefix lies in at least
	whom           []state.Selector     // of endpoints
}

// demandOf looks at the peers of a policy.
func (t *tally) demandOf(p *policy) demand {
	d := demand{selectors: map[string]bool{}, prefixes: map[netip.Prefix]bool{}, sets: map[netip.Prefix]bool{}, meet: map[netip.Prefix]int{}}
	for _, s := range p.specs {
		for _, rules := range s.rules {
			for _, r := range rules {
				if r.row.NotEnforced == "" && !r.named() {
					d.add(r)
				}
			}
		}
	}
	return d
}

// named reports whether a rule has named ports, for which selectors are made as
// pods have them.
func (r *rule) named() bool {
	return slices.ContainsFunc(r.row.Ports, func(p state.PolicyPort) bool { return p.Name != "" })
}

func (d *demand) add(r *rule) {
	for _, w := range r.whom {
		p := w.peer
		if p.Kind == state.PeerEntity && p.Entity == "all" {
			continue
		}
		key := selectorKey(w.text, r.row.Deny)
		if d.selectors[key] {
			continue
		}
		d.selectors[key] = true
		switch {
		case p.Kind == state.PeerEndpoints:
			d.whom = append(d.whom, p.Endpoints)
		case w.list != nil:
			for _, p := range w.list {
				d.prefixes[canonical(p)] = true
				d.meet[canonical(p)]++
			}
		case p.Kind == state.PeerCIDR && p.CIDR.IsValid():
			d.addCIDR(p)
		}
	}
}

// addCIDR counts a CIDR that makes a selector: its addresses have a set of their own.
func (d *demand) addCIDR(p state.PolicyPeer) {
	at, own := canonical(p.CIDR), true
	d.prefixes[at] = true
	for _, x := range p.Except {
		d.prefixes[canonical(x)] = true
		own = own && canonical(x) != at
	}
	if own {
		d.sets[at] = true
		d.meet[at]++
	}
}

// fresh counts what of a demand the engine does not have yet.
func fresh[K comparable](list, counted map[K]bool, has func(K) bool) (n int) {
	for k := range list {
		if !counted[k] && !has(k) {
			n++
		}
	}
	return n
}

// hopeless says why a policy cannot fit: by itself or, when it selects somebody
// here, beside what is in force and those counted before it.
func (t *tally) hopeless(p *policy) []lack {
	c := t.e.opts.Capacity
	if n := p.entries(); n > c.Rules {
		return []lack{{what: "rules", text: fmt.Sprintf("%d rules of %d", n, c.Rules), need: n, figure: true}}
	}
	if p.small() {
		return nil
	}
	d := t.demandOf(p)
	room := map[string]int{"selectors": c.Selectors, "prefixes": c.CIDRs, "sets of selectors": c.Sets - 1 - t.e.spare()}
	over := t.over(room, map[string]int{"selectors": len(d.selectors), "prefixes": len(d.prefixes), "sets of selectors": len(d.sets)}, nil)
	if n := t.crowd(d); n > most {
		over = append(over, never(fmt.Sprintf("a peer or prefix meets %d selectors of %d", n, most)))
	}
	if n := p.pieces(); n > c.Rules {
		over = append(over, never(fmt.Sprintf("overlapping port ranges make %d rules of %d", n, c.Rules)))
	}
	if len(over) > 0 || !p.here() {
		return over
	}
	hasSelector := func(k string) bool { return t.e.selectors[k] != nil }
	hasPrefix := func(k netip.Prefix) bool { return t.e.prefixes.nodes[k] != nil }
	need := map[string]int{"selectors": fresh(d.selectors, t.selectors, hasSelector), "prefixes": fresh(d.prefixes, t.prefixes, hasPrefix),
		"sets of selectors": fresh(d.sets, t.sets, hasPrefix)}
	used := map[string]int{"selectors": len(t.e.selectors) + len(t.selectors), "prefixes": len(t.e.cidrs.now) + len(t.prefixes),
		"sets of selectors": len(t.e.sets.rows.now) + len(t.sets)}
	if over = t.over(room, need, used); len(over) > 0 {
		return over
	}
	count(t.selectors, d.selectors, hasSelector)
	count(t.prefixes, d.prefixes, hasPrefix)
	count(t.sets, d.sets, hasPrefix)
	return nil
}

func count[K comparable](counted, list map[K]bool, has func(K) bool) {
	for k := range list {
		if !has(k) {
			counted[k] = true
		}
	}
}

func (t *tally) over(room, need, used map[string]int) []lack {
	var out []lack
	for what, n := range need {
		if used[what]+n > room[what] {
			out = append(out, lack{what: what, need: n, figure: true, text: fmt.Sprintf("%d %s of %d", used[what]+n, what, room[what])})
		}
	}
	slices.SortFunc(out, func(a, b lack) int { return cmp.Compare(a.what, b.what) })
	return out
}

// never is a lack that nothing which goes makes up for.
func never(text string) lack {
	return lack{what: "rules", need: 1 << 40, figure: true, text: text}
}

// samples is how many identities are asked what they meet of a policy. Where a
// policy says whom it does not mean, anybody meets most of it.
const samples = 8

// crowd is the most selectors of a policy that one prefix, or one of some
// identities, meets.
func (t *tally) crowd(d demand) (n int) {
	for _, met := range d.meet {
		n = max(n, met)
	}
	if len(d.whom) <= most {
		return n
	}
	left := samples
	for _, p := range t.e.peers {
		if !p.pod() {
			continue
		}
		if left--; left < 0 {
			break
		}
		met := 0
		for _, s := range d.whom {
			if s.Matches(p.labels) {
				met++
			}
		}
		n = max(n, met)
	}
	return n
}

// pieces is how many rules the port ranges of a policy make at least, where they
// make most.
func (p *policy) pieces() (n int) {
	for _, s := range p.specs {
		for _, rules := range s.rules {
			by := map[uint8]map[span]map[string]bool{}
			for _, r := range rules {
				r.addSpans(by)
			}
			for _, spans := range by {
				counts := map[span]int{}
				for s, who := range spans {
					counts[s] = len(who)
				}
				n = max(n, inPieces(counts))
			}
		}
	}
	return n
}

func (r *rule) addSpans(by map[uint8]map[span]map[string]bool) {
	who := r.whom
	if r.row.AnyPeer {
		who = []whom{{}}
	}
	for _, p := range r.row.Ports {
		level, proto, s := levelPort(p)
		if p.Name != "" || level != uint8(bpf.LevelRange) || r.row.NotEnforced != "" {
			continue
		}
		if by[proto] == nil {
			by[proto] = map[span]map[string]bool{}
		}
		if by[proto][s] == nil {
			by[proto][s] = map[string]bool{}
		}
		for _, w := range who {
			by[proto][s][selectorKey(w.text, r.row.Deny)] = true
		}
	}
}

// small reports whether a policy is not worth counting.
func (p *policy) small() bool {
	left := most
	for _, s := range p.specs {
		for _, rules := range s.rules {
			left -= len(rules)
			for _, r := range rules {
				left -= len(r.row.Peers) + len(r.row.Ports)
				for _, x := range r.row.Peers {
					left -= len(x.Except)
				}
			}
		}
	}
	return left >= 0
}

// here reports whether a policy selects an endpoint of this node.
func (p *policy) here() bool {
	return slices.ContainsFunc(p.specs, func(s *spec) bool { return len(s.endpoints) > 0 })
}
