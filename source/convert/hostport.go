package convert

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"weir/state"
)

// hostPorts returns the ports of the node that lead to a pod, of containers that run
// beside each other. A pod that shares the node's network has the ports by itself.
func hostPorts(w where, o *corev1.Pod) ([]state.HostPort, error) {
	if o.Spec.HostNetwork {
		return nil, nil
	}
	var out []state.HostPort
	err := eachPort(w, o, func(at where, p corev1.ContainerPort) error {
		if p.HostPort == 0 {
			return nil
		}
		port, err := hostPort(at, p)
		if err == nil && !slices.Contains(out, port) {
			out = append(out, port)
		}
		return err
	})
	return out, err
}

func hostPort(w where, p corev1.ContainerPort) (state.HostPort, error) {
	if p.HostPort < 1 || p.HostPort > 65535 {
		return state.HostPort{}, w.in("hostPort").refuse("%d is not a port: use 1 to 65535, or leave it out", p.HostPort)
	}
	target, proto, err := containerPort(w, p)
	if err != nil {
		return state.HostPort{}, err
	}
	h := state.HostPort{Proto: proto, Port: uint16(p.HostPort), Target: target}
	if p.HostIP == "" {
		return h, nil
	}
	if h.IP, err = netip.ParseAddr(p.HostIP); err != nil || h.IP.Zone() != "" {
		return state.HostPort{}, w.in("hostIP").refuse("%q is not an IP address: write one of the node's, or leave it out for all of them", p.HostIP)
	}
	h.IP = h.IP.Unmap()
	return h, nil
}
