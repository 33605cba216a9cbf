package policy

import (
	"fmt"
	"slices"

	"weir/bpf"
	"weir/state"
)

// The directions, as maps number them.
const (
	egress  uint8 = 0
	ingress uint8 = 1
)

// policy is one version of an object's policy.
type policy struct {
	row    state.Policy
	serial int // of the object, the same for all versions
	specs  []*spec
}

// spec is one of its specs, as the engine follows it.
type spec struct {
	policy    *policy
	index     int
	row       state.PolicySpec
	rules     [2][]*rule // by direction
	endpoints map[*endpoint]bool
	names     [2][]string // named ports that its rules use, by direction
	denies    bool
}

// rule is one rule of it.
type rule struct {
	spec  *spec
	row   state.PolicyRule
	peers []string // texts of row.Peers
	whom  []whom   // row.Peers, a long list of CIDRs as one
}

// origin names the rule for people: "CiliumNetworkPolicy default/web spec.ingress[0]".
func (r *rule) origin() string {
	if r.spec.policy.row.Key == (state.PolicyKey{}) {
		return r.row.Path
	}
	return r.spec.policy.row.Key.String() + " " + r.row.Path
}

// rejects reports whether the sender of what the rule denies is told.
func (r *rule) rejects(usual state.DenyResponse) bool {
	if own := r.spec.policy.row.Respond; own != "" {
		usual = own
	}
	return usual == state.DenyReject
}

func newPolicy(row state.Policy, serial int) *policy {
	p := &policy{row: row, serial: serial}
	for i, s := range row.Specs {
		n := &spec{policy: p, index: i, row: s, endpoints: map[*endpoint]bool{}}
		n.add(egress, s.Egress)
		n.add(ingress, s.Ingress)
		p.specs = append(p.specs, n)
	}
	return p
}

func (s *spec) add(direction uint8, rows []state.PolicyRule) {
	for _, row := range rows {
		r := &rule{spec: s, row: row}
		for _, p := range row.Peers {
			r.peers = append(r.peers, peerText(p))
		}
		r.whom = whoms(row.Peers, r.peers)
		for _, p := range row.Ports {
			if p.Name != "" && !slices.Contains(s.names[direction], p.Name) {
				s.names[direction] = append(s.names[direction], p.Name)
			}
		}
		s.denies = s.denies || row.Deny
		s.rules[direction] = append(s.rules[direction], r)
	}
	slices.Sort(s.names[direction])
}

// entries estimates how many entries of the maps a policy makes in one class.
func (p *policy) entries() int {
	n := 0
	for _, s := range p.specs {
		for _, rules := range s.rules {
			for _, r := range rules {
				n += max(1, len(r.whom)) * max(1, len(r.row.Ports))
			}
		}
	}
	return n
}

// contribution is what one rule adds to a class: an entry at a level.
type contribution struct {
	direction, level, proto uint8
	span                    span // of ports; first alone counts below LEVEL_RANGE
	selector                *selector
	rule                    *rule
}

// span is a range of ports, inclusive.
type span struct{ first, last uint16 }

// levelPort says at which level a port of a rule is looked for.
func levelPort(p state.PolicyPort) (level, proto uint8, s span) {
	switch {
	case p.All && p.Proto == state.ProtoAny:
		return uint8(bpf.LevelAny), 0, span{}
	case p.All:
		return uint8(bpf.LevelProto), p.Proto, span{}
	case p.First == p.Last:
		return uint8(bpf.LevelPort), p.Proto, span{p.First, p.First}
	}
	return uint8(bpf.LevelRange), p.Proto, span{p.First, p.Last}
}

// expand lists what the rules of a spec add to a class whose members have these
// named ports.
func (e *engine) expand(s *spec, own []namedPort) []contribution {
	var out []contribution
	for _, d := range []uint8{egress, ingress} {
		for _, r := range s.rules[d] {
			if r.row.NotEnforced != "" {
				continue // allows nothing
			}
			ports := r.row.Ports
			if r.row.AnyPort {
				ports = []state.PolicyPort{{All: true}}
			}
			for _, p := range ports {
				out = e.expandPort(out, d, r, p, own)
			}
		}
	}
	return out
}

func (e *engine) expandPort(out []contribution, d uint8, r *rule, p state.PolicyPort, own []namedPort) []contribution {
	if p.Name == "" {
		level, proto, span := levelPort(p)
		return e.expandPeers(out, contribution{direction: d, level: level, proto: proto, span: span, rule: r}, nil)
	}
	fits := func(n namedPort) bool {
		return n.name == p.Name && (p.Proto == state.ProtoAny || p.Proto == n.proto)
	}
	one := func(n namedPort, name *namedPort) {
		out = e.expandPeers(out, contribution{direction: d, level: uint8(bpf.LevelPort), proto: n.proto,
			span: span{n.port, n.port}, rule: r}, name)
	}
	if d == ingress {
		for _, n := range own {
			if fits(n) {
				one(n, nil)
			}
		}
		return out
	}
	for n := range e.named[p.Name] {
		if fits(n) {
			one(n, &n)
		}
	}
	return out
}

func (e *engine) expandPeers(out []contribution, c contribution, name *namedPort) []contribution {
	if c.rule.row.AnyPeer {
		if name != nil {
			c.selector = e.selectorOf("everybody", state.PolicyPeer{}, nil, name, c.rule.row.Deny)
		}
		return append(out, c)
	}
	for _, w := range c.rule.whom {
		p := w.peer
		c.selector = nil
		if p.Kind != state.PeerEntity || p.Entity != "all" || name != nil {
			if p.Kind == state.PeerEntity && p.Entity == "all" {
				p = state.PolicyPeer{}
			}
			c.selector = e.selectorOf(w.text, p, w.list, name, c.rule.row.Deny)
		}
		out = append(out, c)
	}
	return out
}

// portText says which ports a level means: "80/TCP", "8000-8080/UDP", "ANY".
func portText(level, proto uint8, spans []span) string {
	name := state.ProtoName(proto)
	switch bpf.PolicyLevel(level) {
	case bpf.LevelAny:
		return "ANY"
	case bpf.LevelProto:
		return "ANY/" + name
	}
	text := ""
	for i, s := range spans {
		if i > 0 {
			text += ","
		}
		switch {
		case proto == state.ProtoICMP || proto == state.ProtoICMPv6:
			text += fmt.Sprintf("type %d", s.first)
		case s.first == s.last:
			text += fmt.Sprint(s.first)
		default:
			text += fmt.Sprintf("%d-%d", s.first, s.last)
		}
	}
	return text + "/" + name
}
