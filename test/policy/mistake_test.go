package policytest

import (
	"maps"
	"math/rand/v2"
	"testing"

	"weir/bpf"
	"weir/test/policy/generate"
	"weir/test/policy/oracle"
)

// A comparison that nothing can fail proves nothing: each of these mistakes in
// the maps is noticed within some hundred cases.
func TestMistakesInTheMapsAreNoticed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, mistake := range map[string]func(*Maps){
		"a rule is missing":             func(m *Maps) { drop(r, m.Rules) },
		"a denial allows":               func(m *Maps) { each(m.Rules, func(v *bpf.PolicyRule) { v.Flags = 0 }) },
		"a row lacks a bit":             func(m *Maps) { each(m.Rows, func(v *bpf.PolicyRow) { v.Selectors &= v.Selectors - 1 }) },
		"nobody is isolated":            func(m *Maps) { each(m.Policies, func(v *bpf.Policy) { v.Flags = 0 }) },
		"an identity meets nobody":      func(m *Maps) { drop(r, m.Peers) },
		"a CIDR has no set":             func(m *Maps) { drop(r, m.CIDRs) },
		"the ranges are missing":        func(m *Maps) { clear(m.Ranges) },
		"CIDRs match pods":              func(m *Maps) { each(m.Sets, outside) },
		"the answers are the other way": func(m *Maps) { each(m.Policies, func(v *bpf.Policy) { v.Flags ^= 12 }) },
		"two endpoints are exchanged":   func(m *Maps) { m.Policies[1], m.Policies[2] = m.Policies[2], m.Policies[1] },
	} {
		t.Run(name, func(t *testing.T) {
			dir := scratch(t)
			for seed := range uint64(400) {
				c := generate.Random(seed, perCase)
				a, err := newAgent(dir, c.Settings)
				if err != nil {
					t.Fatal(err)
				}
				if err := a.apply(c.ObjectsYAML()); err != nil {
					t.Fatal(err)
				}
				m, err := a.maps()
				if err != nil {
					t.Fatal(err)
				}
				if mistake(m); wrong(t, m, c) {
					return
				}
			}
			t.Error("not noticed in 400 cases")
		})
	}
}

func outside(s *bpf.PolicySet) {
	for i := range s.Selectors {
		s.Selectors[i] &^= uint16(bpf.SelectorOutside)
	}
}

func drop[K comparable, V any](r *rand.Rand, m map[K]V) {
	n := 0
	for k := range maps.Clone(m) {
		if n++; r.IntN(n) == 0 {
			delete(m, k)
			return
		}
	}
}

func each[K comparable, V any](m map[K]V, change func(*V)) {
	for k, v := range m {
		change(&v)
		m[k] = v
	}
}

// wrong reports whether the maps and the objects disagree about any packet.
func wrong(t *testing.T, m *Maps, c generate.Case) bool {
	w, err := c.World()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Packets {
		we, wi := w.Judge(p)
		me, mi := m.Judge(p)
		for _, pair := range []struct {
			want oracle.Judgement
			got  Judgement
		}{{we, me}, {wi, mi}} {
			if disagree(pair.want, pair.got) != "" {
				return true
			}
		}
	}
	return false
}
