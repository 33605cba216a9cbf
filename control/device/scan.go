package device

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/state"
)

// scan reads the devices of the thread's network namespace. A dump that a
// change interrupted is good enough: the change wakes us again.
func scan() ([]fact, error) {
	links, err := netlink.LinkList()
	if hard(err) {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if hard(err) {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	defaults, err := defaultDevices()
	if err != nil {
		return nil, err
	}
	kinds := make(map[int]string, len(links))
	for _, l := range links {
		kinds[l.Attrs().Index] = l.Type()
	}
	byDevice := globals(addrs)
	out := make([]fact, 0, len(links))
	for _, l := range links {
		a := l.Attrs()
		out = append(out, fact{
			Device:   state.Device{Name: a.Name, Index: a.Index, MTU: a.MTU, MAC: a.HardwareAddr, Addrs: byDevice[a.Index]},
			Kind:     l.Type(),
			Up:       a.RawFlags&unix.IFF_UP != 0,
			Loopback: a.RawFlags&unix.IFF_LOOPBACK != 0,
			Port:     a.MasterIndex != 0 && kinds[a.MasterIndex] != "vrf", // a VRF has no addresses of its own
			Default:  defaults[a.Index],
		})
	}
	return out, nil
}

// globals returns the addresses that others can reach, by device, in the
// order of the kernel: the primary ones first.
func globals(addrs []netlink.Addr) map[int][]netip.Prefix {
	out := map[int][]netip.Prefix{}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); !ok || !ip.IsGlobalUnicast() {
			continue
		}
		ones, _ := a.Mask.Size()
		out[a.LinkIndex] = append(out[a.LinkIndex], netip.PrefixFrom(ip, ones))
	}
	return out
}

// defaultDevices returns the devices of all default routes of the main table.
func defaultDevices() (map[int]bool, error) {
	out := map[int]bool{}
	err := netlink.RouteListFilteredIter(netlink.FAMILY_ALL, &netlink.Route{}, 0, func(r netlink.Route) bool {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				return true
			}
		}
		if r.Type != unix.RTN_UNICAST {
			return true
		}
		out[r.LinkIndex] = true
		for _, hop := range r.MultiPath {
			out[hop.LinkIndex] = true
		}
		return true
	})
	if hard(err) {
		return nil, fmt.Errorf("list default routes: %w", err)
	}
	return out, nil
}

func hard(err error) bool { return err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) }
