package endpoint

import (
	"context"
	"errors"
	"net/netip"
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
			c.waitForIdentity(ctx, state.Endpoint{Pod: tt.pod})
			if waited := time.Since(began); waited != tt.waited {
				t.Errorf("%s: waited %v, want %v", name, waited, tt.waited)
			}
		})
	}
}

// An ADD waits for its address while others get theirs, and is refused where nothing goes on.
func TestAnAddIsRefusedWhenNothingGoesOn(t *testing.T) {
	for name, tt := range map[string]struct {
		every  time.Duration // others change the table
		waited time.Duration
	}{
		"nothing goes on": {time.Hour, stalled},
		"others go on":    {stalled / 2, time.Minute}, // as long as the request may
	} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := control(t, 8)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			go func() {
				others := time.NewTicker(tt.every)
				defer others.Stop()
				for n := 0; ; n++ {
					select {
					case <-others.C:
						c.tables.IPs.Put(state.IP{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(n)}), 32)})
					case <-ctx.Done():
						return
					}
				}
			}()
			began := time.Now()
			err := c.waitForIPs(ctx, state.Endpoint{ID: 7, IPv4: netip.MustParseAddr("10.0.0.7")})
			if waited := time.Since(began); !errors.Is(err, ErrNotReady) || waited != tt.waited {
				t.Errorf("%s: %v after %v, want %v after %v", name, err, waited, ErrNotReady, tt.waited)
			}
			cancel()
			synctest.Wait()
		})
	}
}

func TestAnAddWaitsForItsOwnPodNotForOneOfItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := control(t, 8)
		c.opts.Node = "n1"
		c.tables.Pods.Put(state.Pod{Name: web, Node: "n2"})
		c.tables.PodIdentities.Put(state.PodIdentity{Pod: web, ID: 300})
		began := time.Now()
		defer time.AfterFunc(identityWait/2, func() { c.tables.Pods.Put(state.Pod{Name: web, Node: "n1", UID: "new"}) }).Stop()
		c.waitForIdentity(t.Context(), state.Endpoint{Pod: web, PodUID: "new"})
		if waited := time.Since(began); waited != identityWait/2 {
			t.Errorf("waited %v, want %v", waited, identityWait/2)
		}
	})
}

// The object of a pod on a lost node can be deleted while it runs; a StatefulSet
// then makes one of the same name elsewhere, with other labels.
func TestAnEndpointKeepsItsIdentityWhenItsNameIsAnotherPods(t *testing.T) {
	const cluster, namespace = "k8s:io.cilium.k8s.policy.cluster=lab", "k8s:io.kubernetes.pod.namespace=default"
	labels := state.Labels{"k8s:app=a", "k8s:hash=1", cluster, namespace}
	had := state.Endpoint{Pod: web, PodUID: "old", Identity: 299, Labels: labels, State: state.EndpointReady}
	unknown := had
	unknown.PodUID = ""
	for name, tt := range map[string]struct {
		e       state.Endpoint
		pod     state.Pod
		means   state.Labels // number 299, nil: nothing
		visible []string
		want    state.IdentityID
	}{
		"its own row":             {had, state.Pod{Node: "n1", UID: "old"}, state.Labels{"k8s:app=a", cluster, namespace}, nil, 300},
		"a row without UID":       {had, state.Pod{Node: "n1"}, state.Labels{"k8s:app=a", cluster, namespace}, nil, 300},
		"an endpoint without":     {unknown, state.Pod{Node: "n1", UID: "new"}, state.Labels{"k8s:app=a", cluster, namespace}, nil, 300},
		"on another node":         {unknown, state.Pod{Node: "n2"}, state.Labels{"k8s:app=a", cluster, namespace}, nil, 299},
		"not scheduled yet":       {had, state.Pod{UID: "new"}, state.Labels{"k8s:app=a", cluster, namespace}, nil, 299},
		"of another UID":          {had, state.Pod{Node: "n1", UID: "new"}, state.Labels{"k8s:app=a", cluster, namespace}, []string{"k8s:app"}, 299},
		"the number is gone":      {had, state.Pod{Node: "n2"}, nil, nil, state.IdentityInit},
		"the number is another's": {had, state.Pod{Node: "n2"}, state.Labels{"k8s:app=b", cluster, namespace}, nil, state.IdentityInit},
		"it does not tell enough": {had, state.Pod{Node: "n2"}, state.Labels{"k8s:app=a", cluster, namespace}, []string{"k8s:hash"}, state.IdentityInit},
		"it had none":             {state.Endpoint{Pod: web}, state.Pod{Node: "n2"}, state.Labels{"k8s:app=a", cluster, namespace}, nil, state.IdentityInit},
	} {
		c, _ := control(t, 8)
		c.opts.Cluster, c.opts.Node = "lab", "n1"
		tt.pod.Name, tt.pod.Labels = web, map[string]string{"app": "other"}
		c.tables.Pods.Put(tt.pod)
		c.tables.PodIdentities.Put(state.PodIdentity{Pod: web, ID: 300})
		for _, key := range tt.visible {
			c.tables.VisibleLabels.Put(state.VisibleLabel{Key: key})
		}
		if tt.means != nil {
			c.tables.Identities.Put(state.Identity{ID: 299, Labels: tt.means})
		}
		before := tt.e.Labels
		c.identify(&tt.e)
		if tt.e.Identity != tt.want {
			t.Errorf("%s: got identity %d, want %d", name, tt.e.Identity, tt.want)
		}
		if tt.want != 300 && len(before) > 0 && tt.e.Labels.Key() != before.Key() {
			t.Errorf("%s: got the labels %q of another pod", name, tt.e.Labels)
		}
	}
}

func TestARecoveredEndpointIsThePodOfThisNodeWithItsAddress(t *testing.T) {
	c, _ := control(t, 8)
	c.opts.Node = "n1"
	ip := netip.MustParseAddr("10.0.0.9")
	pod := func(name, node string, born int64, deleting bool) state.Pod {
		return state.Pod{Name: state.PodName{Namespace: "default", Name: name}, Node: node, UID: name, IPs: []netip.Addr{ip},
			Created: time.Unix(born, 0), Deleting: deleting}
	}
	c.tables.Pods.Put(pod("far", "n2", 9, false), pod("old", "n1", 1, false), pod("ends", "n1", 8, true), pod("young", "n1", 2, false))
	if name, uid := c.podOf(state.Endpoint{IPv4: ip}); name.Name != "young" || uid != "young" {
		t.Errorf("got %s, UID %s", name, uid)
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
