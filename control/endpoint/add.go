package endpoint

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"weir/bpf"
	"weir/datapath/link"
	"weir/state"
)

// Request asks for an endpoint.
type Request struct {
	Key
	Netns  string
	Pod    state.PodName
	PodUID string       // empty: not known
	Health bool         // the node's health endpoint
	Device string       // host side; empty: derived from the key
	Addrs  []netip.Addr // empty: allocated
	Issued int64        // when it was asked for, in nanoseconds of CLOCK_MONOTONIC; 0: not known
}

// Result is an endpoint with what its interface was set up with.
type Result struct {
	state.Endpoint
	DeviceMTU int
	Gateways  []netip.Addr
}

// Add makes an endpoint. When it returns, the pod can be reached from this
// node: its rows are in the maps, its program is attached, and its policy was in
// force before. When it fails, nothing is left of it.
func (c *Control) Add(ctx context.Context, r Request) (Result, error) {
	defer c.lockKey(r.Key)()
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("%w: the request waited too long for an earlier one: %w", ErrNotReady, err)
	}
	cookie, err := link.NetnsCookie(r.Netns)
	if err != nil {
		return Result{}, err
	}
	if err := c.Ready(); err != nil {
		return Result{}, err
	}
	c.waitForIdentity(ctx, state.Endpoint{Pod: r.Pod, PodUID: r.PodUID})
	e, err := c.reserve(r, cookie)
	if err != nil {
		return Result{}, err
	}
	res, err := c.make(ctx, e)
	if err != nil {
		return Result{}, errors.Join(err, c.unmake(e))
	}
	c.log.Info("endpoint added", "endpoint", e.ID, "pod", e.Pod.String(), "ipv4", e.IPv4, "ipv6", e.IPv6)
	return res, nil
}

// Ready says why an Add would be refused, or nil.
func (c *Control) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readyLocked()
}

func (c *Control) readyLocked() error {
	if !c.restored {
		return fmt.Errorf("%w: endpoints are being restored", ErrNotReady)
	}
	if !c.dp.Ready().Synced() {
		return fmt.Errorf("%w: programs are not loaded yet", ErrNotReady)
	}
	if _, ok := c.routeMTU(); !ok {
		return fmt.Errorf("%w: this node has no address or no device on the underlay", ErrNotReady)
	}
	return nil
}

// reserve takes addresses and a number, and tells the table, so that the
// ipcache is written while the devices are being made.
func (c *Control) reserve(r Request, cookie uint64) (state.Endpoint, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.readyLocked(); err != nil {
		return state.Endpoint{}, err
	}
	if err := c.overtaken(r); err != nil {
		return state.Endpoint{}, err
	}
	if id, ok := c.byKey[r.Key]; ok {
		return state.Endpoint{}, fmt.Errorf("%w: container %s has %s as endpoint %d; DEL it first", ErrExists, r.ContainerID, r.Interface, id)
	}
	for _, e := range c.tables.Endpoints.All() {
		if e.NetnsCookie == cookie && cookie != 0 {
			return e, fmt.Errorf("%w: network namespace %s has %s of endpoint %d (container %s) already; Weir gives a pod one interface",
				link.ErrInterfaceTaken, r.Netns, e.Interface, e.ID, e.ContainerID)
		}
	}
	e := state.Endpoint{ContainerID: r.ContainerID, Interface: r.Interface, Netns: r.Netns, NetnsCookie: cookie, Pod: r.Pod,
		Health: r.Health, Device: r.Device, State: state.EndpointCreating}
	if e.Device == "" {
		e.Device = deviceName(r.Key)
	}
	var err error
	if e.ID, err = c.number(); err != nil {
		return e, err
	}
	if err := c.addresses(&e, r.Addrs); err != nil {
		return e, err
	}
	e.Ifindex = int(bpf.IfindexBase) + int(e.ID)
	e.MAC, e.NodeMAC = randomMAC(), randomMAC()
	e.MTU, _ = c.routeMTU()
	e.Gateways = c.gateways()
	c.used[e.ID], c.byKey[r.Key] = true, e.ID
	c.identify(&e)
	c.tables.Endpoints.Put(e)
	return e, nil
}

// overtaken refuses a request whose plugin was killed and whose attachment was
// deleted since: it was still on its way, and nobody would delete what it makes.
// Callers hold mu.
func (c *Control) overtaken(r Request) error {
	if r.Issued != 0 && r.Issued < c.deletes[r.Key] {
		return fmt.Errorf("%w: container %s was deleted after this ADD was asked for", ErrNotReady, r.ContainerID)
	}
	return nil
}

func (c *Control) addresses(e *state.Endpoint, given []netip.Addr) error {
	for _, a := range given {
		if a.Is4() {
			e.IPv4 = a
		} else {
			e.IPv6 = a
		}
	}
	if len(given) > 0 {
		return nil // reserved for it by the operator
	}
	for _, is4 := range c.families() {
		a, err := c.alloc.Allocate(is4)
		if err != nil {
			c.release(*e)
			return err
		}
		if is4 {
			e.IPv4 = a
		} else {
			e.IPv6 = a
		}
	}
	return nil
}

