package convert

import (
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"

	"weir/state"
)

// EndpointSlice returns the row of a slice. One of names instead of addresses
// has neither endpoints nor ports.
func EndpointSlice(o *discoveryv1.EndpointSlice) (state.Slice, error) {
	w, namespace, err := named("EndpointSlice", o.ObjectMeta, true)
	if err != nil {
		return state.Slice{}, err
	}
	s := state.Slice{Name: state.SliceName{Namespace: namespace, Name: o.Name}}
	if service := o.Labels[discoveryv1.LabelServiceName]; service != "" {
		s.Service = state.ServiceName{Namespace: namespace, Name: service}
	}
	switch o.AddressType {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
	case discoveryv1.AddressTypeFQDN:
		return s, nil
	default:
		return state.Slice{}, w.in("addressType").refuse("%q is no type: use %s", o.AddressType, oneOf(string(o.AddressType), []string{"IPv4", "IPv6", "FQDN"}))
	}
	for i, e := range o.Endpoints {
		addrs, err := sliceAddrs(w.item("endpoints", i), e, o.AddressType)
		if err != nil {
			return state.Slice{}, err
		}
		end, err := sliceEndpoint(w.item("endpoints", i), e)
		if err != nil {
			return state.Slice{}, err
		}
		end.Addr = addrs[0] // further ones mean nothing, says the API
		s.Endpoints = append(s.Endpoints, end)
		s.Addrs = append(s.Addrs, addrs...)
	}
	slices.SortFunc(s.Addrs, netip.Addr.Compare)
	s.Addrs = slices.Compact(s.Addrs)
	if s.Ports, err = slicePorts(w, o.Ports); err != nil {
		return state.Slice{}, err
	}
	return s, nil
}

func sliceAddrs(w where, e discoveryv1.Endpoint, kind discoveryv1.AddressType) ([]netip.Addr, error) {
	if len(e.Addresses) == 0 {
		return nil, w.in("addresses").refuse("is empty: write the endpoint's address")
	}
	var out []netip.Addr
	for i, text := range e.Addresses {
		at := w.item("addresses", i)
		a, err := routable(at, text)
		if err != nil {
			return nil, err
		}
		if family(a) != string(kind) {
			return nil, at.refuse("%q is no %s address, as addressType says: put it into a slice of the other type", text, kind)
		}
		out = append(out, a)
	}
	return out, nil
}

func sliceEndpoint(w where, e discoveryv1.Endpoint) (state.SliceEndpoint, error) {
	ready := unless(e.Conditions.Ready, true)
	out := state.SliceEndpoint{
		Ready:       ready,
		Serving:     unless(e.Conditions.Serving, ready),
		Terminating: unless(e.Conditions.Terminating, false),
		Node:        unless(e.NodeName, ""),
		Zone:        unless(e.Zone, ""),
	}
	if e.Hints == nil {
		return out, nil
	}
	for i, z := range e.Hints.ForZones {
		if z.Name == "" {
			return out, w.in("hints").item("forZones", i).in("name").refuse("is empty: write a zone's name")
		}
		out.HintZones = append(out.HintZones, z.Name)
	}
	for i, n := range e.Hints.ForNodes {
		if n.Name == "" {
			return out, w.in("hints").item("forNodes", i).in("name").refuse("is empty: write a node's name")
		}
		out.HintNodes = append(out.HintNodes, n.Name)
	}
	return out, nil
}

func slicePorts(w where, ports []discoveryv1.EndpointPort) ([]state.SlicePort, error) {
	var out []state.SlicePort
	for i, o := range ports {
		at := w.item("ports", i)
		p := state.SlicePort{Name: unless(o.Name, "")}
		if err := portLabel(at, p.Name); err != nil {
			return nil, err
		}
		if j := slices.IndexFunc(out, func(q state.SlicePort) bool { return q.Name == p.Name }); j >= 0 {
			return nil, at.in("name").refuse("%q is that of ports[%d]: write another", p.Name, j)
		}
		var err error
		if p.Proto, err = withPortsOnly(at.in("protocol"), string(unless(o.Protocol, ""))); err != nil {
			return nil, err
		}
		if o.Port != nil {
			if p.Port, err = portNumber(at.in("port"), *o.Port); err != nil {
				return nil, err
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// unless returns what a field says, or what it means when it is left out.
func unless[T any](said *T, otherwise T) T {
	if said == nil {
		return otherwise
	}
	return *said
}
