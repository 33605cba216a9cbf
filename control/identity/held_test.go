package identity

import (
	"testing"
	"time"

	"weir/state"
)

// judge plays control/policy: the maps know every identity there is.
func (w *world) judge() {
	for id := range w.tables.Identities.All() {
		w.tables.JudgedIdentities.Put(state.JudgedIdentity{ID: id})
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

func TestAPolicyThatNeverAnswersHoldsNobodyForGood(t *testing.T) {
	w := newWorld(t)
	w.judge()
	w.pod("a")
	w.step(0)
	w.step(holdLimit - time.Millisecond)
	if p, ok := w.tables.PodIdentities.Get(podName("a")); ok {
		t.Errorf("a has %d before the time is up", p.ID)
	}
	w.step(time.Millisecond)
	w.of("a")
}
