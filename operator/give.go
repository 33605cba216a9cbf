package operator

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// giving is the work on one service.
type giving struct {
	*Services
	owner string
	old   *corev1.Service // what it was before; of no type when it is new
	out   *corev1.Service // what it becomes
	one   bool            // it says clusterIP only
}

// addrField is where the i-th cluster IP stands.
func (g giving) addrField(i int) string {
	if g.one && i == 0 {
		return "spec.clusterIP"
	}
	return fmt.Sprintf("spec.clusterIPs[%d]", i)
}

func (g giving) all() error {
	spec := &g.out.Spec
	if spec.Type == "" {
		spec.Type = corev1.ServiceTypeClusterIP
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		p.Protocol = protocol(p.Protocol)
		if p.TargetPort.IntVal == 0 && p.TargetPort.StrVal == "" {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	for _, step := range []func() error{g.families, g.clusterIPs, g.keepPorts, g.healthPort, g.freshPorts, g.loadBalancer} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func headless(o *corev1.Service) bool {
	return o.Spec.ClusterIP == corev1.ClusterIPNone || slices.Contains(o.Spec.ClusterIPs, corev1.ClusterIPNone)
}

func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// rangeOf returns the range of a family.
func rangeOf(ranges []netip.Prefix, f corev1.IPFamily) (netip.Prefix, bool) {
	i := slices.IndexFunc(ranges, func(r netip.Prefix) bool { return familyOf(r.Addr()) == f })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return ranges[i], true
}

// families fills ipFamilies and ipFamilyPolicy.
func (g giving) families() error {
	spec := &g.out.Spec
	if len(spec.ClusterIPs) == 0 && spec.ClusterIP != "" {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	said := slices.Clone(spec.IPFamilies)
	field := func(i int) string {
		if i < len(spec.IPFamilies) {
			return fmt.Sprintf("spec.ipFamilies[%d]", i)
		}
		return g.addrField(i)
	}
	for i, text := range spec.ClusterIPs {
		if a, err := netip.ParseAddr(text); err == nil && i >= len(said) {
			said = append(said, familyOf(a))
		}
	}
	for i, f := range said {
		if _, ok := rangeOf(g.ranges.ClusterIPs, f); !ok {
			return refuse(field(i), "%s has no range of cluster IPs: there is %s", f, list(g.ranges.ClusterIPs))
		}
	}
	policy := corev1.IPFamilyPolicySingleStack
	switch {
	case spec.IPFamilyPolicy != nil:
		policy = *spec.IPFamilyPolicy
	case len(said) > 1 || headless(g.out) && len(spec.Selector) == 0 && len(said) == 0 && len(g.ranges.ClusterIPs) > 1:
		policy = corev1.IPFamilyPolicyRequireDualStack // the second: nobody knows which addresses people will write
	}
	all := said
	for _, r := range g.ranges.ClusterIPs {
		if f := familyOf(r.Addr()); !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	switch {
	case len(all) == 0:
		return refuse("spec.type", "%q needs an address, and there is no range of cluster IPs", spec.Type)
	case policy == corev1.IPFamilyPolicySingleStack:
		all = all[:1]
	case policy == corev1.IPFamilyPolicyRequireDualStack && len(all) < 2:
		return refuse("spec.ipFamilyPolicy", "%q needs ranges of cluster IPs of both families, and there is %s: write PreferDualStack", policy, list(g.ranges.ClusterIPs))
	}
	spec.IPFamilies, spec.IPFamilyPolicy = all, &policy
	return nil
}

func list(ranges []netip.Prefix) string {
	text := ""
	for i, r := range ranges {
		if i > 0 {
			text += " and "
		}
		text += r.String()
	}
	if text == "" {
		return "none"
	}
	return text
}

// clusterIPs fills an address for each family.
func (g giving) clusterIPs() error {
	spec := &g.out.Spec
	if headless(g.out) {
		spec.ClusterIP, spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
		return nil
	}
	said := spec.ClusterIPs
	spec.ClusterIPs = nil
	for i, f := range spec.IPFamilies {
		field := g.addrField(i)
		r, _ := rangeOf(g.ranges.ClusterIPs, f) // families has looked for it
		var a netip.Addr
		var err error
		switch old := ofFamily(g.old.Spec.ClusterIPs, f); {
		case i < len(said):
			a, err = g.claim(field, said[i], r)
		case old != "" && r.Contains(netip.MustParseAddr(old)):
			a, err = g.claim(field, old, r)
		default:
			a, err = g.fresh(field, r, band(size(r), 16, 256))
		}
		if err != nil {
			return err
		}
		spec.ClusterIPs = append(spec.ClusterIPs, a.String())
	}
	spec.ClusterIP = spec.ClusterIPs[0]
	return nil
}

// ofFamily returns the address of a family among texts, or "".
func ofFamily(texts []string, f corev1.IPFamily) string {
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && familyOf(a) == f {
			return text
		}
	}
	return ""
}

// claim takes an address that the service names, out of a range, or with the
// zero Prefix out of any.
func (g giving) claim(field, text string, r netip.Prefix) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return a, refuse(field, "%q is not an IP address", text)
	}
	if r.IsValid() && !r.Contains(a) {
		return a, refuse(field, "%q is not in the range %s: use an address that is, or leave it out", text, r)
	}
	if other := g.addrs[a]; other != "" && other != g.owner {
		return a, refuse(field, "%q is that of Service %s: use another, or leave it out", text, other)
	}
	g.addrs[a] = g.owner
	return a, nil
}

// fresh takes one that nobody has.
func (g giving) fresh(field string, r netip.Prefix, band uint64) (netip.Addr, error) {
	a, ok := g.addr(r, band, g.owner)
	if !ok {
		return a, refuse(field, "no address of %s is free: remove services, or choose a larger range", r)
	}
	return a, nil
}

// loadBalancer fills the addresses that clients outside of the cluster use. A
// status that the object brings along is kept.
func (g giving) loadBalancer() error {
	status := &g.out.Status.LoadBalancer
	if g.out.Spec.Type != corev1.ServiceTypeLoadBalancer {
		status.Ingress = nil
		return nil
	}
	for i, in := range status.Ingress {
		if in.IP != "" {
			if _, err := g.claim(fmt.Sprintf("status.loadBalancer.ingress[%d].ip", i), in.IP, netip.Prefix{}); err != nil {
				return err
			}
		}
	}
	if len(status.Ingress) > 0 {
		return nil
	}
	var had []string
	for _, in := range g.old.Status.LoadBalancer.Ingress {
		had = append(had, in.IP)
	}
	for _, f := range g.out.Spec.IPFamilies {
		r, ok := rangeOf(g.ranges.LoadBalancerIPs, f)
		if !ok {
			continue
		}
		const field = "spec.loadBalancerIP"
		var a netip.Addr
		var err error
		old := ofFamily(had, f)
		switch said := ofFamily([]string{g.out.Spec.LoadBalancerIP}, f); { // deprecated, and in use
		case said != "":
			a, err = g.claim(field, said, r)
		case old != "" && r.Contains(netip.MustParseAddr(old)):
			a, err = g.claim(field, old, r)
		default:
			a, err = g.fresh("status.loadBalancer.ingress", r, 0)
		}
		if err != nil {
			return err
		}
		status.Ingress = append(status.Ingress, corev1.LoadBalancerIngress{IP: a.String()})
	}
	return nil
}
