package healthcheck

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"weir/state"
)

// check is a service whose health is asked for at a port.
type check struct {
	service    state.ServiceName
	ipv4, ipv6 bool // families that the service has
	local      int  // ready endpoints on this node, IPv4
	local6     int
}

// Problem is what of a service's health checks is not in force.
type Problem struct {
	Service state.ServiceName
	Text    string
}

// wanted returns the checks of all services, by port. A port that several want stays with the
// one that owners says has it; of several new ones the first by name gets it.
func wanted(services []state.Service, owners map[uint16]state.ServiceName) (map[uint16]*check, []Problem) {
	services = slices.DeleteFunc(services, func(s state.Service) bool { return s.HealthPort == 0 })
	slices.SortFunc(services, func(a, b state.Service) int {
		mine := func(s state.Service) int {
			if owners[s.HealthPort] == s.Name {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(mine(a), mine(b)), cmp.Compare(a.Name.Namespace, b.Name.Namespace), cmp.Compare(a.Name.Name, b.Name.Name))
	})
	out := map[uint16]*check{}
	var problems []Problem
	for _, s := range services {
		if has := out[s.HealthPort]; has != nil {
			problems = append(problems, Problem{s.Name, fmt.Sprintf("healthCheckNodePort %d is %s's: load balancers cannot ask for this service's health; give one of them another", s.HealthPort, has.service)})
			continue
		}
		out[s.HealthPort] = &check{service: s.Name,
			ipv4: slices.ContainsFunc(s.ClusterIPs, netip.Addr.Is4), ipv6: slices.ContainsFunc(s.ClusterIPs, netip.Addr.Is6)}
	}
	return out, problems
}

// count says how many endpoints each service has on a node that are ready. Those that
// end are not: a load balancer is to look elsewhere while they still serve. Several
// ports of an endpoint count once.
func count(checks map[uint16]*check, services []state.Service, all []state.Slice, node string) {
	of := map[state.ServiceName]*state.Service{}
	for i := range services {
		if c := checks[services[i].HealthPort]; c != nil && c.service == services[i].Name {
			of[c.service] = &services[i]
		}
	}
	seen := map[state.ServiceName]map[netip.Addr]bool{}
	for i := range all {
		s := of[all[i].Service]
		if s == nil || !hasPort(s, &all[i]) {
			continue
		}
		for _, e := range all[i].Endpoints {
			if e.Node != node || !e.Ready && !s.PublishUnready || seen[s.Name][e.Addr] {
				continue
			}
			if seen[s.Name] == nil {
				seen[s.Name] = map[netip.Addr]bool{}
			}
			seen[s.Name][e.Addr] = true
			if c := checks[s.HealthPort]; e.Addr.Is4() {
				c.local++
			} else {
				c.local6++
			}
		}
	}
}

// hasPort reports whether endpoints of the slice serve any port of the service.
func hasPort(s *state.Service, slice *state.Slice) bool {
	return slices.ContainsFunc(slice.Ports, func(p state.SlicePort) bool {
		return p.Port != 0 && slices.ContainsFunc(s.Ports, func(q state.ServicePort) bool { return q.Name == p.Name && q.Proto == p.Proto })
	})
}

// place is where a socket listens.
type place struct {
	network string // "tcp4" or "tcp6", or "tcp" for both families
	addr    string // with its port
	port    uint16 // whose check is answered; 0: the node's
	is6     bool   // family of the endpoints that count: the asked one, or the only one
}

// placesOf are where checks are answered: at every address of the node, or, where
// NodePorts are at some only, at these.
func placesOf(checks map[uint16]*check, o Options, addrs []netip.Addr) []place {
	var out []place
	if o.Healthz != "" {
		out = append(out, place{network: "tcp", addr: o.Healthz})
	}
	at := addrs
	if len(o.Addresses) == 0 {
		at = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	for port, c := range checks {
		for _, a := range at {
			p := place{network: "tcp4", addr: netip.AddrPortFrom(a, port).String(), port: port, is6: c.ipv6 && (a.Is6() || !c.ipv4)}
			if a.Is6() {
				p.network = "tcp6"
			}
			if a.Is6() && o.IPv6 || a.Is4() && o.IPv4 {
				out = append(out, p)
			}
		}
	}
	slices.SortFunc(out, func(a, b place) int { return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.addr, b.addr)) })
	return out
}
