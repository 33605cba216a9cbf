package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const loopback = 1 // interface index of lo in every network namespace

// ConfigurePod gives both ends their settings, the pod its addresses and
// routes, and sets everything up. Doing it twice is fine.
func ConfigurePod(p Pod) error {
	ns, err := openNetns(p.Netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := raiseHostSide(p); err != nil {
		return err
	}
	return visit(ns, func(h *netlink.Handle) error { return configureInside(h, p) })
}

// raiseHostSide sets the host's end up. It has no address of any kind: what
// the pod asks of its gateway is answered by a program.
func raiseHostSide(p Pod) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	l, err := h.LinkByName(p.Device)
	if err != nil {
		return fmt.Errorf("find host device %s: %w", p.Device, err)
	}
	if err := quiet(h, l); err != nil {
		return err
	}
	if err := ApplySysctls(DeviceSysctls(p.Device)...); err != nil {
		return err
	}
	if !wantsIPv6(p.Addrs) {
		if err := withoutIPv6(p.Device); err != nil {
			return err
		}
	}
	return raise(h, l)
}

// quiet keeps the kernel from making link-local addresses. A kernel without
// IPv6 makes none anyhow.
func quiet(h *netlink.Handle, l netlink.Link) error {
	err := h.LinkSetIP6AddrGenMode(l, nl.IN6_ADDR_GEN_MODE_NONE)
	if err == nil || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return fmt.Errorf("switch address generation off on %s: %w", l.Attrs().Name, err)
}

// withoutIPv6 keeps the kernel from reporting multicast groups of IPv6 on a
// device that has no use for them: they would be counted as drops.
func withoutIPv6(device string) error {
	if CheckIPv6() != nil {
		return nil // nothing to switch off
	}
	return ApplySysctls(Sysctl{"ipv6/conf/" + device + "/disable_ipv6", "1"})
}

func configureInside(h *netlink.Handle, p Pod) error {
	l, err := h.LinkByName(p.Interface)
	if err != nil {
		return fmt.Errorf("find %s in netns %s: %w", p.Interface, p.Netns, err)
	}
	if err := quiet(h, l); err != nil {
		return err
	}
	ready := withoutIPv6
	if wantsIPv6(p.Addrs) {
		ready = readyIPv6
	}
	if err := ready(p.Interface); err != nil {
		return fmt.Errorf("prepare IPv6 in netns %s: %w", p.Netns, err)
	}
	for _, up := range []int{loopback, l.Attrs().Index} {
		if err := h.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: up}}); err != nil {
			return fmt.Errorf("set interface %d up in netns %s: %w", up, p.Netns, err)
		}
	}
	for _, a := range podAddrs(p) {
		if err := addAddr(h, l, a, netlink.SCOPE_UNIVERSE); err != nil {
			return fmt.Errorf("netns %s: %w", p.Netns, err)
		}
	}
	for _, r := range podRoutes(l.Attrs().Index, p.Gateways, p.RouteMTU) {
		if err := h.RouteReplace(&r); err != nil {
			return fmt.Errorf("add route to %s in netns %s: %w", r.Dst, p.Netns, err)
		}
	}
	return nil
}

// readyIPv6 makes IPv6 work on the pod's interface whatever the runtime chose
// as default for the namespace. The gateway is known, so no router is asked for.
func readyIPv6(device string) error {
	conf := "ipv6/conf/" + device
	return ApplySysctls(Sysctl{conf + "/disable_ipv6", "0"}, Sysctl{conf + "/accept_ra", "0"})
}

// podAddrs adds the link-local address to those of a pod with IPv6: the kernel
// needs one as the source when it checks whether a neighbour is still there.
func podAddrs(p Pod) []netip.Addr {
	out := p.Addrs
	if wantsIPv6(p.Addrs) && len(p.MAC) == 6 {
		out = append(out[:len(out):len(out)], linkLocal(p.MAC))
	}
	return out
}

// linkLocal derives the modified EUI-64 address (RFC 4291, appendix A).
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
}

// podRoutes returns the two routes of each family, the way to the gateway first:
//
//	GATEWAY dev eth0 scope link
//	default via GATEWAY dev eth0 mtu MTU
func podRoutes(index int, gateways []netip.Addr, mtu int) []netlink.Route {
	var out []netlink.Route
	for _, gw := range gateways {
		out = append(out, netlink.Route{LinkIndex: index, Dst: hostNet(gw), Scope: netlink.SCOPE_LINK},
			defaultRoute(index, gw, mtu))
	}
	return out
}

func defaultRoute(index int, gw netip.Addr, mtu int) netlink.Route {
	all := &net.IPNet{IP: make(net.IP, gw.BitLen()/8), Mask: net.CIDRMask(0, gw.BitLen())}
	return netlink.Route{LinkIndex: index, Dst: all, Gw: gw.AsSlice(), MTU: mtu}
}

// SetRouteMTU gives the default routes of a pod another MTU, as the underlay
// changed its own. Connections follow at once.
func SetRouteMTU(netns, iface string, gateways []netip.Addr, mtu int) error {
	ns, err := openNetns(netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	return visit(ns, func(h *netlink.Handle) error {
		l, err := h.LinkByName(iface)
		if err != nil {
			return fmt.Errorf("find %s in netns %s: %w", iface, netns, err)
		}
		for _, gw := range gateways {
			r := defaultRoute(l.Attrs().Index, gw, mtu)
			if err := h.RouteReplace(&r); err != nil {
				return fmt.Errorf("set MTU %d of the route via %s in netns %s: %w", mtu, gw, netns, err)
			}
		}
		return nil
	})
}

// NoARP lets the host send on a pod's device without asking for neighbours:
// whoever addresses the frames is a program on it.
func NoARP(device string) error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	if err := netlink.LinkSetARPOff(l); err != nil {
		return fmt.Errorf("switch ARP off on %s: %w", device, err)
	}
	return nil
}
