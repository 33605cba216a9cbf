package policy

import (
	"net/netip"
	"slices"

	"weir/bpf"
	"weir/state"
)

// Verdicts of a Judgement.
const (
	Allowed     = "allowed"
	Denied      = "denied"
	NotEnforced = "not enforced" // nothing isolates the end, and no rule is about this
	Unknown     = "unknown"      // the end is no endpoint of this node
)

// Party is one end of a connection.
type Party struct {
	Endpoint state.EndpointID // of this node
	Local    bool             // Endpoint is valid; 0 is the host
	Identity state.IdentityID
	Addr     netip.Addr // zero: not known
}

// Query asks what would become of a connection.
type Query struct {
	From, To Party
	Proto    uint8
	Port     uint16 // of ICMP the type
}

// Answer is what each end's policy says. Allowed is false when either denies.
type Answer struct {
	Allowed         bool
	Egress, Ingress Judgement
}

// Judgement is what one end's policy says.
type Judgement struct {
	Known    bool // the end is an endpoint of this node
	Enforced bool // the direction is isolated
	Verdict  string
	Rule     Rule     // that decided; its ID is 0 when none did
	Origins  []string // of Rule; for a default deny those that isolate the end
	Response state.DenyResponse
	Nearest  string   // the allow rule that came closest to a default deny
	Source   []string // where that stands
	Missed   string   // the field on which it failed
}

// Explain answers a query by what is in force.
func (c *Control) Explain(q Query) Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.e == nil {
		return Answer{}
	}
	return c.e.explain(q)
}

func (e *engine) explain(q Query) Answer {
	out := Answer{Egress: e.judge(q.From, q.To, egress, q.Proto, q.Port), Ingress: e.judge(q.To, q.From, ingress, q.Proto, q.Port)}
	out.Allowed = out.Egress.Verdict != Denied && out.Ingress.Verdict != Denied
	return out
}

// judge asks the policy of one end, as the programs do.
func (e *engine) judge(end, peer Party, d, proto uint8, port uint16) Judgement {
	p := e.endpoints[end.Endpoint]
	if !end.Local || p == nil || (end.Endpoint == 0 && !e.opts.HostFirewall) {
		return Judgement{Verdict: Unknown}
	}
	out := Judgement{Known: true, Response: state.DenyDrop}
	if p.class == nil {
		out.Enforced, out.Verdict, out.Missed = true, Denied, "there was no room for the endpoint's policy: it is cut off"
		return out
	}
	direction := Direction{}
	in, eg := isolates(p.flags)
	if direction.Enforced = eg; d == ingress {
		direction.Enforced = in
	}
	out.Enforced = direction.Enforced
	if x, k := e.decide(p.class, peer, d, proto, port); x != nil {
		out.Rule = p.class.rule(k, x)
		out.Origins, out.Verdict = out.Rule.Origins, Allowed
		if out.Rule.Deny {
			out.Verdict = Denied
			if x.flags(p.class.respond)&uint32(bpf.RuleReject) != 0 {
				out.Response = state.DenyReject
			}
		}
		return out
	}
	if !direction.Enforced {
		out.Verdict = NotEnforced
		return out
	}
	reject := bpf.PolicyRejectEgress
	if d == ingress {
		reject = bpf.PolicyRejectIngress
	}
	if p.flags&uint32(reject) != 0 {
		out.Response = state.DenyReject
	}
	out.Verdict, out.Origins = Denied, e.isolatedBy(p, d)
	out.Nearest, out.Source, out.Missed = e.nearest(p.class, peer, d, proto, port)
	return out
}

// decide returns the entry that decides: the first that denies, or the first
// that allows.
func (e *engine) decide(c *class, peer Party, d, proto uint8, port uint16) (*entry, entryKey) {
	var allow *entry
	var allowKey entryKey
	for _, s := range e.met(peer) {
		for _, k := range c.levels(d, proto, port) {
			k.selector = s
			x := c.entries[k]
			if x == nil {
				continue
			}
			if x.flags(c.respond)&uint32(bpf.RuleDeny) != 0 {
				return x, k
			}
			if allow == nil {
				allow, allowKey = x, k
			}
		}
	}
	return allow, allowKey
}

// met are the selectors that a peer meets; nil is everybody.
func (e *engine) met(peer Party) []*selector {
	out := []*selector{nil}
	add := func(head uint32) {
		for _, m := range e.sets.marks(head) {
			if m&outside == 0 || isOutside(peer.Identity) {
				out = append(out, e.byNumber[m.number()])
			}
		}
	}
	add(e.peerSets.now[uint32(peer.Identity)])
	if peer.Addr.IsValid() {
		if n := e.prefixes.longest(peer.Addr); n != nil {
			add(n.set)
		}
	}
	return out
}

// isOutside reports whether an identity is of the world. An address of a node's
// pod CIDR is not, whoever has it: if nobody, it is reserved:unknown.
func isOutside(id state.IdentityID) bool {
	switch id {
	case state.IdentityWorld, state.IdentityWorldIPv4, state.IdentityWorldIPv6:
		return true
	}
	return false
}

// levels are the keys under which a class has rules for a port, without the
// selector.
func (c *class) levels(d, proto uint8, port uint16) []entryKey {
	out := []entryKey{{direction: d, level: uint8(bpf.LevelPort), proto: proto, port: uint32(port)}}
	if g := c.groups[groupKey{d, proto}]; g != nil {
		for n, spans := range g.pieces {
			if slices.ContainsFunc(spans, func(s span) bool { return s.first <= port && port <= s.last }) {
				out = append(out, entryKey{direction: d, level: uint8(bpf.LevelRange), proto: proto, port: n})
			}
		}
	}
	return append(out, entryKey{direction: d, level: uint8(bpf.LevelProto), proto: proto}, entryKey{direction: d, level: uint8(bpf.LevelAny)})
}
