package operator

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// keepPorts takes the node ports that people chose, then those that the service
// has had, before any other is given.
func (g giving) keepPorts() error {
	spec := &g.out.Spec
	for i, p := range spec.Ports {
		if p.NodePort == 0 {
			continue
		}
		if err := g.claimPort(fmt.Sprintf("spec.ports[%d].nodePort", i), p.NodePort); err != nil {
			return err
		}
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		if !g.needsPort(*p) {
			continue
		}
		if p.NodePort = g.hadPort(*p); p.NodePort != 0 {
			g.ports[p.NodePort] = g.owner
		}
	}
	return nil
}

// needsPort reports whether a port lacks a node port.
func (g giving) needsPort(p corev1.ServicePort) bool {
	spec := g.out.Spec
	wanted := spec.AllocateLoadBalancerNodePorts == nil || *spec.AllocateLoadBalancerNodePorts
	return p.NodePort == 0 && (spec.Type == corev1.ServiceTypeNodePort || spec.Type == corev1.ServiceTypeLoadBalancer && wanted)
}

// freshPorts gives the others.
func (g giving) freshPorts() error {
	spec := &g.out.Spec
	for i := range spec.Ports {
		p := &spec.Ports[i]
		if !g.needsPort(*p) {
			continue
		}
		if p.NodePort = sibling(spec.Ports, i); p.NodePort != 0 {
			continue
		}
		n, err := g.port(g.owner)
		if err != nil {
			return refuse(fmt.Sprintf("spec.ports[%d].nodePort", i), "%v", err)
		}
		p.NodePort = n
	}
	return nil
}

// claimPort takes a port that the service names.
func (g giving) claimPort(field string, n int32) error {
	if r := g.ranges.NodePorts; n < r.First || n > r.Last {
		return refuse(field, "%d is not in the range of node ports %s: use one that is, or leave it out", n, r)
	}
	if other := g.ports[n]; other != "" && other != g.owner {
		return refuse(field, "%d is that of Service %s: use another, or leave it out", n, other)
	}
	g.ports[n] = g.owner
	return nil
}

// hadPort returns the node port that the port has had, as long as it is free.
func (g giving) hadPort(p corev1.ServicePort) int32 {
	for _, old := range g.old.Spec.Ports {
		if old.Port != p.Port || protocol(old.Protocol) != protocol(p.Protocol) || old.NodePort == 0 {
			continue
		}
		if g.ports[old.NodePort] == "" || g.ports[old.NodePort] == g.owner && !g.uses(old.NodePort, p.Protocol) {
			return old.NodePort
		}
	}
	return 0
}

// uses reports whether the service has a node port for a protocol already.
func (g giving) uses(n int32, proto corev1.Protocol) bool {
	for _, p := range g.out.Spec.Ports {
		if p.NodePort == n && protocol(p.Protocol) == protocol(proto) {
			return true
		}
	}
	return false
}

// sibling returns the node port of the same port in another protocol: DNS has
// one for both.
func sibling(ports []corev1.ServicePort, i int) int32 {
	for _, p := range ports {
		if p.Port != ports[i].Port || p.NodePort == 0 {
			continue
		}
		taken := false
		for _, q := range ports {
			taken = taken || q.NodePort == p.NodePort && protocol(q.Protocol) == protocol(ports[i].Protocol)
		}
		if !taken {
			return p.NodePort
		}
	}
	return 0
}

func protocol(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

// healthPort fills the port on which nodes say whether they have backends.
func (g giving) healthPort() error {
	spec := &g.out.Spec
	if spec.Type != corev1.ServiceTypeLoadBalancer || spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return nil
	}
	const field = "spec.healthCheckNodePort"
	n, said := spec.HealthCheckNodePort, spec.HealthCheckNodePort != 0
	if !said {
		n = g.old.Spec.HealthCheckNodePort
	}
	for i, p := range spec.Ports {
		if p.NodePort == n && said {
			return refuse(field, "%d is that of ports[%d]: use another, or leave it out", n, i)
		} else if p.NodePort == n {
			n = 0
		}
	}
	switch {
	case said:
		return g.claimPort(field, n)
	case n == 0 || g.claimPort(field, n) != nil:
		var err error
		if n, err = g.port(g.owner); err != nil {
			return refuse(field, "%v", err)
		}
	}
	spec.HealthCheckNodePort = n
	return nil
}
