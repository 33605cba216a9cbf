package bpftest

import (
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// The endpoints of the node under test.
const (
	podID   = 1 // sends
	peerID  = 2 // its neighbour on the node
	staleID = 3 // its row belongs to another pod than the ipcache says
	freeID  = 9 // its row is free
)

const (
	underlayIfindex = 400
	tunnelIfindex   = 500 // is never entered: a test run does not redirect
	tunnelMTU       = 1450
	narrowMTU       = 1400
)

var (
	podMAC   = net.HardwareAddr{0x0a, 0, 0, 0, 0, 1}
	podGW    = net.HardwareAddr{0x0e, 0, 0, 0, 0, 1}
	peerMAC  = net.HardwareAddr{0x0a, 0, 0, 0, 0, 2}
	peerGW   = net.HardwareAddr{0x0e, 0, 0, 0, 0, 2}
	otherMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 9}

	underlayMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xe} // of the node's devices
	strangerMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xf} // of another host
)

// family is the addresses of one IP family. What a case says of one, it says of
// the other.
type family struct {
	name      string
	v6        bool
	cidr      netip.Prefix // of this node's pods
	router    netip.Addr
	pod, peer netip.Addr
	stale     netip.Addr // the ipcache names a row of another pod
	gone      netip.Addr // the ipcache names a free row
	noPod     netip.Addr // in the CIDR of this node, of no pod
	remote    netip.Addr // pod on another node
	remotes   netip.Prefix
	self      netip.Addr // this node
	node      netip.Addr // the other node
	gateway   netip.Addr
	world     netip.Addr
	narrow    netip.Addr // behind a route of narrowMTU
	refused   netip.Addr // behind an unreachable route
	nowhere   netip.Addr // no route at all
	martians  []netip.Addr
	multicast []netip.Addr
}

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

var families = []family{
	{
		name: "ipv4", cidr: netip.MustParsePrefix("10.0.1.0/24"), router: netip.MustParseAddr("10.0.1.1"),
		pod: netip.MustParseAddr("10.0.1.11"), peer: netip.MustParseAddr("10.0.1.12"),
		stale: netip.MustParseAddr("10.0.1.13"), gone: netip.MustParseAddr("10.0.1.19"), noPod: netip.MustParseAddr("10.0.1.200"),
		remote: netip.MustParseAddr("10.0.2.11"), remotes: netip.MustParsePrefix("10.0.2.0/24"),
		self: netip.MustParseAddr("192.0.2.1"), node: netip.MustParseAddr("192.0.2.2"), gateway: netip.MustParseAddr("192.0.2.254"),
		world: netip.MustParseAddr("198.51.100.1"), narrow: netip.MustParseAddr("198.51.100.101"), refused: netip.MustParseAddr("198.51.100.102"),
		nowhere:   netip.MustParseAddr("203.0.113.1"),
		martians:  addrs("127.0.0.1", "127.255.0.1", "0.0.0.0", "0.1.2.3"),
		multicast: addrs("224.0.0.251", "239.1.1.1", "255.255.255.255"),
	},
	{
		name: "ipv6", v6: true, cidr: netip.MustParsePrefix("fd00:1::/64"), router: netip.MustParseAddr("fd00:1::1"),
		pod: netip.MustParseAddr("fd00:1::11"), peer: netip.MustParseAddr("fd00:1::12"),
		stale: netip.MustParseAddr("fd00:1::13"), gone: netip.MustParseAddr("fd00:1::19"), noPod: netip.MustParseAddr("fd00:1::200"),
		remote: netip.MustParseAddr("fd00:2::11"), remotes: netip.MustParsePrefix("fd00:2::/64"),
		self: netip.MustParseAddr("2001:db8::1"), node: netip.MustParseAddr("2001:db8::2"), gateway: netip.MustParseAddr("2001:db8::fe"),
		world: netip.MustParseAddr("2001:db8:100::1"), narrow: netip.MustParseAddr("2001:db8:100::101"), refused: netip.MustParseAddr("2001:db8:100::102"),
		nowhere:   netip.MustParseAddr("2001:db8:200::1"),
		martians:  addrs("::1", "::"),
		multicast: addrs("ff02::fb", "ff05::1", "ff0e::1"),
	},
}

func (f family) other() family {
	if f.v6 {
		return families[0]
	}
	return families[1]
}

func (f family) bits() int { return f.router.BitLen() }

// config is that of a node with everything on.
func config() bpf.Config {
	return bpf.Config{
		RouterIPv4: bpf.AddrFrom(families[0].router), RouterIPv6: bpf.AddrFrom(families[1].router),
		Build: 1, TunnelIfindex: tunnelIfindex, HostIfindex: 6, TunnelMTU: tunnelMTU,
		NodeIPv4: bpf.AddrFrom(families[0].self), NodeIPv6: bpf.AddrFrom(families[1].self),
		IPv4: 1, IPv6: 1, HostRouting: 1,
	}
}

// native is that of a node that routes without a tunnel.
func native() bpf.Config {
	c := config()
	c.TunnelIfindex, c.TunnelMTU = 0, 0
	return c
}

