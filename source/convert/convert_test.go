package convert

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/api/v1"
	"weir/state"
)

var exact = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func TestPodOfAnyPhase(t *testing.T) {
	o := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "x", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n1", ServiceAccountName: "sa"},
		Status:     corev1.PodStatus{PodIP: "10.0.1.7", PodIPs: []corev1.PodIP{{IP: "10.0.1.7"}, {IP: "fd00::7"}}},
	}
	want := state.Pod{
		Name: state.PodName{Namespace: "x", Name: "web"}, Labels: map[string]string{"app": "web"}, ServiceAccount: "sa", Node: "n1",
		IPs: []netip.Addr{netip.MustParseAddr("10.0.1.7"), netip.MustParseAddr("fd00::7")},
	}
	got, err := Pod(o)
	if diff := cmp.Diff(want, got, exact); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	o.Status.PodIPs = nil
	if got, _ := Pod(o); len(got.IPs) != 1 {
		t.Errorf("IPs out of status.podIP: %v", got.IPs)
	}
	o.Status.Phase = corev1.PodSucceeded
	if got, _ := Pod(o); len(got.IPs) != 0 {
		t.Errorf("a finished pod still has %v", got.IPs)
	}
}

func TestAPodSaysWhichOneItIsAndThatItEnds(t *testing.T) {
	born := time.Unix(1700000000, 0)
	o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "u1", CreationTimestamp: metav1.NewTime(born)},
		Status: corev1.PodStatus{PodIP: "10.0.1.7"}}
	first, err := Pod(o)
	if err != nil || first.UID != "u1" || !first.Created.Equal(born) || first.Deleting {
		t.Errorf("got %+v, %v", first, err)
	}
	o.Annotations = map[string]string{"kubernetes.io/config.mirror": "h1"}
	if mirror, _ := Pod(o); mirror.UID != "h1" {
		t.Errorf("the mirror of a static pod has UID %s, want that of the pod: h1", mirror.UID)
	}
	o.Annotations, o.DeletionTimestamp = nil, &o.CreationTimestamp
	if ending, _ := Pod(o); !ending.Deleting || len(ending.IPs) != 1 || ending.Same(first) {
		t.Errorf("got %+v: want one that ends, has its address still, and is not the same row", ending)
	}
}

func TestNodeOfEitherKind(t *testing.T) {
	s := Scope{Cluster: "lab", LocalNode: "n1"}
	cn := &v1.CiliumNode{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	cn.Spec.Addresses = []v1.NodeAddress{
		{Type: "InternalIP", IP: "2001:db8::1"}, {Type: "InternalIP", IP: "192.168.1.1"}, {Type: "InternalIP", IP: "192.168.2.1"},
		{Type: "CiliumInternalIP", IP: "10.0.1.1"}, {Type: "ExternalIP", IP: "not read"},
	}
	cn.Spec.IPAM.PodCIDRs = []string{"10.0.1.0/24", "fd00::100/120"}
	cn.Spec.Health = v1.AddressPair{IPv6: "fd00::102"}
	got, err := CiliumNode(cn, s)
	want := state.Node{
		Name: "n1", Cluster: "lab", Local: true,
		Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("2001:db8::1")},
		Routers:   []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00::101")}, // one said, one derived
		Health:    []netip.Addr{netip.MustParseAddr("fd00::102")},
		PodCIDRs:  []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("fd00::100/120")},
	}
	if diff := cmp.Diff(want, got, exact); diff != "" || err != nil {
		t.Errorf("CiliumNode: %v (-want +got):\n%s", err, diff)
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}, Spec: corev1.NodeSpec{PodCIDR: "10.0.2.0/24"}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: "Hostname", Address: "n2"}, {Type: "InternalIP", Address: "192.168.1.2"}}
	got, err = Node(n, s)
	want = state.Node{Name: "n2", Cluster: "lab", Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.2")}, Routers: []netip.Addr{netip.MustParseAddr("10.0.2.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24")}}
	if diff := cmp.Diff(want, got, exact); diff != "" || err != nil {
		t.Errorf("Node: %v (-want +got):\n%s", err, diff)
	}
}

