package kube

import (
	"encoding/json"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"weir/source/convert"
	"weir/source/files"
)

// row makes the row of an object's trimmed JSON, of a server or of the journal.
func (k *kind) row(name key, data []byte, s convert.Scope) (any, error) {
	if k.strict {
		return files.Row(files.Object{APIVersion: k.group.String(), Kind: k.name, Namespace: name.namespace, Name: name.name, JSON: data}, s)
	}
	switch k.name {
	case "Namespace":
		return decoded(data, convert.Namespace)
	case "Node":
		return decoded(data, func(o *corev1.Node) (any, error) { return convert.Node(o, s) })
	case "Service":
		return decoded(data, convert.Service)
	case "Pod":
		return decoded(data, convert.Pod)
	case "EndpointSlice":
		return decoded(data, func(o *discoveryv1.EndpointSlice) (any, error) { return convert.EndpointSlice(o) })
	case "Lease":
		return decoded(data, func(o *coordinationv1.Lease) (any, error) { return convert.Lease(o) })
	case "NetworkPolicy":
		return decoded(data, func(o *networkingv1.NetworkPolicy) (any, error) { return convert.NetworkPolicy(o) })
	}
	return nil, fmt.Errorf("kind %s becomes no row", k.name)
}

func decoded[T, R any](data []byte, row func(*T) (R, error)) (any, error) {
	var o T
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, err
	}
	return row(&o)
}
