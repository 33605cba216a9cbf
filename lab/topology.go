package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// wire connects the k-th NIC of a host with the k-th bridge of the underlay.
type wire struct {
	host  string // name of its namespace
	port  string // the bridge's end
	nic   int
	addrs []netip.Prefix
}

// buildUnderlay makes the bridges, the hosts' NICs and the world's and the
// nodes' routes. Their namespaces exist already.
func buildUnderlay(s Spec, nodes []Node) error {
	return withNetns(netnsName(s.Name, underlayNS), func(under *netlink.Handle, _ netns.NsHandle) error {
		for k := range s.networks() {
			if err := addBridge(under, bridgeName(k), s.MTU); err != nil {
				return err
			}
		}
		for i, n := range nodes {
			for k := range 1 + n.NICs {
				w := wire{host: n.Netns, port: fmt.Sprintf("n%d-eth%d", i+1, k), nic: k, addrs: s.addresses(k, nodeHost(i))}
				if err := connect(under, w, s.MTU); err != nil {
					return fmt.Errorf("connect node %s: %w", n.Name, err)
				}
			}
		}
		world := wire{host: netnsName(s.Name, worldName), port: worldName, addrs: s.addresses(0, worldHost)}
		if err := connect(under, world, s.MTU); err != nil {
			return fmt.Errorf("connect world: %w", err)
		}
		return routeAll(s, nodes)
	})
}

// withNetns opens netlink in the named namespace.
func withNetns(name string, f func(*netlink.Handle, netns.NsHandle) error) error {
	ns, err := netns.GetFromPath(netnsPath(name))
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", name, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in %s: %w", name, err)
	}
	defer h.Close()
	return f(h, ns)
}

func bridgeName(k int) string { return fmt.Sprintf("br%d", k) }
func nicName(k int) string    { return fmt.Sprintf("eth%d", k) }

func addBridge(h *netlink.Handle, name string, mtu int) error {
	snoop := false // without a querier, snooping may keep neighbour solicitations from their target
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu}, MulticastSnooping: &snoop}
	if err := h.LinkAdd(br); err != nil {
		return fmt.Errorf("add bridge %s: %w", name, err)
	}
	if err := h.LinkSetUp(br); err != nil {
		return fmt.Errorf("set bridge %s up: %w", name, err)
	}
	return nil
}

func connect(under *netlink.Handle, w wire, mtu int) error {
	return withNetns(w.host, func(h *netlink.Handle, ns netns.NsHandle) error {
		veth := &netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: w.port, MTU: mtu},
			PeerName:      nicName(w.nic),
			PeerNamespace: netlink.NsFd(ns),
			PeerMTU:       uint32(mtu),
		}
		if err := under.LinkAdd(veth); err != nil {
			return fmt.Errorf("add veth %s: %w", w.port, err)
		}
		br, err := under.LinkByName(bridgeName(w.nic))
		if err != nil {
			return fmt.Errorf("find bridge: %w", err)
		}
		err = errors.Join(under.LinkSetMaster(veth, br), under.LinkSetUp(veth))
		if err != nil {
			return fmt.Errorf("plug %s into %s: %w", w.port, bridgeName(w.nic), err)
		}
		return setAddrs(h, nicName(w.nic), w.addrs)
	})
}

// setAddrs gives the device its addresses, usable at once, and sets it up.
func setAddrs(h *netlink.Handle, dev string, addrs []netip.Prefix) error {
	l, err := h.LinkByName(dev)
	if err != nil {
		return fmt.Errorf("find %s: %w", dev, err)
	}
	for _, a := range addrs {
		addr := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("add address %s to %s: %w", a, dev, err)
		}
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", dev, err)
	}
	return nil
}

// routeAll makes the world the nodes' default gateway, and tells the world
// which node has which pods: pods whose addresses nobody masquerades get
// their answers. What is for load balancers goes to the first node.
func routeAll(s Spec, nodes []Node) error {
	var pods []netlink.Route
	for _, n := range nodes {
		for _, c := range n.PodCIDRs {
			for _, a := range n.Addresses {
				if a.Is4() == c.Addr().Is4() {
					pods = append(pods, netlink.Route{Dst: ipNet(c), Gw: a.AsSlice()})
				}
			}
		}
	}
	balancers := s.serviceRanges().LoadBalancerIPs
	for i, a := range nodes[0].Addresses { // of the same families in the same order
		pods = append(pods, netlink.Route{Dst: ipNet(balancers[i]), Gw: a.AsSlice()})
	}
	if err := addRoutes(netnsName(s.Name, worldName), pods); err != nil {
		return err
	}
	var lo []netip.Prefix
	var gateways []netlink.Route
	for i, gw := range s.addresses(0, worldHost) {
		all := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		if gw.Addr().Is4() {
			all = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		gateways = append(gateways, netlink.Route{Dst: ipNet(all), Gw: gw.Addr().AsSlice()})
		lo = append(lo, outside[slices.IndexFunc(outside, func(o netip.Prefix) bool { return o.Addr().Is4() == s.families()[i] })])
	}
	for _, n := range nodes {
		if err := addRoutes(n.Netns, gateways); err != nil {
			return err
		}
	}
	return withNetns(netnsName(s.Name, worldName), func(h *netlink.Handle, _ netns.NsHandle) error {
		return setAddrs(h, "lo", lo)
	})
}

// addRoutes adds routes over eth0.
func addRoutes(ns string, routes []netlink.Route) error {
	return withNetns(ns, func(h *netlink.Handle, _ netns.NsHandle) error {
		l, err := h.LinkByName(nicName(0))
		if err != nil {
			return fmt.Errorf("find %s in %s: %w", nicName(0), ns, err)
		}
		for _, r := range routes {
			r.LinkIndex = l.Attrs().Index
			if err := h.RouteAdd(&r); err != nil {
				return fmt.Errorf("add route %s via %s in %s: %w", r.Dst, r.Gw, ns, err)
			}
		}
		return nil
	})
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// addHost makes the namespace of a node, of the world or of the underlay. A
// node forwards, as the documentation of kubeadm demands of one.
func addHost(name, lab string, sysctls map[string]string) (uint64, error) {
	id, err := makeNetns(name)
	if err != nil {
		return 0, err
	}
	if err := openLoopback(name, lab); err != nil {
		return id, err
	}
	return id, inside(netnsPath(name), func() error {
		for key, value := range sysctls {
			err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0)
			if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
				return fmt.Errorf("set sysctl net/%s in %s: %w", key, name, err)
			}
		}
		return nil
	})
}

// The sysctls of hosts: no waiting for duplicate address detection, which
// finds nothing here.
var (
	hostSysctls = map[string]string{"ipv6/conf/all/accept_dad": "0", "ipv6/conf/default/accept_dad": "0"}
	nodeSysctls = merged(hostSysctls, map[string]string{"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"})
)
