package state

import "net/netip"

// HostAddress is an address of this node on any of its devices, whether that
// leads to the underlay or not: lo, a bridge of containers. Link-local and
// loopback ones, which nobody else can name, are left out.
type HostAddress struct {
	Addr   netip.Addr
	Device string
}

// Same reports whether two rows say the same.
func (a HostAddress) Same(o HostAddress) bool { return a == o }

// Columns implements table.Row.
func (a HostAddress) Columns() []string { return []string{a.Addr.String(), a.Device} }
