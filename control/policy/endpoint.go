package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"weir/bpf"
	"weir/state"
)

// endpoint is one whose traffic this node judges. Number 0 is the host.
type endpoint struct {
	row    state.Endpoint
	labels state.Labels
	named  []namedPort
	init   bool // nobody knows its labels
	specs  map[*spec]bool

	class   *class
	flags   uint32
	epoch   uint32
	stale   bool   // whoever has the number is not whom the map's row is about
	refused bool   // there was no room for its policy: it is cut off
	trial          // when it was
	again   uint64 // the pass in which it was tried again
}

func (p *endpoint) host() bool { return p.row.ID == 0 }

// setEndpoint enters an endpoint of this node, or takes its new row.
func (e *engine) setEndpoint(row state.Endpoint) {
	p := e.endpoints[row.ID]
	if p == nil {
		p = &endpoint{specs: map[*spec]bool{}, stale: e.held == nil}
		e.endpoints[row.ID] = p
	} else {
		e.endpointIndex.remove(p, p.labels)
		p.stale = p.stale || p.row.Pod != row.Pod || p.row.ContainerID != row.ContainerID
	}
	if p.row.Identity != row.Identity {
		e.dirtyEpochs[p] = true
		delete(e.having[p.row.Identity], p)
	}
	p.row = row
	if e.having[row.Identity] == nil {
		e.having[row.Identity] = map[*endpoint]bool{}
	}
	e.having[row.Identity][p] = true
	e.relabel(p)
}

func (e *engine) deleteEndpoint(id state.EndpointID) {
	p := e.endpoints[id]
	if p == nil {
		return
	}
	e.endpointIndex.remove(p, p.labels)
	for s := range p.specs {
		delete(s.endpoints, p)
	}
	delete(e.having[p.row.Identity], p)
	delete(e.endpoints, id)
	delete(e.dirtyEndpoints, p)
	delete(e.dirtyEpochs, p)
	e.gone[id] = true
	if p.class != nil {
		e.leaveClass(p)
	}
}

// relabelled is called when an identity got other labels, or went.
func (e *engine) relabelled(id state.IdentityID) {
	for p := range e.having[id] {
		e.endpointIndex.remove(p, p.labels)
		e.relabel(p)
		e.dirtyEpochs[p] = true
	}
}

// relabel finds out by whom the endpoint is selected. It is in no index.
func (e *engine) relabel(p *endpoint) {
	identity, known := e.peers[p.row.Identity]
	p.labels, p.named = nil, nil
	if known {
		p.labels, p.named = identity.labels, identity.named
	}
	p.init = !p.host() && (!known || p.row.Identity == state.IdentityInit)
	e.endpointIndex.add(p, p.labels)
	for s := range p.specs {
		if !s.selects(e, p) {
			delete(p.specs, s)
			delete(s.endpoints, p)
		}
	}
	e.specIndex.each(p.labels, func(s *spec) { e.subject(s, p) })
	if p.host() {
		for s := range e.hostSpecs {
			e.subject(s, p)
		}
	}
	e.dirtyEndpoints[p] = true
}

// subject makes the endpoint a subject of the spec when it is one.
func (e *engine) subject(s *spec, p *endpoint) {
	if !p.specs[s] && s.selects(e, p) {
		p.specs[s], s.endpoints[p] = true, true
		e.dirtyEndpoints[p] = true
	}
}

func (s *spec) selects(e *engine, p *endpoint) bool {
	if s.row.Nodes != p.host() {
		return false
	}
	if p.host() {
		return s.row.Subject.Matches(e.hostLabels())
	}
	return s.row.Subject.Matches(p.labels)
}

func (e *engine) hostLabels() state.Labels {
	for _, n := range e.nodes {
		if n.Local {
			return nodeLabels(n)
		}
	}
	return nil
}

// setPolicy puts a version of a policy in force in place of the last one; nil
// takes it out.
func (e *engine) setPolicy(key state.PolicyKey, row *state.Policy) {
	old := e.policies[key]
	if row == nil {
		delete(e.policies, key)
		delete(e.serials, key)
	} else {
		if e.serials[key] == 0 {
			e.lastSerial++
			e.serials[key] = e.lastSerial
		}
		p := newPolicy(*row, e.serials[key])
		e.policies[key] = p
		for _, s := range p.specs {
			e.enterSpec(s)
		}
	}
	if old == nil {
		return
	}
	for _, s := range old.specs {
		e.specIndex.remove(s)
		delete(e.hostSpecs, s)
		for p := range s.endpoints {
			delete(p.specs, s)
			e.dirtyEndpoints[p] = true
		}
	}
}

func (e *engine) enterSpec(s *spec) {
	if s.row.Nodes {
		e.hostSpecs[s] = true
		if host := e.endpoints[0]; host != nil {
			e.subject(s, host)
		}
		return
	}
	e.specIndex.add(s, []state.Selector{s.row.Subject})
	for _, group := range e.endpointIndex.candidates(s.row.Subject) {
		for p := range group {
			e.subject(s, p)
		}
	}
}

