// Package masquerade says where pods keep their own address although they leave
// the cluster: the only writer of weir_unmasqueraded.
//
// Everywhere else a pod leaves the cluster as its node. What is in the cluster,
// pods and nodes, is never masqueraded; that is the ipcache's knowledge, and
// the programs'.
package masquerade

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weir/bpf"
	"weir/datapath"
	"weir/internal/reconcile"
)

// Options is this slice's configuration.
type Options struct {
	IPv4, IPv6 bool           // families in which pods are masqueraded
	Native     []netip.Prefix // within which the underlay can route pods' addresses

	// Read returns further prefixes, which change without saying so. nil: there
	// are none.
	Read func() ([]netip.Prefix, error)
}

// Control keeps weir_unmasqueraded as the configuration and the file say.
type Control struct {
	log   *slog.Logger
	opts  Options
	rows  *datapath.Mirror[bpf.IPCacheKey, uint32]
	ready reconcile.Signal

	mu     sync.Mutex
	exempt []netip.Prefix
}

// New returns a Control that writes rows.
func New(log *slog.Logger, o Options, rows *datapath.Mirror[bpf.IPCacheKey, uint32]) *Control {
	return &Control{log: log, opts: o, rows: rows}
}

// lookAgain is how often Read is asked: kubelet replaces the files of a
// ConfigMap about once a minute.
const lookAgain = 5 * time.Second

// Run reconciles until ctx ends. What cannot be read changes nothing.
func (c *Control) Run(ctx context.Context) error {
	return reconcile.Loop(ctx, c.log, c.step, reconcile.Every(ctx, lookAgain))
}

// Ready is synced once the map holds what it should: programs that masquerade
// must not run before.
func (c *Control) Ready() *reconcile.Signal { return &c.ready }

// Exempt returns the prefixes in force, in order.
func (c *Control) Exempt() []netip.Prefix {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.exempt)
}

func (c *Control) step(context.Context) error {
	more, err := c.read()
	if err != nil && c.ready.Synced() {
		return err
	}
	exempt := exemptions(c.opts, more)
	if err != nil { // at a start: what the agent before has written stays
		exempt = append(exempt, c.held()...)
	}
	wanted := map[bpf.IPCacheKey]uint32{}
	for _, p := range exempt {
		wanted[bpf.IPCacheKeyFrom(p)] = uint32(family(p))
	}
	return errors.Join(err, c.write(wanted, exempt))
}

func (c *Control) read() ([]netip.Prefix, error) {
	if c.opts.Read == nil {
		return nil, nil
	}
	return c.opts.Read()
}

// write adds before it removes: a prefix that is split is never without a row.
func (c *Control) write(wanted map[bpf.IPCacheKey]uint32, exempt []netip.Prefix) error {
	if _, err := c.rows.Write(wanted, nil); err != nil {
		return err
	}
	if _, err := c.rows.Apply(wanted); err != nil {
		return err
	}
	c.mu.Lock()
	c.exempt = exempt
	c.mu.Unlock()
	c.ready.Set()
	return nil
}

// family is what a row says: a prefix of IPv6 may have that of mapped IPv4 in it.
func family(p netip.Prefix) bpf.Masquerade {
	if p.Addr().Is4() {
		return bpf.MasqueradeIPv4
	}
	return bpf.MasqueradeIPv6
}

func (c *Control) held() []netip.Prefix {
	var out []netip.Prefix
	for k := range c.rows.Held() {
		out = append(out, k.Prefix())
	}
	return out
}

// exemptions are the prefixes in which pods keep their address, of the families
// that are masqueraded.
func exemptions(o Options, more []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range slices.Concat(o.Native, more) {
		if on := p.Addr().Is4() && o.IPv4 || p.Addr().Is6() && o.IPv6; on && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}
