package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// CheckPod compares a pod's devices, addresses and routes with what
// ConfigurePod made; the error names everything that is amiss.
func CheckPod(p Pod) error {
	ns, err := openNetns(p.Netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	return errors.Join(checkHostSide(p), visit(ns, func(h *netlink.Handle) error {
		return checkInside(h, p)
	}))
}

func checkHostSide(p Pod) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	l, err := h.LinkByName(p.Device)
	if err != nil {
		return fmt.Errorf("host device %s: %w", p.Device, err)
	}
	a := l.Attrs()
	if p.Index != 0 && a.Index != p.Index {
		return fmt.Errorf("host device %s has index %d, not %d", p.Device, a.Index, p.Index)
	}
	return checkDevice(a, p.NodeMAC)
}

func checkInside(h *netlink.Handle, p Pod) error {
	l, err := h.LinkByName(p.Interface)
	if err != nil {
		return fmt.Errorf("interface %s in netns %s: %w", p.Interface, p.Netns, err)
	}
	errs := []error{checkDevice(l.Attrs(), p.MAC)}
	have, err := h.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", p.Interface, err)
	}
	for _, want := range p.Addrs {
		if !slices.ContainsFunc(have, func(a netlink.Addr) bool { return toAddr(a.IP) == want }) {
			errs = append(errs, fmt.Errorf("interface %s lacks the address %s", p.Interface, want))
		}
	}
	return errors.Join(append(errs, checkRoutes(h, l, p)...)...)
}

func checkDevice(a *netlink.LinkAttrs, mac net.HardwareAddr) error {
	switch {
	case len(mac) > 0 && !bytes.Equal(a.HardwareAddr, mac):
		return fmt.Errorf("%s has MAC %s, not %s", a.Name, a.HardwareAddr, mac)
	case a.RawFlags&unix.IFF_UP == 0:
		return fmt.Errorf("%s is down", a.Name)
	}
	return nil
}

func checkRoutes(h *netlink.Handle, l netlink.Link, p Pod) []error {
	var errs []error
	for _, want := range podRoutes(l.Attrs().Index, p.Gateways, p.RouteMTU) {
		family := netlink.FAMILY_V4
		if want.Dst.IP.To4() == nil {
			family = netlink.FAMILY_V6
		}
		have, err := h.RouteList(l, family)
		if err != nil {
			return append(errs, fmt.Errorf("list routes of %s: %w", p.Interface, err))
		}
		if !slices.ContainsFunc(have, func(r netlink.Route) bool { return sameRoute(r, want) }) {
			via := ""
			if want.Gw != nil {
				via = " via " + want.Gw.String()
			}
			errs = append(errs, fmt.Errorf("interface %s lacks the route to %s%s", p.Interface, want.Dst, via))
		}
	}
	return errs
}

// sameRoute does not compare MTUs: those follow the underlay.
func sameRoute(have, want netlink.Route) bool {
	return routeDst(have) == routeDst(want) && toAddr(have.Gw) == toAddr(want.Gw)
}

func routeDst(r netlink.Route) netip.Prefix {
	if r.Dst == nil {
		return netip.Prefix{}
	}
	ones, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(toAddr(r.Dst.IP), ones)
}
