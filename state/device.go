package state

import (
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
