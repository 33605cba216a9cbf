package state

import (
	"iter"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// Device is a network device of the host that leads to the underlay.
type Device struct {
	Name  string
	Index int
	MTU   int
	MAC   net.HardwareAddr
	Addrs []netip.Prefix
}

// Same reports whether two rows say the same.
func (d Device) Same(o Device) bool {
	return d.Name == o.Name && d.Index == o.Index && d.MTU == o.MTU &&
		slices.Equal(d.MAC, o.MAC) && slices.Equal(d.Addrs, o.Addrs)
}

// Columns implements table.Row.
func (d Device) Columns() []string {
	return []string{d.Name, strconv.Itoa(d.Index), strconv.Itoa(d.MTU), d.MAC.String(), join(d.Addrs)}
}

// UnderlayMTU is the smallest MTU of the devices: what certainly fits. 0
// without devices.
func UnderlayMTU(devices []Device) int {
	mtu := 0
	for _, d := range devices {
		if mtu == 0 || d.MTU < mtu {
			mtu = d.MTU
		}
	}
	return mtu
}

// Networks are the networks of the devices that lead to the underlay.
func Networks(devices iter.Seq2[string, Device]) []netip.Prefix {
	var out []netip.Prefix
	for _, d := range devices {
		for _, p := range d.Addrs {
			out = append(out, p.Masked())
		}
	}
	return out
}
