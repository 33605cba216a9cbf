package convert

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	v1 "weir/api/v1"
	"weir/state"
)

// withPorts are the protocols that have ports; ANY means these.
var withPorts = protocolsOf("TCP", "UDP", "SCTP")

// portless are the other protocols that a toPorts may name.
var portless = protocolsOf("ICMP", "ICMPv6", "ICMPV6", "IGMP", "IPIP", "IPV6", "GRE", "ESP", "AH", "VRRP")

func protocolsOf(names ...string) map[string]uint8 {
	out := map[string]uint8{}
	for _, name := range names {
		out[name], _ = state.ProtoNumber(name)
	}
	return out
}

// protocols returns the numbers that a protocol of a CiliumNetworkPolicy means.
func protocols(w where, text string) ([]uint8, error) {
	if text == "" || text == "ANY" {
		return slices.Sorted(maps.Values(withPorts)), nil
	}
	if n, ok := withPorts[text]; ok {
		return []uint8{n}, nil
	}
	if n, ok := portless[text]; ok {
		return []uint8{n}, nil
	}
	known := append([]string{"ANY", "TCP", "UDP", "SCTP"}, slices.Sorted(maps.Keys(portless))...)
	return nil, w.refuse("%q is no protocol: use %s", text, oneOf(text, known))
}

// ciliumPorts converts one element of ports of a toPorts.
func ciliumPorts(w, rule where, o v1.PortProtocol) ([]state.PolicyPort, error) {
	numbers, err := protocols(w.in("protocol"), o.Protocol)
	if err != nil {
		return nil, err
	}
	p := state.PolicyPort{Path: w.beyond(rule), All: o.Port == nil || *o.Port == "0"}
	switch {
	case p.All && o.EndPort != 0:
		return nil, w.in("endPort").refuse("%d without a port to begin with: write port, from 1 to 65535", o.EndPort)
	case p.All:
	case portless[o.Protocol] != 0 && strings.HasPrefix(o.Protocol, "ICMP"):
		return nil, w.in("port").refuse("%q: %s has types instead of ports: leave port out, or use icmps", *o.Port, o.Protocol)
	case portless[o.Protocol] != 0:
		return nil, w.in("port").refuse("%q: %s has no ports: leave port out", *o.Port, o.Protocol)
	default:
		if err := fill(w, &p, *o.Port, o.EndPort); err != nil {
			return nil, err
		}
	}
	out := make([]state.PolicyPort, len(numbers))
	for i, n := range numbers {
		out[i] = p
		out[i].Proto = n
	}
	return out, nil
}

// fill sets the range or the name that the texts say.
func fill(w where, p *state.PolicyPort, text string, end int32) error {
	n, err := strconv.Atoi(text)
	if err != nil && len(validation.IsValidPortName(strings.ToLower(text))) == 0 {
		p.Name = strings.ToLower(text) // containers' are lower case
		if end != 0 {
			return w.in("endPort").refuse("%d with the named port %q: a range begins with a number", end, text)
		}
		return nil
	}
	if err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != text {
		return w.in("port").refuse("%q is not a port: use 1 to 65535 or a name", text)
	}
	p.First, p.Last = uint16(n), uint16(n)
	if end == 0 {
		return nil
	}
	return fillEnd(w, p, end)
}

func fillEnd(w where, p *state.PolicyPort, end int32) error {
	if end < int32(p.First) || end > 65535 {
		return w.in("endPort").refuse("%d is not the end of a range from %d: use %d to 65535", end, p.First, p.First)
	}
	p.Last = uint16(end)
	return nil
}

// eachPort does something with each port of containers that run beside each other.
func eachPort(w where, o *corev1.Pod, do func(at where, p corev1.ContainerPort) error) error {
	each := func(list string, i int, c corev1.Container) error {
		for j, p := range c.Ports {
			if err := do(w.in("spec").item(list, i).item("ports", j), p); err != nil {
				return err
			}
		}
		return nil
	}
	for i, c := range o.Spec.Containers {
		if err := each("containers", i, c); err != nil {
			return err
		}
	}
	for i, c := range o.Spec.InitContainers {
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue // ends before the containers start
		}
		if err := each("initContainers", i, c); err != nil {
			return err
		}
	}
	return nil
}

// namedPorts returns the ports that have names. Of two with one name and protocol the
// first counts.
func namedPorts(w where, o *corev1.Pod) ([]state.NamedPort, error) {
	var out []state.NamedPort
	err := eachPort(w, o, func(at where, p corev1.ContainerPort) error {
		if p.Name == "" {
			return nil
		}
		port, err := namedPort(at, p)
		if err == nil && !slices.ContainsFunc(out, func(o state.NamedPort) bool { return o.Name == port.Name && o.Proto == port.Proto }) {
			out = append(out, port)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func namedPort(w where, p corev1.ContainerPort) (state.NamedPort, error) {
	if bad := validation.IsValidPortName(p.Name); len(bad) > 0 {
		return state.NamedPort{}, w.in("name").refuse("%q is not a port's name: %s", p.Name, bad[0])
	}
	port, proto, err := containerPort(w, p)
	if err != nil {
		return state.NamedPort{}, err
	}
	return state.NamedPort{Name: p.Name, Proto: proto, Port: port}, nil
}

func containerPort(w where, p corev1.ContainerPort) (port uint16, proto uint8, err error) {
	if p.ContainerPort < 1 || p.ContainerPort > 65535 {
		return 0, 0, w.in("containerPort").refuse("%d is not a port: use 1 to 65535", p.ContainerPort)
	}
	proto, ok := withPorts[or(string(p.Protocol), "TCP")]
	if !ok {
		return 0, 0, w.in("protocol").refuse("%q has no ports: use %s", p.Protocol, oneOf(string(p.Protocol), []string{"TCP", "UDP", "SCTP"}))
	}
	return uint16(p.ContainerPort), proto, nil
}
