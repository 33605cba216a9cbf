package service

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"weir/state"
)

// objects is everything that the maps are derived from, for the oracle.
type objects struct {
	Services []state.Service
	Slices   []state.Slice
	Nodes    []state.Node
	Devices  []state.Device
	IPs      []state.IP

	Pods      []state.Pod
	Endpoints []state.Endpoint

	IPv4, IPv6 bool
	Maglev     bool // the agent's algorithm
	Forwarding string
	Within     []netip.Prefix // NodePorts
	Range      [2]uint16      // of NodePorts; zero: any
}

// meaning is what a frontend resolves to, in words that have no numbers.
type meaning struct {
	Of       string // service, port, family
	Affinity int
	Flags    string
	Inside   string // backends, sorted
	Outside  string
	Ranges   string
	Frontend string // what answers come from
}

// answer is what the oracle says.
type answer struct {
	claims map[string]map[string]meaning // frontend -> who wants it -> what it would be
	alive  map[string]bool               // backends that have a row
}

// oracle derives everything from scratch, in one pass over objects and without
// remembering anything. It shares no code with what it tests.
func oracle(o objects) answer {
	a := answer{claims: map[string]map[string]meaning{}, alive: map[string]bool{}}
	for _, s := range o.Services {
		if s.Kind == "" {
			continue
		}
		for _, p := range s.Ports {
			for _, family := range []string{"4", "6"} {
				if family == "4" && o.IPv4 || family == "6" && o.IPv6 {
					a.port(o, s, p, family)
				}
			}
		}
	}
	for _, e := range o.Endpoints {
		for _, p := range o.Pods {
			if me := self(o).Name; p.Name == e.Pod && p.Node == me && (p.UID == "" || e.PodUID == "" || p.UID == e.PodUID) {
				a.hostPorts(o, p, e)
			}
		}
	}
	for _, p := range o.Pods {
		for _, n := range o.Nodes {
			if n.Name == p.Node && n.Name != self(o).Name {
				a.hostPortsAway(o, p, n)
			}
		}
	}
	return a
}

// hostPortsAway claims what another node is asked for in a pod's place.
func (a answer) hostPortsAway(o objects, p state.Pod, n state.Node) {
	for _, h := range p.HostPorts {
		for _, fam := range []string{"4", "6"} {
			i := slices.IndexFunc(p.IPs, func(x netip.Addr) bool { return family(x) == fam })
			if i < 0 || fam == "4" && !o.IPv4 || fam == "6" && !o.IPv6 {
				continue
			}
			for _, ip := range n.Addresses {
				if family(ip) == fam && (!h.IP.IsValid() || h.IP == ip || h.IP.IsUnspecified() && family(h.IP) == fam) {
					a.hostPort(p, h, p.IPs[i], ip, "elsewhere,external,keepclient")
				}
			}
		}
	}
}

// hostPort claims it at an address.
func (a answer) hostPort(p state.Pod, h state.HostPort, pod, ip netip.Addr, flags string) {
	backend := fmt.Sprintf("%s/%s", netip.AddrPortFrom(pod, h.Target), protocol(h.Proto))
	name := fmt.Sprintf("pod %s/%s %d/%s v%s to %d", p.Name.Namespace, p.Name.Name, h.Port, protocol(h.Proto), family(pod), h.Target)
	where := fmt.Sprintf("%s/%s", netip.AddrPortFrom(ip, h.Port), protocol(h.Proto))
	m := meaning{Of: name, Flags: flags, Inside: backend, Outside: backend, Frontend: where}
	if ip.IsUnspecified() {
		m.Frontend = "every " + where[strings.LastIndex(where, ":"):]
	}
	if a.claims[where] == nil {
		a.claims[where] = map[string]meaning{}
	}
	a.claims[where][name], a.alive[backend] = m, true
}

// hostPorts claims what the node is asked for in a pod's place.
func (a answer) hostPorts(o objects, p state.Pod, e state.Endpoint) {
	all := o
	all.Within = nil
	for _, h := range p.HostPorts {
		for fam, pod := range map[string]netip.Addr{"4": e.IPv4, "6": e.IPv6} {
			if !pod.IsValid() || fam == "4" && !o.IPv4 || fam == "6" && !o.IPv6 || h.IP.IsValid() && family(h.IP) != fam {
				continue
			}
			at := []netip.Addr{h.IP}
			if !h.IP.IsValid() || h.IP.IsUnspecified() {
				at = []netip.Addr{map[string]netip.Addr{"4": netip.MustParseAddr("0.0.0.0"), "6": netip.MustParseAddr("::")}[fam]}
				for _, ip := range mine(all) {
					if family(ip) == fam {
						at = append(at, ip)
					}
				}
			} else if !h.IP.IsLoopback() && !slices.Contains(mine(all), h.IP) {
				continue
			}
			for _, ip := range at {
				a.hostPort(p, h, pod, ip, "external,keepclient")
			}
		}
	}
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "4"
	}
	return "6"
}

