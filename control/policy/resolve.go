package policy

import (
	"maps"
	"net/netip"
	"slices"

	"weir/state"
)

// kubernetes is the service whose addresses are those of the API server.
var kubernetes = state.ServiceName{Namespace: "default", Name: "kubernetes"}

// resolve brings what a selector selects in step with the rows.
func (e *engine) resolve(s *selector) {
	var cidrs []netip.Prefix
	switch s.peer.Kind {
	case "":
		e.entities[s] = true
		e.reask(s)
	case state.PeerEndpoints:
		s.alternatives = []state.Selector{s.peer.Endpoints}
		e.selectorIndex.add(s, s.alternatives)
		e.reask(s)
	case state.PeerEntity:
		e.entities[s] = true
		if s.peer.Entity == "kube-apiserver" {
			cidrs = e.addresses(kubernetes)
		}
		e.reask(s)
	case state.PeerCIDR:
		if cidrs = s.list; cidrs == nil {
			cidrs = []netip.Prefix{s.peer.CIDR}
		}
	case state.PeerCIDRGroups:
		for _, g := range e.groups {
			if g.SelectedBy(s.peer.CIDRGroups) {
				cidrs = append(cidrs, g.CIDRs...)
			}
		}
	case state.PeerNodes:
		for _, n := range e.nodes {
			if s.peer.Nodes.Matches(nodeLabels(n)) {
				cidrs = append(cidrs, singles(slices.Concat(n.Addresses, n.Routers))...)
			}
		}
	case state.PeerServices:
		cidrs = e.resolveServices(s)
	}
	if s.name != nil {
		cidrs = nil // an address has no named ports
	}
	e.readdress(s, cidrs)
}

// readdress makes these the addresses of a selector. When there is no room for
// them, those before stay; a selector that has none is refused with its policy.
func (e *engine) readdress(s *selector, cidrs []netip.Prefix) {
	delete(e.stuck, s)
	if s.born < e.pass {
		more := 0
		for _, p := range cidrs {
			if e.prefixes.nodes[canonical(p)] == nil {
				more++
			}
		}
		if more > 0 && e.cidrs.peak()+more > e.opts.Capacity.CIDRs-1 {
			e.stuck[s] = true
			return
		}
	}
	e.prefixes.replace(s, cidrs, s.peer.Except)
}

// resolveServices finds the services that a selector names: pods by their
// selectors, or the addresses of their slices.
func (e *engine) resolveServices(s *selector) (cidrs []netip.Prefix) {
	s.services, s.alternatives = nil, nil
	for _, name := range slices.SortedFunc(maps.Keys(e.serviceRows), compareServices) {
		svc := e.serviceRows[name]
		if !s.peer.Services.Matches(svc.Identifying()) {
			continue
		}
		s.services = append(s.services, svc)
		if len(svc.Selector) == 0 {
			cidrs = append(cidrs, e.addresses(name)...)
			continue
		}
		pods := state.Selector{{Key: state.LabelNamespace, Op: state.In, Values: []string{name.Namespace}}}
		for k, v := range svc.Selector {
			pods = append(pods, state.Requirement{Key: "k8s:" + k, Op: state.In, Values: []string{v}})
		}
		s.alternatives = append(s.alternatives, pods.Sorted())
	}
	e.services[s] = true
	e.selectorIndex.remove(s)
	e.selectorIndex.add(s, s.alternatives)
	e.reask(s)
	return cidrs
}

// reask finds the members of a selector anew.
func (e *engine) reask(s *selector) {
	for p := range s.members {
		if !s.matches(p) {
			e.leave(s, p)
		}
	}
	if s.peer.Kind == "" || s.peer.Kind == state.PeerEntity {
		for _, p := range e.peers {
			e.ask(s, p)
		}
		return
	}
	for _, a := range s.alternatives {
		for _, group := range e.peerIndex.candidates(a) {
			for p := range group {
				e.ask(s, p)
			}
		}
	}
}

func compareServices(a, b state.ServiceName) int {
	return compareStrings(a.Namespace, b.Namespace, a.Name, b.Name)
}

// addresses are those of the service's slices.
func (e *engine) addresses(name state.ServiceName) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range e.slices[name] {
		out = append(out, singles(s.Addrs)...)
	}
	return out
}

func singles(addrs []netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addrs {
		if a.IsValid() {
			out = append(out, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		}
	}
	return out
}

func nodeLabels(n state.Node) state.Labels {
	out := make(state.Labels, 0, len(n.Labels))
	for k, v := range n.Labels {
		out = append(out, "k8s:"+k+"="+v)
	}
	slices.Sort(out)
	return out
}

// setGroup, setNode, setService and setSlice take rows that give selectors their
// addresses; deleted rows come without them.

func (e *engine) setGroup(name string, g *state.CIDRGroup) {
	replace(e.groups, name, g)
	e.resolveKind(state.PeerCIDRGroups)
}

func (e *engine) setNode(name string, n *state.Node) {
	e.dirtyHost = e.dirtyHost || e.nodes[name].Local || (n != nil && n.Local)
	replace(e.nodes, name, n)
	e.resolveKind(state.PeerNodes)
}

// resolveKind marks the selectors of a kind for the end of the pass: of a kind
// that few rules have.
func (e *engine) resolveKind(k state.PeerKind) { e.dirtyKinds[k] = true }

func (e *engine) setService(name state.ServiceName, s *state.Service) {
	replace(e.serviceRows, name, s)
	for sel := range e.services {
		named := slices.ContainsFunc(sel.services, func(o state.Service) bool { return o.Name == name })
		if named || (s != nil && sel.peer.Services.Matches(s.Identifying())) {
			e.unresolved[sel] = true
		}
	}
}

func (e *engine) setSlice(name state.SliceName, s *state.Slice) {
	touched := []state.ServiceName{e.sliceOf[name]}
	if old, ok := e.sliceOf[name]; ok {
		delete(e.slices[old], name)
		delete(e.sliceOf, name)
	}
	if s != nil {
		if e.slices[s.Service] == nil {
			e.slices[s.Service] = map[state.SliceName]state.Slice{}
		}
		e.slices[s.Service][name], e.sliceOf[name] = *s, s.Service
		touched = append(touched, s.Service)
	}
	for sel := range e.services {
		if slices.ContainsFunc(sel.services, func(o state.Service) bool { return slices.Contains(touched, o.Name) }) {
			e.unresolved[sel] = true
		}
	}
	if slices.Contains(touched, kubernetes) {
		for sel := range e.entities {
			if sel.peer.Entity == "kube-apiserver" {
				e.unresolved[sel] = true
			}
		}
	}
}

// resolveAgain resolves what rows have changed for.
func (e *engine) resolveAgain() {
	for s := range e.stuck {
		e.unresolved[s] = true
	}
	if len(e.dirtyKinds) > 0 {
		for _, s := range e.selectors {
			if e.dirtyKinds[s.peer.Kind] {
				e.unresolved[s] = true
			}
		}
	}
	for s := range e.unresolved {
		if e.selectors[s.key] == s {
			e.resolve(s)
		}
	}
	clear(e.dirtyKinds)
	clear(e.unresolved)
}

func replace[K comparable, V any](m map[K]V, k K, v *V) {
	if v == nil {
		delete(m, k)
	} else {
		m[k] = *v
	}
}
