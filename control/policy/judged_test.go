package policy

import (
	"testing"

	"weir/state"
)

// TestANumberIsToldWhenItsSetIsWritten and taken back when it goes.
func TestANumberIsToldWhenItsSetIsWritten(t *testing.T) {
	r := newRig(t, Options{IPv4: true})
	r.step(t)
	if _, ok := r.tables.JudgedIdentities.Get(state.IdentityHost); !ok || !r.tables.JudgedIdentities.Synced() {
		t.Error("reserved identities are not told")
	}
	r.identity(300, "web")
	if _, ok := r.tables.JudgedIdentities.Get(300); ok {
		t.Error("300 is told before anything is written")
	}
	r.step(t)
	if _, ok := r.tables.JudgedIdentities.Get(300); !ok {
		t.Error("300 is not told")
	}
	r.tables.Identities.Delete(300)
	r.step(t)
	if _, ok := r.tables.JudgedIdentities.Get(300); ok {
		t.Error("300 is gone and still told")
	}
}

// Identities wait until policy knows them, and labels are told by no identity
// until then: policy may not wait for the labels.
func TestNumbersAreToldWhileAVersionWaits(t *testing.T) {
	r := newRig(t, Options{IPv4: true})
	r.identity(300, "web")
	r.identity(301, "a0")
	r.endpoint(1, 300)
	r.tables.Policies.Put(allow("p", "web", "a0"))
	r.step(t)
	next := allow("p", "web", "a0")
	next.Specs[0].Ingress[0].Peers[0].Endpoints = state.Selector{{Key: "k8s:untold", Op: state.DoesNotExist}}
	r.tables.Policies.Put(next, allow("q", "web", "a1"))
	r.giveUp() // as when the tables do not remember what changed
	r.identity(302, "new")
	r.step(t)
	if _, ok := r.tables.JudgedIdentities.Get(302); !ok {
		t.Error("302 is not told")
	}
	if got := r.in(t, 301, 1000); got != Allowed {
		t.Errorf("what the version before allows is %s", got)
	}
	if got := r.in(t, 302, 1000); got != Denied {
		t.Errorf("what only the version that waits allows is %s", got)
	}
	r.tables.VisibleLabels.Put(state.VisibleLabel{Key: "k8s:untold"})
	r.step(t)
	if got := r.in(t, 302, 1000); got != Allowed {
		t.Errorf("with the labels told it is %s", got)
	}
}