func protocol(n uint8) string { return map[uint8]string{6: "TCP", 17: "UDP", 132: "SCTP"}[n] }

func (a answer) port(o objects, s state.Service, p state.ServicePort, fam string) {
	has := false
	for _, ip := range s.ClusterIPs {
		has = has || family(ip) == fam
	}
	if !has {
		return
	}
	eps := endpointsOf(o, s, p, fam)
	for at := range eps {
		a.alive[at] = true
	}
	all, local := candidates(o, s, eps)
	somebody := false
	for _, e := range eps {
		somebody = somebody || e.Ready || s.PublishUnready || e.Serving && e.Terminating
	}
	name := fmt.Sprintf("%s/%s %d/%s v%s", s.Name.Namespace, s.Name.Name, p.Port, protocol(p.Proto), fam)
	want := func(ip netip.Addr, port uint16, kind string) {
		m := meaning{Of: name, Affinity: int(s.Affinity.Seconds())}
		flags := map[string]bool{}
		maglev := s.Algorithm == state.AlgorithmMaglev || s.Algorithm == "" && o.Maglev
		flags["maglev"] = maglev
		pick := func(onlyHere bool, drop string) string {
			from := all
			if onlyHere {
				from = local
				flags[drop] = len(local) == 0 && somebody
			}
			out := strings.Join(from, " ")
			if maglev && len(from) > 0 {
				out += " maglev"
			}
			return out
		}
		if kind == "ClusterIP" {
			m.Inside = pick(s.InternalLocal, "dropinside")
		} else {
			m.Inside, m.Outside = pick(false, ""), pick(s.ExternalLocal, "dropoutside")
			flags["external"], flags["nodeport"] = true, kind == "NodePort"
			flags["keepclient"] = s.ExternalLocal
			fw := cmp.Or(s.Forwarding, o.Forwarding)
			known := kind != "NodePort" || ip.IsUnspecified() // to other nodes, as this node's
			for _, n := range o.Nodes {
				known = known || n.Local && slices.Contains(n.Addresses, ip)
			}
			flags["dsr"] = known && (fw == "dsr" || fw == "hybrid" && p.Proto == 6)
		}
		flags["ranges"] = kind == "LoadBalancer" && len(s.SourceRanges) > 0
		for f, on := range flags {
			if !on || f == "" {
				delete(flags, f)
			}
		}
		m.Flags = strings.Join(slices.Sorted(maps.Keys(flags)), ",")
		if flags["ranges"] {
			var in []string
			for _, r := range s.SourceRanges {
				if family(r.Addr()) == fam {
					in = append(in, r.Masked().String())
				}
			}
			slices.Sort(in)
			m.Ranges = strings.Join(slices.Compact(in), " ")
		}
		at := fmt.Sprintf("%s/%s", netip.AddrPortFrom(ip, port), protocol(p.Proto))
		m.Frontend = at
		if ip.IsUnspecified() {
			m.Frontend = "every " + at[strings.LastIndex(at, ":"):]
		}
		if a.claims[at] == nil {
			a.claims[at] = map[string]meaning{}
		}
		if _, twice := a.claims[at][name]; !twice {
			a.claims[at][name] = m
		}
	}
	for _, list := range []struct {
		kind string
		ips  []netip.Addr
	}{{"ClusterIP", s.ClusterIPs}, {"LoadBalancer", s.LoadBalancerIPs}, {"ExternalIPs", s.ExternalIPs}} {
		for _, ip := range list.ips {
			if family(ip) == fam && !somebodys(o, ip) {
				want(ip, p.Port, list.kind)
			}
		}
	}
	if p.NodePort == 0 || o.Range[1] > 0 && (p.NodePort < o.Range[0] || p.NodePort > o.Range[1]) {
		return
	}
	want(map[string]netip.Addr{"4": netip.MustParseAddr("0.0.0.0"), "6": netip.MustParseAddr("::")}[fam], p.NodePort, "NodePort")
	for _, ip := range mine(o) {
		if family(ip) == fam {
			want(ip, p.NodePort, "NodePort")
		}
	}
}