func (c *Control) release(e state.Endpoint) {
	for _, a := range e.Addrs() {
		c.alloc.Release(a)
	}
}

// number finds a free endpoint id, going on from the last one so that an id is
// not used again at once. Callers hold mu.
func (c *Control) number() (state.EndpointID, error) {
	last := state.EndpointID(c.opts.Slots - 1)
	for range last {
		id := c.next
		if c.next++; c.next > last {
			c.next = 1
		}
		if !c.used[id] {
			return id, nil
		}
	}
	return 0, fmt.Errorf("%w: all %d are in use; raise bpf.endpoints", ErrExhausted, last)
}

// make creates the devices, attaches the programs, waits for the policy, and
// only then lets the pod talk. It waits for the ipcache last.
func (c *Control) make(ctx context.Context, e state.Endpoint) (Result, error) {
	gateways, mtu := c.gateways(), c.deviceMTU()
	e, err := c.createPod(e, gateways, mtu)
	if err != nil {
		return Result{}, err
	}
	c.mu.Lock()
	c.identify(&e) // it may be another since
	err = c.publish(e)
	c.mu.Unlock()
	if err != nil {
		return Result{}, err
	}
	if err := c.attachQuick(e); err != nil {
		return Result{}, err
	}
	if err := c.waitForPolicy(ctx, e.ID); err != nil {
		return Result{}, err
	}
	if err := link.ConfigurePod(podLink(e, gateways, mtu)); err != nil {
		return Result{}, fmt.Errorf("configure %s of %s: %w", e.Interface, e.Pod, err)
	}
	if err := c.waitForIPs(ctx, e); err != nil {
		return Result{}, err
	}
	if err := c.noARP(e); err != nil {
		return Result{}, err
	}
	c.mu.Lock()
	e.State = state.EndpointReady
	c.identify(&e)
	err = c.publish(e)
	c.mu.Unlock()
	if err != nil {
		return Result{}, err
	}
	return Result{Endpoint: e, DeviceMTU: mtu, Gateways: gateways}, c.routes()
}

// createPod makes the pair; a number whose interface index somebody else took
// is exchanged for another.
func (c *Control) createPod(e state.Endpoint, gateways []netip.Addr, mtu int) (state.Endpoint, error) {
	for {
		_, err := link.CreatePod(podLink(e, gateways, mtu))
		if err == nil {
			return e, nil
		}
		if !errors.Is(err, link.ErrIndexTaken) {
			return e, err
		}
		c.log.Warn("interface index is somebody else's, trying the next", "ifindex", e.Ifindex)
		if e, err = c.renumber(e); err != nil {
			return e, err
		}
	}
}

func (c *Control) renumber(e state.Endpoint) (state.Endpoint, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := e.ID
	id, err := c.number()
	if err != nil {
		return e, err
	}
	e.ID, e.Ifindex = id, int(bpf.IfindexBase)+int(id)
	// The old number stays used: its index is taken for as long as we know.
	c.used[id], c.byKey[key(e)] = true, id
	c.tables.Endpoints.Delete(old)
	c.tables.Endpoints.Put(e)
	return e, nil
}

// waitForIPs returns when the ipcache sends the endpoint's addresses to it.
func (c *Control) waitForIPs(ctx context.Context, e state.Endpoint) error {
	wake := make(chan struct{}, 1)
	defer c.tables.IPs.Notify(wake)()
	for {
		missing := netip.Addr{}
		for _, a := range e.Addrs() {
			if row, ok := c.tables.IPs.Get(netip.PrefixFrom(a, a.BitLen())); !ok || row.Endpoint != e.ID {
				missing = a
			}
		}
		if !missing.IsValid() {
			return nil
		}
		if err := awaitChange(ctx, wake); err != nil {
			return fmt.Errorf("%w: address %s did not reach weir_ipcache: %w", ErrNotReady, missing, err)
		}
	}
}

// key is that of the endpoint's attachment. A recovered one, whose container is
// not known, has its device instead.
func key(e state.Endpoint) Key {
	if e.ContainerID == "" {
		return Key{Interface: e.Device}
	}
	return Key{e.ContainerID, e.Interface}
}

// deviceName is weir and 11 hex digits, the longest name Linux takes.
func deviceName(k Key) string {
	sum := sha256.Sum256([]byte(k.ContainerID + "/" + k.Interface))
	return "weir" + hex.EncodeToString(sum[:])[:11]
}

// randomMAC is a locally administered unicast address (IEEE 802, section 8.4).
func randomMAC() net.HardwareAddr {
	m := make(net.HardwareAddr, 6)
	rand.Read(m)
	m[0] = m[0]&0xfe | 0x02
	return m
}
