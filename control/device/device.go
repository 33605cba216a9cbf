// Package device finds the network devices that lead to the underlay, the
// network between nodes, and keeps them in the devices table as the kernel
// changes them: devices come and go, addresses and MTUs change. The addresses of
// all devices, of whatever use, are kept in the table hostAddresses.
//
// It is the one writer of these tables. It never changes a device.
package device

import (
	"context"
	"encoding/binary"
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
	addrs   *table.Table[netip.Addr, state.HostAddress]
	said    string // the names that were logged last
}

// New returns a detector. Globs name the devices outright; without any, they
// are detected.
func New(log *slog.Logger, globs []string, t *state.Tables) *Detector {
	return &Detector{log: log.With("room", "device"), globs: globs, nodes: t.Nodes, devices: t.Devices, addrs: t.HostAddresses}
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
	d.addrs.Replace(addresses(facts), state.HostAddress.Same)
	d.devices.Replace(rows, state.Device.Same)
	if !d.devices.Synced() {
		d.addrs.MarkSynced()
		d.devices.MarkSynced()
	}
	d.report(rows)
	return nil
}

// addresses are those of all devices, the first one's where two have the same,
// and the broadcast addresses of their networks: the host hears what is sent there.
func addresses(facts []fact) []state.HostAddress {
	var out []state.HostAddress
	seen := map[netip.Addr]bool{}
	add := func(a netip.Addr, device string) {
		if !seen[a] {
			seen[a] = true
			out = append(out, state.HostAddress{Addr: a, Device: device})
		}
	}
	for _, f := range facts {
		for _, p := range f.Addrs {
			add(p.Addr(), f.Name)
		}
	}
	for _, f := range facts {
		for _, p := range f.Addrs {
			if p.Addr().Is4() && p.Bits() < 31 {
				add(broadcast(p), f.Name)
			}
		}
	}
	return out
}

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|(1<<(32-p.Bits())-1))
	return netip.AddrFrom4(b)
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
