// Package route keeps a set of routes and neighbours in the kernel: what is
// missing is added, what differs is replaced, what is no longer wanted goes.
//
// Ownership is the protocol number that routes and neighbours carry. Nothing
// with another number is ever changed or removed, whoever made it and however
// much it is in the way. The package does not decide which routes there should
// be, and it does not watch the kernel.
package route

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Owner is the protocol number (rtm_protocol) of routes that one writer keeps.
// The numbers have no name in iproute2; `ip route show proto 89` lists ours.
type Owner int

// The owners. Two of them never touch each other's routes.
const (
	Nodes     Owner = 89 // to pod CIDRs and routers, by control/node
	Endpoints Owner = 90 // to single pods of this node, where a mode needs them
)

// Route is one route of the host.
type Route struct {
	Prefix netip.Prefix // key, together with Table
	Table  int          // 0: the main table
	Via    netip.Addr   // zero: the destination is on the link
	Device int          // interface index
	Src    netip.Addr   // preferred source; zero: the kernel chooses
	MTU    int          // 0: that of the device
	Link   bool         // scope link; of IPv4 only, the kernel knows no scope of IPv6 routes
}

// Changes counts what Apply did.
type Changes struct{ Added, Replaced, Removed int }

// ErrForeign says that a route we need is in the way of somebody else's.
var ErrForeign = errors.New("another route is in the way")

type key struct {
	prefix netip.Prefix
	table  int
}

// Apply makes the routes of the owner exactly those wanted. What can be done is
// done; the error joins what could not.
func Apply(owner Owner, want []Route) (Changes, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return Changes{}, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	have, err := list(h, owner)
	if err != nil {
		return Changes{}, err
	}
	var done Changes
	var errs []error
	next := make(map[key]bool, len(want))
	for _, r := range ordered(want) {
		next[keyOf(r)] = true
		old, ok := have[keyOf(r)]
		if ok && old == r {
			continue
		}
		if err := put(h, owner, r, ok); err != nil {
			errs = append(errs, err)
			continue
		}
		if ok {
			done.Replaced++
		} else {
			done.Added++
		}
	}
	for k, r := range have {
		if next[k] {
			continue
		}
		if err := remove(h, owner, r); err != nil {
			errs = append(errs, err)
			continue
		}
		done.Removed++
	}
	return done, errors.Join(errs...)
}

// list reads the owner's routes out of every table.
func list(h *netlink.Handle, owner Owner) (map[key]Route, error) {
	filter := &netlink.Route{Protocol: netlink.RouteProtocol(owner), Table: unix.RT_TABLE_UNSPEC}
	var routes []netlink.Route
	err := whole(func() (err error) {
		routes, err = h.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	out := make(map[key]Route, len(routes))
	for _, k := range routes {
		r := fromKernel(k)
		out[keyOf(r)] = r
	}
	return out, nil
}

// whole repeats a dump that a change in the middle made incomplete.
func whole(dump func() error) error {
	const tries = 5
	err := dump()
	for i := 1; i < tries && errors.Is(err, netlink.ErrDumpInterrupted); i++ {
		err = dump()
	}
	return err
}

// put adds a route, or replaces one of ours. Adding never overwrites: a
// foreign route to the same prefix is an error that names it.
func put(h *netlink.Handle, owner Owner, r Route, replace bool) error {
	k := toKernel(owner, r)
	set := h.RouteAdd
	if replace {
		set = h.RouteReplace
	}
	err := set(&k)
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add route to %s: %w: %s (remove it, or choose other pod CIDRs)", r.Prefix, ErrForeign, inTheWay(h, r))
	}
	return fmt.Errorf("add route to %s via %s on device %d: %w", r.Prefix, r.Via, r.Device, err)
}

func remove(h *netlink.Handle, owner Owner, r Route) error {
	k := toKernel(owner, r)
	if err := h.RouteDel(&k); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove route to %s: %w", r.Prefix, err)
	}
	return nil
}

func inTheWay(h *netlink.Handle, r Route) string {
	filter := &netlink.Route{Dst: ipNet(r.Prefix), Table: table(r)}
	routes, err := h.RouteListFiltered(family(r.Prefix.Addr()), filter, netlink.RT_FILTER_DST|netlink.RT_FILTER_TABLE)
	if err != nil || len(routes) == 0 {
		return "unknown"
	}
	return routes[0].String()
}

// ordered puts routes on the link before those that need them to reach their
// gateway.
func ordered(want []Route) []Route {
	out := slices.Clone(want)
	slices.SortStableFunc(out, func(a, b Route) int {
		switch {
		case a.Via.IsValid() == b.Via.IsValid():
			return 0
		case b.Via.IsValid():
			return -1
		}
		return 1
	})
	for i := range out {
		out[i].Table = table(out[i])
	}
	return out
}

func keyOf(r Route) key { return key{r.Prefix, table(r)} }

func table(r Route) int {
	if r.Table == 0 {
		return unix.RT_TABLE_MAIN
	}
	return r.Table
}

func toKernel(owner Owner, r Route) netlink.Route {
	k := netlink.Route{
		Dst: ipNet(r.Prefix), Table: table(r), LinkIndex: r.Device, MTU: r.MTU,
		Protocol: netlink.RouteProtocol(owner),
	}
	if r.Via.IsValid() {
		k.Gw = r.Via.AsSlice()
	}
	if r.Src.IsValid() {
		k.Src = r.Src.AsSlice()
	}
	if r.Link && r.Prefix.Addr().Is4() {
		k.Scope = netlink.SCOPE_LINK
	}
	return k
}

func fromKernel(k netlink.Route) Route {
	r := Route{Table: k.Table, Device: k.LinkIndex, MTU: k.MTU, Via: addr(k.Gw), Src: addr(k.Src)}
	if k.Dst != nil {
		ones, _ := k.Dst.Mask.Size()
		r.Prefix = netip.PrefixFrom(addr(k.Dst.IP), ones)
		r.Link = k.Scope == netlink.SCOPE_LINK && r.Prefix.Addr().Is4()
	}
	return r
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func family(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}
