package identity

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"weir/state"
)

// world is tables, a Control over them, and a clock that goes as the test says.
type world struct {
	t       *testing.T
	tables  *state.Tables
	now     time.Time
	control *Control
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, tables: state.New(), now: time.Unix(1000, 0)}
	w.control = New(slog.New(slog.DiscardHandler), Options{Cluster: "lab", Now: func() time.Time { return w.now }}, w.tables)
	return w
}

func (w *world) step(pass time.Duration) {
	w.t.Helper()
	w.now = w.now.Add(pass)
	if err := w.control.Step(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func podName(name string) state.PodName { return state.PodName{Namespace: "default", Name: name} }

func (w *world) pod(name string, labels ...string) {
	p := state.Pod{Name: podName(name), Labels: map[string]string{}}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		p.Labels[k] = v
	}
	w.tables.Pods.Put(p)
}

// policy makes a policy that sees the keys.
func (w *world) policy(name string, keys ...string) {
	p := state.Policy{Key: state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: name}, Specs: []state.PolicySpec{{}}}
	for _, k := range keys {
		p.Specs[0].Subject = append(p.Specs[0].Subject, state.Requirement{Key: k, Op: state.Exists})
	}
	w.tables.Policies.Put(p)
}

// of returns the number and the labels of a pod, which must both be there.
func (w *world) of(name string) (state.IdentityID, string) {
	w.t.Helper()
	p, ok := w.tables.PodIdentities.Get(podName(name))
	i, known := w.tables.Identities.Get(p.ID)
	if !ok || !known {
		w.t.Fatalf("pod %s: number %v (%v), identity %v", name, p, ok, known)
	}
	return p.ID, strings.Join(i.Labels, " ")
}

const base = "k8s:io.cilium.k8s.policy.cluster=lab k8s:io.kubernetes.pod.namespace=default"

func labels(text string) state.Labels { return strings.Split(text, " ") }