// setAny says whether any policy exists, of which pods without known labels are
// to be kept away.
func (e *engine) setAny(any bool) {
	if e.any == any {
		return
	}
	e.any = any
	for _, p := range e.endpoints {
		if p.init {
			e.dirtyEndpoints[p] = true
		}
	}
}

func (e *engine) setNamespace(name string, n *state.Namespace) {
	replace(e.namespaces, name, n)
	for _, p := range e.endpoints {
		if p.row.Pod.Namespace == name {
			e.dirtyEndpoints[p] = true
		}
	}
}

// usual is the answer to denied packets of an endpoint where policies do not say.
func (e *engine) usual(p *endpoint) state.DenyResponse {
	if r := e.namespaces[p.row.Pod.Namespace].Respond; r != "" && p.row.Pod.Namespace != "" {
		return r
	}
	if e.opts.Respond != "" {
		return e.opts.Respond
	}
	return state.DenyDrop
}

// wanted is what the rows say about one endpoint.
type wanted struct {
	key     string // of the class
	specs   []*spec
	own     []namedPort
	respond state.DenyResponse
	flags   uint32
}

// want derives who the endpoint is alike with, and its flags.
func (e *engine) want(p *endpoint) wanted {
	var w wanted
	if e.opts.Mode == ModeNever {
		return w
	}
	w.specs = slices.SortedFunc(maps.Keys(p.specs), func(a, b *spec) int { return compareInts(a.policy.serial, b.policy.serial, a.index, b.index) })
	in, out := e.isolated(p, w.specs)
	w.flags = e.flags(p, w.specs, in, out)
	if in && !p.host() {
		w.specs = append(w.specs, e.builtin[ingress])
	}
	if out && !p.host() && slices.ContainsFunc(w.specs, func(s *spec) bool {
		return s.policy.row.Key.Kind == state.KindNetworkPolicy && s.row.IsolateEgress
	}) {
		w.specs = append(w.specs, e.builtin[egress])
	}
	var key strings.Builder
	for _, s := range w.specs {
		fmt.Fprintf(&key, "%d.%d ", s.policy.serial, s.index)
		for _, n := range p.named {
			if slices.Contains(s.names[ingress], n.name) && !slices.Contains(w.own, n) {
				w.own = append(w.own, n)
			}
		}
		if s.denies && s.policy.row.Respond == "" {
			w.respond = e.usual(p)
		}
	}
	slices.SortFunc(w.own, func(a, b namedPort) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	fmt.Fprint(&key, w.own, w.respond)
	w.key = key.String()
	return w
}

// isolated says in which directions the endpoint is.
func (e *engine) isolated(p *endpoint, specs []*spec) (in, out bool) {
	if e.opts.Mode == ModeNever {
		return false, false
	}
	if (p.init && e.any) || (e.opts.Mode == ModeAlways && !p.row.Health) {
		return true, true
	}
	for _, s := range specs {
		in, out = in || s.row.IsolateIngress, out || s.row.IsolateEgress
	}
	return in, out
}

func (e *engine) flags(p *endpoint, specs []*spec, in, out bool) uint32 {
	var flags bpf.PolicyFlag
	if in {
		flags |= bpf.PolicyIngress
	}
	if out {
		flags |= bpf.PolicyEgress
	}
	if in && e.rejects(p, specs, ingress) {
		flags |= bpf.PolicyRejectIngress
	}
	if out && e.rejects(p, specs, egress) {
		flags |= bpf.PolicyRejectEgress
	}
	return uint32(flags)
}

// rejects reports whether everybody who isolates the endpoint wants the sender
// to be told.
func (e *engine) rejects(p *endpoint, specs []*spec, direction uint8) bool {
	usual, said := e.usual(p), false
	for _, s := range specs {
		if !s.isolates(direction) {
			continue
		}
		said = true
		own := s.policy.row.Respond
		if own == "" {
			own = usual
		}
		if own != state.DenyReject {
			return false
		}
	}
	return said || usual == state.DenyReject
}

func (s *spec) isolates(direction uint8) bool {
	if direction == ingress {
		return s.row.IsolateIngress
	}
	return s.row.IsolateEgress
}

// builtins are the rules that nobody writes: a node reaches its own pods, and,
// as Kubernetes promises for its NetworkPolicy, they reach it.
func builtins() [2]*spec {
	host := []state.PolicyPeer{{Kind: state.PeerEntity, Entity: "host"}}
	one := func(path string) []state.PolicyRule {
		return []state.PolicyRule{{Path: path, Peers: host, AnyPort: true}}
	}
	row := state.Policy{Specs: []state.PolicySpec{
		{Egress: one("built-in: to this node itself, for pods of a NetworkPolicy")},
		{Ingress: one("built-in: from this node itself")},
	}}
	p := newPolicy(row, 0)
	return [2]*spec{p.specs[0], p.specs[1]}
}

func isolates(flags uint32) (in, out bool) {
	return flags&uint32(bpf.PolicyIngress) != 0, flags&uint32(bpf.PolicyEgress) != 0
}
