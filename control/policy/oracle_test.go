package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weir/state"
)

// packet is the first of a connection, as one end's policy sees it.
type packet struct {
	endpoint  state.EndpointID
	direction uint8
	identity  state.IdentityID // of the peer
	addr      netip.Addr
	proto     uint8
	port      uint16
}

// oracle reads the rows anew for every packet. It shares nothing with the engine
// but the rows' types.
type oracle struct {
	in   input
	opts Options
}

func (o oracle) identity(id state.IdentityID) (state.Labels, bool) {
	for _, i := range o.in.identities {
		if i.ID == id && id != 0 {
			return i.Labels, true
		}
	}
	return nil, false
}

func (o oracle) endpoint(id state.EndpointID) (state.Endpoint, bool) {
	if id == 0 {
		return state.Endpoint{Identity: state.IdentityHost}, o.opts.HostFirewall
	}
	for _, e := range o.in.endpoints {
		if e.ID == id {
			return e, true
		}
	}
	return state.Endpoint{}, false
}

// allowed is false for an endpoint that is not there.
func (o oracle) allowed(p packet) bool {
	end, ok := o.endpoint(p.endpoint)
	if !ok {
		return false
	}
	if o.opts.Mode == ModeNever {
		return true
	}
	labels, known := o.identity(end.Identity)
	isInit := p.endpoint != 0 && (!known || end.Identity == state.IdentityInit)
	isolated := (isInit && len(o.in.policies) > 0) || (o.opts.Mode == ModeAlways && !end.Health)
	kubernetes, allow := false, false
	for _, pol := range o.in.policies {
		for _, s := range pol.Specs {
			if !o.subject(s, p.endpoint, labels) {
				continue
			}
			rules, isolates := s.Egress, s.IsolateEgress
			if p.direction == ingress {
				rules, isolates = s.Ingress, s.IsolateIngress
			}
			isolated = isolated || isolates
			kubernetes = kubernetes || (pol.Key.Kind == state.KindNetworkPolicy && isolates)
			for _, r := range rules {
				if r.NotEnforced != "" || !o.matches(r, p, labels) {
					continue
				}
				if r.Deny {
					return false
				}
				allow = true
			}
		}
	}
	own := p.endpoint != 0 && p.identity == state.IdentityHost && (p.direction == ingress || kubernetes)
	return allow || own || !isolated
}

func (o oracle) subject(s state.PolicySpec, id state.EndpointID, labels state.Labels) bool {
	if s.Nodes != (id == 0) {
		return false
	}
	if !s.Nodes {
		return s.Subject.Matches(labels)
	}
	for _, n := range o.in.nodes {
		if n.Local {
			return s.Subject.Matches(labelsOf(n.Labels))
		}
	}
	return s.Subject.Matches(nil)
}

func labelsOf(m map[string]string) state.Labels {
	var out state.Labels
	for k, v := range m {
		out = append(out, "k8s:"+k+"="+v)
	}
	return out
}

// matches asks for every peer and port of the rule.
func (o oracle) matches(r state.PolicyRule, p packet, own state.Labels) bool {
	peer, _ := o.identity(p.identity)
	ports := r.Ports
	if r.AnyPort {
		ports = []state.PolicyPort{{All: true}}
	}
	for _, port := range ports {
		labels := own
		if p.direction == egress {
			labels = peer
		}
		if !o.port(port, p, labels) {
			continue
		}
		if r.AnyPeer {
			return true
		}
		if slices.ContainsFunc(r.Peers, func(x state.PolicyPeer) bool {
			return o.peer(x, p, peer, port.Name != "" && p.direction == egress)
		}) {
			return true
		}
	}
	return false
}

func (o oracle) port(x state.PolicyPort, p packet, labels state.Labels) bool {
	if x.Proto != 0 && x.Proto != p.proto {
		return false
	}
	if x.Name != "" {
		for _, l := range labels {
			value, ok := strings.CutPrefix(l, "port:"+x.Name+"=")
			if ok && slices.Contains(strings.Split(value, ";"), named(p)) {
				return true
			}
		}
		return false
	}
	return x.All || (x.First <= p.port && p.port <= x.Last)
}