// endpointsOf collects a port's endpoints; of one that stands twice the better.
func endpointsOf(o objects, s state.Service, p state.ServicePort, fam string) map[string]state.SliceEndpoint {
	rank := func(e state.SliceEndpoint) int {
		if e.Ready || s.PublishUnready {
			return 2
		}
		if e.Terminating && e.Serving {
			return 1
		}
		return 0
	}
	out := map[string]state.SliceEndpoint{}
	list := slices.Clone(o.Slices)
	slices.SortFunc(list, func(a, b state.Slice) int { return cmp.Compare(a.Name.String(), b.Name.String()) })
	for _, sl := range list {
		if sl.Service != s.Name {
			continue
		}
		for _, sp := range sl.Ports {
			if sp.Name != p.Name || sp.Proto != p.Proto || sp.Port == 0 {
				continue
			}
			for _, e := range sl.Endpoints {
				if family(e.Addr) != fam {
					continue
				}
				at := fmt.Sprintf("%s/%s", netip.AddrPortFrom(e.Addr, sp.Port), protocol(p.Proto))
				if old, ok := out[at]; !ok || rank(e) > rank(old) {
					out[at] = e
				}
			}
		}
	}
	return out
}

func self(o objects) state.Node {
	for _, n := range o.Nodes {
		if n.Local {
			return n
		}
	}
	return state.Node{}
}

// candidates are those that may be chosen by the policies Cluster and Local.
func candidates(o objects, s state.Service, eps map[string]state.SliceEndpoint) (all, local []string) {
	n := self(o)
	zone := n.Labels["topology.kubernetes.io/zone"]
	var readyOnes, dying []string
	for at, e := range eps {
		if e.Ready || s.PublishUnready {
			readyOnes = append(readyOnes, at)
		} else if e.Serving && e.Terminating {
			dying = append(dying, at)
		}
	}
	// every one of list satisfies f
	every := func(list []string, f func(state.SliceEndpoint) bool) bool {
		return !slices.ContainsFunc(list, func(at string) bool { return !f(eps[at]) })
	}
	only := func(list []string, f func(state.SliceEndpoint) bool) (out []string) {
		for _, at := range list {
			if f(eps[at]) {
				out = append(out, at)
			}
		}
		return out
	}
	all = readyOnes
	forNode := only(readyOnes, func(e state.SliceEndpoint) bool { return slices.Contains(e.HintNodes, n.Name) })
	forZone := only(readyOnes, func(e state.SliceEndpoint) bool { return slices.Contains(e.HintZones, zone) })
	if every(readyOnes, func(e state.SliceEndpoint) bool { return len(e.HintNodes) > 0 }) && len(forNode) > 0 {
		all = forNode
	} else if every(readyOnes, func(e state.SliceEndpoint) bool { return len(e.HintZones) > 0 }) && len(forZone) > 0 {
		all = forZone
	}
	if len(all) == 0 {
		all = dying
	}
	onMe := func(e state.SliceEndpoint) bool { return n.Name != "" && e.Node == n.Name }
	if local = only(readyOnes, onMe); len(local) == 0 {
		local = only(dying, onMe)
	}
	slices.Sort(all)
	slices.Sort(local)
	return all, local
}

// somebodys reports whether a node or a pod has the address.
func somebodys(o objects, ip netip.Addr) bool {
	for _, n := range o.Nodes {
		if slices.Contains(n.Addresses, ip) || slices.Contains(n.Routers, ip) || slices.Contains(n.Health, ip) {
			return true
		}
	}
	for _, i := range o.IPs {
		if i.Prefix.IsSingleIP() && i.Prefix.Addr() == ip && (i.Source == "pod" || i.Source == "endpoint") {
			return true
		}
	}
	return false
}

// mine are this node's addresses.
func mine(o objects) []netip.Addr {
	set := map[netip.Addr]bool{}
	for _, d := range o.Devices {
		for _, p := range d.Addrs {
			set[p.Addr()] = true
		}
	}
	for _, a := range self(o).Addresses {
		set[a] = true
	}
	var out []netip.Addr
	for a := range set {
		in := len(o.Within) == 0
		for _, p := range o.Within {
			in = in || p.Contains(a)
		}
		if in {
			out = append(out, a)
		}
	}
	return out
}
