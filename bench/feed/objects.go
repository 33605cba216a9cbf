// Package feed is a large cluster for one agent's source: the objects, and a
// process that follows them and says what it costs.
//
// The process has the source and its tables, and none of the features that read
// them: what those need is measured by other benchmarks.
package feed

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/api/v1"
	"weir/test/fakeapi"
)

// Size is how many objects there are of each kind.
type Size struct{ Nodes, Pods, Services int }

// Backends is how many endpoints the slice of each service has.
const Backends = 10

// Each makes the objects of a cluster, one after the other. They are as long as
// real ones: what agents do not read is there, too.
func Each(s Size, put func(...fakeapi.Object) error) error {
	for i := range s.Nodes {
		if err := put(node(i), ciliumNode(i)); err != nil {
			return err
		}
	}
	for i := range s.Services {
		if err := put(service(i), slice(i)); err != nil {
			return err
		}
	}
	for i := range s.Pods {
		if err := put(Pod(i, max(s.Nodes, 1), "")); err != nil {
			return err
		}
	}
	return nil
}

func name(i int) string { return fmt.Sprintf("node-%04d.example.internal", i) }

func addr(i int) string { return fmt.Sprintf("10.%d.%d.%d", 64+i>>16, i>>8&255, i&255) }

// managed is the history of an object's fields, which servers add to each.
func managed() []metav1.ManagedFieldsEntry {
	fields := `{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{` + strings.Repeat(`"f:some-field-of-it":{".":{},"f:more":{}},`, 20) + `"f:end":{}}}`
	at := metav1.NewTime(time.Unix(1700000000, 0))
	owned := &metav1.FieldsV1{}
	owned.SetRawBytes([]byte(fields))
	return []metav1.ManagedFieldsEntry{{Manager: "kube-controller-manager", Operation: "Update", APIVersion: "v1", Time: &at, FieldsType: "FieldsV1", FieldsV1: owned}}
}

func node(i int) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name(i), ManagedFields: managed(), Labels: map[string]string{
		"kubernetes.io/hostname": name(i), "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": fmt.Sprintf("zone-%d", i%3)}}}
	n.Spec.PodCIDRs = []string{fmt.Sprintf("10.%d.%d.0/24", 128+i>>8, i&255)}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("172.16.%d.%d", i>>8, i&255)}, {Type: corev1.NodeHostName, Address: name(i)}}
	for j := range 30 {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{fmt.Sprintf("registry.example.org/team/application-%d@sha256:%064d", j, j)}, SizeBytes: 1 << 27})
	}
	return n
}

func ciliumNode(i int) *v1.CiliumNode {
	return &v1.CiliumNode{TypeMeta: metav1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindCiliumNode}, ObjectMeta: metav1.ObjectMeta{Name: name(i), ManagedFields: managed()},
		Spec: v1.NodeSpec{Addresses: []v1.NodeAddress{{Type: v1.InternalIP, IP: fmt.Sprintf("172.16.%d.%d", i>>8, i&255)}},
			IPAM: v1.NodeIPAM{PodCIDRs: []string{fmt.Sprintf("10.%d.%d.0/24", 128+i>>8, i&255)}}}}
}

func service(i int) *corev1.Service {
	ip := fmt.Sprintf("10.32.%d.%d", i>>8, i&255)
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("app-%d", i), ManagedFields: managed()},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, Selector: map[string]string{"app": fmt.Sprintf("app-%d", i)},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}}}
}

func slice(i int) *discoveryv1.EndpointSlice {
	port, proto, http, ready := int32(8080), corev1.ProtocolTCP, "http", true
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("app-%d-abcde", i), ManagedFields: managed(),
		Labels: map[string]string{discoveryv1.LabelServiceName: fmt.Sprintf("app-%d", i)}}, AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: &http, Port: &port, Protocol: &proto}}}
	for j := range Backends {
		at := name((i*5 + j) % 5000)
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr((i*5 + j) % 50000)}, NodeName: &at,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: fmt.Sprintf("app-%d", i)}})
	}
	return s
}

// Pod is the pod of a number; round is the value of a label that a change changes.
func Pod(i, nodes int, round string) *corev1.Pod {
	app := fmt.Sprintf("app-%d", i/5)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s-6b7d4c9f5-%05d", app, i), ManagedFields: managed(),
		Labels: map[string]string{"app": app, "pod-template-hash": "6b7d4c9f5", "team": "payments"}, Annotations: map[string]string{"example.org/checksum": strings.Repeat("0123456789abcdef", 4)}}}
	if round != "" {
		p.Labels["round"] = round
	}
	p.Spec.NodeName, p.Spec.ServiceAccountName = name(i%nodes), "default"
	for _, c := range []string{"main", "sidecar"} {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c, Image: "registry.example.org/team/application:v1.2.3", Ports: []corev1.ContainerPort{{Name: c, ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
			Env: []corev1.EnvVar{{Name: "SOME_SETTING", Value: "some value"}, {Name: "ANOTHER_SETTING", Value: "another value"}}})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: c, Ready: true, Image: "registry.example.org/team/application:v1.2.3",
			ImageID: "registry.example.org/team/application@sha256:" + strings.Repeat("0", 64), ContainerID: "containerd://" + strings.Repeat("0", 64)})
	}
	for _, c := range []corev1.PodConditionType{corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(1700000000, 0)})
	}
	p.Status.Phase, p.Status.PodIP = corev1.PodRunning, addr(i)
	p.Status.PodIPs = []corev1.PodIP{{IP: addr(i)}}
	return p
}
