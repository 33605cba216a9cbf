package convert

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "weir/api/v1"
	"weir/state"
)

// rule is what rules of both directions have in common. In all lists nil is
// absent.
type rule struct {
	deny      bool
	direction string // "from" or "to", which the names of the fields begin with

	endpoints, requires, nodes []metav1.LabelSelector
	cidrs                      []string
	cidrSet                    []v1.CIDRRule
	entities                   []string
	groups                     []v1.CloudGroup
	services                   []v1.ServiceRule
	fqdns                      []v1.FQDN
	ports                      []v1.PortRule
	icmps                      []v1.ICMPRule
	authentication             *v1.Authentication
}

func ingressRule(r v1.IngressRule, deny bool) rule {
	return rule{
		deny: deny, direction: "from",
		endpoints: r.FromEndpoints, requires: r.FromRequires, nodes: r.FromNodes,
		cidrs: r.FromCIDR, cidrSet: r.FromCIDRSet, entities: r.FromEntities, groups: r.FromGroups,
		ports: r.ToPorts, icmps: r.ICMPs, authentication: r.Authentication,
	}
}

func egressRule(r v1.EgressRule, deny bool) rule {
	return rule{
		deny: deny, direction: "to",
		endpoints: r.ToEndpoints, requires: r.ToRequires, nodes: r.ToNodes,
		cidrs: r.ToCIDR, cidrSet: r.ToCIDRSet, entities: r.ToEntities, groups: r.ToGroups,
		services: r.ToServices, fqdns: r.ToFQDNs,
		ports: r.ToPorts, icmps: r.ICMPs, authentication: r.Authentication,
	}
}

// rules converts one rule of an object. What it says that this version does not
// enforce becomes rules of their own, which allow nothing, so that the rest of
// it counts.
func (c policyContext) rules(w where, r rule) ([]state.PolicyRule, error) {
	if err := refuseRule(w, r); err != nil {
		return nil, err
	}
	who, err := c.peers(w, r)
	if err != nil {
		return nil, err
	}
	entries, err := portEntries(w, r)
	if err != nil {
		return nil, err
	}
	base := state.PolicyRule{Path: w.field, Deny: r.deny, Peers: who.peers, AnyPeer: !who.said && (r.ports != nil || r.icmps != nil)}
	if a := r.authentication; a != nil && a.Mode != "disabled" {
		base.NotEnforced = fmt.Sprintf("authentication.mode %q is not enforced yet: the rule allows nothing", a.Mode)
		return []state.PolicyRule{withEntries(base, entries)}, nil
	}
	var out, not []state.PolicyRule
	var good []portEntry
	for _, e := range entries {
		if e.notEnforced == "" {
			good = append(good, e)
			continue
		}
		n := withEntries(base, []portEntry{e})
		n.NotEnforced = e.notEnforced
		not = append(not, n)
	}
	if onlyPeersNotEnforced := len(who.peers) == 0 && len(who.notEnforced) > 0; !onlyPeersNotEnforced && (len(good) > 0 || len(not) == 0) {
		out = append(out, withEntries(base, good))
	}
	for _, text := range who.notEnforced {
		n := withEntries(base, good)
		n.Peers, n.NotEnforced = nil, text
		not = append(not, n)
	}
	return append(out, not...), nil
}

