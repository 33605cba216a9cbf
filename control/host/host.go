// Package host makes the node's own part of the datapath: the devices
// weir_host, weir_net and weir_vxlan, the programs with the constants that fit
// this node, and their attachments to these devices and to those that lead to
// the underlay.
//
// It writes no table. When the underlay's MTU or the node's addresses change,
// the programs are loaded again with other constants and moved over
// atomically; when nothing changed, nothing is loaded.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/bpf"
	"weir/datapath"
	"weir/datapath/link"
	"weir/internal/reconcile"
	"weir/state"
)

// Options is this slice's configuration.
type Options struct {
	Tunnel      bool
	TunnelPort  int
	IPv4, IPv6  bool
	HostRouting bool // by BPF; otherwise legacy
	MTU         int  // of the underlay; 0: that of its devices
	VLANBypass  []int
	Underlay    string // "auto", "ipv4" or "ipv6"
	Firewall    bool   // the host is an endpoint, too
	FailSafe    []Port // of the host: no policy closes them
	Services    Services
	Masquerade  Masquerade
	L2          bool      // the programs answer for the addresses in weir_l2
	NATPorts    [2]uint16 // of this node, for connections in another's name: first and last
	Monitor     Monitor
	XDP         datapath.XDPMode // of from_xdp on the underlay's devices; empty: it is nowhere

	// Check judges the node's pod CIDRs against the prefixes of the underlay.
	Check func(podCIDRs, underlay []netip.Prefix) error
}

// Services says what the programs do for services; the zero value: nothing.
type Services struct {
	On        bool
	Cgroup    string // whose sockets find them; empty: only packets do
	Netns     uint64 // cookie of this node's network namespace
	SetRetval bool   // the kernel lets programs say why a call fails
}

// Monitor says which packets that are let through the programs tell of; the zero
// value: none.
type Monitor struct {
	Level    bpf.Monitor
	Interval uint32 // jiffies between events of a connection that goes on
	DNS      bool   // answers of DNS to pods are copied
	Drops    uint32 // events of drops in a second on each CPU; 0: as many as there is room for
}

// Masquerade says whose pods leave the cluster as this node.
type Masquerade struct {
	IPv4, IPv6 bool
	Known      reconcile.Input // synced once the programs can know where not; nil: it is
}

// Port is a port of the host in one direction.
type Port struct {
	Ingress bool
	Proto   uint8 // IANA number
	Port    uint16
}

// Control keeps the node's own datapath in step with its Node row and devices.
type Control struct {
	log    *slog.Logger
	opts   Options
	tables *state.Tables
	dp     *datapath.Datapath

	told bool // how programs got there, since the start

	mu   sync.Mutex
	base link.Base
}

// New returns a Control over the datapath.
func New(log *slog.Logger, o Options, t *state.Tables, dp *datapath.Datapath) *Control {
	return &Control{log: log, opts: o, tables: t, dp: dp}
}

// lookAgain is how often everything is compared although nothing said that it
// changed: a pin that is removed tells nobody.
const lookAgain = 10 * time.Second

// Run reconciles until ctx ends. A device of ours that somebody changes or
// removes is made as it was. It waits for policy and addresses to be in the
// maps: programs that judge by them must not run before.
func (c *Control) Run(ctx context.Context) error {
	events, err := link.Subscribe(ours, link.Links)
	if err != nil {
		return err
	}
	inputs := []reconcile.Input{reconcile.Every(ctx, lookAgain), c.tables.Nodes, c.tables.Devices,
		reconcile.Once(c.tables.EndpointPolicies), reconcile.Once(c.tables.IPs)}
	if known := c.opts.Masquerade.Known; known != nil {
		inputs = append(inputs, reconcile.Once(known))
	}
	return reconcile.LoopLive(ctx, c.log, c.step, events, inputs...)
}

func ours(e link.Event) bool {
	return e.Device == link.HostName || e.Device == link.NetName || e.Device == link.TunnelName
}

// Base returns the node's devices as last seen; zero before the first step.
func (c *Control) Base() link.Base {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base
}

