package convert

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"weir/state"
)

// routable takes an address that a service or a backend can have: one that
// means the same on every node.
func routable(w where, text string) (netip.Addr, error) {
	a, err := parseAddr(w.object, w.field, text)
	if err != nil {
		return netip.Addr{}, err
	}
	what := ""
	switch {
	case a.IsUnspecified():
		what = "the unspecified address"
	case a.IsLoopback():
		what = "a loopback address"
	case a.IsMulticast():
		what = "a multicast address"
	case a.IsLinkLocalUnicast():
		what = "a link-local address"
	default:
		return a, nil
	}
	return netip.Addr{}, w.refuse("%q is %s, which means another thing on each node: use one that is routed", text, what)
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// clusterIPs takes the addresses that the API server gave the service. Without
// any the service is not served inside of the cluster yet.
func clusterIPs(w where, o *corev1.Service, s *state.Service) error {
	w = w.in("spec")
	texts, at := o.Spec.ClusterIPs, func(i int) where { return w.item("clusterIPs", i) }
	switch one := o.Spec.ClusterIP; {
	case len(texts) == 0 && one != "":
		texts, at = []string{one}, func(int) where { return w.in("clusterIP") }
	case one != "" && texts[0] != one:
		return at(0).refuse("%q is not what clusterIP says, %q: write the same, or only one of the two fields", texts[0], one)
	}
	families, err := ipFamilies(w, o, len(texts))
	if err != nil {
		return err
	}
	if headless(o) {
		if len(texts) > 1 {
			return w.in("clusterIPs").refuse("%q: None stands alone", texts)
		}
		if s.Kind != state.ServiceClusterIP {
			return at(0).refuse("None in a service of type %s, which needs an address: leave it out, or write type: ClusterIP", s.Kind)
		}
		return nil
	}
	for i, text := range texts {
		a, err := routable(at(i), text)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(s.ClusterIPs, func(b netip.Addr) bool { return b.Is4() == a.Is4() }) {
			return at(i).refuse("%q is a second %s address: a service has at most one of each family", text, family(a))
		}
		if i < len(families) && families[i] != family(a) {
			return at(i).refuse("%q is no %s address, as ipFamilies[%d] says: swap them, or use one of that family", text, families[i], i)
		}
		s.ClusterIPs = append(s.ClusterIPs, a)
	}
	return nil
}

// ipFamilies checks the families of a service that has so many addresses.
func ipFamilies(w where, o *corev1.Service, addrs int) ([]string, error) {
	var out []string
	for i, f := range o.Spec.IPFamilies {
		at := w.item("ipFamilies", i)
		if known := []string{"IPv4", "IPv6"}; !slices.Contains(known, string(f)) {
			return nil, at.refuse("%q is no family: use %s", f, oneOf(string(f), known))
		}
		if slices.Contains(out, string(f)) {
			return nil, at.refuse("%q stands twice: write each family once", f)
		}
		out = append(out, string(f))
	}
	policy := ""
	if o.Spec.IPFamilyPolicy != nil {
		policy = string(*o.Spec.IPFamilyPolicy)
	}
	at := w.in("ipFamilyPolicy")
	if _, err := choice(at, policy, "policy", "SingleStack", "PreferDualStack", "RequireDualStack"); err != nil {
		return nil, err
	}
	if policy == string(corev1.IPFamilyPolicySingleStack) && max(len(out), addrs) > 1 {
		return nil, at.refuse("%q with addresses of two families: keep one of ipFamilies and of clusterIPs, or write PreferDualStack", policy)
	}
	return out, nil
}

// otherIPs takes the addresses that clients outside of the cluster use.
func otherIPs(w where, o *corev1.Service, s *state.Service) error {
	for i, text := range o.Spec.ExternalIPs {
		a, err := routable(w.in("spec").item("externalIPs", i), text)
		if err != nil {
			return err
		}
		s.ExternalIPs = appendNew(s.ExternalIPs, a)
	}
	if s.Kind != state.ServiceLoadBalancer {
		return nil // a status that is left from when it was one
	}
	for i, in := range o.Status.LoadBalancer.Ingress {
		at := w.in("status.loadBalancer").item("ingress", i)
		mode := ""
		if in.IPMode != nil {
			mode = string(*in.IPMode)
		}
		mode, err := choice(at.in("ipMode"), mode, "mode", "VIP", "Proxy")
		if err != nil {
			return err
		}
		if in.IP == "" {
			continue // a hostname
		}
		a, err := routable(at.in("ip"), in.IP)
		if err != nil {
			return err
		}
		if mode == "VIP" {
			s.LoadBalancerIPs = appendNew(s.LoadBalancerIPs, a)
		}
	}
	return nil
}

func appendNew(addrs []netip.Addr, a netip.Addr) []netip.Addr {
	if slices.Contains(addrs, a) {
		return addrs
	}
	return append(addrs, a)
}

// sourceRanges takes who may use a load balancer's addresses. The annotation,
// which is older, counts only without the field.
func sourceRanges(w where, o *corev1.Service, s *state.Service) error {
	texts, at := o.Spec.LoadBalancerSourceRanges, func(i int) where { return w.in("spec").item("loadBalancerSourceRanges", i) }
	field := w.in("spec.loadBalancerSourceRanges")
	key := corev1.AnnotationLoadBalancerSourceRangesKey
	if list, said := o.Annotations[key]; said && len(texts) == 0 {
		texts, field = strings.Split(list, ","), w.in("metadata.annotations")
		at = func(int) where { return field }
	}
	if len(texts) > 0 && s.Kind != state.ServiceLoadBalancer {
		return field.refuse("%q in a service of type %s: only a LoadBalancer's clients are chosen so; leave it out", texts, s.Kind)
	}
	for i, text := range texts {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil || p.Addr().Is4In6() {
			return at(i).refuse("%q is not a CIDR such as 10.0.0.0/8 or fd00::/8", text)
		}
		s.SourceRanges = append(s.SourceRanges, p.Masked()) // the API allows host bits
	}
	slices.SortFunc(s.SourceRanges, netip.Prefix.Compare)
	s.SourceRanges = slices.Compact(s.SourceRanges)
	return nil
}
