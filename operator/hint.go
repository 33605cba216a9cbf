package operator

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// hint says for whom each endpoint is meant, as far as the service asks for
// that. With trafficDistribution an endpoint is for its own zone or node. With
// the annotation topology-mode: Auto it is for its own zone, too, but only when
// each zone that has a node has a ready endpoint: Kubernetes weighs zones by
// their CPUs, which nodes of one size do not differ in.
func hint(svc *corev1.Service, list []*discoveryv1.EndpointSlice, nodes []*corev1.Node) {
	zone, node := false, false
	switch d := svc.Spec.TrafficDistribution; {
	case d != nil && *d == corev1.ServiceTrafficDistributionPreferSameNode:
		zone, node = true, true
	case d != nil:
		zone = true
	default:
		mode := svc.Annotations[corev1.AnnotationTopologyMode]
		if mode == "" {
			mode = svc.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
		}
		zone = (mode == "Auto" || mode == "auto") && everywhere(list, nodes)
	}
	for _, s := range list {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			hints := &discoveryv1.EndpointHints{}
			if zone && e.Zone != nil {
				hints.ForZones = []discoveryv1.ForZone{{Name: *e.Zone}}
			}
			if node && e.NodeName != nil {
				hints.ForNodes = []discoveryv1.ForNode{{Name: *e.NodeName}}
			}
			if hints.ForZones != nil || hints.ForNodes != nil {
				e.Hints = hints
			}
		}
	}
}

// everywhere reports whether, in each family and for each set of ports, all
// zones have an endpoint.
func everywhere(list []*discoveryv1.EndpointSlice, nodes []*corev1.Node) bool {
	zones := map[string]bool{}
	for _, z := range zonesOf(nodes) {
		if z == "" {
			return false // a node of no zone would get nothing
		}
		zones[z] = true
	}
	for _, s := range list {
		ready := map[string]bool{}
		for _, e := range s.Endpoints {
			if e.Zone != nil && *e.Conditions.Ready {
				ready[*e.Zone] = true
			}
		}
		if len(ready) < len(zones) {
			return false
		}
	}
	return len(zones) > 1
}
