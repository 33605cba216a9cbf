package policy

import (
	"net/netip"
	"testing"
	"time"

	"weir/state"
)

// TestANumberOfThePastKeepsWhatItMet: what had another identity when the agent
// stopped has its number until endpoints and addresses are given the new one.
func TestANumberOfThePastKeepsWhatItMet(t *testing.T) {
	denial := allow("no", "web", "a0")
	denial.Specs[0].Ingress[0].Deny = true
	elsewhere := allow("q", "web", "x")
	elsewhere.Specs[0].Ingress[0].Ports = []state.PolicyPort{tcp(7)}
	for _, tt := range []struct {
		name string
		edit func(r *rig) // while no agent runs
		want string
	}{
		{"nothing else has changed", func(*rig) {}, Allowed},
		{"another policy comes", func(r *rig) { r.tables.Policies.Put(allow("q", "web", "x")) }, Allowed},
		{"what allowed it goes", func(r *rig) {
			r.tables.Policies.Put(elsewhere)
			r.tables.Policies.Delete(allow("p", "web").Key)
		}, Denied},
		{"a denial comes that may be about it", func(r *rig) { r.tables.Policies.Put(denial) }, Denied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Now()
			o := Options{IPv4: true, Now: func() time.Time { return now }}
			r := newRig(t, o)
			r.identity(300, "web")
			r.identity(301, "a0")
			r.endpoint(1, 300)
			r.tables.Policies.Put(allow("p", "web", "a0"))
			r.step(t)
			r.tables.Identities.Delete(301)
			tt.edit(r)
			r.restart(t, o)
			r.step(t)
			if got := r.in(t, 301, 1000); got != tt.want {
				t.Errorf("what 301 opens is %s, want %s", got, tt.want)
			}
		})
	}
}

// TestANumberOfThePastGoes when nobody has it any more, and not before its time.
func TestANumberOfThePastGoes(t *testing.T) {
	now := time.Now()
	o := Options{IPv4: true, Now: func() time.Time { return now }}
	r := newRig(t, o)
	r.identity(300, "web")
	r.identity(301, "a0")
	r.identity(302, "a0")
	r.endpoint(1, 300)
	r.endpoint(2, 301)
	r.tables.IPs.Put(state.IP{Prefix: netip.MustParsePrefix("10.0.0.7/32"), Identity: 302})
	r.tables.Policies.Put(allow("p", "web", "a0"))
	r.step(t)
	r.tables.Identities.Delete(301, 302)
	r.restart(t, o)
	r.step(t)
	want := func(why string, of301, of302 string) {
		t.Helper()
		r.step(t)
		if got := r.in(t, 301, 1000); got != of301 {
			t.Errorf("%s: what 301 opens is %s, want %s", why, got, of301)
		}
		if got := r.in(t, 302, 1000); got != of302 {
			t.Errorf("%s: what 302 opens is %s, want %s", why, got, of302)
		}
	}
	r.endpoint(2, 300)
	want("nobody has 301, since a moment ago", Allowed, Allowed)
	now = now.Add(pastLimit)
	want("nobody has 301, and an address has 302", Denied, Allowed)
	r.tables.IPs.Delete(netip.MustParsePrefix("10.0.0.7/32"))
	want("nobody has either", Denied, Denied)
	r.identity(301, "a0")
	want("301 is somebody's again", Allowed, Denied)
}

// TestANumberOfThePastThatIsKnownAgain means what its labels say.
func TestANumberOfThePastThatIsKnownAgain(t *testing.T) {
	r := newRig(t, Options{IPv4: true})
	r.identity(300, "web")
	r.identity(301, "a0")
	r.endpoint(1, 300)
	r.tables.Policies.Put(allow("p", "web", "a0"))
	r.step(t)
	r.tables.Identities.Delete(301)
	r.restart(t, Options{IPv4: true})
	r.step(t)
	r.identity(301, "x")
	r.step(t)
	if got := r.in(t, 301, 1000); got != Denied {
		t.Errorf("301 is x by now, and what it opens is %s", got)
	}
}
