package fakeapi_test

import (
	"context"
	"net"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"weir/test/fakeapi"
)

func start(t *testing.T) (*fakeapi.Server, *coreclient.CoreV1Client) {
	t.Helper()
	s := fakeapi.New()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c, err := coreclient.NewForConfig(&rest.Config{Host: s.URL(), QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

func TestAnUpdateOfAnOldVersionIsAConflict(t *testing.T) {
	s, _ := start(t)
	ctx := t.Context()
	c, err := coordinationclient.NewForConfig(&rest.Config{Host: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	leases := c.Leases("kube-system")
	made, err := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "leader"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "leader"}}, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("a second lease of the name: got %v, want AlreadyExists", err)
	}
	me := "me"
	first := made.DeepCopy()
	first.Spec.HolderIdentity = &me
	if _, err := leases.Update(ctx, first, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := leases.Update(ctx, made, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update of the version before: got %v, want a conflict", err)
	}
}

func TestStatusAndSpecHaveTheirOwnWriters(t *testing.T) {
	s, c := start(t)
	ctx := t.Context()
	if err := s.Put(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}); err != nil {
		t.Fatal(err)
	}
	patch := []byte(`{"spec":{"podCIDR":"10.0.0.0/24"},"status":{"phase":"Running"}}`)
	n, err := c.Nodes().Patch(ctx, "n1", types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n.Spec.PodCIDR == "" || n.Status.Phase != "" || n.Generation != 2 {
		t.Errorf("patch of the object: podCIDR %q, phase %q, generation %d; want the spec alone", n.Spec.PodCIDR, n.Status.Phase, n.Generation)
	}
	n, err = c.Nodes().Patch(ctx, "n1", types.JSONPatchType, []byte(`[{"op":"add","path":"/status","value":{"phase":"Running"}}]`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	if n.Spec.PodCIDR == "" || n.Status.Phase != corev1.NodeRunning || n.Generation != 2 {
		t.Errorf("patch of the status: podCIDR %q, phase %q, generation %d; want both, and no new generation", n.Spec.PodCIDR, n.Status.Phase, n.Generation)
	}
}

func TestAnObjectWithAFinalizerStaysUntilThatIsGone(t *testing.T) {
	s, c := start(t)
	ctx := t.Context()
	p := pod("web")
	p.Finalizers = []string{"example.org/wait"}
	if err := s.Put(p); err != nil {
		t.Fatal(err)
	}
	pods := c.Pods("default")
	if err := pods.Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := pods.Get(ctx, "web", metav1.GetOptions{})
	if err != nil || got.DeletionTimestamp == nil {
		t.Fatalf("after delete: %v, %v; want the pod, being deleted", got, err)
	}
	got.Finalizers = nil
	if _, err := pods.Update(ctx, got, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(ctx, "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("without finalizers: got %v, want not found", err)
	}
}

// follow watches pods from a version, and returns what comes.
func follow(t *testing.T, c *coreclient.CoreV1Client, o metav1.ListOptions) <-chan watch.Event {
	t.Helper()
	w, err := c.Pods("").Watch(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w.ResultChan()
}

func next(t *testing.T, events <-chan watch.Event) watch.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(5 * time.Second):
		t.Fatal("no event within 5 s")
		return watch.Event{}
	}
}

func TestAWatchSeesAnObjectComeAndGoByItsSelector(t *testing.T) {
	s, c := start(t)
	events := follow(t, c, metav1.ListOptions{ResourceVersion: "1", FieldSelector: "status.phase!=Succeeded"})
	p := pod("job")
	if err := s.Put(p); err != nil {
		t.Fatal(err)
	}
	if e := next(t, events); e.Type != watch.Added {
		t.Errorf("a running pod: %s, want ADDED", e.Type)
	}
	p.Status.Phase = corev1.PodSucceeded
	if err := s.Put(p); err != nil {
		t.Fatal(err)
	}
	if e := next(t, events); e.Type != watch.Deleted {
		t.Errorf("a finished pod: %s, want DELETED", e.Type)
	}
}

func TestAWatchOfAForgottenVersionIsGone(t *testing.T) {
	s, c := start(t)
	if err := s.Put(pod("a"), pod("b")); err != nil {
		t.Fatal(err)
	}
	events := follow(t, c, metav1.ListOptions{ResourceVersion: "1"})
	next(t, events)
	next(t, events)
	s.Expire()
	if e := next(t, events); e.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
		t.Errorf("open watch: %v, want the error 410", e)
	}
	_, err := c.Pods("").Watch(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
	if !apierrors.IsResourceExpired(err) {
		t.Errorf("new watch: %v, want 410", err)
	}
}

func TestARestoredServerKnowsNoVersionOfTheFuture(t *testing.T) {
	s, c := start(t)
	if err := s.Put(pod("a")); err != nil {
		t.Fatal(err)
	}
	was := s.Snapshot()
	if err := s.Put(pod("b")); err != nil {
		t.Fatal(err)
	}
	list, err := c.Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 2 {
		t.Fatalf("list: %v, %v", list, err)
	}
	s.Restore(was)
	if _, err := c.Pods("").List(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion}); !apierrors.IsTimeout(err) {
		t.Errorf("list not older than the future: %v, want a timeout", err)
	}
	if list, err = c.Pods("").List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 1 {
		t.Errorf("list of the newest: %v, %v; want one pod", list, err)
	}
}

func TestAHangingServerTakesConnectionsAndABlackHoleDoesNot(t *testing.T) {
	s, c := start(t)
	s.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Pods("").List(ctx, metav1.ListOptions{}); err == nil {
		t.Error("a hanging server answers")
	}
	s.Resume()
	if _, err := c.Pods("").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("after Resume: %v", err)
	}
	addr, closer, err := fakeapi.BlackHole()
	if err != nil {
		t.Fatal(err)
	}
	defer closer()
	if _, err := net.DialTimeout("tcp", addr, 200*time.Millisecond); err == nil {
		t.Error("a black hole takes a connection")
	}
}

func TestDiscoveryListsDefinedKinds(t *testing.T) {
	s, _ := start(t)
	c, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.ServerResourcesForGroupVersion("cilium.io/v2")
	if err != nil || len(list.APIResources) != 12 {
		t.Fatalf("cilium.io/v2: %v, %v; want 6 kinds, and the status of each", list, err)
	}
	s.Unserve("ciliumnodes")
	if list, err = c.ServerResourcesForGroupVersion("cilium.io/v2"); err != nil || len(list.APIResources) != 10 {
		t.Errorf("without ciliumnodes: %d entries, %v", len(list.APIResources), err)
	}
	v, err := c.ServerVersion()
	if err != nil || v.GitVersion != "v1.34.4" {
		t.Errorf("version %v, %v", v, err)
	}
}
