package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"weir/operator"
)

// CIDRs are a range of each family.
type CIDRs struct {
	IPv4 netip.Prefix `json:"ipv4,omitzero"`
	IPv6 netip.Prefix `json:"ipv6,omitzero"`
}

// of returns the range of a family.
func (c CIDRs) of(is4 bool) netip.Prefix {
	if is4 {
		return c.IPv4
	}
	return c.IPv6
}

// orElse returns the ranges, with others where there is none.
func (c CIDRs) orElse(others []netip.Prefix) CIDRs {
	for _, o := range others {
		if is4 := o.Addr().Is4(); is4 && !c.IPv4.IsValid() {
			c.IPv4 = o
		} else if !is4 && !c.IPv6.IsValid() {
			c.IPv6 = o
		}
	}
	return c
}

// serviceRanges is what the lab gives services out of, in its families.
func (s Spec) serviceRanges() operator.ServiceRanges {
	out := operator.DefaultServiceRanges()
	services, balancers := s.ServiceCIDRs.orElse(out.ClusterIPs), s.LoadBalancerCIDRs.orElse(out.LoadBalancerIPs)
	out.ClusterIPs, out.LoadBalancerIPs = nil, nil
	for _, is4 := range s.families() {
		out.ClusterIPs = append(out.ClusterIPs, services.of(is4))
		out.LoadBalancerIPs = append(out.LoadBalancerIPs, balancers.of(is4))
	}
	return out
}

// namedRange is a range of addresses, for messages.
type namedRange struct {
	name string
	cidr netip.Prefix
}

// checkRanges reports ranges of services that are in the way of something else.
func (s Spec) checkRanges(nodes []Node) error {
	var services, others []namedRange
	var errs []error
	r := s.serviceRanges()
	for i, is4 := range s.families() {
		key := map[bool]string{true: "ipv4", false: "ipv6"}[is4]
		services = append(services, namedRange{"serviceCIDRs." + key, r.ClusterIPs[i]}, namedRange{"loadBalancerCIDRs." + key, r.LoadBalancerIPs[i]})
		for _, n := range services[2*i:] {
			if n.cidr.Addr().Is4() != is4 || n.cidr != n.cidr.Masked() {
				errs = append(errs, fmt.Errorf("%s: %s is not a CIDR of this family without host bits: write one such as %s", n.name, n.cidr, map[bool]string{true: "10.96.0.0/16", false: "fd00:10:96::/112"}[is4]))
			}
		}
		for k := range s.networks() {
			others = append(others, namedRange{"the underlay", underlay(k, is4)})
		}
	}
	for _, n := range nodes {
		for _, c := range n.PodCIDRs {
			others = append(others, namedRange{"the pods of node " + n.Name, c})
		}
		for _, a := range n.Addresses {
			others = append(others, namedRange{"node " + n.Name, netip.PrefixFrom(a, a.BitLen())})
		}
	}
	for _, p := range s.addresses(0, worldHost) {
		others = append(others, namedRange{"the world", netip.PrefixFrom(p.Addr(), p.Addr().BitLen())})
	}
	for i, a := range services {
		for _, b := range append(services[:i:i], others...) {
			if a.cidr.Overlaps(b.cidr) && !(i%2 == 1 && b.name == "the underlay") { // load balancers may be on it
				errs = append(errs, fmt.Errorf("%s: %s overlaps %s of %s: choose another", a.name, a.cidr, b.cidr, b.name))
			}
		}
	}
	return errors.Join(errs...)
}
