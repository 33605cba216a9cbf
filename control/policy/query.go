package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"weir/bpf"
	"weir/state"
)

// The states of a policy.
const (
	StateInForce     = "in force"
	StateTooLarge    = "too large"
	StateNotEnforced = "not enforced"
	StateWaiting     = "waiting" // for identities that tell the labels by which it selects
)

// Status is how a policy is doing on this node.
type Status struct {
	Key         state.PolicyKey
	State       string
	Message     string
	Rules       int                // of the object, that allow or deny
	Endpoints   []state.EndpointID // that it selects; 0 is the host
	NotEnforced []Part
}

// Part is a rule that needs what this version does not have: it allows nothing.
type Part struct {
	Rule    string // its path
	Message string
}

// Effective is an endpoint's policy as the maps have it.
type Effective struct {
	Endpoint        state.EndpointID
	Pod             state.PodName
	Identity        state.IdentityID
	Class, Epoch    uint32
	Ingress, Egress Direction
}

// Direction is one half of it.
type Direction struct {
	Enforced   bool
	Response   state.DenyResponse // to what no rule allows
	IsolatedBy []string
	Rules      []Rule
}

// Rule is one entry of the maps.
type Rule struct {
	ID      uint32 // its row in weir_policy_counters
	Deny    bool
	Peer    string
	Port    string
	Origins []string          // the rules of objects that it comes from
	Keys    []state.PolicyKey // those objects, each once
	Match   Match
}

// Match is by what a rule decides.
type Match struct {
	Everybody bool // whoever the peer is
	Level     bpf.PolicyLevel
}

// String is the rule in one line: "allow k8s:app in (web) on 80/TCP".
func (r Rule) String() string {
	action := "allow"
	if r.Deny {
		action = "deny"
	}
	return fmt.Sprintf("%s %s on %s", action, r.Peer, r.Port)
}

// Policies returns how every policy is doing, sorted by key.
func (c *Control) Policies() []Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.e == nil {
		return nil
	}
	var out []Status
	for key, p := range c.e.policies {
		if _, refused := c.refused[key]; !refused {
			out = append(out, c.e.status(p))
		}
	}
	for key, r := range c.refused {
		s := Status{Key: key}
		if p := c.e.policies[key]; p != nil {
			s = c.e.status(p)
		}
		s.State, s.Message, s.Rules = StateTooLarge, r.message, newPolicy(r.row, 0).count()
		out = append(out, s)
	}
	for key, p := range c.gate.waiting {
		why, _ := c.waits(key)
		i := slices.IndexFunc(out, func(s Status) bool { return s.Key == key })
		if i < 0 {
			out = append(out, Status{Key: key, State: StateWaiting, Message: why, Rules: newPolicy(p, 0).count()})
		} else if out[i].State == StateInForce {
			out[i].Message = "the version before is in force: this one " + why
		}
	}
	for i := range out {
		if _, leaving := c.gate.leaving[out[i].Key]; leaving {
			out[i].Message = "deleted; in force until the policies that wait are"
		}
	}
	slices.SortFunc(out, func(a, b Status) int { return compareKeys(a.Key, b.Key) })
	return out
}

func (p *policy) count() int {
	n := 0
	for _, s := range p.specs {
		n += len(s.rules[ingress]) + len(s.rules[egress])
	}
	return n
}

func (e *engine) status(p *policy) Status {
	s := Status{Key: p.row.Key, State: StateInForce, Rules: p.count()}
	host, other := false, false
	ids := map[state.EndpointID]bool{}
	for _, x := range p.specs {
		host, other = host || x.row.Nodes, other || !x.row.Nodes
		for end := range x.endpoints {
			ids[end.row.ID] = true
		}
		for _, rules := range x.rules {
			for _, r := range rules {
				if r.row.NotEnforced != "" {
					s.NotEnforced = append(s.NotEnforced, Part{r.row.Path, r.row.NotEnforced})
				}
			}
		}
	}
	slices.SortFunc(s.NotEnforced, func(a, b Part) int { return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message)) })
	s.Endpoints = slices.Sorted(maps.Keys(ids))
	switch {
	case e.opts.Mode == ModeNever:
		s.State, s.Message = StateNotEnforced, "policy.enforcementMode is never"
	case host && !e.opts.HostFirewall && !other:
		s.State, s.Message = StateNotEnforced, "hostFirewall.enabled is false"
	case host && !e.opts.HostFirewall:
		s.Message = "not enforced for nodes: hostFirewall.enabled is false"
	}
	return s
}

// Of returns the policy of an endpoint; 0 is the host. It is false for one that
// has none.
func (c *Control) Of(id state.EndpointID) (Effective, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.e == nil {
		return Effective{}, false
	}
	return c.e.effective(id)
}

func (e *engine) effective(id state.EndpointID) (Effective, bool) {
	p := e.endpoints[id]
	if p == nil || p.class == nil {
		return Effective{}, false
	}
	return Effective{Endpoint: id, Pod: p.row.Pod, Identity: p.row.Identity, Class: p.class.number, Epoch: p.epoch,
		Ingress: e.direction(p, ingress), Egress: e.direction(p, egress)}, true
}

