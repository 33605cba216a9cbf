package policy

import (
	"strings"
	"testing"
)

func TestAModeIsNamedByItsKey(t *testing.T) {
	r := newRig(t, Options{Mode: ModeNever})
	r.identity(300, "web")
	r.endpoint(1, 300)
	r.tables.Policies.Put(allow("p", "web", "a0"))
	r.step(t)
	if s := r.status("p"); !strings.Contains(s.Message, "policy.enforcementMode is never") {
		t.Errorf("got %+v", s)
	}
	r.restart(t, Options{Mode: ModeAlways})
	r.step(t)
	if e, _ := r.Of(1); !strings.Contains(strings.Join(e.Egress.IsolatedBy, " "), "policy.enforcementMode is always") {
		t.Errorf("got %+v", e.Egress)
	}
}
