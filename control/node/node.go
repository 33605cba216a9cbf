// Package node keeps the routes of this host to the pods of every node, its
// own included, and the neighbour entries of the other nodes.
//
// It reads the nodes and devices tables and writes no table. Routes carry the
// protocol number route.Nodes; whatever has another one is left alone. Nothing
// is removed before both tables are synced, and what somebody else removes or
// replaces is put back. Packets between pods do not depend on these routes
// where programs forward them; packets of the host itself do.
package node

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"weir/datapath/link"
	"weir/datapath/route"
	"weir/internal/reconcile"
	"weir/state"
)

// Options is this slice's configuration.
type Options struct {
	Tunnel     bool   // otherwise native routing
	Direct     bool   // native: a route to each node on the same link (autoDirectNodeRoutes)
	IPv4, IPv6 bool   // families that pods have
	MTU        int    // of the underlay; 0: that of its devices
	Underlay   string // "auto", "ipv4" or "ipv6": outer addresses of the tunnel
}

// Control keeps the routes in step with the tables.
type Control struct {
	log    *slog.Logger
	opts   Options
	tables *state.Tables
	said   string // the nodes without a route that were logged last
}

// New returns a Control.
func New(log *slog.Logger, o Options, t *state.Tables) *Control {
	return &Control{log: log.With("room", "node"), opts: o, tables: t}
}

// Run reconciles until ctx ends.
func (c *Control) Run(ctx context.Context) error {
	events, err := link.Subscribe(matters, link.Links, link.Routes, link.Neighbors)
	if err != nil {
		return err
	}
	return reconcile.LoopLive(ctx, c.log, c.step, events, c.tables.Nodes, c.tables.Devices)
}

// matters picks the events after which something of ours may be missing. The
// kernel drops IPv4 routes without a word when their device goes down, hence
// the devices, other than those of pods.
func matters(e link.Event) bool {
	switch e.Topic {
	case link.Links:
		return e.Device == link.HostName || !strings.HasPrefix(e.Device, "weir")
	case link.Routes:
		mine := e.Protocol == int(route.Nodes)
		return mine && e.Removed || !mine && e.Replaced
	case link.Neighbors:
		return e.Removed && e.Protocol == int(route.Nodes)
	}
	return false
}

func (c *Control) step(context.Context) error {
	in, err := c.read()
	if errors.Is(err, errTooEarly) {
		return nil // the table or device that is awaited wakes us
	}
	if err != nil {
		return err
	}
	want := compile(in)
	routes, errRoutes := route.Apply(route.Nodes, want.Routes)
	neighbors, errNeighbors := route.ApplyNeighbors(route.Nodes, want.Neighbors)
	if routes != (route.Changes{}) || neighbors != (route.Changes{}) {
		c.log.Info("node routes applied", "added", routes.Added, "replaced", routes.Replaced, "removed", routes.Removed,
			"neighbors_added", neighbors.Added, "neighbors_removed", neighbors.Removed)
	}
	c.report(want.Skipped)
	return errors.Join(errRoutes, errNeighbors)
}

var errTooEarly = errors.New("too early")

func (c *Control) read() (input, error) {
	in := input{Options: c.opts}
	in.Nodes = c.tables.Nodes.Rows(func(a, b state.Node) int { return strings.Compare(a.Name, b.Name) })
	in.Devices = c.tables.Devices.Rows(func(a, b state.Device) int { return strings.Compare(a.Name, b.Name) })
	// A node that has no pod CIDR at the moment leaves its routes: kubelets probe by them.
	if !slices.ContainsFunc(in.Nodes, func(n state.Node) bool { return n.Local && len(n.PodCIDRs) > 0 && len(n.Routers) > 0 }) {
		return in, errTooEarly
	}
	if len(in.Devices) == 0 {
		return in, errTooEarly
	}
	host, err := link.Find(link.HostName)
	if errors.Is(err, link.ErrNotFound) || (err == nil && !link.IsUp(link.HostName)) {
		return in, errTooEarly // its event wakes us
	}
	in.Host = host.Index
	return in, err
}

func (c *Control) report(skipped []string) {
	say := strings.Join(skipped, ", ")
	if say != c.said && say != "" {
		c.log.Warn("pod CIDRs without a route of ours: the underlay must route them", "skipped", skipped)
	}
	c.said = say
}
