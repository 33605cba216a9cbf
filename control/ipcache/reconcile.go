package ipcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"

	"weir/bpf"
	"weir/datapath"
	"weir/internal/reconcile"
	"weir/state"
)

// Options is this slice's configuration.
type Options struct {
	Cluster   string
	Underlay6 func() bool  // whether tunnel endpoints are IPv6; asked when nodes change
	Ready     func() error // nil: always; otherwise why nothing may be derived, so that the map stays as it is
}

// Control keeps weir_ipcache and the table ips in step with the other tables.
type Control struct {
	log    *slog.Logger
	opts   Options
	tables *state.Tables
	mirror *datapath.Mirror[bpf.IPCacheKey, bpf.IPCacheEntry]

	book  *book // nil: everything is to be derived again
	view  view
	seen  revisions
	pods  map[string]map[state.PodName]bool // by labels: whom an identity concerns
	keyOf map[state.IdentityID]string       // labels of each identity
	label map[state.PodName]string          // labels of each pod
}

// revisions of the tables as of the last step.
type revisions struct{ nodes, devices, pods, identities, endpoints uint64 }

// New returns a Control that writes to mirror.
func New(log *slog.Logger, o Options, t *state.Tables, m *datapath.Mirror[bpf.IPCacheKey, bpf.IPCacheEntry]) *Control {
	return &Control{log: log, opts: o, tables: t, mirror: m}
}

// Run reconciles until ctx ends.
func (c *Control) Run(ctx context.Context) error {
	return reconcile.Loop(ctx, c.log, c.Step, c.tables.Nodes, c.tables.Pods, c.tables.Identities,
		c.tables.Endpoints, c.tables.Devices)
}

// Step brings the map and then the table to match: a row of the table is in
// the map already. Changed pods, endpoints and identities cost what they
// concern; nodes and devices, which are few and change seldom, cost everything.
func (c *Control) Step(context.Context) error {
	if c.opts.Ready != nil {
		if err := c.opts.Ready(); err != nil {
			return err
		}
	}
	touched, whole := c.follow()
	var err error
	if whole {
		err = c.writeAll()
	} else {
		err = c.write(touched)
	}
	if err != nil {
		c.book = nil // what was written is not known here: the mirror compares
		return err
	}
	if !c.tables.IPs.Synced() {
		c.tables.IPs.MarkSynced()
	}
	return nil
}

// follow brings the book up to date. It returns the prefixes that may have
// another winner, or that everything is to be compared.
func (c *Control) follow() (touched map[netip.Prefix]bool, whole bool) {
	touched = map[netip.Prefix]bool{}
	nodes, nodesRev, _ := c.tables.Nodes.Changes(c.seen.nodes)
	devices, devicesRev, _ := c.tables.Devices.Changes(c.seen.devices)
	identities, identitiesRev, lost1 := c.tables.Identities.Changes(c.seen.identities)
	pods, podsRev, lost2 := c.tables.Pods.Changes(c.seen.pods)
	endpoints, endpointsRev, lost3 := c.tables.Endpoints.Changes(c.seen.endpoints)
	c.seen = revisions{nodesRev, devicesRev, podsRev, identitiesRev, endpointsRev}
	if c.book == nil || lost1 || lost2 || lost3 || len(nodes) > 0 || len(devices) > 0 {
		c.rebuild()
		return nil, true
	}
	again := map[state.PodName]bool{}
	for _, i := range identities {
		for _, labels := range []string{c.keyOf[i.Key], i.Row.Labels.Key()} {
			maps.Copy(again, c.pods[labels])
		}
		c.noteIdentity(i.Key, i.Row, i.Deleted)
	}
	if len(identities) > 0 {
		c.view.identities = state.IdentityIndex(c.tables.Identities.All())
	}
	for _, p := range pods {
		c.notePod(p.Key, p.Row, p.Deleted)
		again[p.Key] = true
	}
	for name := range again {
		p, _ := c.tables.Pods.Get(name)
		c.book.set(owner{"pod", name.String()}, c.view.podClaims(p), touched)
	}
	for _, e := range endpoints {
		c.book.set(owner{"endpoint", fmt.Sprint(e.Key)}, endpointClaims(e.Row), touched)
	}
	return touched, false
}

