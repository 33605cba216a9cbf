package oracle

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// This file reads networking.k8s.io/v1 NetworkPolicy.

// netpolSelects: a NetworkPolicy selects pods of its own namespace.
func (w *World) netpolSelects(p *networkingv1.NetworkPolicy, subject Party) bool {
	return subject.pod != nil && subject.pod.Namespace == p.Namespace && matches(&p.Spec.PodSelector, ownLabels(subject.pod))
}

// ownLabels are a pod's labels as Kubernetes has them, without those that
// imitate the system's.
func ownLabels(p *corev1.Pod) map[string]string {
	out := map[string]string{}
	for k, v := range p.Labels {
		if !imitates(k) {
			out[k] = v
		}
	}
	return out
}

func matches(s *metav1.LabelSelector, set map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		panic(err) // a policy that the API refuses
	}
	return selector.Matches(labels.Set(set))
}

// isolates: policyTypes says which directions; when it says nothing, ingress
// always and egress if there is a rule for it.
func isolates(p *networkingv1.NetworkPolicy, d Direction) bool {
	if len(p.Spec.PolicyTypes) == 0 {
		return d == Ingress || len(p.Spec.Egress) > 0
	}
	for _, t := range p.Spec.PolicyTypes {
		if t == networkingv1.PolicyTypeIngress && d == Ingress || t == networkingv1.PolicyTypeEgress && d == Egress {
			return true
		}
	}
	return false
}

// readNetpol finds the rules of a policy that match. Rules of a direction that
// the policy is not about mean nothing.
func (w *World) readNetpol(p *networkingv1.NetworkPolicy, q question, allow *[]finding) (finding, bool) {
	me := finding{"NetworkPolicy " + p.Namespace + "/" + p.Name, w.respondOf(p.Annotations, q.subject)}
	if !isolates(p, q.dir) {
		return me, false
	}
	var peers [][]networkingv1.NetworkPolicyPeer
	var ports [][]networkingv1.NetworkPolicyPort
	if q.dir == Ingress {
		for _, r := range p.Spec.Ingress {
			peers, ports = append(peers, r.From), append(ports, r.Ports)
		}
	} else {
		for _, r := range p.Spec.Egress {
			peers, ports = append(peers, r.To), append(ports, r.Ports)
		}
	}
	for i := range peers {
		if w.netpolRule(p, peers[i], ports[i], q) {
			*allow = append(*allow, finding{fmt.Sprintf("%s spec.%s[%d]", me.name, q.dir, i), me.respond})
		}
	}
	return me, true
}

// netpolRule: any of the peers on any of the ports; no peers means everybody,
// no ports every port.
func (w *World) netpolRule(p *networkingv1.NetworkPolicy, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, q question) bool {
	if len(peers) == 0 {
		return netpolPorts(ports, q, false)
	}
	for _, peer := range peers {
		if w.netpolPeer(p, peer, q.peer) && netpolPorts(ports, q, peer.IPBlock != nil) {
			return true
		}
	}
	return false
}

// netpolPeer: a block matches whoever has the address; selectors match pods
// only.
func (w *World) netpolPeer(p *networkingv1.NetworkPolicy, peer networkingv1.NetworkPolicyPeer, who Party) bool {
	if b := peer.IPBlock; b != nil {
		return within(who.Addr, b.CIDR, b.Except)
	}
	if who.pod == nil {
		return false
	}
	if peer.NamespaceSelector == nil && who.pod.Namespace != p.Namespace {
		return false
	}
	if peer.NamespaceSelector != nil && !matches(peer.NamespaceSelector, w.namespaceLabels(who.pod.Namespace)) {
		return false
	}
	return peer.PodSelector == nil || matches(peer.PodSelector, ownLabels(who.pod))
}

// netpolPorts: any of the ports. A named port is the subject's for ingress and
// the peer's for egress; whom a block names by address has no named ports.
func netpolPorts(ports []networkingv1.NetworkPolicyPort, q question, byAddress bool) bool {
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		proto := protoTCP
		if p.Protocol != nil {
			proto = protoNumber(string(*p.Protocol), "TCP")
		}
		switch {
		case proto != q.Proto:
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			if q.hasNamed(p.Port.StrVal, byAddress) {
				return true
			}
		default:
			last := p.Port.IntVal
			if p.EndPort != nil {
				last = *p.EndPort
			}
			if p.Port.IntVal <= int32(q.Port) && int32(q.Port) <= last {
				return true
			}
		}
	}
	return false
}

// within reports whether an address is in a CIDR, and in none of the excepted.
func within(a netip.Addr, cidr string, except []string) bool {
	if !prefix(cidr).Contains(a) {
		return false
	}
	for _, e := range except {
		if prefix(e).Contains(a) {
			return false
		}
	}
	return true
}

// prefix reads a CIDR, or an address that stands for itself alone.
func prefix(text string) netip.Prefix {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.MustParsePrefix(text)
}