func TestReservedIdentitiesAreThereFromTheStart(t *testing.T) {
	w := newWorld(t)
	w.step(0)
	for _, want := range state.AllReserved() {
		if got, _ := w.tables.Identities.Get(want.ID); !got.Same(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if !w.tables.Identities.Synced() || !w.tables.PodIdentities.Synced() || !w.tables.VisibleLabels.Synced() {
		t.Error("tables are not synced")
	}
}

func TestALabelThatNoPolicySeesMakesNoIdentity(t *testing.T) {
	w := newWorld(t)
	w.pod("web", "app=web", "hash=1")
	w.pod("db", "app=db", "hash=2")
	w.tables.Pods.Put(state.Pod{Name: podName("host"), HostNetwork: true})
	w.step(0)
	web, labels := w.of("web")
	if db, _ := w.of("db"); db != web || labels != base || web < state.IdentityLocal {
		t.Errorf("web has %d %q, db %d, want one number of this node for %q", web, labels, db, base)
	}
	if i, _ := w.tables.Identities.Get(web); i.Pods != 2 {
		t.Errorf("%d pods have it, want 2", i.Pods)
	}
	if _, ok := w.tables.PodIdentities.Get(podName("host")); ok {
		t.Error("a pod of the host network has a number")
	}
}

func TestAPolicySplitsIdentitiesAtOnceAndTheyMergeLater(t *testing.T) {
	w := newWorld(t)
	w.pod("web", "app=web")
	w.pod("db", "app=db")
	w.step(0)
	both, _ := w.of("web")
	w.policy("p", "k8s:app")
	w.step(0)
	web, webLabels := w.of("web")
	db, _ := w.of("db")
	if web == db || web == both || webLabels != "k8s:app=web "+base {
		t.Errorf("web %d %q, db %d, want two new numbers", web, webLabels, db)
	}
	if _, ok := w.tables.VisibleLabels.Get("k8s:app"); !ok {
		t.Error("k8s:app is not among the visible labels")
	}
	if i, ok := w.tables.Identities.Get(both); !ok || i.Pods != 0 {
		t.Errorf("the number that nobody has any more: %v %v, want it kept for a while", i, ok)
	}
	w.tables.Policies.Delete(state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: "p"})
	w.step(0)
	w.step(linger - time.Second)
	if id, _ := w.of("web"); id != web {
		t.Errorf("web has %d as soon as the policy went, want %d until nobody has it in force", id, web)
	}
	w.step(2 * time.Second)
	if id, _ := w.of("web"); id != both {
		t.Errorf("web has %d, want %d again: the labels are the same", id, both)
	}
	w.step(linger)
	if _, ok := w.tables.Identities.Get(web); ok || w.tables.VisibleLabels.Len() != 0 {
		t.Errorf("identity %d is left: %v; %d visible labels", web, ok, w.tables.VisibleLabels.Len())
	}
}

func TestTheClustersNumberTakesThePlaceOfThisNodes(t *testing.T) {
	w := newWorld(t)
	w.pod("web")
	w.step(0)
	local, _ := w.of("web")
	for _, c := range []struct {
		do   func()
		pass time.Duration
		want state.IdentityID
		why  string
	}{
		{func() { w.tables.ClusterIdentities.Put(state.Identity{ID: 400, Labels: labels(base)}) }, 0, 400, "the cluster has a number"},
		{func() { w.tables.ClusterIdentities.Put(state.Identity{ID: 300, Labels: labels(base)}) }, 0, 300, "the lower counts"},
		{func() { w.tables.ClusterIdentities.Delete(300) }, 0, 400, "the other is left"},
		{func() { w.tables.ClusterIdentities.Delete(400) }, 0, 400, "it was withdrawn a moment ago"},
		{func() {}, linger - 1, 400, "it may come back"},
		{func() {}, 1, local, "it did not come back"},
		{func() {
			w.tables.ClusterIdentities.Put(state.Identity{ID: 400, Labels: labels("k8s:app=x " + base)})
		}, 0, local, "it is of others"},
		{func() { w.tables.ClusterIdentities.Put(state.Identity{ID: 400, Labels: labels(base)}) }, 0, 400, "it is ours again"},
		{func() {
			w.tables.ClusterIdentities.Put(state.Identity{ID: 400, Labels: labels("k8s:app=x " + base)})
		}, 0, local, "it was given to others while we had it"},
	} {
		c.do()
		w.step(c.pass)
		if id, l := w.of("web"); id != c.want || l != base {
			t.Errorf("%s: got %d %q, want %d", c.why, id, l, c.want)
		}
	}
}

func TestLabelsOfANamespaceConcernItsPods(t *testing.T) {
	w := newWorld(t)
	w.pod("web")
	w.policy("p", "k8s:io.cilium.k8s.namespace.labels.team")
	w.tables.Namespaces.Put(state.Namespace{Name: "default", Labels: map[string]string{"team": "a"}})
	w.step(0)
	if _, l := w.of("web"); l != "k8s:io.cilium.k8s.namespace.labels.team=a "+base {
		t.Errorf("got %q", l)
	}
	w.tables.Namespaces.Delete("default")
	w.step(0)
	if _, l := w.of("web"); l != base {
		t.Errorf("got %q after the namespace's object went", l)
	}
}

// An endpoint whose pod's name another pod has keeps its number, which must not
// come to mean somebody else.
func TestANumberThatAnEndpointHasStays(t *testing.T) {
	w := newWorld(t)
	w.policy("p", "k8s:app")
	w.pod("web", "app=a")
	w.step(0)
	w.step(10 * time.Second)
	id, labels := w.of("web")
	w.tables.Endpoints.Put(state.Endpoint{ID: 1, Pod: podName("web"), Identity: id})
	w.pod("web", "app=b")
	for range 4 {
		w.step(2 * linger)
	}
	if i, ok := w.tables.Identities.Get(id); !ok || strings.Join(i.Labels, " ") != labels {
		t.Errorf("identity %d is %+v, want %s", id, i, labels)
	}
	w.tables.Endpoints.Delete(1)
	w.step(2 * linger)
	if _, ok := w.tables.Identities.Get(id); ok {
		t.Error("it stays when the endpoint is gone")
	}
}

func TestNumbersOfANodeDependOnLabelsAndMeanOneThing(t *testing.T) {
	known := func(state.IdentityID) bool { return true }
	a, b := locals{}, locals{}
	one, two := a.number("one", known), a.number("two", known)
	if b.number("two", known) != two || b.number("one", known) != one {
		t.Error("another agent gives other numbers")
	}
	taken := locals{one: {1}}
	if id := taken.number("one", known); id != one+1 || id != taken.number("one", known) {
		t.Errorf("got %d for labels whose number is taken, want the next, %d, for ever", id, one+1)
	}
	last := locals{}
	for id := state.IdentityLocalMax; last[state.IdentityLocal] == [16]byte{}; id = state.IdentityLocal {
		last[id] = [16]byte{1}
	}
	for key := range 1000 {
		if id := last.number(strings.Repeat("x", key), known); id < state.IdentityLocal || id > state.IdentityLocalMax {
			t.Fatalf("%d is out of range", id)
		}
	}
}

// TestNumbersOfTheAgentBeforeStay for a while: the maps name pods by them until they
// are given others.
func TestNumbersOfTheAgentBeforeStay(t *testing.T) {
	w := newWorld(t)
	gone, local := state.Labels{"k8s:app=web", "k8s:l0=a"}, state.IdentityLocal+7
	w.tables.ClusterIdentities.Put(state.Identity{ID: 301, Labels: state.Labels{"k8s:app=db"}})
	w.control = New(slog.New(slog.DiscardHandler), Options{Cluster: "lab", Now: func() time.Time { return w.now }, Former: []state.Identity{
		{ID: 300, Labels: gone}, {ID: local, Labels: gone}, {ID: 301, Labels: gone}, {ID: state.IdentityHost, Labels: gone}}}, w.tables)
	is := func(id state.IdentityID, want string) {
		t.Helper()
		if i, ok := w.tables.Identities.Get(id); ok != (want != "") || i.Labels.Key() != want {
			t.Errorf("%s is %q (%v), want %q", id, i.Labels.Key(), ok, want)
		}
	}
	w.step(0)
	is(300, gone.Key())
	is(local, gone.Key())
	is(301, state.Labels{"k8s:app=db"}.Key()) // the cluster gave it to others
	is(state.IdentityHost, state.Labels{state.IdentityHost.Reserved()}.Key())
	w.tables.Endpoints.Put(state.Endpoint{ID: 1, Identity: 300})
	w.step(linger)
	is(300, gone.Key()) // an endpoint still has it
	is(local, "")
	w.tables.Endpoints.Delete(1)
	w.step(linger)
	is(300, "")
}

// TestALocalNumberOfTheAgentBeforeIsNobodyElses.
func TestALocalNumberOfTheAgentBeforeIsNobodyElses(t *testing.T) {
	w := newWorld(t)
	w.policy("p", "k8s:app")
	w.pod("a", "app=web")
	w.step(0)
	id, own := w.of("a")
	for _, former := range []string{"k8s:app=other", own} {
		again := newWorld(t)
		again.control = New(slog.New(slog.DiscardHandler), Options{Cluster: "lab", Now: func() time.Time { return again.now },
			Former: []state.Identity{{ID: id, Labels: labels(former)}}}, again.tables)
		again.policy("p", "k8s:app")
		again.pod("a", "app=web")
		again.step(0)
		if got, _ := again.of("a"); (got == id) != (former == own) {
			t.Errorf("the number %s meant %s, and a, which is %s, has %s", id, former, own, got)
		}
	}
}
