package topo

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// End is one end of a veth pair.
type End struct {
	In    Netns
	Name  string
	Addrs []string // prefixes
}

// Veth joins two namespaces by a pair of devices, with addresses, up.
func Veth(a, b End, mtu int) error {
	err := a.In.Do(func(h *netlink.Handle) error {
		peer, err := netns.GetFromPath(b.In.Path())
		if err != nil {
			return err
		}
		defer peer.Close()
		return h.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: a.Name, MTU: mtu},
			PeerName:  b.Name, PeerNamespace: netlink.NsFd(peer), PeerMTU: uint32(mtu),
		})
	})
	if err != nil {
		return fmt.Errorf("add veth %s: %w", a.Name, err)
	}
	if err := a.Up(); err != nil {
		return err
	}
	return b.Up()
}

// Up gives the device its addresses, usable at once, and sets it up.
func (e End) Up() error {
	return e.In.Do(func(h *netlink.Handle) error {
		l, err := h.LinkByName(e.Name)
		if err != nil {
			return fmt.Errorf("find %s: %w", e.Name, err)
		}
		for _, s := range e.Addrs {
			p := netip.MustParsePrefix(s)
			addr := &netlink.Addr{IPNet: ipNet(p)}
			if p.Addr().Is6() {
				addr.Flags = unix.IFA_F_NODAD
			}
			if err := h.AddrAdd(l, addr); err != nil {
				return fmt.Errorf("add address %s to %s: %w", s, e.Name, err)
			}
		}
		return h.LinkSetUp(l)
	})
}

// Route leads to dst over dev, via a gateway unless via is empty.
func (n Netns) Route(dst, via, dev string) error {
	return n.Do(func(h *netlink.Handle) error {
		l, err := h.LinkByName(dev)
		if err != nil {
			return fmt.Errorf("find %s: %w", dev, err)
		}
		r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(netip.MustParsePrefix(dst)), Scope: netlink.SCOPE_LINK}
		if via != "" {
			r.Gw, r.Scope = netip.MustParseAddr(via).AsSlice(), netlink.SCOPE_UNIVERSE
			r.Flags = int(netlink.FLAG_ONLINK)
		}
		if err := h.RouteAdd(r); err != nil {
			return fmt.Errorf("add route %s via %q dev %s: %w", dst, via, dev, err)
		}
		return nil
	})
}

// Index returns the interface index and the hardware address of a device.
func (n Netns) Index(dev string) (int, net.HardwareAddr, error) {
	var index int
	var mac net.HardwareAddr
	err := n.Do(func(h *netlink.Handle) error {
		l, err := h.LinkByName(dev)
		if err != nil {
			return fmt.Errorf("find %s: %w", dev, err)
		}
		index, mac = l.Attrs().Index, l.Attrs().HardwareAddr
		return nil
	})
	return index, mac, err
}

// VXLAN makes a point to point overlay device as plain kernel overlays do: no
// learning, the far end in the forwarding table.
func (n Netns) VXLAN(dev, local string, mtu int) error {
	return n.Do(func(h *netlink.Handle) error {
		v := &netlink.Vxlan{
			LinkAttrs: netlink.LinkAttrs{Name: dev, MTU: mtu},
			VxlanId:   1, Port: 8472, SrcAddr: netip.MustParseAddr(local).AsSlice(),
		}
		if err := h.LinkAdd(v); err != nil {
			return fmt.Errorf("add %s: %w", dev, err)
		}
		return nil
	})
}

// VXLANPeer tells the overlay device who has an overlay address.
func (n Netns) VXLANPeer(dev, addr, node string, mac net.HardwareAddr) error {
	return n.Do(func(h *netlink.Handle) error {
		l, err := h.LinkByName(dev)
		if err != nil {
			return fmt.Errorf("find %s: %w", dev, err)
		}
		arp := &netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: netip.MustParseAddr(addr).AsSlice(), HardwareAddr: mac}
		if err := h.NeighSet(arp); err != nil {
			return fmt.Errorf("set neighbour %s: %w", addr, err)
		}
		fdb := &netlink.Neigh{LinkIndex: l.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT,
			Flags: netlink.NTF_SELF, IP: netip.MustParseAddr(node).AsSlice(), HardwareAddr: mac}
		if err := h.NeighSet(fdb); err != nil {
			return fmt.Errorf("set forwarding entry of %s: %w", addr, err)
		}
		return nil
	})
}

func ipNet(p netip.Prefix) *net.IPNet {
	p = netip.PrefixFrom(p.Addr(), p.Bits())
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
