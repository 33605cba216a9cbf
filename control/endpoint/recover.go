package endpoint

import (
	"net"
	"net/netip"
	"slices"

	"weir/bpf"
	"weir/datapath/link"
	"weir/state"
)

// recoverRows brings back endpoints that work in the kernel but have no readable
// file: the row of the map and the device say what forwarding needs, so that a
// lost file costs no packet. What they do not say, the container and the
// namespace, is not known of such an endpoint until it is deleted. Callers hold mu.
func (c *Control) recoverRows() {
	if c.dp == nil || c.dp.Endpoints == nil {
		return
	}
	for id, row := range c.dp.Endpoints.Desired() {
		if c.used[state.EndpointID(id)] || int(id) >= c.opts.Slots {
			continue
		}
		dev, err := net.InterfaceByIndex(int(row.Ifindex)) // lists all devices: not for those that are known
		if err != nil {
			continue
		}
		if row.Flags&uint16(bpf.EndpointHealth) != 0 { // it is made again
			if err := link.DeletePod(dev.Name); err != nil {
				c.log.Warn("old health endpoint stays", "device", dev.Name, "err", err)
			}
			continue
		}
		e := state.Endpoint{ID: state.EndpointID(id), Recovered: true, Device: dev.Name, Ifindex: dev.Index,
			IPv4: row.IPv4.Netip(), IPv6: row.IPv6.Netip(), MAC: row.MAC.Bytes[:], NodeMAC: row.NodeMAC.Bytes[:],
			Identity: state.IdentityID(row.Identity)}
		c.log.Warn("endpoint has no readable file, recovered from weir_endpoints", "endpoint", id, "device", dev.Name, "ipv4", e.IPv4, "ipv6", e.IPv6)
		c.adopt(e)
	}
}

// find returns the endpoint of an attachment; a recovered one is known by its
// device, whose name depends on the attachment alone.
func (c *Control) find(k Key) (state.Endpoint, bool) {
	c.mu.Lock()
	id, ok := c.byKey[k]
	c.mu.Unlock()
	if ok {
		return c.tables.Endpoints.Get(id)
	}
	for _, e := range c.tables.Endpoints.All() {
		if e.Recovered && e.Device == deviceName(k) {
			return e, true
		}
	}
	return state.Endpoint{}, false
}

// podOf finds the pod of a recovered endpoint by its address: the youngest of
// this node that has it and is not being deleted.
func (c *Control) podOf(e state.Endpoint) (name state.PodName, uid string) {
	var best state.Pod
	for _, p := range c.tables.Pods.All() {
		has := func(a netip.Addr) bool { return slices.Contains(p.IPs, a) }
		if p.Node != c.opts.Node || p.HostNetwork || !slices.ContainsFunc(e.Addrs(), has) {
			continue
		}
		if best.Name == (state.PodName{}) || best.Deleting && !p.Deleting || best.Deleting == p.Deleting && p.Created.After(best.Created) {
			best = p
		}
	}
	return best.Name, best.UID
}