// rebuild derives the whole book from the tables as they are.
func (c *Control) rebuild() {
	c.book, c.pods = newBook(), map[string]map[state.PodName]bool{}
	c.keyOf, c.label = map[state.IdentityID]string{}, map[state.PodName]string{}
	c.view = view{cluster: c.opts.Cluster, underlay6: c.opts.Underlay6(), nodes: map[string]state.Node{},
		identities: state.IdentityIndex(c.tables.Identities.All()), underlay: state.Networks(c.tables.Devices.All())}
	all := map[netip.Prefix]bool{}
	for _, d := range c.tables.Devices.All() {
		c.book.set(owner{"device", d.Name}, deviceClaims(d), all)
	}
	for _, n := range c.tables.Nodes.All() {
		c.view.nodes[n.Name] = n
	}
	for _, n := range c.view.nodes {
		c.book.set(owner{"node", n.Name}, c.view.nodeClaims(n), all)
	}
	for id, i := range c.tables.Identities.All() {
		c.noteIdentity(id, i, false)
	}
	for name, p := range c.tables.Pods.All() {
		c.notePod(name, p, false)
		c.book.set(owner{"pod", name.String()}, c.view.podClaims(p), all)
	}
	for id, e := range c.tables.Endpoints.All() {
		c.book.set(owner{"endpoint", fmt.Sprint(id)}, endpointClaims(e), all)
	}
	c.book.set(owner{"world", ""}, worldClaims(), all)
}

func (c *Control) noteIdentity(id state.IdentityID, i state.Identity, deleted bool) {
	if deleted {
		delete(c.keyOf, id)
		return
	}
	c.keyOf[id] = i.Labels.Key()
}

func (c *Control) notePod(name state.PodName, p state.Pod, deleted bool) {
	old := c.label[name]
	if delete(c.pods[old], name); len(c.pods[old]) == 0 {
		delete(c.pods, old)
	}
	delete(c.label, name)
	if deleted {
		return
	}
	labels := c.view.labelsOf(p)
	if c.pods[labels] == nil {
		c.pods[labels] = map[state.PodName]bool{}
	}
	c.pods[labels][name] = true
	c.label[name] = labels
}

// writeAll compares every row with what the map holds.
func (c *Control) writeAll() error {
	entries := make(map[bpf.IPCacheKey]bpf.IPCacheEntry, len(c.book.claims))
	list := make([]state.IP, 0, len(c.book.claims))
	for p := range c.book.claims {
		row, _ := c.book.winner(p)
		k, v := entry(row)
		entries[k] = v
		list = append(list, row)
	}
	changes, err := c.mirror.Apply(entries)
	if err != nil {
		return err
	}
	if changes.Any() {
		c.log.Debug("ipcache applied", "added", changes.Added, "updated", changes.Updated, "deleted", changes.Deleted)
	}
	c.tables.IPs.Replace(list, func(a, b state.IP) bool { return a == b })
	return nil
}

// write writes the rows of the touched prefixes; those that go, go first.
func (c *Control) write(touched map[netip.Prefix]bool) error {
	var (
		gone []netip.Prefix
		put  []state.IP
		errs []error
	)
	for p := range touched {
		if row, ok := c.book.winner(p); ok {
			put = append(put, row)
		} else {
			gone = append(gone, p)
		}
	}
	for _, p := range gone {
		errs = append(errs, c.mirror.Delete(bpf.IPCacheKeyFrom(p)))
	}
	for _, row := range put {
		errs = append(errs, c.mirror.Set(entry(row)))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	put = slices.DeleteFunc(put, func(row state.IP) bool {
		old, ok := c.tables.IPs.Get(row.Prefix)
		return ok && old == row
	})
	if len(gone) > 0 {
		c.tables.IPs.Delete(gone...)
	}
	if len(put) > 0 {
		c.tables.IPs.Put(put...)
	}
	return nil
}
