package oracle

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// Party is who has an address.
type Party struct {
	Addr netip.Addr
	// Kind is "pod", or the name of a reserved identity: "host" (this node),
	// "remote-node", "health", "init" (a pod that is not known), "world", or
	// "unknown": an address for pods that no pod has.
	Kind  string
	Here  bool // an endpoint of this node, or this node
	Node  string
	pod   *corev1.Pod
	label []label
}

// Name is for people.
func (p Party) Name() string {
	if p.pod != nil {
		return "pod " + p.pod.Namespace + "/" + p.pod.Name + " (" + p.Addr.String() + ")"
	}
	return p.Kind + " (" + p.Addr.String() + ")"
}

// Who returns who has an address.
func (w *World) Who(a netip.Addr) Party {
	for _, o := range w.Orphans {
		if o == a {
			return reserved(a, "init", w.Node)
		}
	}
	for _, p := range w.pods {
		for _, ip := range p.Status.PodIPs {
			// Pods of the host network have the node's address: the node is who has it.
			if !p.Spec.HostNetwork && same(ip.IP, a) {
				return Party{Addr: a, Kind: "pod", Here: p.Spec.NodeName == w.Node, Node: p.Spec.NodeName, pod: p, label: w.labelsOf(p)}
			}
		}
	}
	for name, n := range w.nodes {
		if n.has(a) {
			if name == w.Node {
				return reserved(a, "host", w.Node)
			}
			return reserved(a, "remote-node", "")
		}
		if same(n.Spec.Health.IPv4, a) || same(n.Spec.Health.IPv6, a) {
			if name == w.Node {
				return reserved(a, "health", w.Node)
			}
			return reserved(a, "health", "")
		}
	}
	for _, n := range w.nodes {
		for _, c := range n.Spec.IPAM.PodCIDRs {
			if netip.MustParsePrefix(c).Contains(a) {
				return reserved(a, "unknown", "")
			}
		}
	}
	p := reserved(a, "world", "")
	if w.IPv4 && w.IPv6 { // then the world is two identities
		if a.Is4() {
			p.label = append(p.label, label{source: "reserved", key: "world-ipv4"})
		} else {
			p.label = append(p.label, label{source: "reserved", key: "world-ipv6"})
		}
	}
	return p
}

func reserved(a netip.Addr, kind, here string) Party {
	return Party{Addr: a, Kind: kind, Here: here != "", Node: here, label: []label{{source: "reserved", key: kind}}}
}

// has reports whether an address is a node's own.
func (n *ciliumNode) has(a netip.Addr) bool {
	for _, own := range n.Spec.Addresses {
		if (own.Type == "InternalIP" || own.Type == "CiliumInternalIP") && same(own.IP, a) {
			return true
		}
	}
	return false
}

// endpoint reports whether the party is one that selectors of endpoints are
// asked about.
func (p Party) endpoint() bool {
	switch p.Kind {
	case "pod", "health", "init", "unmanaged", "ingress":
		return true
	}
	return false
}

// outside reports whether the party is no part of the cluster. An address for
// pods is, also when no pod has it.
func (p Party) outside() bool { return p.Kind == "world" }

// namedPort returns the number that a pod's containers give to a name, or 0. Of
// several the first counts.
func (p Party) namedPort(name string, proto uint8) uint16 {
	if p.pod == nil {
		return 0
	}
	for _, c := range p.pod.Spec.Containers {
		for _, port := range c.Ports {
			if port.Name == name && protoNumber(string(port.Protocol), "TCP") == proto {
				return uint16(port.ContainerPort)
			}
		}
	}
	return 0
}

func same(text string, a netip.Addr) bool {
	b, err := netip.ParseAddr(text)
	return err == nil && a == b
}
