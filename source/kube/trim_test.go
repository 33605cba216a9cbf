package kube

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"weir/api/client"
	"weir/source/convert"
)

// What is trimmed away must be what no row is made of: each of these objects has every
// field that source/convert reads, so that one that trimming forgets shows.
func TestTrimmingCostsNoRowAnything(t *testing.T) {
	scope := convert.Scope{Cluster: "default", LocalNode: "n1"}
	objects := map[string]runtime.Object{}
	for _, o := range everyKind() {
		objects[reflect.TypeOf(o).Elem().Name()] = o.(runtime.Object)
	}
	objects["Pod"] = fullPod()
	for _, k := range kinds() {
		o, ok := objects[k.name]
		if !ok {
			t.Errorf("no object of kind %s to trim", k.name)
			continue
		}
		whole, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if k.strict {
			content := &client.Raw{}
			if err := json.Unmarshal(whole, content); err != nil {
				t.Fatal(err)
			}
			o = content
		}
		trimmed, err := k.trim(o)
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
			continue
		}
		m := o.(metav1.Object)
		name := key{m.GetNamespace(), m.GetName()}
		want, err := k.row(name, whole, scope)
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
		}
		got, err := k.row(name, trimmed, scope)
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
		}
		if diff := cmp.Diff(want, got, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
			t.Errorf("%s: the trimmed object makes another row (-whole +trimmed):\n%s", k.name, diff)
		}
	}
}

func fullPod() *corev1.Pod {
	p := pod("web-5d9c-x7", "pod-template-hash=5d9c")
	p.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	p.UID, p.CreationTimestamp = "u1", metav1.Unix(1e9, 0)
	p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "u2"}
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Other", Name: "other"}, {APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-5d9c", UID: "u3", Controller: new(true)}}
	always := corev1.ContainerRestartPolicyAlways
	p.Spec.ServiceAccountName = "account"
	p.Spec.InitContainers = []corev1.Container{{Name: "beside", RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}}}
	p.Spec.Containers = []corev1.Container{{Name: "web", Ports: []corev1.ContainerPort{{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP, HostPort: 5353, HostIP: "192.0.2.1"}}}}
	p.Status.PodIP, p.Status.HostIP = p.Status.PodIPs[0].IP, "192.0.2.1"
	return p
}