// fill gives the maps of a node what the agent would: two pods, a stale slot,
// the node itself, another node's pods, the world.
func (n *node) fill(t testing.TB) {
	t.Helper()
	v4, v6 := families[0], families[1]
	n.set(t, bpf.MapNodes, uint32(1), bpf.Node{Addr: bpf.AddrFrom(v4.node)})
	row := func(id uint32, a, b netip.Addr, mac, gw net.HardwareAddr) {
		n.put(t, n.endpoints, id, bpf.Endpoint{ID: id, Ifindex: device(id), Identity: 1000 + id,
			IPv4: bpf.AddrFrom(a), IPv6: bpf.AddrFrom(b), MAC: bpf.MACFrom(mac), NodeMAC: bpf.MACFrom(gw)})
	}
	row(podID, v4.pod, v6.pod, podMAC, podGW)
	row(peerID, v4.peer, v6.peer, peerMAC, peerGW)
	row(staleID, netip.MustParseAddr("10.0.1.99"), netip.MustParseAddr("fd00:1::99"), otherMAC, podGW)
	for _, f := range families {
		for id, a := range map[uint32]netip.Addr{podID: f.pod, peerID: f.peer, staleID: f.stale, freeID: f.gone} {
			n.know(t, netip.PrefixFrom(a, f.bits()), bpf.IPCacheEntry{Identity: 1000 + id, Endpoint: id})
		}
		host := bpf.IPCacheEntry{Identity: uint32(bpf.IdentityHost), Flags: uint8(bpf.IPCacheHost)}
		n.know(t, netip.PrefixFrom(f.self, f.bits()), host)
		n.know(t, netip.PrefixFrom(f.router, f.bits()), host)
		n.know(t, f.cidr, bpf.IPCacheEntry{Identity: uint32(bpf.IdentityUnmanaged), Flags: uint8(bpf.IPCacheLocalCIDR)})
		n.know(t, f.remotes, bpf.IPCacheEntry{Identity: 2000, TunnelEndpoint: bpf.AddrFrom(families[0].node), Node: 1})
		n.know(t, f.everything(), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityWorld)})
	}
}

func (f family) everything() netip.Prefix {
	if f.v6 {
		return netip.MustParsePrefix("::/0")
	}
	return netip.MustParsePrefix("0.0.0.0/0")
}

// prohibitRoute and blackholeRoute are addresses behind routes of these types.
func (f family) prohibitRoute() netip.Addr  { return f.refused.Next() }
func (f family) blackholeRoute() netip.Addr { return f.refused.Next().Next() }

func (n *node) know(t testing.TB, p netip.Prefix, e bpf.IPCacheEntry) {
	t.Helper()
	n.put(t, n.ipcache, bpf.IPCacheKeyFrom(p), e)
}

func (n *node) put(t testing.TB, m *ebpf.Map, k, v any) {
	t.Helper()
	if err := m.Put(k, v); err != nil {
		t.Fatalf("write %v: %v", k, err)
	}
}

// host makes the devices and routes of a node in a namespace of the test's own:
// the kernel runs a program only on a device it has, and looks routes up itself.
func host(t testing.TB) {
	t.Helper()
	linktest.Enter(t)
	for name, index := range map[string]uint32{
		"underlay": underlayIfindex, "pod": device(podID), "peer": device(peerID), "free": device(freeID),
	} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Index = name, int(index)
		pair := netlink.NewVeth(attrs)
		pair.PeerName = name + "-in"
		if name == "underlay" {
			pair.HardwareAddr = underlayMAC
		}
		if err := netlink.LinkAdd(pair); err != nil {
			t.Fatalf("make %s with index %d: %v", name, index, err)
		}
		linktest.Up(t, name)
		linktest.Up(t, name+"-in")
	}
	sysctl(t, "net/ipv4/ip_forward", "1")
	sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	for _, f := range families {
		linktest.AddAddr(t, "underlay", netip.PrefixFrom(f.self, f.bits()-8).String())
		neighbour(t, f.gateway)
		neighbour(t, f.node)
		world := netip.PrefixFrom(f.world, f.bits()-8).Masked()
		route(t, world, netlink.Route{Gw: f.gateway.AsSlice()})
		route(t, netip.PrefixFrom(f.narrow, f.bits()), netlink.Route{Gw: f.gateway.AsSlice(), MTU: narrowMTU, MTULock: true /* forwarding heeds no other */})
		route(t, netip.PrefixFrom(f.refused, f.bits()), netlink.Route{Type: unix.RTN_UNREACHABLE})
		route(t, netip.PrefixFrom(f.prohibitRoute(), f.bits()), netlink.Route{Type: unix.RTN_PROHIBIT})
		route(t, netip.PrefixFrom(f.blackholeRoute(), f.bits()), netlink.Route{Type: unix.RTN_BLACKHOLE})
		route(t, f.remotes, netlink.Route{Gw: f.node.AsSlice()})
	}
}

func route(t testing.TB, dst netip.Prefix, r netlink.Route) {
	t.Helper()
	r.Dst = &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())}
	if r.Gw != nil {
		r.LinkIndex = underlayIfindex
	}
	if err := netlink.RouteAdd(&r); err != nil {
		t.Fatalf("add route %s: %v", dst, err)
	}
}

func neighbour(t testing.TB, a netip.Addr) {
	t.Helper()
	err := netlink.NeighAdd(&netlink.Neigh{LinkIndex: underlayIfindex, IP: a.AsSlice(), HardwareAddr: otherMAC, State: netlink.NUD_PERMANENT})
	if err != nil {
		t.Fatalf("add neighbour %s: %v", a, err)
	}
}
