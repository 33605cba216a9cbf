// Package services makes as many services as one likes, of which ten lead to the
// benchmark's server and the others to nobody.
//
// They are objects, as an API server has them: agents read them from files, and
// kube-proxy from its API.
package services

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"weir/bench/traffic"
	"weir/test/kubeproxy"
)

const (
	// Measured is how many services lead to the server. Clients ask one after the
	// other: where one of them stands among all services is chance.
	Measured = 10
	// Backends of each service.
	Backends = traffic.Backends
	// NodePort of the first measured service; the others follow.
	NodePort = 30500

	port = 80
)

// ClusterIP of the i-th service; the measured ones come first.
func ClusterIP(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 96 + byte(i>>16), byte(i >> 8), byte(i)}).Next()
}

// At are the measured services by their cluster IPs.
func At() []netip.AddrPort {
	var out []netip.AddrPort
	for i := range Measured {
		out = append(out, netip.AddrPortFrom(ClusterIP(i), port))
	}
	return out
}

// AtPod are the backends of each of them, by the server's own address.
func AtPod(server netip.Addr) []netip.AddrPort {
	var out []netip.AddrPort
	for b := range Backends {
		out = append(out, netip.AddrPortFrom(server, uint16(traffic.ServicePort+b)))
	}
	return out
}

// AtNode are the measured services by their ports at a node's address.
func AtNode(node netip.Addr) []netip.AddrPort {
	var out []netip.AddrPort
	for i := range Measured {
		out = append(out, netip.AddrPortFrom(node, uint16(NodePort+i)))
	}
	return out
}

// Objects returns n services, Measured or more, with their slices. The server's
// pod runs on the node.
func Objects(n int, server netip.Addr, node string) []kubeproxy.Object {
	var out []kubeproxy.Object
	for i := range Measured {
		s := service(i)
		s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, int32(NodePort+i)
		out = append(out, s)
		for b := range Backends { // as many ports of one server: each is a slice of its own
			out = append(out, slice(i, b, traffic.ServicePort+b, node, server))
		}
	}
	for i := Measured; i < n; i++ {
		out = append(out, service(i), Slice(i, Backends))
	}
	return out
}

// Slice is that of a service that leads to nobody, with so many endpoints.
func Slice(i, endpoints int) *discoveryv1.EndpointSlice {
	var addrs []netip.Addr
	for b := range endpoints {
		k := i*16 + b
		addrs = append(addrs, netip.AddrFrom4([4]byte{11, byte(k >> 16), byte(k >> 8), byte(k)}))
	}
	return slice(i, 0, 8080, "elsewhere", addrs...)
}

func name(i int) string { return fmt.Sprintf("s%d", i) }

func service(i int) *corev1.Service {
	ip := ClusterIP(i).String()
	single := corev1.IPFamilyPolicySingleStack
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name(i)},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: &single,
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: port, TargetPort: intstr.FromInt32(8080)}}},
	}
}

func slice(i, number, port int, node string, addrs ...netip.Addr) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s-%d", name(i), number),
			Labels: map[string]string{discoveryv1.LabelServiceName: name(i)}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new(""), Protocol: new(corev1.ProtocolTCP), Port: new(int32(port))}},
	}
	for _, a := range addrs {
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.String()}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)}})
	}
	return out
}
