package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ensureAddrs makes the router addresses the only ones of weir_host. Strangers
// go: an address of ours from before the node's pod CIDR changed would answer
// for a pod of another node.
func ensureAddrs(h *netlink.Handle, l netlink.Link, o BaseOptions) error {
	have, err := h.AddrList(l, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
	}
	kept := map[netip.Addr]bool{}
	for _, a := range have {
		addr := toAddr(a.IP)
		if keep(a, addr, o) {
			kept[addr] = true
			continue
		}
		if addr.IsLinkLocalUnicast() && addr.Is6() {
			continue
		}
		if err := h.AddrDel(l, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %s from %s: %w", addr, l.Attrs().Name, err)
		}
	}
	for _, r := range o.Routers {
		if kept[r] {
			continue
		}
		if err := addAddr(h, l, r, routerScope(r, o)); err != nil {
			return err
		}
	}
	return nil
}

func keep(a netlink.Addr, addr netip.Addr, o BaseOptions) bool {
	ones, bits := a.Mask.Size()
	if ones != bits || !slices.Contains(o.Routers, addr) {
		return false
	}
	return addr.Is6() || a.Scope == int(routerScope(addr, o))
}

// routerScope is of IPv4 only: the kernel derives the scope of an IPv6 address.
func routerScope(r netip.Addr, o BaseOptions) netlink.Scope {
	if o.RouterScopeLink && r.Is4() {
		return netlink.SCOPE_LINK
	}
	return netlink.SCOPE_UNIVERSE
}

// addAddr adds a single address, without the route to itself that the kernel
// makes for IPv6, and without the second of duplicate address detection.
func addAddr(h *netlink.Handle, l netlink.Link, addr netip.Addr, scope netlink.Scope) error {
	a := &netlink.Addr{IPNet: hostNet(addr), Scope: int(scope)}
	if addr.Is6() {
		a.Flags = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE
	}
	if err := h.AddrAdd(l, a); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s to %s: %w", addr, l.Attrs().Name, err)
	}
	return nil
}

func hostNet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

func toAddr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
