package service

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// The states of a backend, in the words of the field.
const (
	StateActive      = "active"
	StateTerminating = "terminating"
	StateNotReady    = "not ready"
)

// Frontend is one that is in the maps, for people.
type Frontend struct {
	Number   uint32 // of its row
	Of       Owner
	Port     string // its name
	At       netip.AddrPort
	Proto    uint8
	Kind     Kind
	Backends []Backend // that it sends to, and those that drain
}

// Backend is an endpoint of a service, for people.
type Backend struct {
	Number uint32 // of its row; 0: it has none yet
	At     netip.AddrPort
	Proto  uint8
	State  string
}

// Counts says how many of each there are.
type Counts struct{ Services, Frontends, Backends, Problems int }

// Problem is what of a service, or of a pod's HostPorts, is not in force.
type Problem struct {
	Of   Owner
	Text string
}

// Count returns how much is in force.
func (c *Control) Count() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	var n Counts
	if c.m == nil {
		return n
	}
	for _, s := range c.m.services {
		if s.row != nil && len(s.ports) > 0 {
			n.Services++
		}
	}
	for _, x := range c.m.claims {
		if x.held {
			n.Frontends++
		}
	}
	n.Backends, n.Problems = len(c.m.backends.of), len(c.m.problems())
	return n
}

// Problems returns what is not in force, by service.
func (c *Control) Problems() []Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		return nil
	}
	return c.m.problems()
}

func (m *model) problems() []Problem {
	var out []Problem
	for name, s := range m.services {
		for _, n := range s.notes {
			out = append(out, Problem{name, n})
		}
	}
	for k := range m.disputed {
		c := m.claims[k]
		for _, p := range c.by {
			if p != c.owner {
				out = append(out, Problem{p.of, fmt.Sprintf("%s is %s's: it is left out", k, c.owner.ref)})
			}
		}
	}
	for of, waiting := range m.of {
		if s := m.services[ofService(of)]; of.Name == "" || s != nil && s.row != nil {
			continue
		}
		for name := range waiting {
			out = append(out, Problem{ofService(of), fmt.Sprintf("EndpointSlice %s/%s waits: there is no such service", name.Namespace, name.Name)})
		}
	}
	slices.SortFunc(out, func(a, b Problem) int {
		return cmp.Or(a.Of.compare(b.Of), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(out)
}

// Frontends lists what is in the maps, by number.
func (c *Control) Frontends() []Frontend {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Frontend
	if c.m == nil {
		return nil
	}
	for of, s := range c.m.services {
		if len(s.ports) == 0 {
			continue
		}
		plans := c.wish(of).plans
		for i := range plans {
			out = append(out, c.frontendsOf(s, &plans[i])...)
		}
	}
	slices.SortFunc(out, func(a, b Frontend) int { return cmp.Compare(a.Number, b.Number) })
	return out
}

func (c *Control) frontendsOf(s *service, p *plan) []Frontend {
	var out []Frontend
	for _, f := range p.frontends {
		x := c.m.claims[f.key]
		if x == nil || !x.held || x.owner == nil || x.owner != s.ports[p.key] {
			continue
		}
		row := Frontend{Number: c.m.frontends.of[f.key], Of: x.owner.of, Port: p.name, At: f.key.AddrPort(), Proto: p.key.proto, Kind: f.kind}
		in := map[int]bool{}
		for _, i := range slices.Concat(p.chosen(f.inside), p.chosen(f.outside)) {
			in[i] = true
		}
		for i := range p.endpoints {
			if b := c.backend(p, i, s.publishUnready()); in[i] || b.State == StateTerminating {
				row.Backends = append(row.Backends, b)
			}
		}
		out = append(out, row)
	}
	return out
}

func (c *Control) backend(p *plan, i int, publishUnready bool) Backend {
	e := p.endpoints[i]
	b := Backend{At: e.at, Proto: p.key.proto, State: StateNotReady}
	switch {
	case conditionOf(e.e, publishUnready) == ready:
		b.State = StateActive
	case e.e.Terminating:
		b.State = StateTerminating
	}
	if x := c.m.backends.of[p.backend(i)]; x != nil {
		b.Number = x.number
	}
	return b
}

// NamedBackend is a backend with whoever names it.
type NamedBackend struct {
	Backend
	Generation uint32
	Of         []Owner // whose it is
}

// Backends lists all that have a row, by number. Where services differ about one,
// the best they say counts.
func (c *Control) Backends() []NamedBackend {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		return nil
	}
	all := map[uint32]*NamedBackend{}
	for of, s := range c.m.services {
		if len(s.ports) == 0 {
			continue
		}
		plans := c.wish(of).plans
		for i := range plans {
			for j := range plans[i].endpoints {
				c.addBackend(all, of, c.backend(&plans[i], j, s.publishUnready()))
			}
		}
	}
	var out []NamedBackend
	for _, n := range slices.Sorted(maps.Keys(all)) {
		b := *all[n]
		slices.SortFunc(b.Of, Owner.compare)
		b.Of = slices.Compact(b.Of)
		out = append(out, b)
	}
	return out
}

func (c *Control) addBackend(all map[uint32]*NamedBackend, of Owner, b Backend) {
	if b.Number == 0 {
		return
	}
	x := all[b.Number]
	if x == nil {
		x = &NamedBackend{Backend: b, Generation: c.m.backends.by(b.Number).generation}
		all[b.Number] = x
	}
	if b.State == StateActive || x.State == StateNotReady {
		x.State = b.State
	}
	x.Of = append(x.Of, of)
}
