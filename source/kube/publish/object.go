package publish

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "weir/api/v1"
	"weir/state"
)

func compare(a, b state.PodName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// Wanted returns the objects of a node's endpoints: of those whose pod is known, so
// that they go with it.
func Wanted(t *state.Tables, node string) map[state.PodName]*v1.CiliumEndpoint {
	address := ""
	if n, ok := t.Nodes.Get(node); ok && len(n.Addresses) > 0 {
		address = n.Addresses[0].String()
	}
	out := map[state.PodName]*v1.CiliumEndpoint{}
	for _, e := range t.Endpoints.All() {
		p, ok := t.Pods.Get(e.Pod)
		if e.Health || !ok || !e.IsOf(p, node) || p.UID == "" || p.Deleting && e.State == state.EndpointNotReady {
			continue
		}
		policy, judged := t.EndpointPolicies.Get(e.ID)
		if !judged || policy.Pod != e.Pod {
			policy = state.EndpointPolicy{}
		}
		out[e.Pod] = object(e, p, policy, address)
	}
	return out
}

func object(e state.Endpoint, p state.Pod, policy state.EndpointPolicy, node string) *v1.CiliumEndpoint {
	o := &v1.CiliumEndpoint{ObjectMeta: metav1.ObjectMeta{
		Namespace: e.Pod.Namespace, Name: e.Pod.Name,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: e.Pod.Name, UID: types.UID(p.UID)}},
	}}
	o.Status = v1.EndpointStatus{
		ID:       int64(e.ID),
		Identity: &v1.EndpointIdentity{ID: int64(e.Identity), Labels: slices.Clone(e.Labels)},
		Networking: &v1.EndpointNetworking{
			Node: node, Addressing: []v1.AddressPair{pair(e)},
		},
		Policy: &v1.EndpointPolicy{Ingress: direction(policy.Ingress), Egress: direction(policy.Egress)},
		External: &v1.ExternalIDs{ContainerID: e.ContainerID, CNIAttachmentID: e.ContainerID + ":" + e.Interface,
			Namespace: e.Pod.Namespace, PodName: e.Pod.Name, Pod: e.Pod.String()},
		ServiceAccount: p.ServiceAccount,
		State:          string(e.State),
	}
	for _, port := range p.Ports {
		o.Status.NamedPorts = append(o.Status.NamedPorts, v1.EndpointPort{Name: port.Name, Port: int32(port.Port), Protocol: state.ProtoName(port.Proto)})
	}
	return o
}

func pair(e state.Endpoint) v1.AddressPair {
	var out v1.AddressPair
	if e.IPv4.IsValid() {
		out.IPv4 = e.IPv4.String()
	}
	if e.IPv6.IsValid() {
		out.IPv6 = e.IPv6.String()
	}
	return out
}

func direction(isolated bool) *v1.DirectionPolicy {
	if isolated {
		return &v1.DirectionPolicy{Enforcing: true, State: v1.PolicyEnforcing}
	}
	return &v1.DirectionPolicy{State: v1.PolicyDisabled}
}
