package policy

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/state"
)

// A policy takes the place of another, by a label that identities have to learn
// first: who is isolated by both is never open.
func TestADeletedPolicyStaysWhileAnotherWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.identity(300, "web")
		r.identity(303, "outsider")
		r.endpoint(1, 300)
		r.tables.Policies.Put(allow("p", "web", "client"))
		r.step(t)
		r.tables.Policies.Put(zoned("q"))
		r.tables.Policies.Delete(allow("p", "web", "client").Key)
		r.step(t)
		if got := r.in(t, 303, 1000); got != Denied || !strings.Contains(r.status("p").Message, "deleted") {
			t.Errorf("while q waits it is %s, p is %+v", got, r.status("p"))
		}
		r.tables.VisibleLabels.Put(state.VisibleLabel{Key: "k8s:zone"})
		r.step(t)
		if len(r.Policies()) != 1 || r.status("q").State != StateInForce {
			t.Errorf("in the end there are %+v", r.Policies())
		}
	})
}

func TestADeletedPolicyDoesNotStayForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.identity(300, "web")
		r.endpoint(1, 300)
		r.tables.Policies.Put(allow("p", "web", "client"))
		r.step(t)
		r.tables.Policies.Put(zoned("q"))
		r.tables.Policies.Delete(allow("p", "web", "client").Key)
		r.step(t)
		time.Sleep(leaveLimit) // of the bubble's clock
		r.step(t)
		if got := r.in(t, 303, 1000); got != NotEnforced {
			t.Errorf("it is %s", got)
		}
	})
}
