package convert

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"weir/state"
)

// servicePorts takes the ports. A service without any has no frontends.
func servicePorts(w where, o *corev1.Service, s *state.Service) error {
	w = w.in("spec")
	for i, o := range o.Spec.Ports {
		at := w.item("ports", i)
		p, err := servicePort(at, o)
		if err != nil {
			return err
		}
		if p.NodePort != 0 && s.Kind == state.ServiceClusterIP {
			return at.in("nodePort").refuse("%d in a service of type ClusterIP: leave it out, or write type: NodePort", p.NodePort)
		}
		if err := differs(at, p, s.Ports); err != nil {
			return err
		}
		s.Ports = append(s.Ports, p)
	}
	for i, p := range s.Ports {
		if p.Name == "" && len(s.Ports) > 1 {
			return w.item("ports", i).in("name").refuse("is missing: of several ports each needs one")
		}
	}
	return nil
}

// differs refuses a port that stands there already.
func differs(at where, p state.ServicePort, before []state.ServicePort) error {
	for i, q := range before {
		switch {
		case p.Proto == q.Proto && p.Port == q.Port:
			return at.in("port").refuse("%d/%s is that of ports[%d]: keep one", p.Port, state.ProtoName(p.Proto), i)
		case p.Name == q.Name && p.Name != "":
			return at.in("name").refuse("%q is that of ports[%d]: write another", p.Name, i)
		case p.Proto == q.Proto && p.NodePort == q.NodePort && p.NodePort != 0:
			return at.in("nodePort").refuse("%d/%s is that of ports[%d]: write another", p.NodePort, state.ProtoName(p.Proto), i)
		}
	}
	return nil
}

func servicePort(w where, o corev1.ServicePort) (state.ServicePort, error) {
	p := state.ServicePort{Name: o.Name}
	if err := portLabel(w, o.Name); err != nil {
		return p, err
	}
	var err error
	if p.Proto, err = withPortsOnly(w.in("protocol"), string(o.Protocol)); err != nil {
		return p, err
	}
	if p.Port, err = portNumber(w.in("port"), o.Port); err != nil {
		return p, err
	}
	if o.NodePort != 0 {
		if p.NodePort, err = portNumber(w.in("nodePort"), o.NodePort); err != nil {
			return p, err
		}
	}
	switch t := o.TargetPort; {
	case t.Type == intstr.Int && t.IntVal != 0:
		_, err = portNumber(w.in("targetPort"), t.IntVal)
	case t.Type == intstr.String && t.StrVal != "":
		if bad := validation.IsValidPortName(t.StrVal); len(bad) > 0 {
			err = w.in("targetPort").refuse("%q is not a port's name: %s; a number stands without quotes", t.StrVal, bad[0])
		}
	}
	return p, err
}

// portLabel checks the name by which services and slices know a port.
func portLabel(w where, name string) error {
	if bad := validation.IsDNS1123Label(name); name != "" && len(bad) > 0 {
		return w.in("name").refuse("%q is not a port's name: %s", name, bad[0])
	}
	return nil
}

// portNumber takes a port that stands there as a number.
func portNumber(w where, n int32) (uint16, error) {
	if n < 1 || n > 65535 {
		return 0, w.refuse("%d is not a port: use 1 to 65535", n)
	}
	return uint16(n), nil
}

// withPortsOnly takes a protocol that has ports; an empty one is TCP.
func withPortsOnly(w where, text string) (uint8, error) {
	n, ok := withPorts[cmp.Or(text, "TCP")]
	if !ok {
		return 0, w.refuse("%q is no protocol: use %s", text, oneOf(text, []string{"TCP", "UDP", "SCTP"}))
	}
	return n, nil
}
