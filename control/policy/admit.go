package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"weir/state"
)

// refusal is a version of a policy that is not in force since it does not fit.
type refusal struct {
	row     state.Policy
	message string
	stubbed bool // no version before it was known: whoever it selects is cut off
}

// load counts what an engine needs of the maps, with what they still hold while
// a pass is being written. Of the sets a part is spared, for the way from one to
// another and for peers to come.
func (e *engine) load(spare int) (over []string) {
	c := e.opts.Capacity
	add := func(what string, need, room int) {
		if need > room {
			over = append(over, fmt.Sprintf("%d %s of %d", need, what, room))
		}
	}
	add("selectors", len(e.selectors), c.Selectors)
	add("rules", e.rules.peak(), min(c.Rules, c.Counters-1))
	add("rows", e.rows.peak(), c.Rows)
	add("port ranges", e.ranges.peak(), c.Ranges)
	add("prefixes", e.cidrs.peak(), c.CIDRs)
	add("identities", e.peerSets.peak(), c.Peers)
	add("sets of selectors", e.sets.rows.peak(), c.Sets-1-spare)
	for _, x := range []struct {
		what string
		*numbers
	}{{"selectors", e.selectorNumbers}, {"rules", e.ruleNumbers}, {"sets of selectors", e.sets.numbers}} {
		if len(over) == 0 && !x.fits() {
			over = append(over, fmt.Sprintf("%d %s of %d while they change", x.used+len(x.resting), x.what, x.most))
		}
	}
	if e.over > e.overBefore {
		over = append(over, fmt.Sprintf("a peer or prefix meets more than %d selectors", most))
	}
	if len(e.poorPeers)+len(e.poorPrefixes) > e.poorBefore {
		over = append(over, fmt.Sprintf("more than %d sets of selectors", c.Sets-1))
	}
	if e.wide > 0 {
		over = append(over, "overlapping port ranges make more rules than that")
	}
	return over
}

// candidate is a policy that is to be put in force, or taken out of it.
type candidate struct {
	key  state.PolicyKey
	row  *state.Policy // nil: it is gone
	last *state.Policy // the version in force; nil: none
	stub bool          // last is a stub
}

// admit puts the candidates in force, and refuses as a whole those that do not
// fit, the last ones first: their version before stays in force. On a start,
// when none is known, whoever a refused policy selects is cut off instead.
func (e *engine) admit(list []candidate, start bool) map[state.PolicyKey]refusal {
	out := map[state.PolicyKey]refusal{}
	refuse := func(c candidate, why string) {
		last, stubbed := c.last, c.stub || (start && c.last == nil)
		if stubbed {
			s := stub(*c.row)
			last = &s
			why += "; whoever it selects is isolated by it"
		} else if last != nil {
			why += "; the version before stays in force"
		}
		e.setPolicy(c.key, last)
		out[c.key] = refusal{row: *c.row, message: "too large: " + why, stubbed: stubbed}
	}
	var fit []candidate
	for _, c := range list {
		if c.row != nil {
			if n := newPolicy(*c.row, 0).entries(); n > e.opts.Capacity.Rules {
				refuse(c, fmt.Sprintf("%d rules of %d", n, e.opts.Capacity.Rules))
				continue
			}
			fit = append(fit, c)
		}
		e.setPolicy(c.key, c.row)
	}
	e.rederive()
	spare := e.opts.Capacity.Sets / 16
	for over := e.load(spare); len(over) > 0 && len(fit) > 0; over = e.load(spare) {
		c := fit[len(fit)-1]
		fit = fit[:len(fit)-1]
		refuse(c, strings.Join(over, ", "))
		e.rederive()
	}
	e.cutOff()
	return out
}

// rederive derives what is written: with it some classes take twice their room.
func (e *engine) rederive() {
	e.derive()
	e.rebirth(e.maps)
}

// cutOff takes endpoints out of the maps for whose policy there is no room: what
// they send and get is dropped. They are of classes that grew or moved in this
// pass; or, when peers have grown into sets for which there is no room, of
// classes that deny some peers.
func (e *engine) cutOff() {
	for len(e.load(0)) > 0 {
		last := e.last(func(c *class) bool { return c.grown == e.pass || c.born == e.pass })
		if last == nil && !e.sets.numbers.fits() {
			last = e.last(func(c *class) bool {
				for k := range c.entries {
					if k.selector != nil && k.selector.deny {
						return true
					}
				}
				return false
			})
		}
		if last == nil {
			return
		}
		last.refused = true
		e.dirtyEndpoints[last] = true
		e.rederive()
	}
}

// last is the endpoint with the highest number in such a class.
func (e *engine) last(such func(*class) bool) *endpoint {
	var out *endpoint
	for _, p := range e.endpoints {
		if p.class != nil && (out == nil || p.row.ID > out.row.ID) && such(p.class) {
			out = p
		}
	}
	return out
}

// readmit lets endpoints try again that were cut off.
func (e *engine) readmit() {
	for _, p := range e.endpoints {
		if p.refused {
			p.refused = false
			e.dirtyEndpoints[p] = true
		}
	}
}

// cut lists the endpoints that are cut off.
func (e *engine) cut() []state.EndpointID {
	var out []state.EndpointID
	for id, p := range e.endpoints {
		if p.refused {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// stub stands for a policy that does not fit and has no version before: it
// isolates where the policy does, and denies everything where it denies
// anything.
func stub(p state.Policy) state.Policy {
	out := p
	out.Specs = nil
	for _, s := range p.Specs {
		s.Ingress, s.Egress = denyAll(s.Ingress), denyAll(s.Egress)
		out.Specs = append(out.Specs, s)
	}
	return out
}

func denyAll(rules []state.PolicyRule) []state.PolicyRule {
	i := slices.IndexFunc(rules, func(r state.PolicyRule) bool { return r.Deny })
	if i < 0 {
		return nil
	}
	return []state.PolicyRule{{Path: rules[i].Path, Deny: true, AnyPeer: true, AnyPort: true}}
}

func compareKeys(a, b state.PolicyKey) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
