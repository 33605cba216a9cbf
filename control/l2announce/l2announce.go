package l2announce

import (
	"context"
	"iter"
	"log/slog"
	"maps"
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
	IPv4, IPv6 bool // families that are on
}

// Link is the networks that this node is in.
type Link interface {
	// Listen joins the groups in which neighbours ask for these, and leaves all others.
	Listen([]bpf.L2Key) error
	// Announce tells the neighbours on a device that an address is at a MAC.
	Announce(bpf.L2Key, bpf.MAC) error
}

// Control keeps weir_l2 in step with the tables.
type Control struct {
	log    *slog.Logger
	opts   Options
	tables *state.Tables
	rows   *datapath.Mirror[bpf.L2Key, bpf.L2Entry]
	link   Link

	mu   sync.Mutex
	list []Announcement
}

// New returns a Control that writes rows.
func New(log *slog.Logger, o Options, t *state.Tables, rows *datapath.Mirror[bpf.L2Key, bpf.L2Entry], link Link) *Control {
	return &Control{log: log, opts: o, tables: t, rows: rows, link: link}
}

// Run reconciles until ctx ends; what programs answer then stays.
func (c *Control) Run(ctx context.Context) error {
	t := c.tables
	return reconcile.Loop(ctx, c.log, c.step, t.L2Policies, t.Services, t.Leases, t.Nodes, t.Devices)
}

// List returns the addresses that somebody is to answer for, as of the last step.
func (c *Control) List() []Announcement {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list)
}

// step makes the map what the tables say. What is new in it is announced: neighbours
// may remember the node that had it before.
func (c *Control) step(ctx context.Context) error {
	list := derive(c.opts, c.input())
	wanted := entries(list)
	if err := c.link.Listen(slices.Collect(maps.Keys(wanted))); err != nil {
		c.log.Warn("neighbours may not hear this node for some IPv6 addresses", "err", err)
	}
	held := c.rows.Held()
	_, err := c.rows.Apply(wanted)
	c.mu.Lock()
	c.list = list
	c.mu.Unlock()
	fresh := map[bpf.L2Key]bpf.MAC{}
	for k, now := range c.rows.Held() {
		if was, had := held[k]; !had || was != now {
			fresh[k] = now.MAC
		}
	}
	if len(fresh) > 0 {
		c.announce(fresh)
		go c.repeat(ctx, fresh)
	}
	return err
}

func (c *Control) input() input {
	t := c.tables
	in := input{policies: rows(t.L2Policies.All()), services: rows(t.Services.All()), leases: map[state.LeaseName]string{},
		nodes: rows(t.Nodes.All()), devices: rows(t.Devices.All())}
	for _, l := range t.Leases.All() {
		in.leases[l.Name] = l.Holder
	}
	return in
}

// Neighbours may miss what is said once: RFC 5227 section 2.3, RFC 4861 section 7.2.6.
const (
	repeats = 2
	between = time.Second
)

// repeat announces again what is still in the map.
func (c *Control) repeat(ctx context.Context, fresh map[bpf.L2Key]bpf.MAC) {
	for range repeats {
		select {
		case <-ctx.Done():
			return
		case <-time.After(between):
		}
		maps.DeleteFunc(fresh, func(k bpf.L2Key, mac bpf.MAC) bool {
			has, ok := c.rows.Get(k)
			return !ok || has.MAC != mac
		})
		c.announce(fresh)
	}
}

func (c *Control) announce(fresh map[bpf.L2Key]bpf.MAC) {
	for k, mac := range fresh {
		if err := c.link.Announce(k, mac); err != nil {
			c.log.Warn("neighbours are not told where an address is now", "address", k.Addr, "device", k.Ifindex, "err", err)
		}
	}
}

func rows[K, R any](all iter.Seq2[K, R]) (out []R) {
	for _, r := range all {
		out = append(out, r)
	}
	return out
}
