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
