// Package device finds the network devices that lead to the underlay, the
// network between nodes, and keeps them in the devices table as the kernel
// changes them: devices come and go, addresses and MTUs change.
//
// It is the one writer of that table. It never changes a device.
package device

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"

	"weir/datapath/link"
	"weir/internal/reconcile"
	"weir/internal/table"
	"weir/state"
)

// Detector scans the devices of the host whenever the kernel or the local
// node's row says something about them.
type Detector struct {
	log     *slog.Logger
	globs   []string
	nodes   *table.Table[string, state.Node]
	devices *table.Table[string, state.Device]
	said    string // the names that were logged last
}

// New returns a detector. Globs name the devices outright; without any, they
// are detected.
func New(log *slog.Logger, globs []string, t *state.Tables) *Detector {
	return &Detector{log: log.With("room", "device"), globs: globs, nodes: t.Nodes, devices: t.Devices}
}

// Run keeps the table until ctx ends. The table is synced after the first
// scan, which waits for the nodes table to know the addresses of this node.
func (d *Detector) Run(ctx context.Context) error {
	events, err := link.Subscribe(matters, link.Links, link.Addrs, link.Routes)
	if err != nil {
		return err
	}
	return reconcile.LoopLive(ctx, d.log, d.step, events, d.nodes)
}

// matters leaves out the devices of pods, which come and go all the time.
func matters(e link.Event) bool {
	switch e.Topic {
	case link.Links:
		return !strings.HasPrefix(e.Device, ours)
	case link.Routes:
		return e.Default
	}
	return true
}

func (d *Detector) step(context.Context) error {
	facts, err := scan()
	if err != nil {
		return err
	}
	rows := choose(facts, d.globs, d.local())
	d.devices.Replace(rows, state.Device.Same)
	if !d.devices.Synced() {
		d.devices.MarkSynced()
	}
	d.report(rows)
	return nil
}

// local returns the addresses of this node that its Kubernetes object names.
func (d *Detector) local() []netip.Addr {
	for _, n := range d.nodes.All() {
		if n.Local {
			return n.Addresses
		}
	}
	return nil
}

func (d *Detector) report(rows []state.Device) {
	names := make([]string, len(rows))
	for i, r := range rows {
		names[i] = r.Name
	}
	say := strings.Join(names, ",")
	if say == d.said {
		return
	}
	d.said = say
	if say == "" {
		d.log.Warn("no device leads to the underlay: none has a default route or an address of this node, or matches the option devices", "devices", d.globs)
		return
	}
	d.log.Info("devices detected", "devices", names)
}
