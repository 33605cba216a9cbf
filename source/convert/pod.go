package convert

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	validation "k8s.io/apimachinery/pkg/api/validation"

	"weir/state"
)

// Pod returns the row of a pod. What the API server fills in when it is left
// out (namespace and service account "default") is filled in here, too, for
// objects that never saw one.
func Pod(o *corev1.Pod) (state.Pod, error) {
	if o.Name == "" {
		return state.Pod{}, refuse("Pod", "metadata.name", "is empty: write the pod's name")
	}
	if bad := validation.NameIsDNSSubdomain(o.Name, false); len(bad) > 0 {
		return state.Pod{}, refuse("Pod "+o.Name, "metadata.name", "%q: %s", o.Name, strings.Join(bad, "; "))
	}
	object := "Pod " + or(o.Namespace, "default") + "/" + o.Name
	if err := checkLabels(where{object, "metadata.labels"}, o.Labels); err != nil {
		return state.Pod{}, err
	}
	p := state.Pod{
		Name:           state.PodName{Namespace: or(o.Namespace, "default"), Name: o.Name},
		Labels:         maps.Clone(o.Labels),
		ServiceAccount: or(o.Spec.ServiceAccountName, "default"),
		Node:           o.Spec.NodeName,
		HostNetwork:    o.Spec.HostNetwork,
		Workload:       workload(o),
		UID:            or(o.Annotations[corev1.MirrorPodAnnotationKey], string(o.UID)), // of a static pod, the object is a mirror
		Created:        o.CreationTimestamp.Time,
		Deleting:       o.DeletionTimestamp != nil,
	}
	var err error
	if p.Ports, err = namedPorts(where{object: object}, o); err != nil {
		return state.Pod{}, err
	}
	if p.HostPorts, err = hostPorts(where{object: object}, o); err != nil {
		return state.Pod{}, err
	}
	if o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
		return p, nil // its status keeps the addresses, but another pod may have them by then
	}
	if len(o.Status.PodIPs) == 0 && o.Status.PodIP != "" {
		a, err := parseAddr(object, "status.podIP", o.Status.PodIP)
		if err != nil {
			return state.Pod{}, err
		}
		p.IPs = append(p.IPs, a)
	}
	for i, ip := range o.Status.PodIPs {
		a, err := parseAddr(object, fmt.Sprintf("status.podIPs[%d].ip", i), ip.IP)
		if err != nil {
			return state.Pod{}, err
		}
		p.IPs = append(p.IPs, a)
	}
	if a, err := netip.ParseAddr(o.Status.HostIP); err == nil && len(p.IPs) > 0 && a.Zone() == "" {
		p.HostIP = a.Unmap() // only asked for where its node is not known, so that a bad one costs nothing
	}
	return p, nil
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// workload is what controls a pod. Of a Deployment's ReplicaSet the name is the
// Deployment's, a dash and the hash that is the pod's label, too.
func workload(o *corev1.Pod) state.Workload {
	for _, owner := range o.OwnerReferences {
		if owner.Controller == nil || !*owner.Controller {
			continue
		}
		if hash := o.Labels["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
			if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok {
				return state.Workload{Kind: "Deployment", Name: name}
			}
		}
		return state.Workload{Kind: owner.Kind, Name: owner.Name}
	}
	return state.Workload{}
}
