package service

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"weir/bpf"
	"weir/state"
)

// view is what services depend on beside themselves and their slices.
type view struct {
	node       node
	ipv4, ipv6 bool         // families that are on
	own        []netip.Addr // of this node
	addrs      []netip.Addr // those of own that NodePorts are at
	ports      [2]uint16    // first and last that NodePorts may be; zero: any
	named      []netip.Addr // of this node's object: those that other nodes know
	algorithm  state.Algorithm
	forwarding string
	taken      func(netip.Addr) string // who in the cluster has an address; empty: nobody
}

// Kind is how a frontend came about.
type Kind string

// The kinds of frontends.
const (
	ClusterIP    Kind = "ClusterIP"
	NodePort     Kind = "NodePort"
	LoadBalancer Kind = "LoadBalancer"
	ExternalIP   Kind = "ExternalIPs"
	HostPort     Kind = "HostPort"
)

// scope is whom a frontend sends to.
type scope int

const (
	nobody     scope = iota
	everywhere       // by the traffic policy Cluster
	here             // by Local
)

// frontend is an address at which a service's port is asked for.
type frontend struct {
	key             bpf.ServiceKey
	kind            Kind
	flags           bpf.ServiceFlag
	inside, outside scope
}

// portKey names a port within its service: in each family it is one of its own. A
// pod may have several ports behind one of its node, at other addresses.
type portKey struct {
	port   uint16
	proto  uint8
	is6    bool
	target uint16 // of a pod, behind a HostPort; of a service: 0
}

// plan is what is to be in force of a service's port in one family.
type plan struct {
	key       portKey
	name      string
	endpoints []endpoint
	selection
	frontends []frontend
	affinity  uint32
	ranges    []netip.Prefix // of its load balancer's addresses
	maglev    bool
}

// compile derives what is to be in force of a service. Notes say what of it cannot.
func compile(s *state.Service, all []*state.Slice, v *view) (plans []plan, notes []string) {
	if s.Kind == state.ServiceNone {
		return nil, nil
	}
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	vips := vipsOf(s, v, note)
	seen := map[portKey]bool{}
	for _, is6 := range []bool{false, true} {
		if !v.has(is6) || !slices.ContainsFunc(s.ClusterIPs, func(a netip.Addr) bool { return a.Is4() != is6 }) {
			continue
		}
		for _, p := range s.Ports {
			k := portKey{port: p.Port, proto: p.Proto, is6: is6}
			switch {
			case p.Port == 0:
				note("port %q is 0: it is left out", p.Name)
			case seen[k]:
				note("port %d/%s stands twice: the first counts", p.Port, state.ProtoName(p.Proto))
			default:
				seen[k] = true
				if p.NodePort != 0 && !v.inRange(p.NodePort) {
					note("NodePort %d/%s is outside of nodePort.range %d-%d: it is left out; give the service another, or change nodePort.range on all nodes",
						p.NodePort, state.ProtoName(p.Proto), v.ports[0], v.ports[1])
				}
				plans = append(plans, compilePort(s, p, k, all, v, vips))
			}
		}
	}
	slices.Sort(notes)
	return plans, slices.Compact(notes)
}

func (v *view) has(is6 bool) bool {
	if is6 {
		return v.ipv6
	}
	return v.ipv4
}

// inRange reports whether services may have the port on nodes. Ports for connections in
// the node's name lie outside of the range, so one that is not in it may be in use.
func (v *view) inRange(port uint16) bool {
	return v.ports[1] == 0 || port >= v.ports[0] && port <= v.ports[1]
}

// vip is an address of a service that has no node.
type vip struct {
	addr netip.Addr
	kind Kind
}

// vipsOf leaves out addresses that others have, and those of families that the
// service does not have.
func vipsOf(s *state.Service, v *view, note func(string, ...any)) []vip {
	var out []vip
	add := func(a netip.Addr, kind Kind) {
		of := v.taken(a)
		switch {
		case of != "":
			note("%s %s is the address of %s: it is left out", kind, a, of)
		case !slices.ContainsFunc(s.ClusterIPs, func(c netip.Addr) bool { return c.Is4() == a.Is4() }):
			note("%s %s is of a family that the service does not have: it is left out", kind, a)
		case slices.ContainsFunc(out, func(o vip) bool { return o.addr == a }):
		default:
			out = append(out, vip{a, kind})
		}
	}
	for _, a := range s.ClusterIPs {
		add(a, ClusterIP)
	}
	for _, a := range s.LoadBalancerIPs {
		add(a, LoadBalancer)
	}
	for _, a := range s.ExternalIPs {
		add(a, ExternalIP)
	}
	return out
}