func TestIdentityHasTheLabelsOfItsPods(t *testing.T) {
	pod := state.Pod{Name: state.PodName{Namespace: "x", Name: "web"}, ServiceAccount: "sa", Labels: map[string]string{"app": "web", "empty": ""}}
	o := &v1.CiliumIdentity{ObjectMeta: metav1.ObjectMeta{Name: "256"}, SecurityLabels: map[string]string{
		"k8s:app": "web", "k8s:empty": "", "k8s:io.cilium.k8s.policy.cluster": "lab",
		"k8s:io.cilium.k8s.policy.serviceaccount": "sa", "k8s:io.kubernetes.pod.namespace": "x",
	}}
	got, err := CiliumIdentity(o)
	if diff := cmp.Diff(state.Identity{ID: 256, Labels: state.PodLabels(pod, "lab")}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestRefusalsNameObjectFieldAndValue(t *testing.T) {
	node := func(cidrs ...string) error {
		o := &v1.CiliumNode{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
		o.Spec.IPAM.PodCIDRs = cidrs
		_, err := CiliumNode(o, Scope{})
		return err
	}
	address := func(kind, ip string, health v1.AddressPair) error {
		o := &v1.CiliumNode{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
		o.Spec.Addresses, o.Spec.Health = []v1.NodeAddress{{Type: kind, IP: ip}}, health
		_, err := CiliumNode(o, Scope{})
		return err
	}
	pod := func(ip string) error {
		_, err := Pod(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: ip}}}})
		return err
	}
	identity := func(name, label string) error {
		_, err := CiliumIdentity(&v1.CiliumIdentity{ObjectMeta: metav1.ObjectMeta{Name: name}, SecurityLabels: map[string]string{label: "x"}})
		return err
	}
	for want, err := range map[string]error{
		`CiliumNode n1: spec.ipam.podCIDRs[1]: "x"`:                              node("10.0.1.0/24", "x"),
		`"10.0.1.1/24" has host bits set: write 10.0.1.0/24`:                     node("10.0.1.1/24"),
		`"10.0.0.0/8" overlaps 10.0.1.0/24 of spec.ipam.podCIDRs[0]`:             node("10.0.1.0/24", "10.0.0.0/8"),
		`CiliumNode n1: spec.addresses[0].ip: "::ffff:10.0.0.1"`:                 address("InternalIP", "::ffff:10.0.0.1", v1.AddressPair{}),
		`CiliumNode n1: spec.health.ipv4: "fd00::1" is of the other family`:      address("X", "", v1.AddressPair{IPv4: "fd00::1"}),
		`Pod default/p: status.podIPs[0].ip: "10.0.0.256"`:                       pod("10.0.0.256"),
		`CiliumIdentity web: metadata.name: "web" is not the number`:             identity("web", "k8s:a"),
		`CiliumIdentity 255: metadata.name: "255"`:                               identity("255", "k8s:a"),
		`CiliumIdentity 16777216: metadata.name`:                                 identity("16777216", "k8s:a"),
		`CiliumIdentity 0300: metadata.name`:                                     identity("0300", "k8s:a"),
		`CiliumIdentity 256: security-labels: "app" has no source: write k8s:ap`: identity("256", "app"),
	} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestANodeIsCountedOnUnlessItsConditionSaysOtherwise(t *testing.T) {
	for status, want := range map[corev1.ConditionStatus]string{"": "", "True": "", "False": "its condition Ready is False", "Unknown": "its condition Ready is Unknown"} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse}}
		if status != "" {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeReady, Status: status})
		}
		if got, err := Node(n, Scope{}); err != nil || got.Unready != want {
			t.Errorf("Ready %q: got %q (%v), want %q", status, got.Unready, err, want)
		}
	}
}

func TestANodeLeavesWhenItIsDeletedOrScaledAway(t *testing.T) {
	cordoned := corev1.Taint{Key: "node.kubernetes.io/unschedulable"}
	for _, c := range []struct {
		what   string
		change func(*corev1.Node)
		want   string
	}{
		{"a node", func(*corev1.Node) {}, ""},
		{"a cordoned one", func(n *corev1.Node) { n.Spec.Unschedulable, n.Spec.Taints = true, []corev1.Taint{cordoned} }, ""},
		{"one that the autoscaler removes", func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{cordoned, {Key: "ToBeDeletedByClusterAutoscaler", Value: "1700000000", Effect: corev1.TaintEffectNoSchedule}}
		}, "it has the taint ToBeDeletedByClusterAutoscaler"},
		{"one that is deleted", func(n *corev1.Node) { n.DeletionTimestamp = new(metav1.Now()) }, "it is being deleted"},
	} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
		c.change(n)
		if got, err := Node(n, Scope{}); err != nil || got.Leaves != c.want {
			t.Errorf("%s: got %q (%v), want %q", c.what, got.Leaves, err, c.want)
		}
	}
}

func TestAPodSaysWhichWorkloadMadeIt(t *testing.T) {
	yes := true
	by := func(kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: "Node", Name: "n1"}, {Kind: kind, Name: name, Controller: &yes}}
	}
	for _, c := range []struct {
		owners []metav1.OwnerReference
		hash   string
		want   state.Workload
	}{
		{nil, "", state.Workload{}},
		{[]metav1.OwnerReference{{Kind: "Node", Name: "n1"}}, "", state.Workload{}},
		{by("ReplicaSet", "web-5d9c"), "5d9c", state.Workload{Kind: "Deployment", Name: "web"}},
		{by("ReplicaSet", "web-5d9c"), "", state.Workload{Kind: "ReplicaSet", Name: "web-5d9c"}},
		{by("ReplicaSet", "web"), "5d9c", state.Workload{Kind: "ReplicaSet", Name: "web"}},
		{by("StatefulSet", "db"), "", state.Workload{Kind: "StatefulSet", Name: "db"}},
	} {
		o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", OwnerReferences: c.owners, Labels: map[string]string{}}}
		if c.hash != "" {
			o.Labels["pod-template-hash"] = c.hash
		}
		if p, err := Pod(o); err != nil || p.Workload != c.want {
			t.Errorf("owners %v: got %v, %v, want %v", c.owners, p.Workload, err, c.want)
		}
	}
}