func (e *engine) direction(p *endpoint, d uint8) Direction {
	out := Direction{IsolatedBy: e.isolatedBy(p, d), Response: state.DenyDrop}
	in, eg := isolates(p.flags)
	reject := bpf.PolicyRejectEgress
	if out.Enforced = eg; d == ingress {
		out.Enforced, reject = in, bpf.PolicyRejectIngress
	}
	if p.flags&uint32(reject) != 0 {
		out.Response = state.DenyReject
	}
	for k, x := range p.class.entries {
		if k.direction == d {
			out.Rules = append(out.Rules, p.class.rule(k, x))
		}
	}
	slices.SortFunc(out.Rules, func(a, b Rule) int {
		deny := map[bool]int{true: 0, false: 1}
		return cmp.Or(cmp.Compare(deny[a.Deny], deny[b.Deny]), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Port, b.Port), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func (c *class) rule(k entryKey, x *entry) Rule {
	out := Rule{Match: Match{k.selector == nil, bpf.PolicyLevel(k.level)}, ID: x.id, Deny: x.flags(c.respond)&uint32(bpf.RuleDeny) != 0, Peer: "everybody", Port: c.portText(k)}
	if k.selector != nil {
		out.Peer = k.selector.text
	}
	for _, r := range x.rules {
		if r.row.Deny == out.Deny {
			out.Origins = append(out.Origins, r.origin())
			if key := r.spec.policy.row.Key; key != (state.PolicyKey{}) && !slices.Contains(out.Keys, key) {
				out.Keys = append(out.Keys, key)
			}
		}
	}
	slices.SortFunc(out.Keys, compareKeys)
	slices.Sort(out.Origins)
	out.Origins = slices.Compact(out.Origins)
	return out
}

func (c *class) portText(k entryKey) string {
	spans := []span{{uint16(k.port), uint16(k.port)}}
	if k.level == uint8(bpf.LevelRange) {
		spans = slices.SortedFunc(slices.Values(c.groups[groupKey{k.direction, k.proto}].pieces[k.port]), func(a, b span) int { return compareInts(a.first, b.first) })
	}
	return portText(k.level, k.proto, spans)
}

// IsolatedBy names what isolates an endpoint in a direction, ingress or egress:
// what no rule allows is denied by them.
func (c *Control) IsolatedBy(id state.EndpointID, ingressDirection bool) []string {
	return ofEndpoint(c, id, ingressDirection, (*engine).isolatedBy)
}

// Isolators are the objects among those that IsolatedBy names.
func (c *Control) Isolators(id state.EndpointID, ingressDirection bool) []state.PolicyKey {
	return ofEndpoint(c, id, ingressDirection, (*engine).isolators)
}

// ofEndpoint asks the engine of an endpoint that it knows.
func ofEndpoint[T any](c *Control, id state.EndpointID, ingressDirection bool, of func(*engine, *endpoint, uint8) []T) []T {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := egress
	if ingressDirection {
		d = ingress
	}
	if c.e == nil || c.e.endpoints[id] == nil {
		return nil
	}
	return of(c.e, c.e.endpoints[id], d)
}

func (e *engine) isolators(p *endpoint, d uint8) []state.PolicyKey {
	var out []state.PolicyKey
	if e.opts.Mode == ModeNever {
		return nil
	}
	for s := range p.specs {
		if s.isolates(d) {
			out = append(out, s.policy.row.Key)
		}
	}
	slices.SortFunc(out, compareKeys)
	return slices.Compact(out)
}

func (e *engine) isolatedBy(p *endpoint, d uint8) []string {
	var out []string
	if e.opts.Mode == ModeNever {
		return nil
	}
	for _, key := range e.isolators(p, d) {
		out = append(out, key.String())
	}
	if p.init && e.any {
		out = append(out, "labels not known yet (reserved:init)")
	}
	if e.opts.Mode == ModeAlways && !p.row.Health {
		out = append(out, "policy.enforcementMode is always")
	}
	return out
}

// DecideRule tells of a rule by its id what it says and where it comes from, for
// drops that name it. It is false for one that is no more.
func (c *Control) DecideRule(id uint32) (rule Rule, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.e == nil {
		return Rule{}, false
	}
	at, ok := c.e.byRule[id]
	if !ok {
		return Rule{}, false
	}
	return at.class.rule(at.key, at.class.entries[at.key]), true
}

// Version changes whenever what the other methods say of rules and endpoints may.
func (c *Control) Version() uint64 { return c.version.Load() }

// Meets lists the selectors of this node's policies that an identity meets.
func (c *Control) Meets(id state.IdentityID) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.e == nil || c.e.peers[id] == nil {
		return nil
	}
	var out []string
	for _, m := range c.e.peers[id].marks {
		out = append(out, c.e.byNumber[m.number()].text)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