func (c *Control) step(context.Context) error {
	local, err := Local(c.tables)
	if err != nil {
		return err
	}
	var devices []state.Device
	for _, d := range c.tables.Devices.All() {
		devices = append(devices, d)
	}
	if len(devices) == 0 {
		return errors.New("no device leads to the underlay: none has the node's address or a default route; set devices in the configuration")
	}
	overlap := c.overlap(local)
	if overlap != nil && !c.dp.Ready().Synced() {
		return overlap // an agent that forwards already goes on
	}
	if err := c.opts.Check(local.PodCIDRs, state.Networks(c.tables.Devices.All())); err != nil {
		return err
	}
	mtu := c.opts.MTU
	if mtu == 0 {
		mtu = state.UnderlayMTU(devices)
	}
	base, err := link.EnsureBase(link.BaseOptions{Tunnel: c.opts.Tunnel, TunnelPort: c.opts.TunnelPort, MTU: mtu,
		Routers: c.enabled(local.Routers), RouterScopeLink: !c.opts.Tunnel})
	if err != nil {
		return fmt.Errorf("make the node's devices: %w", err)
	}
	c.mu.Lock()
	c.base = base
	c.mu.Unlock()
	return errors.Join(overlap, c.load(local, base, mtu, devices))
}

// enabled leaves out addresses of a family that is switched off.
func (c *Control) enabled(addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
		return a.Is4() && !c.opts.IPv4 || a.Is6() && !c.opts.IPv6
	})
}

// Overlaps says which pod CIDRs of this node another node has, too, and what to do: two
// pods would get one address.
func Overlaps(t *state.Tables, local state.Node) map[netip.Prefix]string {
	out := map[netip.Prefix]string{}
	for _, n := range t.Nodes.Rows(func(a, b state.Node) int { return strings.Compare(a.Name, b.Name) }) {
		if n.Local {
			continue
		}
		for _, theirs := range n.PodCIDRs {
			for _, own := range local.PodCIDRs {
				if own.Overlaps(theirs) {
					out[own] = fmt.Sprintf("overlaps %s of node %s: give one of them another", theirs, n.Name)
				}
			}
		}
	}
	return out
}

