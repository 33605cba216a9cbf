package convert

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"weir/state"
)

// Service returns the row of a service. An ExternalName has no pods, whatever
// its selector says.
func Service(o *corev1.Service) (state.Service, error) {
	w, namespace, err := named("Service", o.ObjectMeta, true)
	if err != nil {
		return state.Service{}, err
	}
	s := state.Service{Name: state.ServiceName{Namespace: namespace, Name: o.Name}, Labels: maps.Clone(o.Labels)}
	if err := checkLabels(w.in("spec.selector"), o.Spec.Selector); err != nil {
		return state.Service{}, err
	}
	if len(o.Spec.Selector) > 0 && o.Spec.Type != corev1.ServiceTypeExternalName {
		s.Selector = maps.Clone(o.Spec.Selector)
	}
	return s, nil
}

// EndpointSlice returns the row of a slice. One of names instead of addresses
// has none.
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
		for j, text := range e.Addresses {
			field := fmt.Sprintf("endpoints[%d].addresses[%d]", i, j)
			a, err := parseAddr(w.object, field, text)
			if err != nil {
				return state.Slice{}, err
			}
			if a.Is4() != (o.AddressType == discoveryv1.AddressTypeIPv4) {
				return state.Slice{}, w.in(field).refuse("%q is no %s address, as addressType says: put it into a slice of the other type", text, o.AddressType)
			}
			s.Addrs = append(s.Addrs, a)
		}
	}
	slices.SortFunc(s.Addrs, netip.Addr.Compare)
	s.Addrs = slices.Compact(s.Addrs)
	return s, nil
}
