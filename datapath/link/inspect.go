package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// inspect finds what exists at our names and refuses what is foreign. It
// changes nothing.
func inspect(h *netlink.Handle, o BaseOptions) (*baseLinks, error) {
	b, err := inspectPair(h)
	if err != nil {
		return nil, err
	}
	if b.tunnel, err = findLink(h, TunnelName); err != nil {
		return nil, err
	}
	if err := checkTunnel(b.tunnel, o); err != nil {
		return nil, err
	}
	if b.tunnel != nil && !isTunnel(b.tunnel) {
		b.tunnel = nil // foreign, and not in the way
	}
	if !o.Tunnel || b.tunnel != nil {
		return b, nil
	}
	return b, checkPort(h, o.TunnelPort)
}

// inspectPair finds the pair. Both ends must be there and be each other's peer.
func inspectPair(h *netlink.Handle) (*baseLinks, error) {
	host, err := findLink(h, HostName)
	if err != nil {
		return nil, err
	}
	net, err := findLink(h, NetName)
	if err != nil {
		return nil, err
	}
	b := &baseLinks{host: host, net: net}
	if host == nil && net == nil || paired(host, net) {
		return b, nil
	}
	name, have := HostName, host
	if have == nil {
		name, have = NetName, net
	}
	return nil, foreign(name, have, fmt.Sprintf("a veth pair of %s and %s", HostName, NetName))
}

func paired(a, b netlink.Link) bool {
	if a == nil || b == nil || a.Type() != "veth" || b.Type() != "veth" {
		return false
	}
	// A peer in another namespace has an index there that may equal ours by chance.
	return a.Attrs().ParentIndex == b.Attrs().Index && b.Attrs().ParentIndex == a.Attrs().Index &&
		a.Attrs().NetNsID < 0 && b.Attrs().NetNsID < 0
}

// checkTunnel refuses a device at the tunnel's name that is not a tunnel of
// ours, when we need the name. One we made ourselves for another port is fine:
// it will be made again.
func checkTunnel(l netlink.Link, o BaseOptions) error {
	if l == nil || !o.Tunnel {
		return nil
	}
	want := fmt.Sprintf("an external vxlan device on UDP port %d", o.TunnelPort)
	if !isTunnel(l) {
		return foreign(TunnelName, l, want)
	}
	if l.(*netlink.Vxlan).Port != o.TunnelPort && l.Attrs().Alias != alias {
		return foreign(TunnelName, l, want)
	}
	return nil
}

// checkPort refuses a tunnel port that another vxlan device owns: the kernel
// would give all packets to one of the two.
func checkPort(h *netlink.Handle, port int) error {
	links, err := h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list devices: %w", err)
	}
	for _, l := range links {
		v, ok := l.(*netlink.Vxlan)
		if ok && v.Port == port && v.Name != TunnelName {
			return fmt.Errorf("%w: vxlan device %s has UDP port %d already (remove it with `ip link del %s`, or set tunnelPort to another port on all nodes)",
				ErrForeign, v.Name, port, v.Name)
		}
	}
	return nil
}

func isTunnel(l netlink.Link) bool {
	v, ok := l.(*netlink.Vxlan)
	return ok && v.FlowBased
}

func foreign(name string, have netlink.Link, want string) error {
	what := have.Type()
	if v, ok := have.(*netlink.Vxlan); ok {
		mode := "external"
		if !v.FlowBased {
			mode = fmt.Sprintf("VNI %d", v.VxlanId)
		}
		what = fmt.Sprintf("vxlan (%s, UDP port %d)", mode, v.Port)
	}
	return fmt.Errorf("%w: %s exists and is a %s, not %s (remove it with `ip link del %s` and start again)",
		ErrForeign, name, what, want, name)
}

// findLink returns nil when there is no such device.
func findLink(h *netlink.Handle, name string) (netlink.Link, error) {
	l, err := h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find device %s: %w", name, err)
	}
	return l, nil
}