func (c *Control) overlap(local state.Node) error {
	var errs []error
	for own, why := range Overlaps(c.tables, local) {
		errs = append(errs, fmt.Errorf("pod CIDR %s of this node %s", own, why))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func (c *Control) load(local state.Node, base link.Base, mtu int, devices []state.Device) error {
	loaded, err := c.dp.Load(constants(c.opts, local, base, mtu))
	if err != nil {
		return err
	}
	if loaded.Loaded > 0 || !c.told {
		c.told = true // a start that adopts everything says so
		c.log.Info("programs loaded", "loaded", loaded.Loaded, "adopted", loaded.Adopted)
	}
	var errs []error
	keep := map[string]bool{}
	for _, a := range attachments(c.dp.Tree(), base, devices) {
		keep[a.Folder] = true
		errs = append(errs, c.dp.Attach(a))
	}
	errs = append(errs, c.sockets())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if loaded.Loaded > 0 { // what connections were judged by may be another now, as the node's address
		if err := c.dp.Generations().BumpAll(); err != nil {
			return err
		}
	}
	c.dp.MarkReady()
	tree := c.dp.Tree()
	return errors.Join(c.accelerate(devices),
		c.dp.PruneDevices(func(folder string) bool { return keep[tree.DeviceLinks(folder)] }))
}

// accelerate puts from_xdp before from_netdev, or takes it off. A node does
// without it where it cannot be had, so nothing waits for it.
func (c *Control) accelerate(devices []state.Device) error {
	var errs []error
	for _, a := range accelerations(c.dp.Tree(), c.opts, devices) {
		if a.XDP == "" {
			a.XDP = datapath.XDPBestEffort // whatever it is
			errs = append(errs, c.dp.Detach(a))
			continue
		}
		errs = append(errs, c.dp.Attach(a))
	}
	return errors.Join(errs...)
}

// sockets lets sockets find services, or not.
func (c *Control) sockets() error {
	if !c.opts.Services.On || c.opts.Services.Cgroup == "" {
		return c.dp.DetachSockets()
	}
	return c.dp.AttachSockets(c.opts.Services.Cgroup)
}

// Local returns this node's row once it says what is needed to start.
func Local(t *state.Tables) (state.Node, error) {
	for _, n := range t.Nodes.All() {
		if !n.Local {
			continue
		}
		if len(n.PodCIDRs) == 0 {
			return n, fmt.Errorf("node %s has no pod CIDR: the operator has not given it one", n.Name)
		}
		if len(n.Routers) == 0 {
			return n, fmt.Errorf("node %s has no router address (CiliumInternalIP)", n.Name)
		}
		return n, nil
	}
	return state.Node{}, errors.New("the cluster does not know this node: there is no Node or CiliumNode of its name")
}

// constants is what the programs of this node are loaded with. It does no
// input or output.
func constants(o Options, local state.Node, base link.Base, mtu int) bpf.Config {
	underlay6 := local.Underlay6(o.Underlay)
	c := bpf.Config{
		HostIfindex: uint32(base.Host.Index),
		IPv4:        flag(o.IPv4), IPv6: flag(o.IPv6),
		HostRouting:  flag(o.HostRouting),
		UnderlayIPv6: flag(underlay6),
		NodeIPv4:     bpf.AddrFrom(local.Address(true)),
		NodeIPv6:     bpf.AddrFrom(local.Address(false)),
	}
	if o.IPv4 {
		c.RouterIPv4 = bpf.AddrFrom(local.Router(true))
	}
	if o.IPv6 {
		c.RouterIPv6 = bpf.AddrFrom(local.Router(false))
	}
	if o.Tunnel {
		c.TunnelIfindex = uint32(base.Tunnel.Index)
		c.TunnelPort = bpf.Network(uint16(o.TunnelPort))
		c.TunnelMTU = uint32(link.RouteMTU(mtu, true, underlay6))
	}
	c.HostFirewall = flag(o.Firewall)
	c.Acceleration = flag(o.Services.On && o.XDP != "")
	c.Services, c.SetRetval, c.Netns = flag(o.Services.On), flag(o.Services.SetRetval), o.Services.Netns
	c.L2 = flag(o.L2)
	c.Monitor, c.MonitorRate = uint8(o.Monitor.Level), rate(o.Monitor)
	c.DNS, c.DropEvents = flag(o.Monitor.DNS), o.Monitor.Drops
	c.NATFirst, c.NATLast = o.NATPorts[0], o.NATPorts[1]
	if o.Masquerade.IPv4 {
		c.Masquerade |= uint8(bpf.MasqueradeIPv4)
	}
	if o.Masquerade.IPv6 {
		c.Masquerade |= uint8(bpf.MasqueradeIPv6)
	}
	for i, p := range o.FailSafe[:min(len(o.FailSafe), len(c.Failsafe))] {
		c.Failsafe[i] = uint32(flag(p.Ingress))<<24 | uint32(p.Proto)<<16 | uint32(p.Port)
	}
	if slices.Contains(o.VLANBypass, 0) {
		c.VLANBypass[0] = uint16(bpf.VLANAll)
		return c
	}
	for i, id := range o.VLANBypass[:min(len(o.VLANBypass), len(c.VLANBypass))] {
		c.VLANBypass[i] = uint16(id)
	}
	return c
}

// rate is what programs multiply jiffies by to count intervals, in 2^-32; 0: they
// count none.
func rate(m Monitor) uint32 {
	if m.Level < bpf.MonitorMedium || m.Interval == 0 {
		return 0
	}
	return uint32(min(1<<32/uint64(m.Interval), 1<<32-1))
}

func attachments(tree datapath.Tree, base link.Base, devices []state.Device) []datapath.Attachment {
	var out []datapath.Attachment
	add := func(name string, index int, ingress, egress string) {
		folder := tree.DeviceLinks(name)
		out = append(out, datapath.Attachment{Device: name, Ifindex: index, Program: ingress, Folder: folder})
		if egress != "" {
			out = append(out, datapath.Attachment{Device: name, Ifindex: index, Program: egress, Egress: true, Folder: folder})
		}
	}
	add(base.Host.Name, base.Host.Index, bpf.ProgToHost, bpf.ProgFromHost)
	add(base.Net.Name, base.Net.Index, bpf.ProgToHost, "")
	if base.Tunnel.Index != 0 {
		add(base.Tunnel.Name, base.Tunnel.Index, bpf.ProgFromOverlay, bpf.ProgToOverlay)
	}
	for _, d := range devices {
		add(d.Name, d.Index, bpf.ProgFromNetdev, bpf.ProgToNetdev)
	}
	return out
}

// accelerations says for each device of the underlay how from_xdp is to run
// there; without a mode: it is not.
func accelerations(tree datapath.Tree, o Options, devices []state.Device) []datapath.Attachment {
	var out []datapath.Attachment
	for _, d := range devices {
		a := datapath.Attachment{Device: d.Name, Ifindex: d.Index, Program: bpf.ProgFromXDP, Folder: tree.DeviceLinks(d.Name)}
		if o.Services.On {
			a.XDP = o.XDP
		}
		out = append(out, a)
	}
	return out
}

func flag(on bool) uint8 {
	if on {
		return 1
	}
	return 0
}