// refuseRule refuses what the API forbids in a rule as a whole.
func refuseRule(w where, r rule) error {
	if r.requires != nil {
		return w.in(r.direction+"Requires").refuse("is not part of the API: write the labels into %sEndpoints, or deny others with a rule of their own", r.direction)
	}
	if r.ports != nil && r.icmps != nil {
		return w.in("icmps").refuse("stands beside toPorts: write two rules")
	}
	if a := r.authentication; a != nil {
		at := w.in("authentication.mode")
		switch a.Mode {
		case "disabled", "required", "test-always-fail":
		default:
			return at.refuse("%q is no mode: use %s", a.Mode, oneOf(a.Mode, []string{"disabled", "required", "test-always-fail"}))
		}
		if r.deny {
			return w.in("authentication").refuse("stands in a deny rule, which has peers and ports only: leave it out")
		}
	}
	if !r.deny {
		return nil
	}
	if r.fqdns != nil {
		return w.in("toFQDNs").refuse("stands in a deny rule, which has no names: use toCIDR or toEntities")
	}
	if err := refuseNoPorts(w, r); err != nil {
		return err
	}
	if len(r.groups) > 0 { // as a rule that denies nothing it would open what it was meant to close
		return w.in(r.direction+"Groups").refuse("is not enforced yet, so nothing would be denied: use %sCIDR", r.direction)
	}
	return nil
}

// refuseNoPorts refuses lists of a deny rule that are there and select no port.
func refuseNoPorts(w where, r rule) error {
	const empty = "is empty, so nothing would be denied: "
	if r.ports != nil && len(r.ports) == 0 {
		return w.in("toPorts").refuse(empty + "list ports, or leave toPorts out to deny every port")
	}
	for i, p := range r.ports {
		if p.Ports != nil && len(p.Ports) == 0 {
			return w.item("toPorts", i).in("ports").refuse(empty + "list ports, or leave ports out to deny every port")
		}
	}
	if r.icmps != nil && len(r.icmps) == 0 {
		return w.in("icmps").refuse(empty + "list types, or leave icmps out to deny everything")
	}
	for i, o := range r.icmps {
		if o.Fields != nil && len(o.Fields) == 0 {
			return w.item("icmps", i).in("fields").refuse(empty + "list types, such as {family: IPv4, type: EchoRequest}")
		}
	}
	return nil
}

// portEntry is a toPorts, or all icmps.
type portEntry struct {
	any         bool
	ports       []state.PolicyPort
	notEnforced string
}

// withEntries sets the ports of a rule: those of all entries.
func withEntries(r state.PolicyRule, entries []portEntry) state.PolicyRule {
	r.Ports = nil
	for _, e := range entries {
		r.AnyPort = r.AnyPort || e.any
		r.Ports = append(r.Ports, e.ports...)
	}
	if r.AnyPort {
		r.Ports = nil
	}
	return r
}

func portEntries(w where, r rule) ([]portEntry, error) {
	if r.ports == nil && r.icmps == nil {
		return []portEntry{{any: true}}, nil
	}
	if r.icmps != nil {
		ports, err := icmpPorts(w, r.icmps)
		return []portEntry{{ports: ports}}, err
	}
	var out []portEntry
	for i, p := range r.ports {
		at := w.item("toPorts", i)
		e := portEntry{any: p.Ports == nil}
		if part := l7(p); part != "" {
			if r.deny {
				return nil, at.in(part).refuse("stands in a deny rule, which has ports only: leave it out")
			}
			e.notEnforced = fmt.Sprintf("toPorts[%d].%s is not enforced yet: these ports are denied", i, part)
		}
		for j, port := range p.Ports {
			ports, err := ciliumPorts(at.item("ports", j), w, port)
			if err != nil {
				return nil, err
			}
			e.ports = append(e.ports, ports...)
		}
		out = append(out, e)
	}
	return out, nil
}

// l7 names the part of a toPorts that looks beyond ports, or "". Rules of no kind
// ask for nothing.
func l7(p v1.PortRule) string {
	switch r := p.Rules; {
	case r == nil:
	case r.HTTP != nil:
		return "rules.http"
	case r.DNS != nil:
		return "rules.dns"
	case r.Kafka != nil:
		return "rules.kafka"
	case r.L7Proto != "" || r.L7 != nil:
		return "rules.l7"
	}
	switch {
	case p.ServerNames != nil:
		return "serverNames"
	case p.Listener != nil:
		return "listener"
	case p.TerminatingTLS != nil:
		return "terminatingTLS"
	case p.OriginatingTLS != nil:
		return "originatingTLS"
	}
	return ""
}
