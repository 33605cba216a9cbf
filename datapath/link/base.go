package link

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Base is the devices every node has. Tunnel is zero without a tunnel.
type Base struct{ Host, Net, Tunnel Device }

// BaseOptions says how the base devices shall be.
type BaseOptions struct {
	Tunnel          bool
	TunnelPort      int          // UDP
	MTU             int          // of the underlay; 0 leaves the kernel's default
	Routers         []netip.Addr // of weir_host, at most one of each family
	RouterScopeLink bool         // scope of the IPv4 router address: link, not global
}

// EnsureBase makes the base devices, or changes what differs about those that
// exist: indexes and MAC addresses stay. It looks at everything before it
// touches anything; a foreign object at one of our names is ErrForeign.
func EnsureBase(o BaseOptions) (Base, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return Base{}, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	have, err := inspect(h, o)
	if err != nil {
		return Base{}, err
	}
	if err := ForwardHost(wantsIPv6(o.Routers)); err != nil {
		return Base{}, err
	}
	if err := have.ensurePair(h, o); err != nil {
		return Base{}, err
	}
	if err := have.ensureTunnel(h, o); err != nil {
		return Base{}, err
	}
	return have.read(h)
}

// BaseNames are those of our devices that are there, as far as they are ours.
func BaseNames() ([]string, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	var out []string
	pair, err := inspectPair(h)
	if err == nil && pair.host != nil {
		out = append(out, HostName, NetName)
	}
	tunnel, tunnelErr := findLink(h, TunnelName)
	if tunnelErr == nil && isTunnel(tunnel) {
		out = append(out, TunnelName)
	}
	if errors.Is(err, ErrForeign) {
		err = nil
	}
	return out, errors.Join(err, tunnelErr)
}

// RemoveBase removes the base devices that are ours. Missing ones, and foreign
// devices at our names, are left alone.
func RemoveBase() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	pair, pairErr := inspectPair(h)
	tunnel, tunnelErr := findLink(h, TunnelName)
	var errs []error
	if pairErr == nil && pair.host != nil {
		errs = append(errs, removeLink(h, pair.host)) // takes its peer with it
	}
	if tunnelErr == nil && isTunnel(tunnel) {
		errs = append(errs, removeLink(h, tunnel))
	}
	for _, err := range []error{pairErr, tunnelErr} {
		if err != nil && !errors.Is(err, ErrForeign) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// baseLinks is what the kernel has at our names; nil where there is nothing.
type baseLinks struct{ host, net, tunnel netlink.Link }

func (b *baseLinks) ensurePair(h *netlink.Handle, o BaseOptions) error {
	if b.host == nil {
		if err := b.createPair(h, o); err != nil {
			return err
		}
	}
	for _, l := range []netlink.Link{b.host, b.net} {
		if err := settle(h, l, o.MTU); err != nil {
			return err
		}
		if err := silence(l.Attrs().Name, wantsIPv6(o.Routers)); err != nil {
			return err
		}
	}
	if err := ensureAddrs(h, b.host, o); err != nil {
		return err
	}
	for _, l := range []netlink.Link{b.host, b.net} {
		if err := raise(h, l); err != nil {
			return err
		}
	}
	return nil
}

func (b *baseLinks) createPair(h *netlink.Handle, o BaseOptions) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = HostName, o.MTU
	pair := netlink.NewVeth(attrs)
	pair.PeerName = NetName
	if err := h.LinkAdd(pair); err != nil {
		return fmt.Errorf("create veth pair %s and %s: %w", HostName, NetName, err)
	}
	made, err := inspectPair(h)
	if err != nil {
		return err
	}
	b.host, b.net = made.host, made.net
	return nil
}

