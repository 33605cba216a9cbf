package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weir/bpf"
	"weir/datapath"
	"weir/datapath/link"
	"weir/internal/reconcile"
	"weir/state"
)

// Allocator deals out pod addresses.
type Allocator interface {
	Allocate(is4 bool) (netip.Addr, error)
	Claim(a netip.Addr) error
	Release(a netip.Addr)
}

// Options is this slice's configuration.
type Options struct {
	StateDir       string
	Cluster        string
	Node           string // this one's name
	IPv4, IPv6     bool
	Tunnel         bool
	MTU            int // of the underlay; 0: that of its devices
	Underlay       string
	ToPod          bool // attach to_pod: legacy host routing or endpoint routes
	EndpointRoutes bool // a host route for each pod
	Slots          int  // endpoint ids run from 1 to Slots-1
}

// Errors a caller tells apart.
var (
	ErrNotReady  = errors.New("not ready")
	ErrExists    = errors.New("already added")
	ErrUnknown   = errors.New("never added")
	ErrExhausted = errors.New("no endpoint number left")
)

// Key names an attachment of a container.
type Key struct{ ContainerID, Interface string }

// Control makes, keeps and unmakes endpoints.
type Control struct {
	log    *slog.Logger
	opts   Options
	tables *state.Tables
	dp     *datapath.Datapath
	alloc  Allocator

	routing  sync.Mutex // held while routes are compared and written
	unrouted bool       // the host has no routes of ours to pods; guarded by routing
	settling sync.Mutex // held while a link is made in the place of a filter

	mu       sync.Mutex
	busy     map[Key]*keyLock // of requests under way
	byKey    map[Key]state.EndpointID
	used     map[state.EndpointID]bool
	deletes  map[Key]int64    // when the last Delete of each was asked for
	next     state.EndpointID // where the search for a free id goes on
	restored bool
	quick    map[state.EndpointID]state.Endpoint // attached in the quick way, to be settled
	lastAdd  time.Time
	added    chan struct{} // wakes settle
}

// New returns a Control. Restore must be called before anything else.
func New(log *slog.Logger, o Options, t *state.Tables, dp *datapath.Datapath, alloc Allocator) *Control {
	return &Control{log: log, opts: o, tables: t, dp: dp, alloc: alloc,
		byKey: map[Key]state.EndpointID{}, deletes: map[Key]int64{}, used: map[state.EndpointID]bool{}, next: 1,
		busy: map[Key]*keyLock{}, quick: map[state.EndpointID]state.Endpoint{}, added: make(chan struct{}, 1)}
}

// Run keeps endpoints as they should be until ctx ends: it brings back those of
// an earlier agent as soon as programs are loaded, and follows identities and
// the underlay's MTU.
func (c *Control) Run(ctx context.Context) error {
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { c.settle(ctx) })
	beside.Go(func() { c.introduce(ctx) })
	return reconcile.Loop(ctx, c.log, c.step, c.dp.Ready(), c.tables.Nodes, c.tables.Pods, c.tables.PodIdentities,
		c.tables.Identities, c.tables.VisibleLabels, c.tables.Devices)
}

func (c *Control) step(context.Context) error {
	errs := []error{c.revive()}
	for _, e := range c.tables.Endpoints.All() {
		errs = append(errs, c.follow(e))
	}
	errs = append(errs, c.routes())
	return errors.Join(errs...)
}

// follow brings one endpoint's identity, MTU and gateways up to date.
func (c *Control) follow(e state.Endpoint) error {
	next := e
	c.identify(&next)
	if err := c.reroute(&next); err != nil {
		return err
	}
	if next.Pod == e.Pod && next.Identity == e.Identity && next.State == e.State && next.MTU == e.MTU &&
		slices.Equal(next.Gateways, e.Gateways) && next.Labels.Key() == e.Labels.Key() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[key(e)] != e.ID {
		return nil // deleted meanwhile
	}
	// An ADD may have finished since e was read: its row is the one to go on from.
	row, ok := c.tables.Endpoints.Get(e.ID)
	if !ok {
		return nil
	}
	row.MTU, row.Gateways = next.MTU, next.Gateways
	c.identify(&row)
	return c.publish(row)
}

// reroute gives a running pod the routes that fit the node as it is: another
// MTU of the underlay, another router address.
func (c *Control) reroute(e *state.Endpoint) error {
	mtu, ok := c.routeMTU()
	gateways := c.gateways()
	if !ok || e.Netns == "" || e.State == state.EndpointRestoring || e.State == state.EndpointCreating {
		return nil
	}
	moved := len(gateways) > 0 && len(e.Gateways) > 0 && !slices.Equal(gateways, e.Gateways)
	if mtu == e.MTU && !moved {
		return nil
	}
	// A path below /proc may lead to another namespace by now.
	if cookie, err := link.NetnsCookie(e.Netns); err != nil || (e.NetnsCookie != 0 && cookie != e.NetnsCookie) {
		return nil // the pod is ending, its DEL is on the way
	}
	e.MTU = mtu
	if !moved {
		if err := link.SetRouteMTU(e.Netns, e.Interface, gateways, mtu); err != nil {
			return fmt.Errorf("set route MTU of %s to %d: %w", e.Pod, mtu, err)
		}
		return nil
	}
	c.log.Info("router address changed, pod gets other routes", "endpoint", e.ID, "pod", e.Pod.String(), "gateways", gateways)
	e.Gateways = gateways
	if err := link.ConfigurePod(podLink(*e, gateways, c.deviceMTU())); err != nil {
		return fmt.Errorf("give %s routes over %v: %w", e.Pod, gateways, err)
	}
	return nil
}

