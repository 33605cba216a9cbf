package datapath

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is what the kernel's routing table says of a destination.
type Route struct {
	Device string
	Via    netip.Addr // the next hop: the destination itself when it is on the link
	MTU    int        // of the route, or else of the device
}

// RouteTo asks the routing table of this node. The error says which entry refuses:
// unreachable, prohibited, or none at all.
func RouteTo(to netip.Addr) (Route, error) {
	got, err := netlink.RouteGet(to.AsSlice())
	switch {
	case errors.Is(err, unix.ENETUNREACH):
		return Route{}, fmt.Errorf("no route to %s", to)
	case errors.Is(err, unix.EHOSTUNREACH):
		return Route{}, fmt.Errorf("an unreachable route has %s", to)
	case errors.Is(err, unix.EACCES):
		return Route{}, fmt.Errorf("a prohibiting route has %s", to)
	case errors.Is(err, unix.EINVAL):
		return Route{}, fmt.Errorf("a black hole route has %s", to)
	case err != nil:
		return Route{}, fmt.Errorf("ask the routing table for %s: %w", to, err)
	case len(got) == 0:
		return Route{}, fmt.Errorf("no route to %s", to)
	}
	out := Route{Via: to, MTU: got[0].MTU}
	if via, ok := netip.AddrFromSlice(got[0].Gw); ok {
		out.Via = via.Unmap()
	}
	link, err := netlink.LinkByIndex(got[0].LinkIndex)
	if err != nil {
		return Route{}, fmt.Errorf("the device of the route to %s: %w", to, err)
	}
	out.Device = link.Attrs().Name
	if out.MTU == 0 {
		out.MTU = link.Attrs().MTU
	}
	return out, nil
}

// NeighbourState is what the kernel knows of a neighbour.
type NeighbourState struct {
	Known bool
	State string // "REACHABLE", "FAILED", ...
	MAC   net.HardwareAddr
	OK    bool // packets can be sent to it, or a question is enough
}

// neighbourStates are the kernel's names of them (linux/neighbour.h).
var neighbourStates = map[int]string{unix.NUD_INCOMPLETE: "INCOMPLETE", unix.NUD_REACHABLE: "REACHABLE", unix.NUD_STALE: "STALE", unix.NUD_DELAY: "DELAY",
	unix.NUD_PROBE: "PROBE", unix.NUD_FAILED: "FAILED", unix.NUD_NOARP: "NOARP", unix.NUD_PERMANENT: "PERMANENT"}

// Neighbour asks the kernel for a neighbour on a device.
func Neighbour(device string, a netip.Addr) (NeighbourState, error) {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return NeighbourState{}, fmt.Errorf("device %s: %w", device, err)
	}
	family := netlink.FAMILY_V6
	if a.Is4() {
		family = netlink.FAMILY_V4
	}
	all, err := netlink.NeighList(link.Attrs().Index, family)
	if err != nil {
		return NeighbourState{}, fmt.Errorf("list neighbours on %s: %w", device, err)
	}
	for _, n := range all {
		if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == a {
			bad := n.State == unix.NUD_FAILED || n.State == unix.NUD_INCOMPLETE
			return NeighbourState{Known: true, State: neighbourStates[n.State], MAC: n.HardwareAddr, OK: !bad}, nil
		}
	}
	return NeighbourState{OK: true}, nil
}
