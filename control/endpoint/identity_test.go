package endpoint

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/state"
)

var web = state.PodName{Namespace: "default", Name: "web"}

func TestIdentityIsTheNumberOfThePodAndLabelsAreAll(t *testing.T) {
	pod := state.Pod{Name: web, Labels: map[string]string{"hash": "x1"}}
	all := "k8s:hash=x1 k8s:io.cilium.k8s.policy.cluster=lab k8s:io.kubernetes.pod.namespace=default"
	for name, tt := range map[string]struct {
		e         state.Endpoint
		pod, id   bool
		want      state.IdentityID
		labels    string
		wantState state.EndpointState
	}{
		"known":               {state.Endpoint{Pod: web}, true, true, 300, all, state.EndpointReady},
		"no number yet":       {state.Endpoint{Pod: web, Identity: 299}, true, false, state.IdentityInit, all, state.EndpointIdentity},
		"no object":           {state.Endpoint{Pod: web, Identity: 299}, false, false, state.IdentityInit, "reserved:init", state.EndpointIdentity},
		"object went first":   {state.Endpoint{Pod: web, Identity: 299}, false, true, state.IdentityInit, "reserved:init", state.EndpointIdentity},
		"no name":             {state.Endpoint{}, true, true, state.IdentityInit, "reserved:init", state.EndpointIdentity},
		"health":              {state.Endpoint{Health: true}, true, true, state.IdentityHealth, "reserved:health", state.EndpointReady},
		"recovered, no pod":   {state.Endpoint{Recovered: true, Identity: 299, Labels: state.Labels{"k8s:a=b"}}, false, false, 299, "k8s:a=b", state.EndpointReady},
		"recovered, with pod": {state.Endpoint{Recovered: true, Identity: 299, Pod: web}, true, true, 300, all, state.EndpointReady},
	} {
		c, _ := control(t, 8)
		c.opts.Cluster = "lab"
		if tt.pod {
			c.tables.Pods.Put(pod)
		}
		if tt.id {
			c.tables.PodIdentities.Put(state.PodIdentity{Pod: web, ID: 300})
		}
		c.identify(&tt.e)
		if got := strings.Join(tt.e.Labels, " "); tt.e.Identity != tt.want || got != tt.labels || tt.e.State != tt.wantState {
			t.Errorf("%s: got %d %q %s, want %d %q %s", name, tt.e.Identity, got, tt.e.State, tt.want, tt.labels, tt.wantState)
		}
	}
}

func TestAnAddWaitsToKnowItsPodButNotForEver(t *testing.T) {
	for name, tt := range map[string]struct {
		pod    state.PodName
		comes  time.Duration // after the request
		limit  time.Duration // of the request
		waited time.Duration
	}{
		"known already":      {web, -1, time.Minute, 0},
		"known soon":         {web, identityWait / 2, time.Minute, identityWait / 2},
		"never known":        {web, time.Hour, time.Minute, identityWait},
		"the request ends":   {web, time.Hour, identityWait / 4, identityWait / 4},
		"a pod without name": {state.PodName{}, time.Hour, time.Minute, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := control(t, 8)
			began := time.Now()
			know := func() { c.tables.PodIdentities.Put(state.PodIdentity{Pod: web, ID: 300}) }
			if tt.comes < 0 {
				know()
			} else {
				defer time.AfterFunc(tt.comes, know).Stop()
				// Others become known all the time.
				defer time.AfterFunc(time.Millisecond, func() { c.tables.PodIdentities.Put(state.PodIdentity{ID: 9}) }).Stop()
			}
			ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
			defer cancel()
			c.waitForIdentity(ctx, tt.pod)
			if waited := time.Since(began); waited != tt.waited {
				t.Errorf("%s: waited %v, want %v", name, waited, tt.waited)
			}
		})
	}
}

func TestALinkGoesUpOnlyWithThePolicyOfThisPodAndIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := control(t, 8)
		began := time.Now()
		c.tables.Endpoints.Put(state.Endpoint{ID: 3, Pod: web, Identity: 300})
		at := func(d time.Duration, do func()) { time.AfterFunc(d, do) }
		policy := func(pod state.PodName, id state.IdentityID) func() {
			return func() { c.tables.EndpointPolicies.Put(state.EndpointPolicy{Endpoint: 3, Pod: pod, Identity: id}) }
		}
		at(1*time.Second, policy(state.PodName{Namespace: "default", Name: "db"}, 300)) // who had the number before
		at(2*time.Second, policy(web, state.IdentityInit))
		at(3*time.Second, func() { c.tables.Endpoints.Put(state.Endpoint{ID: 3, Pod: web, Identity: 301}) })
		at(4*time.Second, policy(web, 300)) // it has another by now
		at(5*time.Second, policy(web, 301))
		if err := c.waitForPolicy(t.Context(), 3); err != nil || time.Since(began) != 5*time.Second {
			t.Errorf("waited %v: %v, want 5s", time.Since(began), err)
		}
	})
}

func TestAnAddWithoutPolicyFailsAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := control(t, 8)
		c.tables.Endpoints.Put(state.Endpoint{ID: 3, Pod: web, Identity: 300})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.waitForPolicy(ctx, 3); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "policy of endpoint 3, identity 300, is not in force") {
			t.Errorf("got %v", err)
		}
		time.AfterFunc(time.Second, func() { c.tables.Endpoints.Delete(3) })
		if err := c.waitForPolicy(t.Context(), 3); err == nil || !strings.Contains(err.Error(), "deleted meanwhile") {
			t.Errorf("got %v for an endpoint that was deleted", err)
		}
	})
}