// publish makes a row known: on disk, in the map, in the table. An endpoint that
// was deleted meanwhile stays so. Callers hold mu.
func (c *Control) publish(e state.Endpoint) error {
	if id, ok := c.byKey[key(e)]; !ok || id != e.ID {
		return fmt.Errorf("endpoint %d of container %s was deleted meanwhile", e.ID, e.ContainerID)
	}
	if err := save(c.opts.StateDir, e); err != nil {
		return err
	}
	if err := c.dp.Endpoints.Set(uint32(e.ID), entry(e)); err != nil {
		return err
	}
	c.tables.Endpoints.Put(e)
	return nil
}

// entry is the map's form of a row.
func entry(e state.Endpoint) bpf.Endpoint {
	out := bpf.Endpoint{
		IPv4: bpf.AddrFrom(e.IPv4), IPv6: bpf.AddrFrom(e.IPv6),
		ID: uint32(e.ID), Ifindex: uint32(e.Ifindex), Identity: uint32(e.Identity),
		MAC: bpf.MACFrom(e.MAC), NodeMAC: bpf.MACFrom(e.NodeMAC),
	}
	if e.Health {
		out.Flags |= uint16(bpf.EndpointHealth)
	}
	return out
}

// attachments are the programs of one endpoint's device.
func (c *Control) attachments(e state.Endpoint) []datapath.Attachment {
	out := []datapath.Attachment{{Device: e.Device, Ifindex: e.Ifindex, Program: bpf.ProgFromPod, Folder: c.dp.Tree().EndpointLinks(uint32(e.ID))}}
	if c.opts.ToPod {
		out = append(out, c.toPod(e))
	}
	return out
}

func (c *Control) toPod(e state.Endpoint) datapath.Attachment {
	return datapath.Attachment{Device: e.Device, Ifindex: e.Ifindex, Program: bpf.ProgToPod, Egress: true,
		Folder: c.dp.Tree().EndpointLinks(uint32(e.ID))}
}

func (c *Control) attach(e state.Endpoint) error {
	for _, a := range c.attachments(e) {
		if err := c.dp.Attach(a); err != nil {
			return err
		}
	}
	return nil
}

func (c *Control) local() (state.Node, bool) {
	for _, n := range c.tables.Nodes.All() {
		if n.Local {
			return n, len(n.Routers) > 0
		}
	}
	return state.Node{}, false
}

// gateways are the router addresses of the families that are on, IPv4 first: those that
// programs answer for, once any are loaded. When the node gets other ones, pods keep
// theirs until programs know them.
func (c *Control) gateways() []netip.Addr {
	n, _ := c.local()
	router := n.Router
	if c.dp.Ready().Synced() {
		cfg := c.dp.Config()
		router = func(is4 bool) netip.Addr {
			if is4 {
				return cfg.RouterIPv4.Netip()
			}
			return cfg.RouterIPv6.Netip()
		}
	}
	var out []netip.Addr
	for _, is4 := range c.families() {
		if a := router(is4); a.IsValid() && !a.IsUnspecified() {
			out = append(out, a)
		}
	}
	return out
}

func (c *Control) families() []bool {
	var out []bool
	if c.opts.IPv4 {
		out = append(out, true)
	}
	if c.opts.IPv6 {
		out = append(out, false)
	}
	return out
}

// deviceMTU is that of pod devices: the underlay's.
func (c *Control) deviceMTU() int {
	if c.opts.MTU != 0 {
		return c.opts.MTU
	}
	var devices []state.Device
	for _, d := range c.tables.Devices.All() {
		devices = append(devices, d)
	}
	return state.UnderlayMTU(devices)
}

func (c *Control) routeMTU() (int, bool) {
	n, ok := c.local()
	mtu := c.deviceMTU()
	if !ok || mtu == 0 {
		return 0, false
	}
	return link.RouteMTU(mtu, c.opts.Tunnel, n.Underlay6(c.opts.Underlay)), true
}

func podLink(e state.Endpoint, gateways []netip.Addr, deviceMTU int) link.Pod {
	return link.Pod{Netns: e.Netns, Interface: e.Interface, Device: e.Device, Index: e.Ifindex, MAC: e.MAC, NodeMAC: e.NodeMAC,
		MTU: deviceMTU, RouteMTU: e.MTU, Addrs: e.Addrs(), Gateways: gateways}
}

// RouteMTU is that of pods' routes; 0 while the underlay is not known.
func (c *Control) RouteMTU() int {
	mtu, _ := c.routeMTU()
	return mtu
}
