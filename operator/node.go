package operator

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	v1 "weir/api/v1"
)

// CiliumNode returns what the object of a node becomes: its addresses are the
// Node's and those that follow from its pod CIDRs, and problem is why something
// is missing. old is what there is, or nil; what Weir does not write is kept.
func CiliumNode(n *corev1.Node, cidrs []netip.Prefix, problem string, old *v1.CiliumNode) *v1.CiliumNode {
	out := &v1.CiliumNode{}
	if old != nil {
		out = old.DeepCopy()
	}
	out.Name = n.Name
	out.Spec.Addresses = nil
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			out.Spec.Addresses = append(out.Spec.Addresses, v1.NodeAddress{Type: string(a.Type), IP: a.Address})
		}
	}
	for _, a := range RouterIP(cidrs) {
		out.Spec.Addresses = append(out.Spec.Addresses, v1.NodeAddress{Type: v1.CiliumInternalIP, IP: a.String()})
	}
	out.Spec.Health = pair(HealthIP(cidrs))
	out.Spec.IPAM.PodCIDRs = nil
	for _, c := range cidrs {
		out.Spec.IPAM.PodCIDRs = append(out.Spec.IPAM.PodCIDRs, c.String())
	}
	out.Status.IPAM.Operator.Error = problem
	return out
}

func pair(addrs []netip.Addr) v1.AddressPair {
	var out v1.AddressPair
	for _, a := range addrs {
		if a.Is4() {
			out.IPv4 = a.String()
		} else {
			out.IPv6 = a.String()
		}
	}
	return out
}

// CIDRsOf returns the pod CIDRs that texts say. One that is none is an error, and
// the others count.
func CIDRsOf(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	var err error
	for _, t := range texts {
		p, bad := netip.ParsePrefix(t)
		if bad != nil || p.Addr().Is4In6() {
			err = fmt.Errorf("%q is not a pod CIDR such as 10.0.1.0/24 or fd00::100/120: correct it", t)
			continue
		}
		out = append(out, p.Masked())
	}
	return out, err
}

// KubernetesCIDRs returns the pod CIDRs of a node where Kubernetes deals them
// out, and what is wrong with them. has are those it has already: a node keeps
// them for as long as it exists, since its pods have their addresses.
func KubernetesCIDRs(n *corev1.Node, has []netip.Prefix) ([]netip.Prefix, string) {
	texts := n.Spec.PodCIDRs
	if len(texts) == 0 && n.Spec.PodCIDR != "" {
		texts = []string{n.Spec.PodCIDR}
	}
	said, err := CIDRsOf(texts)
	switch {
	case err != nil:
		return has, fmt.Sprintf("Node %s: spec.podCIDRs: %v", n.Name, err)
	case len(said) == 0 && len(has) == 0:
		return nil, fmt.Sprintf("Node %s has no spec.podCIDRs: let kube-controller-manager allocate them (--allocate-node-cidrs), or set ipam.mode to cluster-pool", n.Name)
	case len(has) > 0 && !slices.Equal(said, has):
		return has, fmt.Sprintf("Node %s has spec.podCIDRs %v, and its pods use %v, which stay: to change them drain the node, delete its Node, and wait until its CiliumNode is gone", n.Name, said, has)
	}
	return said, ""
}
