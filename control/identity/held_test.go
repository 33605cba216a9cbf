package identity

import (
	"testing"
	"time"

	"weir/state"
)

// judge plays control/policy: the maps know every identity there is.
func (w *world) judge() {
	for id, i := range w.tables.Identities.All() {
		w.tables.JudgedIdentities.Put(state.JudgedIdentity{ID: id, Labels: i.Labels})
	}
	if !w.tables.JudgedIdentities.Synced() {
		w.tables.JudgedIdentities.MarkSynced()
	}
}

func TestAPodKeepsItsNumberUntilPolicyKnowsTheNext(t *testing.T) {
	w := newWorld(t)
	w.pod("a", "app=a")
	w.step(0)
	w.judge()
	old, _ := w.of("a")
	w.policy("p", "k8s:app")
	w.step(time.Millisecond)
	if id, labels := w.of("a"); id != old || labels != base {
		t.Errorf("before policy knows another number, a has %d, %s", id, labels)
	}
	if w.tables.VisibleLabels.Len() != 0 {
		t.Error("a label is told that no number tells")
	}
	w.judge()
	w.step(time.Millisecond)
	if id, labels := w.of("a"); id == old || labels != "k8s:app=a "+base {
		t.Errorf("a has %d, %s", id, labels)
	}
	if _, ok := w.tables.VisibleLabels.Get("k8s:app"); !ok {
		t.Error("the label is not told")
	}
}

func TestANewPodHasNoNumberUntilPolicyKnowsIt(t *testing.T) {
	w := newWorld(t)
	w.policy("p", "k8s:app")
	w.step(0)
	w.judge()
	w.pod("a", "app=a")
	w.step(time.Millisecond)
	if p, ok := w.tables.PodIdentities.Get(podName("a")); ok {
		t.Errorf("a has %d at once", p.ID)
	}
	w.tables.Pods.Delete(podName("a"))
	w.judge()
	w.step(time.Millisecond)
	if p, ok := w.tables.PodIdentities.Get(podName("a")); ok || len(w.control.held.pods) > 0 {
		t.Errorf("a is gone, and has %d; %v wait", p.ID, w.control.held.pods)
	}
	w.pod("a", "app=a")
	w.step(time.Millisecond)
	w.of("a")
}

func TestANumberThatPolicyDoesNotKnowIsNeverUsed(t *testing.T) {
	w := newWorld(t)
	w.pod("old", "app=a")
	w.step(0)
	w.judge()
	had, _ := w.of("old")
	w.policy("p", "k8s:app") // everybody gets another number, and policy is stuck
	w.pod("new", "app=b")
	for range 2 * linger / time.Second {
		w.step(time.Second)
		if id, _ := w.of("old"); id != had {
			t.Fatalf("after %s the pod has %d", w.now, id)
		}
		if p, ok := w.tables.PodIdentities.Get(podName("new")); ok {
			t.Fatalf("after %s the new pod has %d", w.now, p.ID)
		}
	}
	w.judge()
	w.step(time.Second)
	if id, labels := w.of("old"); id == had || labels != "k8s:app=a "+base {
		t.Errorf("the pod has %d, %s", id, labels)
	}
	w.of("new")
	w.step(linger / 2)
	if _, ok := w.tables.Identities.Get(had); !ok {
		t.Error("the number that it kept is gone before addresses have the next one")
	}
}

func TestANumberThatMeansOthersByNowIsNotUsedByWhatItMeant(t *testing.T) {
	w := newWorld(t)
	w.policy("p", "k8s:app")
	w.pod("a", "app=a")
	w.step(0)
	w.tables.ClusterIdentities.Put(state.Identity{ID: 300, Labels: labels("k8s:app=b " + base)})
	w.step(0)
	w.judge() // 300 is app=b
	w.tables.ClusterIdentities.Put(state.Identity{ID: 300, Labels: labels("k8s:app=a " + base)})
	w.step(time.Millisecond)
	if id, _ := w.of("a"); id == 300 {
		t.Error("a has a number that policy knows as b's")
	}
	w.judge()
	w.step(time.Millisecond)
	if id, _ := w.of("a"); id != 300 {
		t.Errorf("a has %d", id)
	}
}
