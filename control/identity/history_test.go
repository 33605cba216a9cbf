package identity

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"weir/state"
)

// TestStepAgreesWithOracleAfterAnyHistory edits tables at random while time
// passes now and then, and compares with what follows from the tables alone.
func TestStepAgreesWithOracleAfterAnyHistory(t *testing.T) {
	for seed := range uint64(150) {
		history(t, seed, 80)
	}
}

func FuzzStepAgreesWithOracle(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { history(t, seed, 200) })
}

func history(t *testing.T, seed uint64, edits int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 5))
	w := newWorld(t)
	meant := map[state.IdentityID]string{}
	for range edits {
		edit(r, w)
		if r.IntN(3) > 0 {
			continue
		}
		w.step([]time.Duration{0, time.Millisecond, linger / 3, linger}[r.IntN(4)])
		w.right(seed, meant)
		if r.IntN(5) > 0 {
			continue
		}
		for range 3 { // labels go, pods move, identities go
			w.step(linger)
		}
		w.right(seed, meant)
		w.settled(seed)
	}
}

// right checks what holds at any time.
func (w *world) right(seed uint64, meant map[state.IdentityID]string) {
	w.t.Helper()
	visible := state.Visible{}
	for key := range w.tables.VisibleLabels.All() {
		visible[key] = true
	}
	if !visible.Covers(state.VisibleLabels(w.tables.Policies.All(), w.tables.Services.All())) {
		w.t.Fatalf("seed %d: a label that a policy sees is not visible: %v", seed, visible)
	}
	pods := map[state.IdentityID]int{}
	index := state.IdentityIndex(w.tables.ClusterIdentities.All())
	for name, p := range w.tables.Pods.All() {
		row, ok := w.tables.PodIdentities.Get(name)
		if ok == p.HostNetwork {
			w.t.Fatalf("seed %d: pod %s of host network %v has a number: %v", seed, name, p.HostNetwork, ok)
		}
		if p.HostNetwork {
			continue
		}
		n, _ := w.tables.Namespaces.Get(name.Namespace)
		want := state.IdentityLabels(p, n.Labels, "lab", visible)
		got, _ := w.tables.Identities.Get(row.ID)
		if !slices.Equal(got.Labels, want) {
			w.t.Fatalf("seed %d: pod %s has number %d of %v, want %v", seed, name, row.ID, got.Labels, want)
		}
		if id, ok := index[want.Key()]; ok && id != row.ID {
			w.t.Fatalf("seed %d: pod %s has number %d, the cluster says %d", seed, name, row.ID, id)
		}
		pods[row.ID]++
	}
	for name := range w.tables.PodIdentities.All() {
		if _, ok := w.tables.Pods.Get(name); !ok {
			w.t.Fatalf("seed %d: pod %s is gone and has a number", seed, name)
		}
	}
	for id, i := range w.tables.Identities.All() {
		if i.Pods != pods[id] {
			w.t.Fatalf("seed %d: identity %d is said to have %d pods, it has %d", seed, id, i.Pods, pods[id])
		}
		if was, ok := meant[id]; ok && id >= state.IdentityLocal && was != i.Labels.Key() {
			w.t.Fatalf("seed %d: number %d of this node meant %s, now %s", seed, id, was, i.Labels.Key())
		}
		meant[id] = i.Labels.Key()
	}
	for id, i := range w.tables.ClusterIdentities.All() {
		if got, _ := w.tables.Identities.Get(id); !slices.Equal(got.Labels, i.Labels) {
			w.t.Fatalf("seed %d: identity %d is %v, the cluster says %v", seed, id, got.Labels, i.Labels)
		}
	}
}

