package oracle

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// hasPeers reports whether any peer field is present, empty ones too.
func (r rule) hasPeers(d Direction) bool {
	if d == Ingress {
		return r.FromEndpoints != nil || r.FromNodes != nil || r.FromEntities != nil || r.FromCIDR != nil ||
			r.FromCIDRSet != nil || r.FromGroups != nil
	}
	return r.ToEndpoints != nil || r.ToNodes != nil || r.ToEntities != nil || r.ToCIDR != nil ||
		r.ToCIDRSet != nil || r.ToGroups != nil || r.ToServices != nil || r.ToFQDNs != nil
}

// peers returns one element for each entry of the peer fields that matches the
// peer: whether it does so by address. Fields are alternatives. Groups and
// FQDNs are not enforced yet and match nobody.
func (w *World) peers(p *ciliumPolicy, r rule, q question) (byAddress []bool) {
	endpoints, nodes, entities, cidrs, sets := r.FromEndpoints, r.FromNodes, r.FromEntities, r.FromCIDR, r.FromCIDRSet
	if q.dir == Egress {
		endpoints, nodes, entities, cidrs, sets = r.ToEndpoints, r.ToNodes, r.ToEntities, r.ToCIDR, r.ToCIDRSet
	}
	add := func(match, address bool) {
		if match {
			byAddress = append(byAddress, address)
		}
	}
	for i := range endpoints {
		add(endpointMatches(p, &endpoints[i], q.peer), false)
	}
	for i := range nodes {
		add(w.nodeMatches(&nodes[i], q.peer), true)
	}
	for _, e := range entities {
		if e == "kube-apiserver" {
			add(w.sliceHas("default", "kubernetes", q.peer), true)
		}
		add(entityMatches(e, q.peer), false)
	}
	for _, c := range cidrs {
		add(w.cidrMatches(c, nil, q.peer), true)
	}
	for _, c := range sets {
		for _, one := range w.cidrsOf(c) {
			add(w.cidrMatches(one, c.Except, q.peer), true)
		}
	}
	if q.dir == Egress {
		for _, s := range r.ToServices {
			w.serviceMatches(p, s, q.peer, add)
		}
	}
	return byAddress
}

// endpointMatches: whoever has the reserved label that a selector wants;
// otherwise endpoints of the cluster. Those of a namespaced policy are pods: its
// own namespace's, unless the selector speaks of namespaces itself, in whichever
// way.
func endpointMatches(p *ciliumPolicy, s *metav1.LabelSelector, who Party) bool {
	switch {
	case who.Kind == "unknown" || !selects(s, who.label):
		return false
	case wantsReserved(s):
		return true
	case p.clusterwide():
		return who.endpoint()
	}
	return who.pod != nil && (namesNamespace(s) || who.pod.Namespace == p.Metadata.Namespace)
}

// nodeMatches: nodes by their labels, at their own addresses.
func (w *World) nodeMatches(s *metav1.LabelSelector, who Party) bool {
	for name, n := range w.nodes {
		if n.has(who.Addr) && selects(s, plain(w.labelsOfNode(name))) {
			return true
		}
	}
	return false
}

func entityMatches(entity string, who Party) bool {
	switch entity {
	case "all":
		return true
	case "world":
		return who.Kind == "world"
	case "world-ipv4":
		return who.Kind == "world" && who.Addr.Is4()
	case "world-ipv6":
		return who.Kind == "world" && who.Addr.Is6()
	case "cluster", "cluster-mesh":
		return !who.outside() && who.Kind != "unknown"
	case "host", "remote-node", "health", "init", "unmanaged", "ingress":
		return who.Kind == entity
	}
	return false // "none"; "kube-apiserver" is known by its addresses
}

// cidrMatches: addresses outside of the cluster, unless the
// configuration says that CIDRs mean pods and nodes, too.
func (w *World) cidrMatches(cidr string, except []string, who Party) bool {
	return (who.outside() || len(w.CIDRMatch) > 0) && within(who.Addr, cidr, except)
}

// cidrsOf: a CIDR, those of the group of that name, or those of the groups with
// such labels. A group that does not exist has none.
func (w *World) cidrsOf(c cidrRule) []string {
	if c.CIDR != "" {
		return []string{c.CIDR}
	}
	var out []string
	for _, g := range w.groups {
		if c.CIDRGroupRef == g.Metadata.Name && c.CIDRGroupRef != "" ||
			c.CIDRGroupSelector != nil && selects(c.CIDRGroupSelector, plain(g.Metadata.Labels)) {
			out = append(out, g.Spec.ExternalCIDRs...)
		}
	}
	return out
}

// serviceMatches: a service with a selector stands for the pods it selects; one
// without for the addresses of its slices, whoever has them.
func (w *World) serviceMatches(p *ciliumPolicy, r serviceRule, who Party, add func(match, byAddress bool)) {
	for _, s := range w.services {
		if !serviceNamed(p, r, s) {
			continue
		}
		if len(s.Spec.Selector) > 0 {
			add(who.pod != nil && who.pod.Namespace == s.Namespace && matches(&metav1.LabelSelector{MatchLabels: s.Spec.Selector}, ownLabels(who.pod)), false)
		} else {
			add(w.sliceHas(s.Namespace, s.Name, who), true)
		}
	}
}

// serviceNamed: by name in a namespace, which is the policy's unless given (a
// clusterwide policy's is "default"); or by labels in a namespace, which is the
// policy's unless given (a clusterwide policy's is any).
func serviceNamed(p *ciliumPolicy, r serviceRule, s *corev1.Service) bool {
	if k := r.K8sService; k != nil {
		namespace := k.Namespace
		if namespace == "" && p.clusterwide() {
			namespace = "default"
		} else if namespace == "" {
			namespace = p.Metadata.Namespace
		}
		return s.Namespace == namespace && s.Name == k.ServiceName
	}
	k := r.K8sServiceSelector
	namespace := k.Namespace
	if namespace == "" && p.clusterwide() {
		namespace = s.Namespace
	} else if namespace == "" {
		namespace = p.Metadata.Namespace
	}
	return s.Namespace == namespace && selects(&k.Selector, plain(s.Labels))
}

// sliceHas reports whether an address is in a slice of a service.
func (w *World) sliceHas(namespace, service string, who Party) bool {
	for _, s := range w.slices {
		if s.Namespace != namespace || s.Labels["kubernetes.io/service-name"] != service {
			continue
		}
		for _, e := range s.Endpoints {
			if slices.ContainsFunc(e.Addresses, func(a string) bool { return same(a, who.Addr) }) {
				return true
			}
		}
	}
	return false
}
