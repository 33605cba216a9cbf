package service

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"weir/bpf"
	"weir/state"
)

// hosted is a pod with ports that its node is asked for.
type hosted struct {
	name  state.PodName
	ports []state.HostPort
	addrs []netip.Addr
	away  *away // nil: it is on this node
}

// away is where a pod of another node is asked for.
type away struct{ addrs []netip.Addr }

func (h *hosted) equal(o *hosted) bool {
	if h == nil || o == nil {
		return h == o
	}
	return slices.Equal(h.ports, o.ports) && slices.Equal(h.addrs, o.addrs) && (h.away == nil) == (o.away == nil) &&
		(h.away == nil || slices.Equal(h.away.addrs, o.away.addrs))
}

// hostedPods are those of this node by their endpoints, which have addresses before
// the pod's object says so, and say when they are gone; and those of others by their
// objects. A pod here that asks at another node's address so gets to the backend
// through the tunnel, as whom it is: what comes to a node in the open with a pod's
// address as its source is not believed.
func hostedPods(pods map[state.PodName]*state.Pod, endpoints []state.Endpoint, nodes map[string]state.Node, node string) map[state.PodName]*hosted {
	out := map[state.PodName]*hosted{}
	for name, p := range pods {
		if n, known := nodes[p.Node]; known && p.Node != node && len(p.IPs) > 0 {
			out[name] = &hosted{name, p.HostPorts, p.IPs, &away{n.Addresses}}
		}
	}
	for _, e := range endpoints {
		if p := pods[e.Pod]; p != nil && e.IsOf(*p, node) {
			out[e.Pod] = &hosted{e.Pod, p.HostPorts, e.Addrs(), nil}
		}
	}
	return out
}

// followPods takes in pods and endpoints, and returns the pods whose frontends may be
// other.
func (c *Control) followPods() map[state.PodName]bool {
	list, podsRev, whole := c.tables.Pods.Changes(c.seen.pods)
	endpoints, endpointsRev, _ := c.tables.Endpoints.Changes(c.seen.endpoints)
	c.seen.pods, c.seen.endpoints = podsRev, endpointsRev
	if whole {
		clear(c.withPorts)
	}
	other := whole || len(endpoints) > 0 || c.hostedSeen != c.seen.nodes
	for _, p := range list {
		if c.withPorts[p.Key] != nil {
			other = true
			delete(c.withPorts, p.Key)
		}
		if row := p.Row; !p.Deleted && len(row.HostPorts) > 0 {
			other = true
			c.withPorts[p.Key] = &row
		}
	}
	touched := map[state.PodName]bool{}
	c.hostedSeen = c.seen.nodes
	if !other || len(c.withPorts)+len(c.hosted) == 0 {
		return touched
	}
	here := c.tables.Endpoints.Rows(func(a, b state.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	now := hostedPods(c.withPorts, here, maps.Collect(c.tables.Nodes.All()), c.view.node.name)
	for _, all := range []map[state.PodName]*hosted{c.hosted, now} {
		for name := range all {
			if !c.hosted[name].equal(now[name]) {
				touched[name] = true
			}
		}
	}
	c.hosted = now
	return touched
}

// compileHosted derives what is to be in force of a pod's HostPorts: a plan for each
// port of the pod behind one of the node, with the pod as the only backend, whether it
// is ready or not, as plugins for port mappings have it. Notes say what cannot be.
func compileHosted(h *hosted, v *view) (plans []plan, notes []string) {
	for _, is6 := range []bool{false, true} {
		i := slices.IndexFunc(h.addrs, func(a netip.Addr) bool { return a.Is4() != is6 })
		for _, p := range h.ports {
			if p.IP.IsValid() && p.IP.Is4() == is6 {
				continue
			}
			if !v.has(is6) || i < 0 {
				if p.IP.IsValid() && h.away == nil {
					notes = append(notes, fmt.Sprintf("%s: the pod has no address of this family: it is left out", hostPortText(p)))
				}
				continue
			}
			at := v.hostPortAddrs(p, is6, h.away)
			if len(at) == 0 {
				if h.away == nil {
					notes = append(notes, fmt.Sprintf("%s: %s is not an address of this node: it is left out", hostPortText(p), p.IP))
				}
				continue
			}
			k := portKey{p.Port, p.Proto, is6, p.Target}
			n := slices.IndexFunc(plans, func(x plan) bool { return x.key == k })
			if n < 0 {
				n = len(plans)
				plans = append(plans, hostPortPlan(k, h.addrs[i], v.node))
			}
			plans[n].addHostPort(at, h.away != nil)
		}
	}
	slices.Sort(notes)
	return plans, slices.Compact(notes)
}

func hostPortText(p state.HostPort) string {
	return fmt.Sprintf("HostPort %s/%s", netip.AddrPortFrom(p.IP, p.Port), state.ProtoName(p.Proto))
}

// hostPortAddrs are the addresses that a HostPort is asked for at. The unspecified one
// is where sockets of this node look for an address that they do not find: its frontend
// is no NodePort's, so no other node's address leads to it.
func (v *view) hostPortAddrs(p state.HostPort, is6 bool, away *away) []netip.Addr {
	own, every := v.own, netip.IPv4Unspecified()
	if is6 {
		every = netip.IPv6Unspecified()
	}
	out := []netip.Addr{every}
	if away != nil {
		own, out = away.addrs, nil
	}
	if p.IP.IsValid() && !p.IP.IsUnspecified() {
		if slices.Contains(own, p.IP) || p.IP.IsLoopback() && away == nil {
			return []netip.Addr{p.IP}
		}
		return nil
	}
	for _, a := range own {
		if a.Is4() != is6 {
			out = append(out, a)
		}
	}
	return out
}

func hostPortPlan(k portKey, pod netip.Addr, n node) plan {
	e := &state.SliceEndpoint{Addr: pod, Ready: true, Serving: true, Node: n.name}
	return plan{key: k, endpoints: []endpoint{{netip.AddrPortFrom(pod, k.target), e, &state.Slice{}}},
		selection: selection{cluster: []int{0}, local: []int{0}, anywhere: true}}
}

// addHostPort adds frontends at addresses. What another node does with a port that
// services may have is that node's to know: where a service has it, it goes before.
func (p *plan) addHostPort(at []netip.Addr, away bool) {
	flags := bpf.ServiceExternal | bpf.ServiceKeepClient
	if away {
		flags |= bpf.ServiceElsewhere
	}
	for _, a := range at {
		f := frontend{key: bpf.ServiceKeyFrom(netip.AddrPortFrom(a, p.key.port), p.key.proto), kind: HostPort,
			flags: flags, inside: everywhere, outside: everywhere}
		if !slices.ContainsFunc(p.frontends, func(g frontend) bool { return g.key == f.key }) {
			p.frontends = append(p.frontends, f)
		}
	}
}

// owners are all whose frontends are derived, services and pods.
func (c *Control) owners() map[Owner]bool {
	out := make(map[Owner]bool, len(c.rows)+len(c.hosted))
	for name := range maps.Keys(c.rows) {
		out[ofService(name)] = true
	}
	for name := range maps.Keys(c.hosted) {
		out[ofPod(name)] = true
	}
	return out
}
