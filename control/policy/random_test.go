package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"weir/state"
)

// world is a small cluster in which selectors often meet somebody.
type world struct{ *rand.Rand }

func pick[T any](w world, list ...T) T { return list[w.IntN(len(list))] }

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

var addrs = []netip.Addr{addr("10.0.0.1"), addr("10.0.0.2"), addr("10.0.1.3"), addr("10.1.2.3"), addr("192.0.2.7"), addr("172.18.0.2"),
	addr("172.18.0.3"), addr("fd00::1"), addr("fd00::1:2"), addr("2001:db8::1")}

var cidrs = []netip.Prefix{prefix("0.0.0.0/0"), prefix("10.0.0.0/8"), prefix("10.0.0.0/16"), prefix("10.0.0.0/24"), prefix("10.0.0.1/32"),
	prefix("10.1.2.0/23"), prefix("::/0"), prefix("fd00::/64"), prefix("fd00::1:0/112"), prefix("192.0.2.0/24"), prefix("::/64")}

var ports = []uint16{80, 81, 443, 1000, 1500, 2000, 8}

func (w world) packet() packet {
	return packet{endpoint: state.EndpointID(w.IntN(5)), direction: uint8(w.IntN(2)),
		identity: pick[state.IdentityID](w, 0, 1, 2, 4, 5, 6, 7, 9, 10, 256, 257, 258, 259, 260, 1<<24),
		addr:     pick(w, addrs...), proto: pick[uint8](w, 6, 6, 6, 17, 132, 1, 58), port: pick(w, ports...)}
}

func (w world) labels() state.Labels {
	out := state.Labels{state.LabelNamespace + "=" + pick(w, "d", "e"), "k8s:app=" + pick(w, "a", "b", "c")}
	if w.IntN(2) == 0 {
		out = append(out, "k8s:tier="+pick(w, "x", ""))
	}
	if w.IntN(2) == 0 {
		out = append(out, "port:http="+pick(w, "TCP/80", "TCP/81", "TCP/80;UDP/81"))
	}
	return out
}

func (w world) selector() state.Selector {
	out := state.Selector{}
	for range w.IntN(3) {
		out = append(out, pick(w,
			state.Requirement{Key: "k8s:app", Op: state.In, Values: []string{pick(w, "a", "b", "c")}},
			state.Requirement{Key: "any:app", Op: state.In, Values: []string{"a", "b"}},
			state.Requirement{Key: "any:app", Op: state.NotIn, Values: []string{"a"}},
			state.Requirement{Key: "k8s:tier", Op: pick(w, state.Exists, state.DoesNotExist)},
			state.Requirement{Key: "k8s:tier", Op: pick(w, state.In, state.NotIn), Values: []string{""}},
			state.Requirement{Key: state.LabelNamespace, Op: state.In, Values: []string{pick(w, "d", "e")}},
			state.Requirement{Key: "reserved:" + pick(w, "host", "health", "world", "init"), Op: pick(w, state.Exists, state.DoesNotExist)},
			state.Requirement{Key: "reserved:" + pick(w, "host", "health"), Op: state.In, Values: []string{""}},
		))
	}
	return out.Sorted()
}

func (w world) peer() state.PolicyPeer {
	object := state.Selector{}
	switch w.IntN(3) {
	case 0:
		object = state.Selector{{Key: "name", Op: state.In, Values: []string{pick(w, "o1", "o2")}}}
	case 1:
		object = state.Selector{{Key: "any:zone", Op: state.In, Values: []string{pick(w, "z1", "z2")}}}
	}
	switch w.IntN(9) {
	case 0, 1, 2:
		return state.PolicyPeer{Kind: state.PeerEndpoints, Endpoints: w.selector()}
	case 3:
		return state.PolicyPeer{Kind: state.PeerEntity, Entity: pick(w, "all", "world", "world-ipv4", "world-ipv6", "cluster", "host", "remote-node", "health", "init", "none", "kube-apiserver")}
	case 4:
		return state.PolicyPeer{Kind: state.PeerCIDRGroups, CIDRGroups: object, Except: w.except(), Cluster: w.IntN(2) == 0}
	case 5:
		return state.PolicyPeer{Kind: state.PeerNodes, Nodes: state.Selector{{Key: "any:zone", Op: state.In, Values: []string{pick(w, "z1", "z2")}}}}
	case 6:
		return state.PolicyPeer{Kind: state.PeerServices, Services: object}
	}
	return state.PolicyPeer{Kind: state.PeerCIDR, CIDR: pick(w, cidrs...), Except: w.except(), Cluster: w.IntN(2) == 0}
}

func (w world) except() (out []netip.Prefix) {
	for range w.IntN(3) - 1 {
		out = append(out, pick(w, cidrs[2:]...))
	}
	return out
}

