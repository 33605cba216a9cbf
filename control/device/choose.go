package device

import (
	"cmp"
	"net/netip"
	"path"
	"slices"
	"strings"

	"weir/state"
)

// ours begins the name of every device that Weir makes.
const ours = "weir"

// others begins the names of devices that container networks and
// virtualization make: whatever routes they have, they lead to pods or guests.
var others = []string{"docker", "cali", "cilium", "lxc", "flannel", "cni", "kube-", "nodelocaldns", "virbr", "tunl", "veth"}

// nics are the kinds of devices that are, or stand for, a network card. An
// empty kind is a real one.
var nics = []string{"", "device", "vlan", "bond", "team", "veth", "macvlan", "ipvlan"}

// fact is a device as the kernel shows it.
type fact struct {
	state.Device
	Kind         string // "veth", "bridge"; "device" for hardware
	Up, Loopback bool
	Port         bool // of a bridge or bond: the master has the addresses
	Default      bool // a default route leads through it
}

// choose returns the rows of the devices that lead to the underlay, by name:
//
//   - with globs, every device that matches one;
//   - without, every device that has a default route or an address of this
//     node, and every further network card with a global address.
//
// The loopback device and devices of ours never do.
func choose(facts []fact, globs []string, node []netip.Addr) []state.Device {
	var out []state.Device
	for _, f := range facts {
		if f.Loopback || strings.HasPrefix(f.Name, ours) {
			continue
		}
		if len(globs) > 0 && matches(globs, f.Name) || len(globs) == 0 && f.leads(node) {
			out = append(out, f.Device)
		}
	}
	slices.SortFunc(out, func(a, b state.Device) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (f fact) leads(node []netip.Addr) bool {
	if !f.Up || f.Port || len(f.MAC) != 6 {
		return false // programs judge Ethernet frames
	}
	for _, a := range f.Addrs {
		if slices.Contains(node, a.Addr()) {
			return true
		}
	}
	if slices.ContainsFunc(others, func(p string) bool { return strings.HasPrefix(f.Name, p) }) {
		return false
	}
	return f.Default || slices.Contains(nics, f.Kind) && slices.ContainsFunc(f.Addrs, onLink)
}

// onLink tells the address of a card from one that a router set on a link to
// a single pod or tunnel peer: there is room for others in its prefix.
func onLink(p netip.Prefix) bool { return p.Bits() < p.Addr().BitLen() }

func matches(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool {
		ok, err := path.Match(g, name)
		return ok && err == nil // the configuration refused malformed globs
	})
}