func compilePort(s *state.Service, p state.ServicePort, k portKey, all []*state.Slice, v *view, vips []vip) plan {
	out := plan{key: k, name: p.Name, affinity: seconds(s.Affinity), maglev: cmp.Or(s.Algorithm, v.algorithm) == state.AlgorithmMaglev}
	out.endpoints = merge(all, p, !k.is6, s.PublishUnready)
	out.selection = choose(out.endpoints, v.node, s.PublishUnready)
	add := func(a netip.Addr, port uint16, kind Kind) {
		f := frontend{key: bpf.ServiceKeyFrom(netip.AddrPortFrom(a, port), p.Proto), kind: kind}
		out.scopes(&f, s)
		f.flags |= out.flags(s, kind, v, p.Proto)
		if kind == NodePort && !a.IsUnspecified() && !slices.Contains(v.named, a) {
			f.flags &^= bpf.ServiceDSR // no other node would answer in its name
		}
		out.frontends = append(out.frontends, f)
	}
	for _, x := range vips {
		if x.addr.Is4() != k.is6 {
			add(x.addr, p.Port, x.kind)
		}
	}
	for _, r := range s.SourceRanges {
		if r.Addr().Is4() != k.is6 && slices.ContainsFunc(out.frontends, func(f frontend) bool { return f.kind == LoadBalancer }) {
			out.ranges = append(out.ranges, r.Masked())
		}
	}
	if p.NodePort == 0 || !v.inRange(p.NodePort) {
		return out
	}
	every := netip.IPv4Unspecified()
	if k.is6 {
		every = netip.IPv6Unspecified()
	}
	for _, a := range append([]netip.Addr{every}, v.addrs...) {
		if a.Is4() != k.is6 {
			add(a, p.NodePort, NodePort)
		}
	}
	return out
}

// scopes says whom a frontend sends to. Whoever is in the cluster and asks at an
// address for others is served as by the traffic policy Cluster, as kube-proxy does.
func (p *plan) scopes(f *frontend, s *state.Service) {
	lacks := func(sc scope) bool { return sc == here && len(p.local) == 0 && p.anywhere }
	if f.kind == ClusterIP {
		if f.inside = everywhere; s.InternalLocal {
			f.inside = here
		}
	} else {
		if f.inside, f.outside = everywhere, everywhere; s.ExternalLocal {
			f.outside = here
		}
	}
	if lacks(f.inside) {
		f.flags |= bpf.ServiceDropInside
	}
	if lacks(f.outside) {
		f.flags |= bpf.ServiceDropOutside
	}
}

// flags are those that do not depend on who is chosen.
func (p *plan) flags(s *state.Service, kind Kind, v *view, proto uint8) (out bpf.ServiceFlag) {
	if p.maglev {
		out |= bpf.ServiceMaglev
	}
	if kind == ClusterIP {
		return out
	}
	out |= bpf.ServiceExternal
	if kind == NodePort {
		out |= bpf.ServiceNodePort
	}
	if kind == LoadBalancer && len(s.SourceRanges) > 0 {
		out |= bpf.ServiceRanges
	}
	if s.ExternalLocal {
		out |= bpf.ServiceKeepClient
	}
	forwarding := cmp.Or(s.Forwarding, v.forwarding)
	if forwarding == "dsr" || forwarding == "hybrid" && proto == state.ProtoTCP {
		out |= bpf.ServiceDSR
	}
	return out
}

// seconds rounds up: a client stays with its backend for no less than was asked.
func seconds(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }

// chosen are the endpoints of a scope.
func (p *plan) chosen(s scope) []int {
	switch s {
	case everywhere:
		return p.cluster
	case here:
		return p.local
	}
	return nil
}

func (p *plan) backend(i int) backendKey { return backendAt(p.endpoints[i].at, p.key.proto) }
