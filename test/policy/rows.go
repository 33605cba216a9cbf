package policytest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weir/bpf"
	"weir/state"
	"weir/test/policy/oracle"
)

// Rows is the tables that control/policy reads. Judging by them tells whose
// mistake a wrong verdict is: if the rows are right and the maps are not, it is
// the compiler's.
type Rows struct {
	Settings oracle.Settings
	Tables   *state.Tables
	Maps     *Maps // for who has an address
}

// end is one end of a packet, as the tables know it.
type end struct {
	addr     netip.Addr
	host     bool
	endpoint state.EndpointID
	identity state.IdentityID
	labels   state.Labels
}

func (r Rows) who(a netip.Addr) end {
	entry, _ := r.Maps.lookup(a)
	id := state.IdentityID(entry.Identity)
	row, _ := r.Tables.Identities.Get(id)
	return end{a, entry.Flags&uint8(bpf.IPCacheHost) != 0, state.EndpointID(entry.Endpoint), id, row.Labels}
}

// Judge returns what the rows say about both ends, and what decided.
func (r Rows) Judge(p oracle.Packet) (egress, ingress oracle.Judgement) {
	src, dst := r.who(p.Src), r.who(p.Dst)
	return r.end(src, dst, oracle.Egress, p), r.end(dst, src, oracle.Ingress, p)
}

func (r Rows) end(subject, peer end, d oracle.Direction, p oracle.Packet) oracle.Judgement {
	switch {
	case !subject.host && subject.endpoint == 0, subject.host && !r.Settings.HostFirewall:
		return oracle.Judgement{Verdict: oracle.NotJudged}
	case r.Settings.Mode == "never":
		return oracle.Judgement{Verdict: oracle.NotEnforced}
	case subject.host && r.neverClosed(peer, d, p):
		return oracle.Judgement{Verdict: oracle.Allowed, By: []string{"fail-safe"}}
	}
	var allow, deny, isolate []string
	ownHost := d == oracle.Ingress
	any := false
	for _, policy := range r.Tables.Policies.All() {
		any = true
		for _, s := range policy.Specs {
			if !r.subject(s, subject) {
				continue
			}
			rules, isolates := s.Ingress, s.IsolateIngress
			if d == oracle.Egress {
				rules, isolates = s.Egress, s.IsolateEgress
				ownHost = ownHost || policy.Key.Kind == state.KindNetworkPolicy && isolates
			}
			if isolates {
				isolate = append(isolate, policy.Key.String())
			}
			for _, rule := range rules {
				switch {
				case rule.NotEnforced != "" || !r.rule(rule, subject, peer, d, p):
				case rule.Deny:
					deny = append(deny, policy.Key.String()+" "+rule.Path)
				default:
					allow = append(allow, policy.Key.String()+" "+rule.Path)
				}
			}
		}
	}
	isPod := subject.identity >= state.IdentityMin || subject.identity == state.IdentityInit
	isolated := len(isolate) > 0 || r.Settings.Mode == "always" && (isPod || subject.host) || subject.identity == state.IdentityInit && any
	switch {
	case len(deny) > 0:
		return oracle.Judgement{Verdict: oracle.RuleDeny, By: deny}
	case len(allow) > 0:
		return oracle.Judgement{Verdict: oracle.Allowed, By: allow}
	case ownHost && peer.host && !subject.host:
		return oracle.Judgement{Verdict: oracle.Allowed, By: []string{"own host"}}
	case isolated:
		return oracle.Judgement{Verdict: oracle.DefaultDeny, By: isolate}
	}
	return oracle.Judgement{Verdict: oracle.NotEnforced}
}

func (r Rows) neverClosed(peer end, d oracle.Direction, p oracle.Packet) bool {
	return slices.Contains(r.Settings.FailSafe, oracle.FailSafe{Ingress: d == oracle.Ingress, Proto: p.Proto, Port: p.Port}) ||
		p.Proto == 17 && p.Port == tunnelPort && peer.identity == state.IdentityRemoteNode
}

func (r Rows) subject(s state.PolicySpec, e end) bool {
	if s.Nodes != e.host {
		return false
	}
	if s.Nodes {
		n, _ := r.Tables.Nodes.Get(r.Settings.Node)
		return s.Subject.Matches(labelsOf(n.Labels))
	}
	return s.Subject.Matches(e.labels)
}

func labelsOf(m map[string]string) state.Labels {
	var out state.Labels
	for k, v := range m {
		out = append(out, "k8s:"+k+"="+v)
	}
	return out
}

func (r Rows) rule(rule state.PolicyRule, subject, peer end, d oracle.Direction, p oracle.Packet) bool {
	if rule.AnyPeer {
		return r.ports(rule, subject, peer, d, p, false)
	}
	return slices.ContainsFunc(rule.Peers, func(who state.PolicyPeer) bool {
		match, byAddress := r.peer(who, peer)
		return match && r.ports(rule, subject, peer, d, p, byAddress)
	})
}

