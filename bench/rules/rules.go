// Package rules makes policies of as many rules as one likes, of which one lets
// the benchmark's own traffic through.
//
// They are objects, as a user would write them; who needs rows converts them.
// The pods that they select are those with the label app=bench.
package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"weir/source/convert"
	"weir/state"
)

const (
	// Label is the value of app that all pods of the benchmark have.
	Label = "bench"
	// Port is the TCP port of the programs' flows. The other ports that are open
	// are those of package traffic.
	Port = 8000

	perObject = 100 // rules
	meeting   = 16  // rules whose peers the benchmark's pods are among, and whose ports they do not use
)

var open = []int{Port, 5001, 5002, 5003}

// Objects returns policies with n rules, half of them for each direction: each
// with a peer of its own, by turns an address and a label, and each with one of
// the open ports or with another one. The last rule of either direction allows
// what the benchmark sends. None for 0.
func Objects(n int) []*networkingv1.NetworkPolicy {
	var out []*networkingv1.NetworkPolicy
	for i := range n / 2 {
		if i%(perObject/2) == 0 {
			out = append(out, &networkingv1.NetworkPolicy{
				TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: state.KindNetworkPolicy},
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("rules-%d", len(out))},
				Spec: networkingv1.NetworkPolicySpec{PodSelector: pods(Label),
					PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}},
			})
		}
		spec := &out[len(out)-1].Spec
		peers, ports := []networkingv1.NetworkPolicyPeer{peer(i)}, []networkingv1.NetworkPolicyPort{port("TCP", other(i))}
		if i == n/2-1 {
			peers, ports = []networkingv1.NetworkPolicyPeer{byLabel(Label)}, []networkingv1.NetworkPolicyPort{port("UDP", 5004)}
			for _, p := range open {
				ports = append(ports, port("TCP", p))
			}
		}
		spec.Ingress = append(spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: peers, Ports: ports})
		spec.Egress = append(spec.Egress, networkingv1.NetworkPolicyEgressRule{To: peers, Ports: ports})
	}
	return out
}

// peer is somebody who is not there, or for a few rules also the benchmark's
// pods: their set of selectors has as many.
func peer(i int) networkingv1.NetworkPolicyPeer {
	switch {
	case i%2 == 0:
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: fmt.Sprintf("11.%d.%d.%d/32", i>>16, i>>8&255, i&255)}}
	case i < 2*meeting:
		return networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{Label, fmt.Sprintf("a%d", i)}}}}}
	}
	return byLabel(fmt.Sprintf("a%d", i))
}

// other is the port of a rule that does not matter: every fourth is one that
// the benchmark uses, so that its row names many selectors.
func other(i int) int {
	if i%4 == 2 {
		return open[i/4%len(open)]
	}
	return 10000 + i%5000
}

func byLabel(app string) networkingv1.NetworkPolicyPeer {
	s := pods(app)
	return networkingv1.NetworkPolicyPeer{PodSelector: &s}
}

func pods(app string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func port(proto corev1.Protocol, n int) networkingv1.NetworkPolicyPort {
	p := intstr.FromInt32(int32(n))
	return networkingv1.NetworkPolicyPort{Protocol: &proto, Port: &p}
}

// Rows are the objects as the agent reads them.
func Rows(objects []*networkingv1.NetworkPolicy) ([]state.Policy, error) {
	var out []state.Policy
	for _, o := range objects {
		row, err := convert.NetworkPolicy(o)
		if err != nil {
			return nil, fmt.Errorf("convert policy %s: %w", o.Name, err)
		}
		out = append(out, row)
	}
	return out, nil
}

// Visible are the labels that identities have while the objects are in force.
func Visible(objects []*networkingv1.NetworkPolicy) (state.Visible, error) {
	rows, err := Rows(objects)
	if err != nil {
		return nil, err
	}
	policies := func(yield func(state.PolicyKey, state.Policy) bool) {
		for _, r := range rows {
			if !yield(r.Key, r) {
				return
			}
		}
	}
	none := func(func(state.ServiceName, state.Service) bool) {}
	return state.VisibleLabels(policies, none), nil
}
