package oracle

import (
	"fmt"
	"slices"
)

// This file reads CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy of
// cilium.io/v2: whom a spec selects, and its rules. Who a peer is, and which
// ports, is in peer.go and port.go.

func (p *ciliumPolicy) all() map[string]*spec {
	out := map[string]*spec{}
	if p.Spec != nil {
		out["spec"] = p.Spec
	}
	for i := range p.Specs {
		out[fmt.Sprintf("specs[%d]", i)] = &p.Specs[i]
	}
	return out
}

func (p *ciliumPolicy) clusterwide() bool { return p.Kind == "CiliumClusterwideNetworkPolicy" }

func (p *ciliumPolicy) name() string {
	if p.clusterwide() {
		return p.Kind + " " + p.Metadata.Name
	}
	return p.Kind + " " + p.Metadata.Namespace + "/" + p.Metadata.Name
}

// specSelects: a spec with a nodeSelector is about this node itself. Any other
// is about endpoints: in a namespaced policy pods of the namespace only, in a
// clusterwide one pods, the health endpoint and endpoints that are not known.
func (w *World) specSelects(p *ciliumPolicy, s *spec, subject Party) bool {
	if s.NodeSelector != nil {
		return subject.Kind == "host" && p.clusterwide() && selects(s.NodeSelector, plain(w.labelsOfNode(w.Node)))
	}
	if subject.Kind == "host" || !p.clusterwide() && (subject.pod == nil || subject.pod.Namespace != p.Metadata.Namespace) {
		return false
	}
	return selects(s.EndpointSelector, subject.label)
}

func (w *World) labelsOfNode(name string) map[string]string {
	if l, ok := w.nodeLabels[name]; ok {
		return l
	}
	if n := w.nodes[name]; n != nil {
		return n.Metadata.Labels
	}
	return nil
}

// readSpec finds the rules of a spec that match, and says whether the spec
// isolates: when it has a rule of the direction, unless enableDefaultDeny says
// otherwise.
func (w *World) readSpec(p *ciliumPolicy, path string, s *spec, q question, allow, deny *[]finding) (finding, bool) {
	me := finding{p.name(), w.respondOf(p.Metadata.Annotations, q.subject)}
	allows, denies, choice := s.Ingress, s.IngressDeny, s.EnableDefaultDeny.Ingress
	if q.dir == Egress {
		allows, denies, choice = s.Egress, s.EgressDeny, s.EnableDefaultDeny.Egress
	}
	for i, r := range allows {
		if w.ruleMatches(p, r, q, false) {
			*allow = append(*allow, finding{fmt.Sprintf("%s %s.%s[%d]", me.name, path, q.dir, i), me.respond})
		}
	}
	for i, r := range denies {
		if w.ruleMatches(p, r, q, true) {
			*deny = append(*deny, finding{fmt.Sprintf("%s %s.%sDeny[%d]", me.name, path, q.dir, i), me.respond})
		}
	}
	if choice != nil {
		return me, *choice
	}
	return me, len(allows)+len(denies) > 0
}

// ruleMatches: any of the peers on any of the ports. A rule that asks for
// authentication is not enforced yet: it allows nothing. A rule without any
// peer field is about everybody if it has ports, and about nobody if not.
func (w *World) ruleMatches(p *ciliumPolicy, r rule, q question, deny bool) bool {
	if r.Authentication != nil && r.Authentication.Mode != "disabled" && !deny {
		return false
	}
	if !r.hasPeers(q.dir) {
		return (r.ToPorts != nil || r.ICMPs != nil) && r.portsMatch(q, false)
	}
	return slices.ContainsFunc(w.peers(p, r, q), func(byAddress bool) bool { return r.portsMatch(q, byAddress) })
}
