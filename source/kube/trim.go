package kube

import (
	"encoding/json"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"weir/api/client"
)

// trim returns the JSON of an object with what source/convert reads of it, and
// nothing that changes without a meaning for the network: heartbeats of nodes,
// conditions, versions. The journal keeps it, rows are made of it, and objects of
// which it is the same are the same.
func (k *kind) trim(o runtime.Object) ([]byte, error) {
	switch o := o.(type) {
	case *client.Raw:
		return o.Trimmed(k.group.String(), k.name)
	case *corev1.Pod:
		return json.Marshal(trimPod(o))
	case *corev1.Node:
		return json.Marshal(trimNode(o))
	case *corev1.Namespace:
		return json.Marshal(&corev1.Namespace{TypeMeta: k.typeMeta(), ObjectMeta: trimMeta(o.ObjectMeta)})
	case *corev1.Service:
		s := &corev1.Service{TypeMeta: k.typeMeta(), ObjectMeta: trimMeta(o.ObjectMeta), Spec: o.Spec}
		s.Status.LoadBalancer = o.Status.LoadBalancer
		return json.Marshal(s)
	case *discoveryv1.EndpointSlice:
		s := &discoveryv1.EndpointSlice{TypeMeta: k.typeMeta(), ObjectMeta: trimMeta(o.ObjectMeta), AddressType: o.AddressType, Ports: o.Ports}
		s.Annotations = nil
		for _, e := range o.Endpoints {
			e.Hostname, e.TargetRef, e.DeprecatedTopology = nil, nil, nil
			s.Endpoints = append(s.Endpoints, e)
		}
		return json.Marshal(s)
	case *coordinationv1.Lease:
		l := &coordinationv1.Lease{TypeMeta: k.typeMeta(), ObjectMeta: trimMeta(o.ObjectMeta)}
		l.Annotations, l.Spec.HolderIdentity = nil, o.Spec.HolderIdentity
		return json.Marshal(l)
	case *networkingv1.NetworkPolicy:
		return json.Marshal(&networkingv1.NetworkPolicy{TypeMeta: k.typeMeta(), ObjectMeta: trimMeta(o.ObjectMeta), Spec: o.Spec})
	}
	return json.Marshal(o)
}

func (k *kind) typeMeta() metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: k.group.String(), Kind: k.name}
}

// trimMeta keeps what names an object and what is selected by.
func trimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, Labels: m.Labels, Annotations: client.Annotations(m.Annotations), DeletionTimestamp: m.DeletionTimestamp}
}

func trimPod(o *corev1.Pod) *corev1.Pod {
	p := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: trimMeta(o.ObjectMeta)}
	p.UID, p.CreationTimestamp, p.Annotations, p.OwnerReferences = o.UID, o.CreationTimestamp, nil, trimOwners(o.OwnerReferences)
	if mirror, ok := o.Annotations[corev1.MirrorPodAnnotationKey]; ok {
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: mirror}
	}
	p.Spec.NodeName, p.Spec.HostNetwork, p.Spec.ServiceAccountName = o.Spec.NodeName, o.Spec.HostNetwork, o.Spec.ServiceAccountName
	p.Spec.InitContainers, p.Spec.Containers = trimContainers(o.Spec.InitContainers), trimContainers(o.Spec.Containers)
	p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = o.Status.Phase, o.Status.PodIP, o.Status.PodIPs
	if p.Status.PodIP != "" { // before, it tells nobody anything
		p.Status.HostIP = o.Status.HostIP
	}
	if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
		p.Status.Phase = "" // one that is not finished is there, whatever it waits for
	}
	return p
}

// trimOwners keeps who controls the pod, by which flows name its workload.
func trimOwners(all []metav1.OwnerReference) []metav1.OwnerReference {
	for _, o := range all {
		if o.Controller != nil && *o.Controller {
			return []metav1.OwnerReference{{Kind: o.Kind, Name: o.Name, Controller: o.Controller}}
		}
	}
	return nil
}

// trimContainers keeps places, which errors name, where any container has ports.
func trimContainers(all []corev1.Container) []corev1.Container {
	last := 0
	for i, c := range all {
		if len(c.Ports) > 0 {
			last = i + 1
		}
	}
	var out []corev1.Container
	for _, c := range all[:last] {
		out = append(out, corev1.Container{Name: c.Name, Ports: c.Ports, RestartPolicy: c.RestartPolicy})
	}
	return out
}

func trimNode(o *corev1.Node) *corev1.Node {
	n := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: trimMeta(o.ObjectMeta)}
	n.Annotations = nil
	n.Spec.PodCIDR, n.Spec.PodCIDRs = o.Spec.PodCIDR, o.Spec.PodCIDRs
	for _, t := range o.Spec.Taints {
		t.TimeAdded = nil
		n.Spec.Taints = append(n.Spec.Taints, t)
	}
	n.Status.Addresses = o.Status.Addresses
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeReady { // without its heartbeat
			n.Status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return n
}
