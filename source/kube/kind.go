package kube

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"weir/api/client"
	v1 "weir/api/v1"
	"weir/state"
)

// kind is what the source knows of a kind of objects.
type kind struct {
	name     string // "Pod"
	group    schema.GroupVersion
	older    string // a version of the group that is followed where group is not served; empty: none
	resource string // "pods"
	label    string // as the status lists it: "core/v1::Pods"
	fields   string // selector of those that are watched
	within   string // the one namespace of which they are; empty: all
	strict   bool   // its objects are decoded by source/files, which knows their rules

	object, list func() runtime.Object
}

// where names the kind as rules of RBAC and kubectl do: "ciliumnodes.cilium.io".
func (k *kind) where() string {
	if k.group.Group == "" {
		return k.resource
	}
	return k.resource + "." + k.group.Group
}

// versions are those that can be followed, the best first.
func (k *kind) versions() []schema.GroupVersion {
	if k.older == "" {
		return []schema.GroupVersion{k.group}
	}
	return []schema.GroupVersion{k.group, {Group: k.group.Group, Version: k.older}}
}

// leases are those of the namespace in which nodes are chosen to answer for
// addresses; the nodes' own heartbeats are in another.
func leases() *kind {
	return &kind{name: "Lease", group: coordinationv1.SchemeGroupVersion, resource: "leases", label: "coordination.k8s.io/v1::Lease", within: state.L2LeaseNamespace,
		object: func() runtime.Object { return &coordinationv1.Lease{} }, list: func() runtime.Object { return &coordinationv1.LeaseList{} }}
}

var cilium = schema.GroupVersion{Group: v1.Group, Version: v1.Version}

// notFinished leaves out pods that have ended: their addresses may be others'.
const notFinished = "status.phase!=Succeeded,status.phase!=Failed"

func core(name, resource, label string, object, list func() runtime.Object) *kind {
	return &kind{name: name, group: corev1.SchemeGroupVersion, resource: resource, label: "core/v1::" + label, object: object, list: list}
}

func custom(name, resource string) *kind { return customOf(cilium, name, resource) }

func customOf(group schema.GroupVersion, name, resource string) *kind {
	return &kind{name: name, group: group, resource: resource, label: "cilium/" + group.Version + "::" + name, strict: true,
		object: func() runtime.Object { return &client.Raw{} }, list: func() runtime.Object { return &client.RawList{} }}
}

// kinds are those that are watched. Pods stand last: whoever learns of one is to
// find what selects it, as far as lists come in order.
func kinds() []*kind {
	pods := core("Pod", "pods", "Pods", func() runtime.Object { return &corev1.Pod{} }, func() runtime.Object { return &corev1.PodList{} })
	pods.fields = notFinished
	groups := custom(v1.KindCiliumCIDRGroup, "ciliumcidrgroups")
	groups.older = v1.VersionAlpha // as clusters of before v2 define it, with the same fields
	return []*kind{
		core("Namespace", "namespaces", "Namespace", func() runtime.Object { return &corev1.Namespace{} }, func() runtime.Object { return &corev1.NamespaceList{} }),
		core("Node", "nodes", "Node", func() runtime.Object { return &corev1.Node{} }, func() runtime.Object { return &corev1.NodeList{} }),
		custom(v1.KindCiliumNode, "ciliumnodes"),
		custom(v1.KindCiliumIdentity, "ciliumidentities"),
		groups,
		customOf(schema.GroupVersion{Group: v1.Group, Version: v1.VersionAlpha}, v1.KindL2Policy, "ciliuml2announcementpolicies"),
		leases(),
		core("Service", "services", "Service", func() runtime.Object { return &corev1.Service{} }, func() runtime.Object { return &corev1.ServiceList{} }),
		{name: "EndpointSlice", group: discoveryv1.SchemeGroupVersion, resource: "endpointslices", label: "discovery/v1::EndpointSlice",
			object: func() runtime.Object { return &discoveryv1.EndpointSlice{} }, list: func() runtime.Object { return &discoveryv1.EndpointSliceList{} }},
		{name: state.KindNetworkPolicy, group: networkingv1.SchemeGroupVersion, resource: "networkpolicies", label: "networking.k8s.io/v1::NetworkPolicy",
			object: func() runtime.Object { return &networkingv1.NetworkPolicy{} }, list: func() runtime.Object { return &networkingv1.NetworkPolicyList{} }},
		custom(v1.KindCiliumNetworkPolicy, "ciliumnetworkpolicies"),
		custom(v1.KindCiliumClusterwideNetworkPolicy, "ciliumclusterwidenetworkpolicies"),
		pods,
	}
}
