package identity

import (
	"context"
	"log/slog"
	"time"

	"weir/internal/reconcile"
	"weir/internal/table"
	"weir/state"
)

const (
	// linger is for how long what is not needed any more is kept: labels that no
	// policy sees, numbers that the cluster withdrew, identities that nobody has.
	linger = 30 * time.Second
	tick   = 5 * time.Second // how often that is looked after
)

// Options is this slice's configuration.
type Options struct {
	Cluster string
	Former  []state.Identity // what numbers meant to the agent before, whose maps still have them
	Now     func() time.Time // nil: the clock
}

// Control keeps identities and podIdentities in step with the other tables.
type Control struct {
	log    *slog.Logger
	opts   Options
	tables *state.Tables

	seen    revisions
	sight   sight
	sets    sets
	cluster cluster
	local   locals
	idle    map[state.IdentityID]time.Time // identities that nobody has, since when
	held    held
}

// revisions of the tables as of the last step.
type revisions struct{ pods, namespaces, policies, services, cluster uint64 }

// New returns a Control.
func New(log *slog.Logger, o Options, t *state.Tables) *Control {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Control{log: log, opts: o, tables: t, sight: newSight(), sets: newSets(), cluster: newCluster(),
		local: locals{}, idle: map[state.IdentityID]time.Time{}, held: newHeld()}
	for _, i := range o.Former {
		if i.ID >= state.IdentityLocal {
			c.local[i.ID] = digest(i.Labels.Key())
		}
	}
	return c
}

// Run reconciles until ctx ends.
func (c *Control) Run(ctx context.Context) error {
	return reconcile.Loop(ctx, c.log, c.Step, c.tables.Pods, c.tables.Namespaces, c.tables.Policies,
		c.tables.Services, c.tables.ClusterIdentities, judged{c.tables.JudgedIdentities}, reconcile.Every(ctx, tick))
}

// Step brings the tables up to date. A changed pod costs its own work; a changed
// namespace, or another view of the policies, that of the pods concerned.
func (c *Control) Step(context.Context) error {
	now := c.opts.Now()
	grown, dropped := c.look(now)
	d := newDiff()
	c.held.again(d, grown, dropped)
	for name := range c.dirty(grown, dropped) {
		c.assign(name, d)
	}
	c.followCluster(now, d)
	for key := range d.sets {
		c.renumber(key, now, d)
	}
	c.retire(now, d)
	c.write(now, d, grown, dropped)
	return nil
}

// look finds out which labels have become visible, and which ones no longer are.
func (c *Control) look(now time.Time) (grown, dropped state.Visible) {
	policies, policiesRev, _ := c.tables.Policies.Changes(c.seen.policies)
	services, servicesRev, _ := c.tables.Services.Changes(c.seen.services)
	c.seen.policies, c.seen.services = policiesRev, servicesRev
	if len(policies) > 0 || len(services) > 0 {
		c.sight.wanted = state.VisibleLabels(c.tables.Policies.All(), c.tables.Services.All())
	}
	return c.sight.follow(now)
}

// dirty returns the pods whose labels may be others now.
func (c *Control) dirty(grown, dropped state.Visible) map[state.PodName]bool {
	out := map[state.PodName]bool{}
	for _, p := range changes(c.tables.Pods, &c.seen.pods, c.sets.of) {
		out[p.Key] = true
	}
	for _, n := range changes(c.tables.Namespaces, &c.seen.namespaces, c.sets.namespaces) {
		for name := range c.sets.namespaces[n.Key] {
			out[name] = true
		}
	}
	if len(grown)+len(dropped) == 0 {
		return out
	}
	other := state.Visible{}
	for _, keys := range []state.Visible{grown, dropped} {
		for key := range keys {
			other[key] = true
		}
	}
	least := len(state.IdentityLabels(state.Pod{}, nil, c.opts.Cluster, nil))
	for name := range c.sets.of {
		if labels, ok := c.labels(name, other); ok && len(labels) > least {
			out[name] = true
		}
	}
	return out
}

// labels returns what can be seen of a pod; false when it has no identity of
// its own.
func (c *Control) labels(name state.PodName, v state.Visible) (state.Labels, bool) {
	p, ok := c.tables.Pods.Get(name)
	if !ok || p.HostNetwork {
		return nil, false
	}
	n, _ := c.tables.Namespaces.Get(name.Namespace)
	return state.IdentityLabels(p, n.Labels, c.opts.Cluster, v), true
}

// changes returns what changed in a table since *rev. When the table does not
// remember, that is every row, and every key of have that has none.
func changes[K comparable, R table.Row, V any](t *table.Table[K, R], rev *uint64, have map[K]V) []table.Change[K, R] {
	list, now, whole := t.Changes(*rev)
	*rev = now
	if !whole {
		return list
	}
	there := map[K]bool{}
	for _, c := range list {
		there[c.Key] = true
	}
	for k := range have {
		if !there[k] {
			list = append(list, table.Change[K, R]{Key: k, Deleted: true})
		}
	}
	return list
}