// settled checks that an agent that starts now would say the same.
func (w *world) settled(seed uint64) {
	w.t.Helper()
	fresh := New(slog.New(slog.DiscardHandler), Options{Cluster: "lab"}, &state.Tables{
		Pods: w.tables.Pods, Namespaces: w.tables.Namespaces, Policies: w.tables.Policies, Services: w.tables.Services,
		ClusterIdentities: w.tables.ClusterIdentities,
		Identities:        state.New().Identities, PodIdentities: state.New().PodIdentities, VisibleLabels: state.New().VisibleLabels,
		JudgedIdentities: state.New().JudgedIdentities,
	})
	if err := fresh.Step(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	same := w.tables.Identities.Len() == fresh.tables.Identities.Len() && w.tables.PodIdentities.Len() == fresh.tables.PodIdentities.Len() &&
		w.tables.VisibleLabels.Len() == fresh.tables.VisibleLabels.Len()
	for id, want := range fresh.tables.Identities.All() {
		got, _ := w.tables.Identities.Get(id)
		same = same && got.Same(want)
	}
	for name, want := range fresh.tables.PodIdentities.All() {
		got, _ := w.tables.PodIdentities.Get(name)
		same = same && got == want
	}
	if !same {
		less := func(a, b state.Identity) int { return int(a.ID) - int(b.ID) }
		w.t.Fatalf("seed %d: got\n%v\nwant\n%v", seed, w.tables.Identities.Rows(less), fresh.tables.Identities.Rows(less))
	}
}

var keys = []string{"k8s:app", "k8s:tier", "k8s:io.cilium.k8s.namespace.labels.team", "port:http", "k8s:io.cilium.k8s.policy.serviceaccount"}

// edit changes one thing. There are few names and labels, so that sets split,
// merge and share numbers.
func edit(r *rand.Rand, w *world) {
	i, namespace := r.IntN(4), fmt.Sprint("ns", r.IntN(2))
	pod := state.Pod{Name: state.PodName{Namespace: namespace, Name: fmt.Sprint("p", i)}, Labels: map[string]string{"app": fmt.Sprint(r.IntN(2)), "tier": fmt.Sprint(r.IntN(2))},
		HostNetwork: r.IntN(8) == 0, ServiceAccount: fmt.Sprint("sa", r.IntN(2)), Ports: []state.NamedPort{{Name: "http", Proto: state.ProtoTCP, Port: uint16(80 + r.IntN(2))}}}
	namespaceRow := state.Namespace{Name: namespace, Labels: map[string]string{"team": fmt.Sprint(r.IntN(2))}}
	policy := fmt.Sprint("p", r.IntN(2))
	service := state.ServiceName{Namespace: namespace, Name: "s"}
	id := state.IdentityID(256 + r.IntN(4))
	switch r.IntN(11) {
	case 0, 1, 2:
		w.tables.Pods.Put(pod)
	case 3:
		w.tables.Pods.Delete(pod.Name)
	case 4:
		w.tables.Namespaces.Put(namespaceRow)
	case 5:
		w.tables.Namespaces.Delete(namespace)
	case 6:
		w.policy(policy, keys[r.IntN(len(keys))])
	case 7:
		w.tables.Policies.Delete(state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: policy})
	case 8: // of labels that pods may have, seen by any of the policies
		visible := state.Visible{keys[r.IntN(len(keys))]: true, keys[r.IntN(len(keys))]: r.IntN(2) == 0}
		w.tables.ClusterIdentities.Put(state.Identity{ID: id, Labels: state.IdentityLabels(pod, namespaceRow.Labels, "lab", visible)})
	case 9:
		w.tables.ClusterIdentities.Delete(id)
	case 10:
		w.tables.Services.Put(state.Service{Name: service, Selector: map[string]string{keys[r.IntN(2)][4:]: "0"}})
		w.tables.Policies.Put(state.Policy{Key: state.PolicyKey{Kind: state.KindCCNP, Name: policy}, Specs: []state.PolicySpec{{
			Egress: []state.PolicyRule{{Peers: []state.PolicyPeer{{Kind: state.PeerServices, Services: state.Selector{{Key: "name", Op: state.Exists}}}}}}}}})
	}
}

// TestAReaderWhoSeesANumberFindsItsLabels reads while identities split and merge:
// a pod is never without a number, and never has one of a pod with other labels.
func TestAReaderWhoSeesANumberFindsItsLabels(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		w.pod(fmt.Sprint("p", i), fmt.Sprint("app=", i%3))
	}
	w.step(0)
	stop, looks := make(chan struct{}), 0
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for i := range 20 {
				row, ok := w.tables.PodIdentities.Get(podName(fmt.Sprint("p", i)))
				id, known := w.tables.Identities.Get(row.ID)
				right := ok && known
				for _, l := range id.Labels {
					key, value := state.CutLabel(l)
					right = right && (key != "k8s:app" || value == fmt.Sprint(i%3))
				}
				// The number of a row that was read a while ago may mean others by now.
				if again, _ := w.tables.PodIdentities.Get(podName(fmt.Sprint("p", i))); !right && again == row {
					t.Errorf("pod p%d: number %d %v, labels %v %v", i, row.ID, ok, id.Labels, known)
					return
				}
			}
			looks++
		}
	})
	r := rand.New(rand.NewPCG(1, 1))
	for n := range 3000 {
		if n%2 == 0 {
			w.policy("p", "k8s:app")
		} else {
			w.tables.Policies.Delete(state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: "p"})
		}
		w.tables.ClusterIdentities.Put(state.Identity{ID: state.IdentityID(256 + r.IntN(3)), Labels: labels(fmt.Sprint("k8s:app=", r.IntN(3), " ", base))})
		w.step(linger / 2)
	}
	close(stop)
	group.Wait()
	if looks == 0 {
		t.Error("the reader read nothing")
	}
}

// BenchmarkOnePodOfMany is the work of one changed pod in a large cluster.
func BenchmarkOnePodOfMany(b *testing.B) {
	for _, pods := range []int{100, 10_000} {
		b.Run(fmt.Sprint(pods), func(b *testing.B) {
			w := crowd(b, pods)
			for i := 0; b.Loop(); i++ {
				w.pod(fmt.Sprint("p", i%pods), fmt.Sprint("app=", i))
				w.now = w.now.Add(linger / 100)
				_ = w.control.Step(b.Context())
			}
		})
	}
}

// BenchmarkSplit is a policy that sees a label which all of many pods have, and
// another that goes.
func BenchmarkSplit(b *testing.B) {
	w := crowd(b, 10_000)
	for i := 0; b.Loop(); i++ {
		w.policy("p", []string{"k8s:app", "k8s:tier"}[i%2])
		for range 2 { // seen at first, and invisible a while later
			_ = w.control.Step(b.Context())
			w.now = w.now.Add(linger)
		}
	}
}

func crowd(b *testing.B, pods int) *world {
	w := newWorld(nil)
	for i := range pods {
		w.pod(fmt.Sprint("p", i), fmt.Sprint("app=", i), "tier=x")
	}
	w.policy("p", "k8s:app")
	if err := w.control.Step(b.Context()); err != nil {
		b.Fatal(err)
	}
	return w
}