func (b *baseLinks) ensureTunnel(h *netlink.Handle, o BaseOptions) error {
	if b.tunnel != nil && (!o.Tunnel || b.tunnel.(*netlink.Vxlan).Port != o.TunnelPort) {
		if err := removeLink(h, b.tunnel); err != nil {
			return err
		}
		b.tunnel = nil
	}
	if !o.Tunnel {
		return nil
	}
	if b.tunnel == nil {
		if err := b.createTunnel(h, o); err != nil {
			return err
		}
	}
	if o.MTU > 0 && b.tunnel.Attrs().MTU != o.MTU {
		if err := h.LinkSetMTU(b.tunnel, o.MTU); err != nil {
			return fmt.Errorf("set MTU of %s to %d: %w", TunnelName, o.MTU, err)
		}
	}
	if err := silence(TunnelName, wantsIPv6(o.Routers)); err != nil {
		return err
	}
	if err := raise(h, b.tunnel); err != nil {
		return fmt.Errorf("%w (is UDP port %d in use? see ss -ulnp; set tunnelPort to another port on all nodes)", err, o.TunnelPort)
	}
	return nil
}

func (b *baseLinks) createTunnel(h *netlink.Handle, o BaseOptions) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = TunnelName, o.MTU
	err := h.LinkAdd(&netlink.Vxlan{
		LinkAttrs: attrs, FlowBased: true, Port: o.TunnelPort,
		// Peers may leave out the outer checksum over IPv6; RFC 6935 allows it for tunnels.
		UDP6ZeroCSumTx: true, UDP6ZeroCSumRx: true,
	})
	if err != nil {
		return fmt.Errorf("create vxlan device %s on UDP port %d: %w", TunnelName, o.TunnelPort, err)
	}
	if b.tunnel, err = h.LinkByName(TunnelName); err != nil {
		return fmt.Errorf("find %s, just made: %w", TunnelName, err)
	}
	// The kernel takes no alias in the request that creates a device.
	if err := h.LinkSetAlias(b.tunnel, alias); err != nil {
		return fmt.Errorf("mark %s as ours: %w", TunnelName, err)
	}
	return nil
}

// read returns the devices as they are after all changes.
func (b *baseLinks) read(h *netlink.Handle) (Base, error) {
	var out Base
	for _, d := range []struct {
		link netlink.Link
		to   *Device
	}{{b.host, &out.Host}, {b.net, &out.Net}, {b.tunnel, &out.Tunnel}} {
		if d.link == nil {
			continue
		}
		l, err := h.LinkByIndex(d.link.Attrs().Index)
		if err != nil {
			return Base{}, fmt.Errorf("read %s: %w", d.link.Attrs().Name, err)
		}
		a := l.Attrs()
		*d.to = Device{Name: a.Name, Index: a.Index, MTU: a.MTU, MAC: a.HardwareAddr}
	}
	return out, nil
}

// settle gives one end of the pair its MTU and switches ARP off.
func settle(h *netlink.Handle, l netlink.Link, mtu int) error {
	a := l.Attrs()
	if mtu > 0 && a.MTU != mtu {
		if err := h.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("set MTU of %s to %d: %w", a.Name, mtu, err)
		}
	}
	if a.RawFlags&unix.IFF_NOARP == 0 {
		if err := h.LinkSetARPOff(l); err != nil {
			return fmt.Errorf("switch ARP off on %s: %w", a.Name, err)
		}
	}
	return nil
}

// silence keeps the kernel from sending on a device of its own accord: no
// link-local address means no router solicitation from one.
func silence(device string, ipv6 bool) error {
	settings := DeviceSysctls(device)
	if ipv6 {
		conf := "ipv6/conf/" + device
		settings = append(settings, Sysctl{conf + "/disable_ipv6", "0"}, Sysctl{conf + "/addr_gen_mode", "1"}, Sysctl{conf + "/accept_ra", "0"},
			Sysctl{conf + "/keep_addr_on_down", "1"}) // IPv4 addresses survive `ip link set down` anyhow
	} else if err := withoutIPv6(device); err != nil {
		return err
	}
	return ApplySysctls(settings...)
}

func raise(h *netlink.Handle, l netlink.Link) error {
	if l.Attrs().RawFlags&unix.IFF_UP != 0 {
		return nil
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", l.Attrs().Name, err)
	}
	return nil
}

func removeLink(h *netlink.Handle, l netlink.Link) error {
	err := h.LinkDel(l)
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove %s: %w", l.Attrs().Name, err)
	}
	return nil
}

func wantsIPv6(addrs []netip.Addr) bool {
	for _, a := range addrs {
		if a.Is6() {
			return true
		}
	}
	return false
}
