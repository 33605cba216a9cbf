// Package health tells whether the nodes can reach each other, and each
// other's pods: every node answers on its own addresses and on those of its
// health endpoint, a network namespace set up like a pod, and every node asks
// all nodes for both, itself included.
//
// It is the one writer of the peers table. The namespace is kept by a bind
// mount, so that it outlives the agent; the endpoint in it is made by an
// Attacher. Nothing here decides whether traffic flows.
package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"weir/datapath/link"
	"weir/internal/reconcile"
	"weir/internal/run"
	"weir/state"
)

// Device is the host side of the health endpoint, Interface its other side.
const (
	Device    = "weir_health"
	Interface = "eth0"
)

// Attacher makes and unmakes the endpoint of the health namespace.
type Attacher interface {
	// Attach makes an endpoint with Health set, whose host side is Device and
	// whose interface in the namespace is Interface.
	Attach(ctx context.Context, netns string, addrs []netip.Addr) error
	// Detach removes the endpoint, its device and its rows. None is fine.
	Detach(ctx context.Context) error
}

// Options is this slice's configuration.
type Options struct {
	RunDir     string
	Port       int
	Interval   time.Duration // between two probes of a node
	IPv4, IPv6 bool          // families that pods have
}

// Control answers probes and makes them.
type Control struct {
	log     *slog.Logger
	opts    Options
	tables  *state.Tables
	attach  Attacher
	inputs  []reconcile.Input
	answers *responder
	prober  *prober
	heard   chan struct{} // closed when this node first answers for itself
	once    sync.Once
}

// startLimit is how long the first probe waits for this node's own answers: it
// would report itself unreachable.
const startLimit = 5 * time.Second

// New returns a Control. The endpoint is made once all further inputs, such as
// the readiness of the datapath, are synced.
func New(log *slog.Logger, o Options, t *state.Tables, a Attacher, inputs ...reconcile.Input) *Control {
	log = log.With("room", "health")
	ask := func(ctx context.Context, a netip.Addr) (time.Duration, error) { return hello(ctx, a, o.Port) }
	return &Control{
		log: log, opts: o, tables: t, attach: a,
		inputs:  append([]reconcile.Input{t.Nodes, t.Endpoints}, inputs...),
		answers: newResponder(log),
		prober:  newProber(log, o.Interval, t, ask, ping),
		heard:   make(chan struct{}),
	}
}

// Netns is the path at which the health endpoint's network namespace is kept.
func (o Options) Netns() string { return filepath.Join(o.RunDir, "netns", "health") }

// Run answers and probes until ctx ends. The endpoint stays.
func (c *Control) Run(ctx context.Context) error {
	g := run.New(ctx)
	g.Go("probe", func(ctx context.Context) error {
		select {
		case <-ctx.Done():
		case <-c.heard:
		case <-time.After(startLimit):
		}
		return c.prober.run(ctx)
	})
	err := reconcile.Loop(g.Context(), c.log, func(ctx context.Context) error {
		err := c.step(ctx)
		if err == nil {
			c.once.Do(func() { close(c.heard) })
		}
		return err
	}, c.inputs...)
	c.answers.close()
	g.Stop()
	return errors.Join(err, g.Wait())
}

// Probe asks every node at once, whatever the schedule says, and returns when
// all have answered or failed to within their limit. The results are in the
// peers table.
func (c *Control) Probe(ctx context.Context) error { return c.prober.all(ctx) }

// Remove unmakes the endpoint and its namespace, for a node whose health
// endpoint was switched off.
func (c *Control) Remove(ctx context.Context) error {
	if _, ok := c.endpoint(); ok {
		if err := c.attach.Detach(ctx); err != nil {
			return fmt.Errorf("detach health endpoint: %w", err)
		}
	}
	return RemoveNetns(c.opts.Netns())
}

func (c *Control) step(ctx context.Context) error {
	local, ok := c.local()
	if !ok {
		return nil // its row wakes us
	}
	var nodeAddrs []listen
	for _, a := range local.Addresses {
		nodeAddrs = append(nodeAddrs, listen{addr: netip.AddrPortFrom(a, uint16(c.opts.Port))})
	}
	addrs := c.enabled(local.Health)
	if len(addrs) == 0 {
		return c.answers.set(nodeAddrs)
	}
	if err := c.ensureEndpoint(ctx, addrs); err != nil {
		return errors.Join(err, c.answers.set(nodeAddrs)) // the node still answers for itself
	}
	for _, a := range addrs {
		nodeAddrs = append(nodeAddrs, listen{netns: c.opts.Netns(), addr: netip.AddrPortFrom(a, uint16(c.opts.Port))})
	}
	return c.answers.set(nodeAddrs)
}

// ensureEndpoint keeps an endpoint of an earlier agent as it is, unless its
// addresses or its device are others.
func (c *Control) ensureEndpoint(ctx context.Context, addrs []netip.Addr) error {
	made, err := ensureNetns(c.opts.Netns())
	if err != nil {
		return err
	}
	if e, ok := c.endpoint(); ok {
		_, err := link.Find(Device)
		if err == nil && !made && slices.Equal(e.Addrs(), addrs) {
			return nil
		}
		if err := c.attach.Detach(ctx); err != nil {
			return fmt.Errorf("detach health endpoint: %w", err)
		}
	}
	// Listeners of the namespace were bound to addresses that are gone.
	c.answers.drop(c.opts.Netns())
	if err := c.attach.Attach(ctx, c.opts.Netns(), addrs); err != nil {
		return fmt.Errorf("attach health endpoint: %w", err)
	}
	c.log.Info("health endpoint attached", "addresses", addrs)
	return nil
}

func (c *Control) endpoint() (state.Endpoint, bool) {
	for _, e := range c.tables.Endpoints.All() {
		if e.Health {
			return e, true
		}
	}
	return state.Endpoint{}, false
}

func (c *Control) local() (state.Node, bool) {
	for _, n := range c.tables.Nodes.All() {
		if n.Local {
			return n, true
		}
	}
	return state.Node{}, false
}

// enabled returns the addresses of the families that are on, IPv4 first.
func (c *Control) enabled(addrs []netip.Addr) []netip.Addr {
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		switch {
		case a.Is4() && c.opts.IPv4:
			v4 = append(v4, a)
		case a.Is6() && c.opts.IPv6:
			v6 = append(v6, a)
		}
	}
	return append(v4, v6...)
}
