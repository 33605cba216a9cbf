package service

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weir/bpf"
	"weir/datapath"
	"weir/internal/reconcile"
	"weir/state"
)

// Options is this slice's configuration.
type Options struct {
	IPv4, IPv6  bool             // families that are on
	Algorithm   state.Algorithm  // of services that do not say
	Forwarding  string           // likewise: "snat", "dsr" or "hybrid"
	Addresses   []netip.Prefix   // within which NodePorts are at this node's addresses; none: at all of them
	Ports       [2]uint16        // first and last that NodePorts may be; zero: any
	Generations Generations      // nil: no connection is older than a service
	Ready       func() error     // nil: always; otherwise why nothing may be derived, so that the maps stay as they are
	Now         func() time.Time // nil: the clock
}

// Control keeps the maps of services in step with the tables, and answers
// questions about what is in force.
type Control struct {
	log    *slog.Logger
	opts   Options
	tables *state.Tables
	maps   *datapath.ServiceMaps

	mu    sync.Mutex
	m     *model // nil: not read back yet
	rows  map[state.ServiceName]*state.Service
	view  view
	owned map[netip.Addr]string // by nodes

	withPorts  map[state.PodName]*state.Pod // pods of the cluster that have HostPorts
	hosted     map[state.PodName]*hosted    // those that are asked for
	hostedSeen uint64                       // revision of the nodes that they are of

	others []netip.Addr    // of the other nodes: where NodePorts are asked for, too
	void   map[uint32]bool // slots of addresses at which frontends have come

	seen   revisions
	failed bool // the last pass was not written to its end

	removed reconcile.Signal // the maps are current, or a backend has gone from them
}

// revisions of the tables as of the last step.
type revisions struct{ services, slices, nodes, devices, ips, pods, endpoints uint64 }

// New returns a Control that writes to maps.
func New(log *slog.Logger, o Options, t *state.Tables, m *datapath.ServiceMaps) *Control {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Control{log: log, opts: o, tables: t, maps: m, rows: map[state.ServiceName]*state.Service{},
		withPorts: map[state.PodName]*state.Pod{}, hosted: map[state.PodName]*hosted{}, void: map[uint32]bool{}}
}

// Run reconciles until ctx ends.
func (c *Control) Run(ctx context.Context) error {
	return reconcile.Loop(ctx, c.log, c.Step, c.tables.Services, c.tables.Slices, c.tables.Nodes, c.tables.Devices, c.tables.IPs,
		c.tables.Pods, c.tables.Endpoints)
}

// Step brings the maps to match the tables. A changed service or slice costs the
// work of its service; a change of this node costs that of all.
func (c *Control) Step(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opts.Ready != nil {
		if err := c.opts.Ready(); err != nil {
			return err
		}
	}
	if c.m == nil {
		m, err := restore(c.maps)
		if err != nil {
			return err
		}
		c.m = m
	}
	c.m.sets.space.wake(c.opts.Now())
	touched := c.follow()
	for _, of := range slices.SortedFunc(maps.Keys(touched), Owner.compare) {
		c.m.put(of, c.wish(of))
	}
	c.m.settle()
	for _, text := range c.m.news {
		c.log.Warn("a frontend is wanted twice", "conflict", text)
	}
	c.m.news = nil
	c.m.sweep(c.opts.Now())
	if c.failed {
		c.m.sets.replan()
	}
	err := c.write()
	if c.failed = err != nil; !c.failed && !c.removed.Synced() {
		c.removed.Set() // backends may have gone while no agent ran
	}
	return err
}

// follow takes in what has changed, and returns whose frontends may be other.
func (c *Control) follow() map[Owner]bool {
	services := map[state.ServiceName]bool{}
	c.followSlices(services)
	c.followServices(services)
	all := c.followNode(services)
	pods := c.followPods()
	touched := map[Owner]bool{}
	if all {
		touched = c.owners()
	}
	for name := range services {
		touched[ofService(name)] = true
	}
	for name := range pods {
		touched[ofPod(name)] = true
	}
	return touched
}

func (c *Control) followServices(touched map[state.ServiceName]bool) {
	services, rev, whole := c.tables.Services.Changes(c.seen.services)
	c.seen.services = rev
	if whole {
		for name := range c.rows {
			touched[name] = true
		}
		clear(c.rows)
	}
	for _, s := range services {
		touched[s.Key] = true
		if delete(c.rows, s.Key); !s.Deleted {
			row := s.Row
			c.rows[s.Key] = &row
		}
	}
}

func (c *Control) followSlices(touched map[state.ServiceName]bool) {
	list, rev, whole := c.tables.Slices.Changes(c.seen.slices)
	c.seen.slices = rev
	touch := func(name state.SliceName, row *state.Slice) {
		for _, s := range c.m.setSlice(name, row) {
			touched[s] = true
		}
	}
	there := make(map[state.SliceName]bool, len(list))
	for _, s := range list {
		there[s.Key] = !s.Deleted
		if s.Deleted {
			touch(s.Key, nil)
			continue
		}
		row := s.Row
		touch(s.Key, &row)
	}
	if !whole {
		return
	}
	for name := range maps.Clone(c.m.slices) {
		if !there[name] {
			touch(name, nil)
		}
	}
}

