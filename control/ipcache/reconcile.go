package ipcache

import (
	"context"
	"log/slog"
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
	Underlay6 func() bool // whether tunnel endpoints are IPv6; asked at each step
}

// Control keeps weir_ipcache and the table ips in step with the other tables.
type Control struct {
	log    *slog.Logger
	opts   Options
	tables *state.Tables
	mirror *datapath.Mirror[bpf.IPCacheKey, bpf.IPCacheEntry]
}

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
// the map already.
func (c *Control) Step(context.Context) error {
	rows := compile(c.rows())
	entries := make(map[bpf.IPCacheKey]bpf.IPCacheEntry, len(rows))
	list := make([]state.IP, 0, len(rows))
	for _, row := range rows {
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
	if !c.tables.IPs.Synced() {
		c.tables.IPs.MarkSynced()
	}
	return nil
}

func (c *Control) rows() Rows {
	r := Rows{Cluster: c.opts.Cluster, Underlay6: c.opts.Underlay6(), Identities: state.IdentityIndex(c.tables.Identities.All())}
	for _, n := range c.tables.Nodes.All() {
		r.Nodes = append(r.Nodes, n)
	}
	for _, p := range c.tables.Pods.All() {
		r.Pods = append(r.Pods, p)
	}
	for _, e := range c.tables.Endpoints.All() {
		r.Endpoints = append(r.Endpoints, e)
	}
	for _, d := range c.tables.Devices.All() {
		for _, p := range d.Addrs {
			r.Host = append(r.Host, p.Addr())
			r.Underlay = append(r.Underlay, p.Masked())
		}
	}
	slices.SortFunc(r.Host, netip.Addr.Compare)
	return r
}
