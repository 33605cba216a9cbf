package convert

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"weir/state"
)

// NetworkPolicy returns the row of a Kubernetes NetworkPolicy. Unlike in the
// Cilium kinds, an empty list means the same as none: everybody, or every port.
func NetworkPolicy(o *networkingv1.NetworkPolicy) (state.Policy, error) {
	w, namespace, err := named(state.KindNetworkPolicy, o.ObjectMeta, true)
	if err != nil {
		return state.Policy{}, err
	}
	p := state.Policy{Key: state.PolicyKey{Kind: state.KindNetworkPolicy, Namespace: namespace, Name: o.Name}}
	if p.Respond, err = respond(w, o.ObjectMeta); err != nil {
		return state.Policy{}, err
	}
	spec, err := networkSpec(w.in("spec"), namespace, o.Spec)
	if err != nil {
		return state.Policy{}, err
	}
	p.Specs = []state.PolicySpec{spec}
	return p, nil
}

func networkSpec(w where, namespace string, o networkingv1.NetworkPolicySpec) (state.PolicySpec, error) {
	out := state.PolicySpec{Path: w.field}
	subject, err := selector(w.in("podSelector"), o.PodSelector, podKey)
	if err != nil {
		return out, err
	}
	out.Subject = within(subject, namespace)
	types := o.PolicyTypes
	if len(types) == 0 {
		types = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(o.Egress) > 0 {
			types = append(types, networkingv1.PolicyTypeEgress)
		}
	}
	for i, t := range types {
		switch t {
		case networkingv1.PolicyTypeIngress:
			out.IsolateIngress = true
		case networkingv1.PolicyTypeEgress:
			out.IsolateEgress = true
		default:
			return out, w.item("policyTypes", i).refuse("%q is no type: use %s", t, oneOf(string(t), []string{"Ingress", "Egress"}))
		}
	}
	for i, r := range o.Ingress {
		rule, err := networkRule(w.item("ingress", i), namespace, "from", r.From, r.Ports)
		if err != nil {
			return out, err
		}
		if out.IsolateIngress { // rules of a type that is not listed do not count
			out.Ingress = append(out.Ingress, rule)
		}
	}
	for i, r := range o.Egress {
		rule, err := networkRule(w.item("egress", i), namespace, "to", r.To, r.Ports)
		if err != nil {
			return out, err
		}
		if out.IsolateEgress {
			out.Egress = append(out.Egress, rule)
		}
	}
	return out, nil
}

func networkRule(w where, namespace, side string, who []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) (state.PolicyRule, error) {
	r := state.PolicyRule{Path: w.field, AnyPeer: len(who) == 0, AnyPort: len(ports) == 0}
	for i, o := range who {
		at := w.item(side, i)
		p, err := networkPeer(at, namespace, o)
		if err != nil {
			return r, err
		}
		p.Path = at.beyond(w)
		r.Peers = append(r.Peers, p)
	}
	for i, o := range ports {
		at := w.item("ports", i)
		p, err := networkPort(at, o)
		if err != nil {
			return r, err
		}
		p.Path = at.beyond(w)
		r.Ports = append(r.Ports, p)
	}
	return r, nil
}

func networkPeer(w where, namespace string, o networkingv1.NetworkPolicyPeer) (state.PolicyPeer, error) {
	if o.IPBlock != nil {
		if o.PodSelector != nil || o.NamespaceSelector != nil {
			return state.PolicyPeer{}, w.in("ipBlock").refuse("stands beside a selector: write two peers")
		}
		return ipBlock(w.in("ipBlock"), *o.IPBlock)
	}
	if o.PodSelector == nil && o.NamespaceSelector == nil {
		return state.PolicyPeer{}, w.refuse("is empty: write podSelector, namespaceSelector or ipBlock")
	}
	var pods, namespaces metav1.LabelSelector
	if o.PodSelector != nil {
		pods = *o.PodSelector
	}
	s, err := selector(w.in("podSelector"), pods, podKey)
	if err != nil {
		return state.PolicyPeer{}, err
	}
	if o.NamespaceSelector == nil {
		return state.PolicyPeer{Kind: state.PeerEndpoints, Endpoints: within(s, namespace)}, nil
	}
	namespaces = *o.NamespaceSelector
	of, err := selector(w.in("namespaceSelector"), namespaces, namespaceKey)
	if err != nil {
		return state.PolicyPeer{}, err
	}
	return state.PolicyPeer{Kind: state.PeerEndpoints, Endpoints: podsOnly(slices.Concat(s, of))}, nil
}

func ipBlock(w where, o networkingv1.IPBlock) (state.PolicyPeer, error) {
	p := state.PolicyPeer{Kind: state.PeerCIDR, Cluster: true}
	var err error
	if p.CIDR, err = parsePrefix(w.in("cidr"), o.CIDR, false); err != nil {
		return p, err
	}
	p.Except, err = parseExcept(w, p.CIDR, o.Except, false)
	return p, err
}

func networkPort(w where, o networkingv1.NetworkPolicyPort) (state.PolicyPort, error) {
	p := state.PolicyPort{Proto: state.ProtoTCP, All: o.Port == nil}
	if o.Protocol != nil {
		n, ok := withPorts[string(*o.Protocol)]
		if !ok {
			return p, w.in("protocol").refuse("%q is no protocol: use %s", *o.Protocol, oneOf(string(*o.Protocol), []string{string(corev1.ProtocolTCP), string(corev1.ProtocolUDP), string(corev1.ProtocolSCTP)}))
		}
		p.Proto = n
	}
	switch {
	case o.Port == nil && o.EndPort != nil:
		return p, w.in("endPort").refuse("%d without a port to begin with: write port", *o.EndPort)
	case o.Port == nil:
		return p, nil
	case o.Port.Type == intstr.String:
		if bad := validation.IsValidPortName(o.Port.StrVal); len(bad) > 0 {
			return p, w.in("port").refuse("%q is not a port's name: %s; a number stands without quotes", o.Port.StrVal, bad[0])
		}
		if o.EndPort != nil {
			return p, w.in("endPort").refuse("%d with the named port %q: a range begins with a number", *o.EndPort, o.Port.StrVal)
		}
		p.Name = o.Port.StrVal
		return p, nil
	}
	n := o.Port.IntVal
	if n < 1 || n > 65535 {
		return p, w.in("port").refuse("%d is not a port: use 1 to 65535 or a name", n)
	}
	p.First, p.Last = uint16(n), uint16(n)
	if o.EndPort == nil {
		return p, nil
	}
	err := fillEnd(w, &p, *o.EndPort)
	return p, err
}
