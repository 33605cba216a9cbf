package policy

import (
	"cmp"
	"slices"
	"strings"

	"weir/state"
)

// refusal is a version of a policy that is not in force since it does not fit.
type refusal struct {
	row     state.Policy
	message string
	stubbed bool // no version before it was known: whoever it selects is isolated
	trial
}

// candidate is a policy that is to be put in force, or taken out of it.
type candidate struct {
	key  state.PolicyKey
	row  *state.Policy // nil: it is gone
	last *state.Policy // the version in force; nil: none
	stub bool          // last is a stub
}

// admit puts the candidates in force, and refuses as a whole those that do not
// fit, the last ones first: their version before stays in force. Where there is
// none, whoever a refused policy selects is isolated instead.
func (e *engine) admit(list []candidate) map[state.PolicyKey]refusal {
	out := map[state.PolicyKey]refusal{}
	refuse := func(c candidate, lacks []lack) {
		last, stubbed := c.last, c.stub || c.last == nil
		why := lackTexts(lacks)
		if stubbed {
			s := stub(*c.row)
			last = &s
			why += "; whoever it selects is isolated by it"
		} else {
			why += "; the version before stays in force"
		}
		e.setPolicy(c.key, last)
		out[c.key] = refusal{row: *c.row, message: "too large: " + why, stubbed: stubbed, trial: trial{lacks, e.eased}}
	}
	var fit []candidate
	all := newTally(e)
	for _, c := range list {
		e.setPolicy(c.key, c.row)
		if c.row == nil {
			continue
		}
		if lacks := all.hopeless(e.policies[c.key]); len(lacks) > 0 {
			refuse(c, lacks)
		} else {
			fit = append(fit, c)
		}
	}
	e.readmit()
	e.rederive()
	for lacks := e.lacks(e.spare()); len(lacks) > 0 && len(fit) > 0; lacks = e.lacks(e.spare()) {
		c := fit[len(fit)-1]
		fit = fit[:len(fit)-1]
		with := e.figures(e.spare())
		refuse(c, lacks)
		e.rederive()
		r := out[c.key]
		r.needs(with, e.figures(e.spare()))
	}
	e.cutOff()
	return out
}

// spare is the sets that are left for peers to come, and for the way from one
// set to another.
func (e *engine) spare() int { return e.opts.Capacity.Sets / 16 }

func lackTexts(list []lack) string {
	texts := make([]string, len(list))
	for i, l := range list {
		texts[i] = l.text
	}
	return strings.Join(texts, ", ")
}

// rederive derives what is written: with it some classes take twice their room.
func (e *engine) rederive() {
	e.derive()
	e.rebirth(e.maps)
}

// cutOff takes endpoints out of the maps for whose policy there is no room: what
// they send and get is dropped. They are those that were cut off before and try
// again; or of classes that grew or moved in this pass; or, when peers have grown into sets for which there is no room, of
// classes that deny some peers.
func (e *engine) cutOff() {
	for len(e.lacks(0)) > 0 {
		last := e.last(func(p *endpoint) bool { return p.again == e.pass })
		if last == nil {
			last = e.last(func(p *endpoint) bool { return p.class.grown == e.pass || p.class.born == e.pass })
		}
		if last == nil && !e.sets.numbers.fits() {
			last = e.last(func(p *endpoint) bool {
				for k := range p.class.entries {
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
		with := e.figures(0)
		last.refused, last.trial = true, trial{e.lacks(0), e.eased}
		e.dirtyEndpoints[last] = true
		e.rederive()
		last.needs(with, e.figures(0))
	}
}

// last is such an endpoint in a class, that with the highest number.
func (e *engine) last(such func(*endpoint) bool) *endpoint {
	var out *endpoint
	for _, p := range e.endpoints {
		if p.class != nil && (out == nil || p.row.ID > out.row.ID) && such(p) {
			out = p
		}
	}
	return out
}

// readmit lets endpoints try again that were cut off, when there may be room: more
// of it, or fewer policies that select them.
func (e *engine) readmit() {
	for _, p := range e.endpoints {
		if p.refused && (e.worthTrying(p.trial, 0) || (e.dirtyEndpoints[p] && p.eased != e.eased)) {
			p.refused, p.again = false, e.pass
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