// followNode takes in nodes, this one's devices, and who has which address. It
// reports whether services depend on another view than before.
func (c *Control) followNode(touched map[state.ServiceName]bool) bool {
	ips, ipsRev, ipsWhole := c.tables.IPs.Changes(c.seen.ips)
	nodes, nodesRev, _ := c.tables.Nodes.Changes(c.seen.nodes)
	devices, devicesRev, _ := c.tables.Devices.Changes(c.seen.devices)
	first := c.view.taken == nil
	c.seen.ips, c.seen.nodes, c.seen.devices = ipsRev, nodesRev, devicesRev
	for _, i := range ips {
		for _, name := range c.m.vips[i.Key.Addr()] {
			touched[name] = true
		}
	}
	if !first && len(nodes)+len(devices) == 0 {
		return ipsWhole
	}
	old, was := c.view, c.owned
	c.look()
	for a := range c.m.vips {
		if was[a] != c.owned[a] {
			for _, name := range c.m.vips[a] {
				touched[name] = true
			}
		}
	}
	return first || ipsWhole || old.node != c.view.node || !slices.Equal(old.own, c.view.own) || !slices.Equal(old.named, c.view.named)
}

// write brings the maps to hold what is wanted: who is named before who names. What
// goes, goes in the reverse order. When something does not fit, whatever does not
// depend on it is written all the same; nothing is freed that an entry names.
func (c *Control) write() error {
	err := errors.Join(c.writeBackends(), c.writeSlots(), c.writeFrontends(), c.writeRanges())
	err = errors.Join(err, c.writeServices(err != nil))
	if err == nil {
		err = c.removeRanges()
	}
	err = errors.Join(err, c.judgeAnew())
	c.m.sweep(c.opts.Now())
	return errors.Join(err, c.writeBackends())
}

func (c *Control) writeBackends() error {
	if len(c.m.backends.dirty) == 0 {
		return nil
	}
	rows := c.m.backends.rows()
	_, err := c.maps.Backends.Write(rows, nil)
	gone := false
	for n, row := range rows {
		if got, ok := c.maps.Backends.Get(n); ok && got == row {
			delete(c.m.backends.dirty, n)
			gone = gone || row.Addr == (bpf.Addr{})
		}
	}
	if gone {
		c.removed.Set()
	}
	return err
}

func (c *Control) writeFrontends() error {
	if len(c.m.frontends.dirty) == 0 {
		return nil
	}
	_, err := c.maps.Frontends.Write(c.m.frontends.rows(), nil)
	for k := range c.m.frontends.dirty {
		if got, ok := c.maps.Frontends.Get(c.m.frontends.of[k]); ok && got == frontendRow(k) {
			delete(c.m.frontends.dirty, k)
		}
	}
	return err
}

// run is rows of weir_slots that follow each other, with the sets that they are of.
type run struct {
	first uint32
	rows  []bpf.Slots
	sets  []*set
}

// longRun is how many rows are written at once.
const longRun = 4096

func (c *Control) writeSlots() error {
	s := c.m.sets
	if len(s.unwritten) == 0 {
		return nil
	}
	err := c.maps.Slots.Reserve(s.space.end)
	var r run
	flush := func() {
		if e := c.maps.Slots.WriteRows(r.first, r.rows); e != nil && len(r.sets) > 0 {
			if err == nil {
				err = e
			}
			return
		}
		for _, x := range r.sets {
			x.written = true
			delete(s.unwritten, x)
		}
	}
	for _, x := range slices.SortedFunc(maps.Keys(s.unwritten), func(a, b *set) int { return cmp.Compare(a.span.first, b.span.first) }) {
		if err != nil || x.span.first != r.first+uint32(len(r.rows)) || len(r.rows) >= longRun {
			flush()
			r = run{first: x.span.first, rows: r.rows[:0]}
		}
		r.rows, r.sets = append(r.rows, x.rows()...), append(r.sets, x)
	}
	flush()
	return err
}

func (c *Control) writeRanges() error {
	put := map[bpf.SourceRange]uint32{}
	for r := range c.m.dirty.ranges {
		if c.m.ranges[r] {
			put[r] = 1
		}
	}
	_, err := c.maps.SourceRanges.Write(put, nil)
	for r := range put {
		if _, ok := c.maps.SourceRanges.Get(r); ok {
			delete(c.m.dirty.ranges, r)
		}
	}
	return err
}

func (c *Control) removeRanges() error {
	gone := slices.Collect(maps.Keys(c.m.dirty.ranges))
	_, err := c.maps.SourceRanges.Write(nil, gone)
	if err == nil {
		clear(c.m.dirty.ranges)
	}
	return err
}

// writeServices writes the entries whose frontends may be other. With careful those
// are left as they are that name what is not in the maps.
func (c *Control) writeServices(careful bool) error {
	put, named := map[bpf.ServiceKey]bpf.Service{}, map[bpf.ServiceKey][2]*set{}
	var gone []bpf.ServiceKey
	for k := range c.m.dirty.keys {
		v, sets, wanted := c.m.entry(k)
		switch {
		case !wanted:
			gone = append(gone, k)
		case !careful || c.complete(k, sets):
			put[k], named[k] = v, sets
		}
	}
	_, err := c.maps.Services.Write(put, nil)
	for k, v := range put {
		if got, ok := c.maps.Services.Get(k); ok && got == v {
			if !c.m.claims[k].held {
				c.opened(k)
			}
			c.m.wrote(k, named[k])
		}
	}
	_, err2 := c.maps.Services.Write(nil, gone)
	for _, k := range gone {
		if _, ok := c.maps.Services.Get(k); !ok {
			c.m.removed(k)
		}
	}
	return errors.Join(err, err2)
}

// complete reports whether all that an entry names is in the maps.
func (c *Control) complete(k bpf.ServiceKey, named [2]*set) bool {
	if c.m.frontends.dirty[k] || slices.ContainsFunc(c.m.claims[k].owner.ranges, func(r bpf.SourceRange) bool { return c.m.dirty.ranges[r] }) {
		return false
	}
	for _, s := range named {
		if s != nil && (!s.written || slices.ContainsFunc(s.members, func(b *backend) bool { return c.m.backends.dirty[b.number] })) {
			return false
		}
	}
	return true
}