func (r Rows) ports(rule state.PolicyRule, subject, peer end, d oracle.Direction, p oracle.Packet, byAddress bool) bool {
	if rule.AnyPort {
		return true
	}
	return slices.ContainsFunc(rule.Ports, func(port state.PolicyPort) bool {
		switch {
		case port.Proto == state.ProtoAny:
			return port.All
		case port.Proto != p.Proto:
			return false
		case port.Name == "":
			return port.All || port.First <= p.Port && p.Port <= port.Last
		case d == oracle.Ingress:
			return named(subject, port.Name, p)
		}
		return !byAddress && named(peer, port.Name, p)
	})
}

func named(e end, name string, p oracle.Packet) bool {
	proto := map[uint8]string{6: "TCP", 17: "UDP", 132: "SCTP"}[p.Proto]
	for _, l := range e.labels {
		if list, ok := strings.CutPrefix(l, state.LabelNamedPortPrefix+name+"="); ok {
			return slices.Contains(strings.Split(list, ";"), fmt.Sprintf("%s/%d", proto, p.Port))
		}
	}
	return false
}

func (r Rows) peer(who state.PolicyPeer, e end) (match, byAddress bool) {
	outside := e.identity == 2 || e.identity == 9 || e.identity == 10
	switch who.Kind {
	case state.PeerEndpoints:
		return r.endpoints(who.Endpoints, e), false
	case state.PeerEntity:
		if who.Entity == "kube-apiserver" && r.slices(state.ServiceName{Namespace: "default", Name: "kubernetes"}, e.addr) {
			return true, true
		}
		return entity(who.Entity, e), false
	case state.PeerCIDR:
		return (outside || who.Cluster) && in(e.addr, []netip.Prefix{who.CIDR}, who.Except), true
	case state.PeerCIDRGroups:
		for _, g := range r.Tables.CIDRGroups.All() {
			if who.CIDRGroups.Matches(append(labelsOf(g.Labels), "name="+g.Name)) && in(e.addr, g.CIDRs, who.Except) {
				return outside || who.Cluster, true
			}
		}
	case state.PeerNodes:
		for _, n := range r.Tables.Nodes.All() {
			if who.Nodes.Matches(labelsOf(n.Labels)) && (slices.Contains(n.Addresses, e.addr) || slices.Contains(n.Routers, e.addr)) {
				return true, true
			}
		}
	case state.PeerServices:
		return r.services(who.Services, e)
	}
	return false, true
}

func (r Rows) endpoints(s state.Selector, e end) bool {
	endpoint := e.identity >= state.IdentityMin || slices.Contains([]state.IdentityID{3, 4, 5, 8}, e.identity)
	asks := slices.ContainsFunc(s, func(q state.Requirement) bool {
		return strings.HasPrefix(q.Key, "reserved:") && q.Op != state.NotIn && q.Op != state.DoesNotExist
	})
	return e.identity != 0 && (endpoint || asks) && s.Matches(e.labels)
}

func entity(name string, e end) bool {
	switch name {
	case "all":
		return true
	case "world":
		return e.identity == 2 || e.identity == 9 || e.identity == 10
	case "world-ipv4", "world-ipv6":
		return (e.identity == 2 || e.identity == 9 || e.identity == 10) && e.addr.Is4() == (name == "world-ipv4")
	case "cluster", "cluster-mesh":
		return e.identity != 0 && e.identity != 2 && e.identity != 9 && e.identity != 10
	case "remote-node":
		return e.identity == 6 || e.identity == 7
	}
	return e.identity.Reserved() == "reserved:"+name
}

func (r Rows) services(s state.Selector, e end) (match, byAddress bool) {
	for _, svc := range r.Tables.Services.All() {
		if !s.Matches(svc.Identifying()) {
			continue
		}
		if len(svc.Selector) == 0 {
			if r.slices(svc.Name, e.addr) {
				return true, true
			}
			continue
		}
		all := slices.Contains(e.labels, state.LabelNamespace+"="+svc.Name.Namespace)
		for k, v := range svc.Selector {
			all = all && slices.Contains(e.labels, "k8s:"+k+"="+v)
		}
		if all {
			return true, false
		}
	}
	return false, false
}

func (r Rows) slices(of state.ServiceName, a netip.Addr) bool {
	for _, s := range r.Tables.Slices.All() {
		if s.Service == of && slices.Contains(s.Addrs, a) {
			return true
		}
	}
	return false
}

func in(a netip.Addr, cidrs, except []netip.Prefix) bool {
	has := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.ContainsFunc(cidrs, has) && !slices.ContainsFunc(except, has)
}
