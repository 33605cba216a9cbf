package kube

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "weir/api/v1"
	"weir/source/convert"
	"weir/source/kube/connect"
	"weir/state"
	"weir/test/fakeapi"
)

// world is a server and, from time to time, an agent's source.
type world struct {
	*testing.T
	api    *fakeapi.Server
	opts   Options
	tables *state.Tables
	source *Source
	stop   func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, api: fakeapi.New()}
	if err := w.api.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.api.Close)
	w.opts = Options{
		Scope: convert.Scope{Cluster: "default", LocalNode: "n1"}, Dir: t.TempDir(), Confirm: 300 * time.Millisecond, Grace: time.Second,
		Connect: connect.Options{Servers: []string{w.api.URL()}, Account: "/nowhere", Root: "/nowhere", Probe: 300 * time.Millisecond,
			Getenv: func(string) string { return "" }},
	}
	return w
}

// start starts the source of an agent, with tables of its own.
func (w *world) start() {
	w.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("KUBE_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	w.tables = state.New()
	w.source = New(log, w.opts, w.tables)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.source.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("source: %v", err)
		}
		w.stop = func() {}
	}
	w.Cleanup(func() { w.stop() })
}

// ready starts it and waits for all tables.
func (w *world) ready() {
	w.Helper()
	w.start()
	w.eventually("every table is synced", w.synced)
}

func (w *world) synced() bool {
	t := w.tables
	for _, s := range []interface{ Synced() bool }{t.Nodes, t.Pods, t.Namespaces, t.Policies, t.CIDRGroups, t.Services, t.Slices, t.L2Policies, t.Leases, t.ClusterIdentities, t.Problems} {
		if !s.Synced() {
			return false
		}
	}
	return true
}

func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	w.within(15*time.Second, what, ok)
}

func (w *world) within(limit time.Duration, what string, ok func() bool) {
	w.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			var problems []string
			for _, p := range w.tables.Problems.All() {
				problems = append(problems, p.Key.Object+": "+p.Error)
			}
			w.Fatalf("not within %s: %s; status %+v, problems %q", limit, what, w.source.Status(), problems)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// always looks for a while that something stays as it is.
func (w *world) always(d time.Duration, what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if !ok() {
			w.Fatalf("not any more: %s", what)
		}
	}
}

func (w *world) put(objects ...fakeapi.Object) {
	w.Helper()
	if err := w.api.Put(objects...); err != nil {
		w.Fatal(err)
	}
}

func (w *world) delete(objects ...fakeapi.Object) {
	w.Helper()
	if err := w.api.Delete(objects...); err != nil {
		w.Fatal(err)
	}
}

// pods waits until there are exactly so many rows of pods.
func (w *world) pods(n int) {
	w.Helper()
	w.eventually(fmt.Sprintf("%d pods", n), func() bool { return w.tables.Pods.Len() == n })
}

func (w *world) hasPod(name string) bool {
	_, ok := w.tables.Pods.Get(state.PodName{Namespace: "default", Name: name})
	return ok
}

// problem returns what is said of an object, or "".
func (w *world) problem(object string) string {
	p, _ := w.tables.Problems.Get(state.ProblemKey{Object: object})
	return p.Error
}

func (w *world) hasProblem(object, text string) {
	w.Helper()
	w.eventually(fmt.Sprintf("a problem of %s that says %q", object, text), func() bool { return strings.Contains(w.problem(object), text) })
}

func pod(name string, labels ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}}}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		p.Labels[k] = v
	}
	p.Spec.NodeName = "n1"
	p.Status.Phase = corev1.PodRunning
	p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.7"}, {IP: "fd00::7"}}
	return p
}

func some(n int) []fakeapi.Object {
	var out []fakeapi.Object
	for i := range n {
		out = append(out, pod(fmt.Sprintf("web-%d", i)))
	}
	return out
}

func policy(name, app string) *v1.CiliumNetworkPolicy {
	return &v1.CiliumNetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindCiliumNetworkPolicy},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       &v1.Rule{EndpointSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}, Ingress: []v1.IngressRule{{}}},
	}
}
