package operator

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SliceManager is who the slices of EndpointSlices say that they are managed by.
const SliceManager = "endpointslice-controller.k8s.io"

// EndpointSlices returns the slices of a service: of its selector's pods, with
// their addresses, ports and conditions as their objects say them. Pods with
// the same family and ports share one, however many they are. Names follow
// from both, so that a slice keeps its name while its pods change. A service
// without a selector has none: people write its slices.
//
// A pod that is Running counts as long as it has addresses, ready or not; one
// with a deletionTimestamp is terminating. nodes say in which zone a pod is.
func EndpointSlices(svc *corev1.Service, pods []*corev1.Pod, nodes []*corev1.Node) []*discoveryv1.EndpointSlice {
	if len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	zones := zonesOf(nodes)
	byName := map[string]*discoveryv1.EndpointSlice{}
	for _, p := range pods {
		if !selects(svc, p) {
			continue
		}
		ports := portsFor(svc, p)
		for _, f := range svc.Spec.IPFamilies {
			end, ok := endpoint(svc, p, f, zones)
			if !ok {
				continue
			}
			name := sliceName(svc.Name, f, ports)
			if byName[name] == nil {
				byName[name] = newSlice(svc, name, f, ports)
			}
			byName[name].Endpoints = append(byName[name].Endpoints, end)
		}
	}
	var out []*discoveryv1.EndpointSlice
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		s := byName[name]
		slices.SortFunc(s.Endpoints, func(a, b discoveryv1.Endpoint) int {
			return cmp.Or(netip.MustParseAddr(a.Addresses[0]).Compare(netip.MustParseAddr(b.Addresses[0])), cmp.Compare(a.TargetRef.Name, b.TargetRef.Name))
		})
		out = append(out, s)
	}
	hint(svc, out, nodes)
	return out
}

func zonesOf(nodes []*corev1.Node) map[string]string {
	zones := map[string]string{}
	for _, n := range nodes {
		zones[n.Name] = n.Labels[corev1.LabelTopologyZone]
	}
	return zones
}

// selects reports whether a pod belongs to a service. One that has ended does
// not: others may have its addresses by then.
func selects(svc *corev1.Service, p *corev1.Pod) bool {
	if p.Namespace != svc.Namespace || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return false
	}
	for k, v := range svc.Spec.Selector {
		if has, ok := p.Labels[k]; !ok || has != v {
			return false
		}
	}
	return true
}

// portsFor returns the service's ports as the pod has them. Those that it has
// not, by their names, are left out.
func portsFor(svc *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	out := []discoveryv1.EndpointPort{}
	for _, o := range svc.Spec.Ports {
		if n := targetPort(o, p); n != 0 {
			out = append(out, discoveryv1.EndpointPort{Name: new(o.Name), Protocol: new(protocol(o.Protocol)), Port: new(n), AppProtocol: o.AppProtocol})
		}
	}
	return out
}

func targetPort(o corev1.ServicePort, p *corev1.Pod) int32 {
	name := o.TargetPort.StrVal
	if name == "" {
		return cmp.Or(o.TargetPort.IntVal, o.Port)
	}
	containers := slices.Clone(p.Spec.Containers)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways { // runs beside the others
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, has := range c.Ports {
			if has.Name == name && protocol(has.Protocol) == protocol(o.Protocol) {
				return has.ContainerPort
			}
		}
	}
	return 0
}

// endpoint returns the endpoint of a pod in one family, if it has an address
// there.
func endpoint(svc *corev1.Service, p *corev1.Pod, f corev1.IPFamily, zones map[string]string) (discoveryv1.Endpoint, bool) {
	var texts []string
	for _, ip := range p.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	addr := ofFamily(texts, f)
	if addr == "" {
		return discoveryv1.Endpoint{}, false
	}
	serving, terminating := isReady(p), p.DeletionTimestamp != nil
	e := discoveryv1.Endpoint{
		Addresses: []string{addr},
		Conditions: discoveryv1.EndpointConditions{
			Ready:       new(serving && !terminating || svc.Spec.PublishNotReadyAddresses),
			Serving:     new(serving),
			Terminating: new(terminating),
		},
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name},
	}
	if node := p.Spec.NodeName; node != "" {
		e.NodeName = new(node)
		if zone := zones[node]; zone != "" {
			e.Zone = new(zone)
		}
	}
	if p.Spec.Hostname != "" && p.Spec.Subdomain == svc.Name {
		e.Hostname = new(p.Spec.Hostname)
	}
	return e, true
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// sliceName is "web-4-8f3a61c2": family and ports.
func sliceName(service string, f corev1.IPFamily, ports []discoveryv1.EndpointPort) string {
	h := fnv.New32a()
	for _, p := range ports {
		fmt.Fprintf(h, "%s %s %d\n", *p.Name, *p.Protocol, *p.Port)
	}
	tail := fmt.Sprintf("-%s-%08x", string(f)[len("IPv"):], h.Sum32())
	return service[:min(len(service), 253-len(tail))] + tail
}

func newSlice(svc *corev1.Service, name string, f corev1.IPFamily, ports []discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
	labels := maps.Clone(svc.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[discoveryv1.LabelServiceName] = svc.Name
	labels[discoveryv1.LabelManagedBy] = SliceManager
	if headless(svc) {
		labels[corev1.IsHeadlessService] = ""
	}
	return &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: discoveryv1.SchemeGroupVersion.String(), Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: svc.Namespace, Labels: labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: svc.Name, Controller: new(true)}},
		},
		AddressType: discoveryv1.AddressType(f),
		Ports:       ports,
	}
}
