package kube

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "weir/api/v1"
	"weir/state"
	"weir/test/fakeapi"
)

// everyKind is an object of each kind that is watched.
func everyKind() []fakeapi.Object {
	port, ready, https, tcp := int32(6443), true, "https", corev1.ProtocolTCP
	typed := func(kind string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: v1.APIVersion, Kind: kind} }
	return []fakeapi.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"team": "a"}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"zone": "z"}}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.0.0.0/24", "fd00::/120"}},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}}},
		&v1.CiliumNode{TypeMeta: typed("CiliumNode"), ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: v1.NodeSpec{
			Addresses: []v1.NodeAddress{{Type: v1.InternalIP, IP: "192.0.2.1"}}, IPAM: v1.NodeIPAM{PodCIDRs: []string{"10.9.0.0/24"}}}},
		&v1.CiliumIdentity{TypeMeta: typed("CiliumIdentity"), ObjectMeta: metav1.ObjectMeta{Name: "1234"}, SecurityLabels: map[string]string{"k8s:app": "web"}},
		&v1.CiliumCIDRGroup{TypeMeta: typed("CiliumCIDRGroup"), ObjectMeta: metav1.ObjectMeta{Name: "office"}, Spec: v1.CIDRGroupSpec{ExternalCIDRs: []string{"198.51.100.0/24"}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{Type: "ClusterIP", ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7"},
			Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, Protocol: tcp}}}},
		&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &https, Port: &port, Protocol: &tcp}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}}},
		&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "deny"}, Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Ingress"}}},
		policy("allow", "web"),
		&v1.CiliumClusterwideNetworkPolicy{TypeMeta: typed("CiliumClusterwideNetworkPolicy"), ObjectMeta: metav1.ObjectMeta{Name: "all"},
			Spec: &v1.Rule{EndpointSelector: &metav1.LabelSelector{}, Ingress: []v1.IngressRule{{}}}},
		&v1.CiliumL2AnnouncementPolicy{TypeMeta: metav1.TypeMeta{APIVersion: v1.APIVersionL2Policy, Kind: v1.KindL2Policy}, ObjectMeta: metav1.ObjectMeta{Name: "office"},
			Spec: v1.L2PolicySpec{LoadBalancerIPs: true}},
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "cilium-l2announce-default-web"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &https}},
		pod("web-0"),
	}
}

// lens is how many rows each table has.
func (w *world) lens() [10]int {
	t := w.tables
	return [10]int{t.Nodes.Len(), t.Namespaces.Len(), t.ClusterIdentities.Len(), t.CIDRGroups.Len(), t.Services.Len(), t.Slices.Len(), t.Policies.Len(), t.Pods.Len(), t.L2Policies.Len(), t.Leases.Len()}
}

var oneOfEach = [10]int{1, 1, 1, 1, 1, 1, 3, 1, 1, 1}

func TestEveryKindBecomesRowsAndFollows(t *testing.T) {
	w := newWorld(t)
	w.put(everyKind()...)
	w.ready()
	if got := w.lens(); got != oneOfEach {
		t.Fatalf("rows %v, want %v; problems %v", got, oneOfEach, w.tables.Problems.Len())
	}
	n, _ := w.tables.Nodes.Get("n1")
	if n.Labels["zone"] != "z" || !slices.Contains(n.PodCIDRs, netip.MustParsePrefix("10.9.0.0/24")) || !n.Local {
		t.Errorf("node %+v, want the labels of the Node and the pod CIDRs of the CiliumNode", n)
	}
	p, _ := w.tables.Pods.Get(state.PodName{Namespace: "default", Name: "web-0"})
	if len(p.IPs) != 2 || p.UID == "" || p.Created.IsZero() || p.Labels["app"] != "web" {
		t.Errorf("pod %+v, want addresses, uid, labels and time", p)
	}
	w.eventually("all kinds are watched", func() bool { return len(w.source.Status().APIs) == len(kinds()) })
	w.put(pod("web-0", "app=db"))
	w.eventually("the pod's new label", func() bool {
		p, _ := w.tables.Pods.Get(state.PodName{Namespace: "default", Name: "web-0"})
		return p.Labels["app"] == "db"
	})
	w.delete(everyKind()...)
	w.eventually("all rows gone", func() bool { return w.lens() == [10]int{} })
}

func TestFinishedPodsAreNoRows(t *testing.T) {
	w := newWorld(t)
	done := pod("job")
	done.Status.Phase = corev1.PodSucceeded
	w.put(done, pod("web"))
	w.ready()
	w.pods(1)
	p := pod("web")
	p.Status.Phase = corev1.PodFailed
	w.put(p)
	w.pods(0)
}

