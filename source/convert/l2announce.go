package convert

import (
	"regexp"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/api/v1"
	"weir/state"
)

// L2AnnouncementPolicy returns the row of a CiliumL2AnnouncementPolicy.
func L2AnnouncementPolicy(o *v1.CiliumL2AnnouncementPolicy) (state.L2Policy, error) {
	w, _, err := named(v1.KindL2Policy, o.ObjectMeta, false)
	if err != nil {
		return state.L2Policy{}, err
	}
	out := state.L2Policy{Name: o.Name, Interfaces: slices.Clone(o.Spec.Interfaces), ExternalIPs: o.Spec.ExternalIPs, LoadBalancerIPs: o.Spec.LoadBalancerIPs}
	for i, text := range out.Interfaces {
		if _, err := regexp.Compile(text); err != nil || text == "" {
			return state.L2Policy{}, w.item("spec.interfaces", i).refuse("%q is not a regular expression: write one such as ^eth[0-9]+$", text)
		}
	}
	if out.Services, err = anyOf(w.in("spec.serviceSelector"), o.Spec.ServiceSelector); err != nil {
		return state.L2Policy{}, err
	}
	out.Nodes, err = anyOf(w.in("spec.nodeSelector"), o.Spec.NodeSelector)
	return out, err
}

// anyOf converts a selector of nodes or services that may be left out.
func anyOf(w where, s *metav1.LabelSelector) (state.Selector, error) {
	if s == nil {
		return nil, nil
	}
	return selector(w, *s, objectKey)
}

// Lease returns the row of a Lease.
func Lease(o *coordinationv1.Lease) (state.Lease, error) {
	_, namespace, err := named("Lease", o.ObjectMeta, true)
	if err != nil {
		return state.Lease{}, err
	}
	out := state.Lease{Name: state.LeaseName{Namespace: namespace, Name: o.Name}}
	if o.Spec.HolderIdentity != nil {
		out.Holder = *o.Spec.HolderIdentity
	}
	return out, nil
}