func named(p packet) string {
	return map[uint8]string{6: "TCP", 17: "UDP", 132: "SCTP"}[p.proto] + "/" + strconv.Itoa(int(p.port))
}

func (o oracle) peer(x state.PolicyPeer, p packet, labels state.Labels, byName bool) bool {
	world := p.identity == 2 || p.identity == 9 || p.identity == 10
	pod := p.identity.Reserved() == "" && labels != nil
	switch x.Kind {
	case state.PeerEndpoints:
		reserved := slices.ContainsFunc(x.Endpoints, func(r state.Requirement) bool {
			return strings.HasPrefix(r.Key, "reserved:") && r.Op != state.NotIn && r.Op != state.DoesNotExist
		})
		end := pod || slices.Contains([]state.IdentityID{3, 4, 5, 8}, p.identity)
		return labels != nil && (end || reserved) && x.Endpoints.Matches(labels)
	case state.PeerEntity:
		return o.entity(x.Entity, p, labels != nil, byName)
	case state.PeerCIDR:
		return !byName && o.cidr(x, []netip.Prefix{x.CIDR}, p, world)
	case state.PeerCIDRGroups:
		var all []netip.Prefix
		for _, g := range o.in.groups {
			if x.CIDRGroups.Matches(append(labelsOf(g.Labels), "name="+g.Name)) {
				all = append(all, g.CIDRs...)
			}
		}
		return !byName && o.cidr(x, all, p, world)
	case state.PeerNodes:
		for _, n := range o.in.nodes {
			if !byName && x.Nodes.Matches(labelsOf(n.Labels)) && slices.Contains(slices.Concat(n.Addresses, n.Routers), p.addr) {
				return true
			}
		}
	case state.PeerServices:
		for _, s := range o.in.services {
			if x.Services.Matches(s.Identifying()) && o.backend(s, p, labels, pod, byName) {
				return true
			}
		}
	}
	return false
}

func (o oracle) cidr(x state.PolicyPeer, list []netip.Prefix, p packet, world bool) bool {
	has := func(c netip.Prefix) bool { return c.Contains(p.addr) }
	return (x.Cluster || world) && slices.ContainsFunc(list, has) && !slices.ContainsFunc(x.Except, has)
}

func (o oracle) backend(s state.Service, p packet, labels state.Labels, pod, byName bool) bool {
	if len(s.Selector) > 0 {
		if !pod || !slices.Contains(labels, state.LabelNamespace+"="+s.Name.Namespace) {
			return false
		}
		for k, v := range s.Selector {
			if !slices.Contains(labels, "k8s:"+k+"="+v) {
				return false
			}
		}
		return true
	}
	return !byName && slices.ContainsFunc(o.in.slices, func(x state.Slice) bool { return x.Service == s.Name && slices.Contains(x.Addrs, p.addr) })
}

func (o oracle) entity(entity string, p packet, known, byName bool) bool {
	if entity == "all" {
		return !byName || known
	}
	if entity == "kube-apiserver" && !byName && slices.ContainsFunc(o.in.slices, func(x state.Slice) bool {
		return x.Service == (state.ServiceName{Namespace: "default", Name: "kubernetes"}) && slices.Contains(x.Addrs, p.addr)
	}) {
		return true
	}
	if !known {
		return false
	}
	switch entity {
	case "world":
		return p.identity == 2 || p.identity == 9 || p.identity == 10
	case "world-ipv4":
		return p.identity == 9
	case "world-ipv6":
		return p.identity == 10
	case "cluster":
		return p.identity != 2 && p.identity != 9 && p.identity != 10
	case "remote-node":
		return p.identity == 6 || p.identity == 7
	}
	return p.identity.Reserved() == "reserved:"+entity
}