func TestHeartbeatsOfNodesChangeNothing(t *testing.T) {
	w := newWorld(t)
	node := everyKind()[1].(*corev1.Node)
	beat := func(i int) {
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Unix(int64(i), 0)}}
		w.put(node)
	}
	beat(0)
	w.ready()
	_, before, _ := w.tables.Nodes.Changes(0)
	for i := range 10 {
		beat(i + 1)
	}
	w.put(pod("web")) // of another watch: give it time
	w.pods(1)
	w.always(200*time.Millisecond, "the table of nodes is not written", func() bool { _, rev, _ := w.tables.Nodes.Changes(before); return rev == before })
}

func TestTheStatusNamesServerAndVersion(t *testing.T) {
	w := newWorld(t)
	w.ready()
	s := w.source.Status()
	if !s.OK || s.Version.GitVersion != "v1.34.4" || s.Server != w.api.URL() || s.From != "k8sServiceHost" {
		t.Errorf("status %+v", s)
	}
	w.api.Down()
	w.within(2*time.Second, "no server", func() bool { return !w.source.Status().OK })
	if err := w.source.Status().Err; err == nil {
		t.Error("no reason is given")
	}
	if err := w.api.Up(); err != nil {
		t.Fatal(err)
	}
	w.within(5*time.Second, "the server is back", func() bool { return w.source.Status().OK })
	w.put(pod("web"))
	w.within(5*time.Second, "a pod made after the outage", func() bool { return w.hasPod("web") })
}

func TestAStartWithoutAServerUsesWhatIsKnown(t *testing.T) {
	w := newWorld(t)
	w.put(everyKind()...)
	w.put(some(250)...)
	w.ready()
	w.pods(250) // web-0 is one of them
	rows := w.tables.Pods.Rows(func(a, b state.Pod) int { return cmpPod(a, b) })
	w.stop()
	w.api.Down()
	began := time.Now()
	w.start()
	w.within(time.Second, "every table is synced without a server", w.synced)
	t.Logf("250 pods known %s after the start", time.Since(began).Round(time.Millisecond))
	again := w.tables.Pods.Rows(func(a, b state.Pod) int { return cmpPod(a, b) })
	if !slices.EqualFunc(rows, again, state.Pod.Same) {
		t.Errorf("%d rows before and %d after are not the same", len(rows), len(again))
	}
	w.delete(pod("web-1"))
	w.put(pod("new"))
	if err := w.api.Up(); err != nil {
		t.Fatal(err)
	}
	w.eventually("what changed meanwhile", func() bool { return !w.hasPod("web-1") && w.hasPod("new") })
}

func cmpPod(a, b state.Pod) int { return compareText(fmt.Sprint(a.Name), fmt.Sprint(b.Name)) }

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestAStartWithASlowServerUsesWhatIsKnown(t *testing.T) {
	w := newWorld(t)
	w.put(some(3)...)
	w.ready()
	w.stop()
	w.api.Hang()
	w.start()
	w.within(2*time.Second, "every table is synced though the server hangs", w.synced)
	if w.tables.Pods.Len() != 3 {
		t.Errorf("%d pods, want 3", w.tables.Pods.Len())
	}
	w.put(pod("late"))
	w.api.Resume()
	w.eventually("what a server tells in the end", func() bool { return w.hasPod("late") })
}

func TestAFirstStartWithoutAServerSyncsNothing(t *testing.T) {
	w := newWorld(t)
	w.api.Down()
	w.start()
	w.always(time.Second, "no table is synced", func() bool { return !w.tables.Pods.Synced() && !w.tables.Policies.Synced() })
}

// Somebody takes CiliumNodes away while nobody makes them again: nodes stay as they were,
// and the pod CIDRs that kube-controller-manager deals out, for nobody, count at no time.
func TestACiliumNodeThatIsTakenAwayCountsOn(t *testing.T) {
	w := newWorld(t)
	w.opts.Scope.Pools = true
	all := everyKind()
	core, own := all[1].(*corev1.Node), all[2].(*v1.CiliumNode)
	row := func() string {
		n, _ := w.tables.Nodes.Get("n1")
		return fmt.Sprint(n.PodCIDRs, n.Routers, n.Addresses)
	}
	w.put(core)
	w.ready()
	w.eventually("a node that has no pod CIDR yet", func() bool { return row() == "[] [] [192.0.2.1]" })
	w.put(own)
	w.eventually("the operator's pod CIDR", func() bool { return row() == "[10.9.0.0/24] [10.9.0.1] [192.0.2.1]" })
	w.delete(own)
	core.Labels["seen"] = "yes"
	w.put(core)
	w.eventually("the Node's later version", func() bool { n, _ := w.tables.Nodes.Get("n1"); return n.Labels["seen"] == "yes" })
	w.always(300*time.Millisecond, "the node is as it was", func() bool { return row() == "[10.9.0.0/24] [10.9.0.1] [192.0.2.1]" })
	w.put(own)
	w.delete(core)
	w.delete(own)
	w.eventually("both are gone", func() bool { return w.tables.Nodes.Len() == 0 })
}
