package policy

import (
	"maps"
	"net/netip"
	"slices"

	"weir/state"
)

// Change is what other policies would change for one endpoint in one direction.
type Change struct {
	Endpoint       state.EndpointID
	Pod            state.PodName
	Ingress        bool // the direction; egress otherwise
	Isolates       bool // the direction becomes enforced
	Frees          bool // it no longer is
	Added, Removed []string
}

// Traced is what would be in force.
type Traced struct {
	Changes  []Change
	TooLarge map[state.PolicyKey]string // why a policy would be refused

	now, then *engine
	sight     sight
}

// Trace derives what policies and groups would change if they were applied;
// nothing is written. It returns false before anything is in force.
func (c *Control) Trace(candidates []state.Policy, groups []state.CIDRGroup) (*Traced, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.e == nil {
		return nil, false
	}
	out := &Traced{TooLarge: map[state.PolicyKey]string{}, now: newEngine(c.opts, nil), then: newEngine(c.opts, nil)}
	in := c.read()
	out.sight = c.see(&in, candidates)
	in.feed(out.now)
	in.feed(out.then)
	for i := range groups {
		out.then.setGroup(groups[i].Name, &groups[i])
	}
	var list []candidate
	for key, p := range c.e.policies {
		list = append(list, candidate{key: key, row: &p.row})
	}
	slices.SortFunc(list, func(a, b candidate) int { return compareKeys(a.key, b.key) })
	out.now.admit(list)
	out.then.admit(list)
	var more []candidate
	for i := range candidates {
		m := candidate{key: candidates[i].Key, row: &candidates[i]}
		if p := out.then.policies[m.key]; p != nil {
			m.last = &p.row
		}
		more = append(more, m)
	}
	out.then.setAny(len(list)+len(more) > 0)
	for key, r := range out.then.admit(more) {
		out.TooLarge[key] = r.message
	}
	out.compare()
	return out, true
}

// Now answers a query by what is in force.
func (t *Traced) Now(q Query) Answer { return t.now.explain(t.sight.of(q)) }

// Then answers a query by what would be in force.
func (t *Traced) Then(q Query) Answer { return t.then.explain(t.sight.of(q)) }

// SeesMore reports whether the policies ask for labels that identities do not tell yet.
// Whoever is gone cannot be judged by them: its identity does not say whether it had them.
func (t *Traced) SeesMore() bool { return t.sight.more }

func (t *Traced) compare() {
	for id := range t.now.endpoints {
		was, _ := t.now.effective(id)
		is, _ := t.then.effective(id)
		for _, d := range []struct {
			number uint8
			a, b   Direction
		}{{ingress, was.Ingress, is.Ingress}, {egress, was.Egress, is.Egress}} {
			x := Change{Endpoint: id, Pod: t.now.endpoints[id].row.Pod, Ingress: d.number == ingress,
				Isolates: !d.a.Enforced && d.b.Enforced, Frees: d.a.Enforced && !d.b.Enforced,
				Added: lacking(d.b.Rules, d.a.Rules), Removed: lacking(d.a.Rules, d.b.Rules)}
			before, after := t.now.inGroups(id, d.number), t.then.inGroups(id, d.number)
			x.Added, x.Removed = append(x.Added, others(after, before)...), append(x.Removed, others(before, after)...)
			if x.Isolates || x.Frees || len(x.Added)+len(x.Removed) > 0 {
				t.Changes = append(t.Changes, x)
			}
		}
	}
	slices.SortFunc(t.Changes, func(a, b Change) int {
		if a.Endpoint != b.Endpoint {
			return compareInts(int(a.Endpoint), int(b.Endpoint))
		}
		if a.Ingress {
			return -1
		}
		return 1
	})
}

// lacking lists the rules of a that b does not have.
func lacking(a, b []Rule) []string {
	have := map[string]bool{}
	for _, r := range b {
		have[r.String()] = true
	}
	var out []string
	for _, r := range a {
		if text := r.String(); !have[text] && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// inGroups lists the addresses of groups that an endpoint's rules have, by rule.
func (e *engine) inGroups(id state.EndpointID, d uint8) map[string][]netip.Prefix {
	out := map[string][]netip.Prefix{}
	p := e.endpoints[id]
	if p == nil || p.class == nil {
		return out
	}
	for k, x := range p.class.entries {
		if k.direction == d && k.selector != nil && k.selector.peer.Kind == state.PeerCIDRGroups {
			out[p.class.rule(k, x).String()] = k.selector.cidrs
		}
	}
	return out
}

// others lists the addresses of a that b does not have, of rules that both have.
func others(a, b map[string][]netip.Prefix) []string {
	var out []string
	for _, rule := range slices.Sorted(maps.Keys(a)) {
		had, both := b[rule]
		for _, p := range a[rule] {
			if both && !slices.Contains(had, p) {
				out = append(out, rule+": "+p.String())
			}
		}
	}
	return out
}
