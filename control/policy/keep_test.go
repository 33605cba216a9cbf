package policy

import (
	"fmt"
	"testing"

	"weir/state"
)

// numbersOf are the numbers of an endpoint's rules, by what they say.
func (r *rig) numbersOf(t *testing.T, id state.EndpointID) map[string]uint32 {
	t.Helper()
	e, ok := r.Of(id)
	if !ok {
		t.Fatalf("endpoint %d has no policy", id)
	}
	out := map[string]uint32{}
	for _, rule := range append(e.Ingress.Rules, e.Egress.Rules...) {
		out[rule.String()] = rule.ID
	}
	return out
}

// What counts packets keeps its number over a restart when it says the same,
// whatever else is different then.
func TestARuleKeepsItsNumberOverARestart(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(r *rig)
	}{
		{"nothing changed", func(*rig) {}},
		{"an identity that nobody had is forgotten", func(r *rig) { r.tables.Identities.Delete(302) }},
		{"a peer has another identity as well", func(r *rig) { r.identity(400, "a0") }},
		{"an endpoint of the class is gone", func(r *rig) { r.tables.Endpoints.Delete(2) }},
		{"an endpoint more", func(r *rig) { r.endpoint(3, 300) }},
		{"another policy before it", func(r *rig) { r.tables.Policies.Put(allow("aa", "web", "x", "y")) }},
		{"another policy of the same peer", func(r *rig) {
			p := allow("aa", "web", "a0")
			p.Specs[0].Ingress[0].Ports[0] = tcp(7)
			r.tables.Policies.Put(p)
		}},
		{"all of this", func(r *rig) {
			r.tables.Identities.Delete(302)
			r.identity(400, "a0")
			r.tables.Endpoints.Delete(2)
			r.endpoint(3, 300)
			r.endpoint(4, 301)
			r.tables.Policies.Put(allow("aa", "web", "x", "a0"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, Options{})
			r.identity(300, "web")
			for i := range state.IdentityID(4) {
				r.identity(301+i, fmt.Sprint("a", i/2))
			}
			r.endpoint(1, 300)
			r.endpoint(2, 300)
			for i, name := range []string{"z", "y", "p"} { // so that numbers are not those of the order
				r.identity(state.IdentityID(310+i), name)
				r.tables.Policies.Put(allow(name, "web", "a1", "a0", name))
				r.step(t)
			}
			r.tables.Policies.Delete(state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: "y"})
			r.step(t)
			before := r.numbersOf(t, 1)
			tt.edit(r)
			r.restart(t, Options{})
			r.step(t)
			after := r.numbersOf(t, 1)
			for rule, id := range before {
				if after[rule] != id {
					t.Errorf("%s had number %d, now %d", rule, id, after[rule])
				}
			}
		})
	}
}
