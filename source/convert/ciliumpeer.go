package convert

import (
	"fmt"
	"net/netip"
	"slices"

	validation "k8s.io/apimachinery/pkg/api/validation"

	v1 "weir/api/v1"
	"weir/state"
)

// entities are the words of fromEntities and toEntities.
var entities = []string{
	"all", "world", "world-ipv4", "world-ipv6", "cluster", "cluster-mesh", "host", "remote-node",
	"kube-apiserver", "health", "init", "unmanaged", "ingress", "none",
}

// peers is the other side of a rule.
type peers struct {
	said        bool // at least one list is there, though it may be empty
	peers       []state.PolicyPeer
	notEnforced []string // for each list of which that is so
}

func (c policyContext) peers(w where, r rule) (peers, error) {
	out := peers{said: r.endpoints != nil || r.nodes != nil || r.cidrs != nil || r.cidrSet != nil ||
		r.entities != nil || r.groups != nil || r.services != nil || r.fqdns != nil}
	add := func(field string, n int, one func(at where, i int) (state.PolicyPeer, error)) error {
		for i := range n {
			at := w.item(field, i)
			p, err := one(at, i)
			if err != nil {
				return err
			}
			p.Path = at.beyond(w)
			out.peers = append(out.peers, p)
		}
		return nil
	}
	lists := []struct {
		field string
		n     int
		one   func(at where, i int) (state.PolicyPeer, error)
	}{
		{r.direction + "Endpoints", len(r.endpoints), func(at where, i int) (state.PolicyPeer, error) {
			s, err := selector(at, r.endpoints[i], identityKey)
			if err == nil && c.namespace != "" {
				s = ofPolicy(s, c.namespace)
			}
			return state.PolicyPeer{Kind: state.PeerEndpoints, Endpoints: s}, err
		}},
		{r.direction + "Nodes", len(r.nodes), func(at where, i int) (state.PolicyPeer, error) {
			s, err := selector(at, r.nodes[i], objectKey)
			return state.PolicyPeer{Kind: state.PeerNodes, Nodes: s}, err
		}},
		{r.direction + "CIDR", len(r.cidrs), func(at where, i int) (state.PolicyPeer, error) {
			p, err := parsePrefix(at, r.cidrs[i], true)
			return state.PolicyPeer{Kind: state.PeerCIDR, CIDR: p, Cluster: c.scope.cidrsMatchCluster()}, err
		}},
		{r.direction + "CIDRSet", len(r.cidrSet), func(at where, i int) (state.PolicyPeer, error) {
			return c.cidrRule(at, r.cidrSet[i])
		}},
		{r.direction + "Entities", len(r.entities), func(at where, i int) (state.PolicyPeer, error) {
			e := r.entities[i]
			if !slices.Contains(entities, e) {
				return state.PolicyPeer{}, at.refuse("%q is no entity: use %s", e, oneOf(e, entities))
			}
			return state.PolicyPeer{Kind: state.PeerEntity, Entity: e}, nil
		}},
		{"toServices", len(r.services), func(at where, i int) (state.PolicyPeer, error) { return c.service(at, r.services[i]) }},
	}
	for _, l := range lists {
		if err := add(l.field, l.n, l.one); err != nil {
			return peers{}, err
		}
	}
	if len(r.fqdns) > 0 {
		out.notEnforced = append(out.notEnforced, "toFQDNs is not enforced yet: these names are denied")
	}
	if len(r.groups) > 0 {
		out.notEnforced = append(out.notEnforced, fmt.Sprintf("%sGroups is not enforced yet: these groups are denied", r.direction))
	}
	return out, nil
}

func (c policyContext) cidrRule(w where, o v1.CIDRRule) (state.PolicyPeer, error) {
	p := state.PolicyPeer{Kind: state.PeerCIDRGroups, Cluster: c.scope.cidrsMatchCluster()}
	said := 0
	for _, is := range []bool{o.CIDR != "", o.CIDRGroupRef != "", o.CIDRGroupSelector != nil} {
		if is {
			said++
		}
	}
	if said != 1 {
		return p, w.refuse("has %d of cidr, cidrGroupRef and cidrGroupSelector: write one", said)
	}
	var cidr netip.Prefix
	var err error
	switch {
	case o.CIDR != "":
		cidr, err = parsePrefix(w.in("cidr"), o.CIDR, true)
		p.Kind, p.CIDR = state.PeerCIDR, cidr
	case o.CIDRGroupRef != "":
		if bad := validation.NameIsDNSSubdomain(o.CIDRGroupRef, false); len(bad) > 0 {
			return p, w.in("cidrGroupRef").refuse("%q is no name: %s", o.CIDRGroupRef, bad[0])
		}
		p.CIDRGroups = byName("name", o.CIDRGroupRef)
	default:
		p.CIDRGroups, err = selector(w.in("cidrGroupSelector"), *o.CIDRGroupSelector, objectKey)
	}
	if err != nil {
		return p, err
	}
	p.Except, err = parseExcept(w, cidr, o.Except, true)
	return p, err
}

func byName(key, name string) state.Selector {
	return state.Selector{{Key: key, Op: state.In, Values: []string{name}}}
}

func (c policyContext) service(w where, o v1.ServiceRule) (state.PolicyPeer, error) {
	p := state.PolicyPeer{Kind: state.PeerServices}
	if (o.K8sService == nil) == (o.K8sServiceSelector == nil) {
		return p, w.refuse("has both or neither of k8sService and k8sServiceSelector: write one")
	}
	if s := o.K8sService; s != nil {
		at := w.in("k8sService")
		if bad := validation.NameIsDNSLabel(s.ServiceName, false); len(bad) > 0 {
			return p, at.in("serviceName").refuse("%q is no name of a service: %s", s.ServiceName, bad[0])
		}
		if err := checkNamespace(at, s.Namespace); err != nil {
			return p, err
		}
		p.Services = append(byName("name", s.ServiceName), byName("namespace", or(s.Namespace, or(c.namespace, "default")))...).Sorted()
		return p, nil
	}
	s, at := o.K8sServiceSelector, w.in("k8sServiceSelector")
	if s.Selector == nil {
		return p, at.in("selector").refuse("is missing: write one; {} selects all services")
	}
	if err := checkNamespace(at, s.Namespace); err != nil {
		return p, err
	}
	var err error
	p.Services, err = selector(at.in("selector"), *s.Selector, objectKey)
	if namespace := or(s.Namespace, c.namespace); err == nil && namespace != "" {
		p.Services = append(p.Services, byName("namespace", namespace)...).Sorted()
	}
	return p, err
}

func checkNamespace(w where, name string) error {
	if bad := validation.ValidateNamespaceName(name, false); name != "" && len(bad) > 0 {
		return w.in("namespace").refuse("%q is no name of a namespace: %s", name, bad[0])
	}
	return nil
}
