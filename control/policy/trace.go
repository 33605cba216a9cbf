package policy

import (
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
}

// Trace derives what the candidates would change if they were applied; nothing
// is written.
func (c *Control) Trace(candidates []state.Policy) *Traced {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &Traced{TooLarge: map[state.PolicyKey]string{}}
	if c.e == nil {
		return out
	}
	in := c.read()
	out.now, out.then = newEngine(c.opts, nil), newEngine(c.opts, nil)
	in.feed(out.now)
	in.feed(out.then)
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
	return out
}

// Now answers a query by what is in force.
func (t *Traced) Now(q Query) Answer { return answer(t.now, q) }

// Then answers a query by what would be in force.
func (t *Traced) Then(q Query) Answer { return answer(t.then, q) }

func answer(e *engine, q Query) Answer {
	if e == nil {
		return Answer{}
	}
	return e.explain(q)
}

func (t *Traced) compare() {
	for id := range t.now.endpoints {
		was, _ := t.now.effective(id)
		is, _ := t.then.effective(id)
		for _, d := range []struct {
			ingress bool
			a, b    Direction
		}{{true, was.Ingress, is.Ingress}, {false, was.Egress, is.Egress}} {
			x := Change{Endpoint: id, Pod: t.now.endpoints[id].row.Pod, Ingress: d.ingress,
				Isolates: !d.a.Enforced && d.b.Enforced, Frees: d.a.Enforced && !d.b.Enforced,
				Added: lacking(d.b.Rules, d.a.Rules), Removed: lacking(d.a.Rules, d.b.Rules)}
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
