package endpoint

import (
	"context"
	"fmt"
	"time"

	"weir/state"
)

// identityWait bounds how long an ADD waits to know whose pod it is: the API
// server had the object before the runtime was asked, and tells us soon.
const identityWait = 500 * time.Millisecond

// stalled is how long an ADD waits for a table in which nothing changes. Where many wait
// there is much to change, and they wait for as long as they may.
const stalled = 4 * time.Second

// awaitChange waits for one of the tables that wake; an error says why there will be none.
func awaitChange(ctx context.Context, wake <-chan struct{}) error {
	select {
	case <-wake:
		return nil
	case <-time.After(stalled):
		return fmt.Errorf("nothing has changed for %s", stalled)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// identify sets identity, labels and state; a pod that is not known yet is
// reserved:init. The labels are all that the pod has, for people.
func (c *Control) identify(e *state.Endpoint) {
	if e.Recovered && e.Pod == (state.PodName{}) {
		e.Pod, e.PodUID = c.podOf(*e)
	}
	e.Identity, e.Labels = c.identityOf(*e)
	if e.State == state.EndpointRestoring || e.State == state.EndpointNotReady || e.State == state.EndpointCreating {
		return
	}
	e.State = state.EndpointReady
	if e.Identity == state.IdentityInit {
		e.State = state.EndpointIdentity
	}
}

func (c *Control) identityOf(e state.Endpoint) (state.IdentityID, state.Labels) {
	if e.Health {
		return state.IdentityHealth, state.Labels{state.IdentityHealth.Reserved()}
	}
	p, known := c.tables.Pods.Get(e.Pod)
	i, numbered := c.tables.PodIdentities.Get(e.Pod)
	switch {
	case known && !e.IsOf(p, c.opts.Node):
		return c.kept(e)
	case known && numbered:
		return i.ID, state.PodLabels(p, c.opts.Cluster)
	case !known && e.Recovered:
		return e.Identity, e.Labels // as its row had it
	case known:
		return state.IdentityInit, state.PodLabels(p, c.opts.Cluster)
	}
	return state.IdentityInit, state.Labels{state.IdentityInit.Reserved()}
}

// waitForIdentity returns when the endpoint's pod has a number, or when it has
// waited long enough: the endpoint then begins as reserved:init.
func (c *Control) waitForIdentity(ctx context.Context, e state.Endpoint) {
	if e.Pod == (state.PodName{}) {
		return
	}
	wake := make(chan struct{}, 1)
	defer c.tables.PodIdentities.Notify(wake)()
	defer c.tables.Pods.Notify(wake)()
	ctx, cancel := context.WithTimeout(ctx, identityWait)
	defer cancel()
	for {
		p, known := c.tables.Pods.Get(e.Pod)
		_, numbered := c.tables.PodIdentities.Get(e.Pod)
		if numbered && (!known || e.IsOf(p, c.opts.Node)) {
			return
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
	}
}

// waitForPolicy returns when the policy of the endpoint, as it is now, is in
// force.
func (c *Control) waitForPolicy(ctx context.Context, id state.EndpointID) error {
	wake := make(chan struct{}, 1)
	defer c.tables.EndpointPolicies.Notify(wake)()
	defer c.tables.Endpoints.Notify(wake)()
	for {
		e, there := c.tables.Endpoints.Get(id)
		if !there {
			return fmt.Errorf("endpoint %d was deleted meanwhile", id)
		}
		if p, ok := c.tables.EndpointPolicies.Get(id); ok && p.Pod == e.Pod && p.Identity == e.Identity {
			return nil
		}
		if err := awaitChange(ctx, wake); err != nil {
			return fmt.Errorf("%w: the policy of endpoint %d, identity %d, is not in force: %w", ErrNotReady, id, e.Identity, err)
		}
	}
}
