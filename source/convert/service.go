package convert

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"weir/state"
)

// Annotations by which a service chooses what the agent's configuration
// chooses for the others.
const (
	AnnotationAlgorithm  = "service.cilium.io/lb-algorithm"
	AnnotationForwarding = "service.cilium.io/forwarding-mode"
)

// Labels of services that somebody else forwards, whatever their values.
const (
	LabelServiceProxy = "service.kubernetes.io/service-proxy-name"
	LabelHeadless     = corev1.IsHeadlessService
)

const (
	defaultAffinity = corev1.DefaultClientIPServiceAffinitySeconds
	maxAffinity     = 86400 // a day, as the API has it
)

// Service returns the row of a service. An ExternalName has no pods, whatever
// its selector says.
func Service(o *corev1.Service) (state.Service, error) {
	w, namespace, err := named("Service", o.ObjectMeta, true)
	if err != nil {
		return state.Service{}, err
	}
	bare := state.Service{Name: state.ServiceName{Namespace: namespace, Name: o.Name}, Labels: maps.Clone(o.Labels)}
	if err := checkLabels(w.in("spec.selector"), o.Spec.Selector); err != nil {
		return state.Service{}, err
	}
	kind, err := choice(w.in("spec.type"), string(o.Spec.Type), "type", "ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
	if err != nil {
		return state.Service{}, err
	}
	if kind == string(corev1.ServiceTypeExternalName) {
		return bare, nil
	}
	if len(o.Spec.Selector) > 0 {
		bare.Selector = maps.Clone(o.Spec.Selector)
	}
	s := bare
	if o.Spec.LoadBalancerClass != nil {
		s.Class = *o.Spec.LoadBalancerClass
	}
	s.Kind, s.PublishUnready = state.ServiceKind(kind), o.Spec.PublishNotReadyAddresses
	for _, fill := range []func(where, *corev1.Service, *state.Service) error{
		clusterIPs, otherIPs, servicePorts, affinity, trafficPolicies, sourceRanges, preferences,
	} {
		if err := fill(w, o, &s); err != nil {
			return state.Service{}, err
		}
	}
	if headless(o) || forwardedByOthers(o) {
		return bare, nil
	}
	return s, nil
}

// headless reports whether the service is to have no address of its own.
func headless(o *corev1.Service) bool {
	return o.Spec.ClusterIP == corev1.ClusterIPNone || slices.Contains(o.Spec.ClusterIPs, corev1.ClusterIPNone)
}

func forwardedByOthers(o *corev1.Service) bool {
	_, proxy := o.Labels[LabelServiceProxy]
	_, none := o.Labels[LabelHeadless]
	return proxy || none
}

// choice returns which of the known words a field says; an empty one is the
// first.
func choice(w where, got, what string, known ...string) (string, error) {
	if got == "" {
		return known[0], nil
	}
	if !slices.Contains(known, got) {
		return "", w.refuse("%q is no %s: use %s", got, what, oneOf(got, known))
	}
	return got, nil
}

func affinity(w where, o *corev1.Service, s *state.Service) error {
	at := w.in("spec.sessionAffinity")
	kind, err := choice(at, string(o.Spec.SessionAffinity), "affinity", "None", "ClientIP")
	if err != nil {
		return err
	}
	config := o.Spec.SessionAffinityConfig
	if kind == "None" {
		if config != nil && config.ClientIP != nil {
			return w.in("spec.sessionAffinityConfig.clientIP").refuse("stands beside sessionAffinity: None: leave it out, or write sessionAffinity: ClientIP")
		}
		return nil
	}
	seconds := int32(defaultAffinity)
	if config != nil && config.ClientIP != nil && config.ClientIP.TimeoutSeconds != nil {
		seconds = *config.ClientIP.TimeoutSeconds
	}
	if seconds < 1 || seconds > maxAffinity {
		return w.in("spec.sessionAffinityConfig.clientIP.timeoutSeconds").refuse("%d is out of range: use 1 to %d", seconds, maxAffinity)
	}
	s.Affinity = time.Duration(seconds) * time.Second
	return nil
}

// trafficPolicies takes both policies, and the port on which nodes tell load
// balancers how many backends they have.
func trafficPolicies(w where, o *corev1.Service, s *state.Service) error {
	at := w.in("spec.externalTrafficPolicy")
	external, err := choice(at, string(o.Spec.ExternalTrafficPolicy), "policy", "Cluster", "Local")
	if err != nil {
		return err
	}
	if o.Spec.ExternalTrafficPolicy != "" && s.Kind == state.ServiceClusterIP && len(o.Spec.ExternalIPs) == 0 {
		return at.refuse("%q in a service that nobody outside can reach: leave it out, or write type: NodePort or LoadBalancer", external)
	}
	internal := ""
	if o.Spec.InternalTrafficPolicy != nil {
		internal = string(*o.Spec.InternalTrafficPolicy)
	}
	internal, err = choice(w.in("spec.internalTrafficPolicy"), internal, "policy", "Cluster", "Local")
	if err != nil {
		return err
	}
	s.ExternalLocal, s.InternalLocal = external == "Local", internal == "Local"

	n := o.Spec.HealthCheckNodePort
	at = w.in("spec.healthCheckNodePort")
	switch {
	case n == 0:
	case s.Kind != state.ServiceLoadBalancer || !s.ExternalLocal:
		return at.refuse("%d without type: LoadBalancer and externalTrafficPolicy: Local: write both, or leave it out", n)
	case n < 0 || n > 65535:
		return at.refuse("%d is not a port: use 1 to 65535", n)
	}
	s.HealthPort = uint16(n)
	return nil
}

// preferences takes what says which backend is chosen, and how packets get
// there. Hints are the slices' to give, by whatever annotation they came.
func preferences(w where, o *corev1.Service, s *state.Service) error {
	if d := o.Spec.TrafficDistribution; d != nil {
		known := []string{corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode, corev1.ServiceTrafficDistributionPreferClose}
		if !slices.Contains(known, *d) {
			return w.in("spec.trafficDistribution").refuse("%q is no distribution: use %s", *d, oneOf(*d, known))
		}
		s.Distribution = state.Distribution(*d)
		if *d == corev1.ServiceTrafficDistributionPreferClose {
			s.Distribution = state.DistributeSameZone
		}
	}
	algorithm, err := annotated(w, o, AnnotationAlgorithm, "algorithm", string(state.AlgorithmRandom), string(state.AlgorithmMaglev))
	if err != nil {
		return err
	}
	s.Algorithm = state.Algorithm(algorithm)
	s.Forwarding, err = annotated(w, o, AnnotationForwarding, "mode of forwarding", "snat", "dsr", "hybrid")
	return err
}

// annotated returns the word that an annotation says, or "" without it.
func annotated(w where, o *corev1.Service, key, what string, known ...string) (string, error) {
	text, said := o.Annotations[key]
	if said && !slices.Contains(known, text) {
		return "", w.in("metadata.annotations").refuse("%s: %q is no %s: use %s", key, text, what, oneOf(text, known))
	}
	return text, nil
}