func (w world) port() state.PolicyPort {
	proto := pick[uint8](w, 6, 6, 17, 132)
	first := pick(w, ports...)
	switch w.IntN(8) {
	case 0:
		return state.PolicyPort{All: true, Proto: pick[uint8](w, 0, 6, 17, 1)}
	case 1:
		return state.PolicyPort{Proto: pick[uint8](w, 6, 17), Name: "http"}
	case 2:
		return state.PolicyPort{Proto: pick[uint8](w, 1, 58), First: 8, Last: 8}
	case 3, 4, 5:
		return state.PolicyPort{Proto: proto, First: first, Last: first + uint16(w.IntN(1200))}
	}
	return state.PolicyPort{Proto: proto, First: first, Last: first}
}

func (w world) rules(path string) []state.PolicyRule {
	var out []state.PolicyRule
	for i := range w.IntN(4) {
		r := state.PolicyRule{Path: fmt.Sprintf("%s[%d]", path, i), Deny: w.IntN(4) == 0, AnyPeer: w.IntN(5) == 0, AnyPort: w.IntN(3) == 0}
		if w.IntN(12) == 0 {
			r.NotEnforced = "toFQDNs"
		}
		if !r.AnyPeer {
			for range w.IntN(3) {
				r.Peers = append(r.Peers, w.peer())
			}
		}
		if !r.AnyPort {
			for range w.IntN(3) {
				r.Ports = append(r.Ports, w.port())
			}
		}
		out = append(out, r)
	}
	return out
}

func (w world) policy(name string) state.Policy {
	p := state.Policy{Key: state.PolicyKey{Kind: pick(w, state.KindNetworkPolicy, state.KindCNP), Namespace: "d", Name: name},
		Respond: pick(w, "", "", state.DenyDrop, state.DenyReject)}
	for i := range 1 + w.IntN(2) {
		p.Specs = append(p.Specs, state.PolicySpec{Path: fmt.Sprintf("specs[%d]", i), Subject: w.selector(), Nodes: w.IntN(8) == 0,
			IsolateIngress: w.IntN(2) == 0, IsolateEgress: w.IntN(2) == 0, Ingress: w.rules("ingress"), Egress: w.rules("egress")})
	}
	return p
}

func (w world) zone() map[string]string { return map[string]string{"zone": pick(w, "z1", "z2")} }

// begin puts what every cluster has.
func (w world) begin(t *state.Tables) {
	tell(t)
	for _, i := range state.AllReserved() {
		t.Identities.Put(i)
	}
	for i := range 4 {
		t.Identities.Put(state.Identity{ID: state.IdentityID(256 + i), Labels: w.labels()})
	}
	for i := range 3 {
		w.endpoint(t, i+1)
	}
}

func (w world) endpoint(t *state.Tables, id int) {
	t.Endpoints.Put(state.Endpoint{ID: state.EndpointID(id), Pod: state.PodName{Namespace: pick(w, "d", "e"), Name: fmt.Sprint("p", w.IntN(2))},
		Health: id == 4, Identity: pick[state.IdentityID](w, 5, 256, 257, 258, 259, 260, 1<<24)})
}

// edit changes one row.
func (w world) edit(t *state.Tables) {
	name := pick(w, "o1", "o2")
	service := state.ServiceName{Namespace: pick(w, "d", "default"), Name: pick(w, name, "kubernetes")}
	switch w.IntN(18) {
	case 0, 1, 2, 3, 4:
		t.Policies.Put(w.policy(pick(w, "a", "b", "c", "d")))
	case 5:
		t.Policies.Delete(state.PolicyKey{Kind: pick(w, state.KindNetworkPolicy, state.KindCNP), Namespace: "d", Name: pick(w, "a", "b", "c", "d")})
	case 6, 7:
		t.Identities.Put(state.Identity{ID: pick[state.IdentityID](w, 256, 257, 258, 259, 260, 1<<24), Labels: w.labels()})
	case 8:
		t.Identities.Delete(pick[state.IdentityID](w, 256, 259, 260, 1<<24))
	case 9, 10:
		w.endpoint(t, 1+w.IntN(4))
	case 11:
		t.Endpoints.Delete(state.EndpointID(1 + w.IntN(4)))
	case 12:
		t.CIDRGroups.Put(state.CIDRGroup{Name: name, Labels: w.zone(), CIDRs: []netip.Prefix{pick(w, cidrs...), pick(w, cidrs...)}})
	case 13:
		t.CIDRGroups.Delete(name)
	case 14:
		t.Nodes.Put(state.Node{Name: name, Local: name == "o1", Labels: w.zone(), Addresses: []netip.Addr{pick(w, addrs...)}})
	case 15:
		s := state.Service{Name: service, Labels: w.zone()}
		if w.IntN(2) == 0 {
			s.Selector = map[string]string{"app": pick(w, "a", "b")}
		}
		t.Services.Put(s)
	case 16:
		t.Slices.Put(state.Slice{Name: state.SliceName{Namespace: "d", Name: name}, Service: service, Addrs: []netip.Addr{pick(w, addrs...), pick(w, addrs...)}})
	case 17:
		t.Namespaces.Put(state.Namespace{Name: pick(w, "d", "e"), Respond: pick(w, "", state.DenyReject, state.DenyDrop)})
	}
}
