package ipcache

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"weir/bpf"
	"weir/datapath"
	"weir/internal/reconcile"
	"weir/state"
)

// Options is this slice's configuration.
type Options struct {
	Dual      bool         // both families are on: the world has an identity for each
	Nodes     int          // rows of weir_nodes
	Underlay6 func() bool  // whether tunnel endpoints are IPv6; asked when nodes change
	Ready     func() error // nil: always; otherwise why nothing may be derived, so that the map stays as it is
}

// Maps are what the slice writes.
type Maps struct {
	IPCache     *datapath.Mirror[bpf.IPCacheKey, bpf.IPCacheEntry]
	Nodes       *datapath.Mirror[uint32, bpf.Node]
	Generations Generations
}

// Control keeps the maps and the table ips in step with the other tables.
type Control struct {
	log    *slog.Logger
	opts   Options
	tables *state.Tables
	maps   Maps

	book  *book // nil: everything is to be derived again
	view  view
	seen  revisions
	nodes *numbers // nil: not read back yet
	void  voids
}

// revisions of the tables as of the last step.
type revisions struct{ nodes, devices, addrs, pods, identities, endpoints uint64 }

// New returns a Control that writes to the maps.
func New(log *slog.Logger, o Options, t *state.Tables, m Maps) *Control {
	return &Control{log: log, opts: o, tables: t, maps: m}
}

// Run reconciles until ctx ends.
func (c *Control) Run(ctx context.Context) error {
	return reconcile.Loop(ctx, c.log, c.Step, c.tables.Nodes, c.tables.Pods, c.tables.PodIdentities,
		c.tables.Endpoints, c.tables.Devices, c.tables.HostAddresses)
}

// Step brings the maps and then the table to match: a row of the table is in
// the maps already. Changed pods, endpoints and identities cost what they
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
	if err == nil && c.nodes.again() {
		c.rebuild()
		err = c.writeAll()
	}
	if err != nil {
		c.book = nil // what was written is not known here: the mirrors compare
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
	addrs, addrsRev, lost4 := c.tables.HostAddresses.Changes(c.seen.addrs)
	identities, identitiesRev, lost1 := c.tables.PodIdentities.Changes(c.seen.identities)
	pods, podsRev, lost2 := c.tables.Pods.Changes(c.seen.pods)
	endpoints, endpointsRev, lost3 := c.tables.Endpoints.Changes(c.seen.endpoints)
	c.seen = revisions{nodesRev, devicesRev, addrsRev, podsRev, identitiesRev, endpointsRev}
	if c.book == nil || lost1 || lost2 || lost3 || lost4 || len(nodes) > 0 || len(devices) > 0 {
		c.rebuild()
		return nil, true
	}
	for _, a := range addrs {
		c.book.set(owner{"address", a.Key.String()}, life{}, c.view.hostClaims(a.Row), touched)
	}
	again := map[state.PodName]bool{}
	for _, i := range identities {
		again[i.Key] = true
	}
	for _, p := range pods {
		again[p.Key] = true
	}
	for name := range again {
		p, _ := c.tables.Pods.Get(name)
		c.book.set(owner{"pod", name.String()}, podLife(p), c.view.podClaims(p), touched)
	}
	for _, e := range endpoints {
		c.book.set(owner{"endpoint", fmt.Sprint(e.Key)}, life{}, endpointClaims(e.Row), touched)
	}
	return touched, false
}

// rebuild derives the whole book from the tables as they are.
func (c *Control) rebuild() {
	c.book = newBook()
	c.view = view{dual: c.opts.Dual, underlay6: c.opts.Underlay6(), nodes: map[string]state.Node{},
		identity: c.tables.PodIdentities.Get, underlay: state.Networks(c.tables.Devices.All())}
	if c.nodes == nil {
		c.nodes = newNumbers(c.maps.Nodes, c.opts.Nodes)
	}
	for _, n := range c.tables.Nodes.All() {
		c.view.nodes[n.Name] = n
		if n.Local {
			c.view.local = n.Addresses
			c.view.leaving = leaving(c.tables.Devices.All(), n)
		}
	}
	all := map[netip.Prefix]bool{}
	for _, d := range c.tables.Devices.All() {
		c.book.set(owner{"device", d.Name}, life{}, c.view.deviceClaims(d), all)
	}
	for at, a := range c.tables.HostAddresses.All() {
		c.book.set(owner{"address", at.String()}, life{}, c.view.hostClaims(a), all)
	}
	for _, n := range c.view.nodes {
		c.book.set(owner{"node", n.Name}, life{}, c.view.nodeClaims(n), all)
	}
	for name, p := range c.tables.Pods.All() {
		c.book.set(owner{"pod", name.String()}, podLife(p), c.view.podClaims(p), all)
	}
	for id, e := range c.tables.Endpoints.All() {
		c.book.set(owner{"endpoint", fmt.Sprint(id)}, life{}, endpointClaims(e), all)
	}
	c.book.set(owner{"world", ""}, life{}, c.view.worldClaims(), all)
}
