package l2announce

import (
	"cmp"
	"net"
	"net/netip"
	"regexp"
	"slices"

	"weir/bpf"
	"weir/state"
)

// Announcement is an address of services that somebody is to answer for.
type Announcement struct {
	Addr     netip.Addr
	Services []state.ServiceName // in order; the first that has a holder decides who it is
	Holder   string              // the node that answers; empty: nobody
	Devices  []Device            // where, if it is this node
}

// Device is where an address is answered for.
type Device struct {
	Name  string
	Index int
	MAC   net.HardwareAddr
}

// Key is the row of weir_l2 for an address on a device.
func Key(a netip.Addr, ifindex int) bpf.L2Key {
	return bpf.L2Key{Addr: bpf.AddrFrom(a), Ifindex: uint32(ifindex)}
}

// input is what announcements are derived from.
type input struct {
	policies []state.L2Policy
	services []state.Service
	leases   map[state.LeaseName]string // their holders
	nodes    []state.Node
	devices  []state.Device
}

// derive returns every address that a policy speaks of, of the families that are on,
// in order. An address of a node is never among them: that node answers itself.
func derive(o Options, in input) []Announcement {
	services := map[netip.Addr][]state.Service{}
	for _, s := range in.services {
		for _, p := range in.policies {
			if !p.OfService(s) {
				continue
			}
			for _, a := range p.Addresses(s) {
				if !slices.ContainsFunc(services[a], func(has state.Service) bool { return has.Name == s.Name }) {
					services[a] = append(services[a], s)
				}
			}
		}
	}
	var out []Announcement
	for a, of := range services {
		if a.Is4() && !o.IPv4 || a.Is6() && !o.IPv6 || in.isNodes(a) {
			continue
		}
		out = append(out, in.announcement(a, of))
	}
	slices.SortFunc(out, func(a, b Announcement) int { return a.Addr.Compare(b.Addr) })
	return out
}

func (in input) isNodes(a netip.Addr) bool {
	return slices.ContainsFunc(in.nodes, func(n state.Node) bool { return slices.Contains(n.Addresses, a) }) ||
		slices.ContainsFunc(in.devices, func(d state.Device) bool {
			return slices.ContainsFunc(d.Addrs, func(p netip.Prefix) bool { return p.Addr() == a })
		})
}

// announcement says who answers for an address. Services that share one have leases of
// their own: every node takes the same of them, so that no two answer.
func (in input) announcement(a netip.Addr, services []state.Service) Announcement {
	slices.SortFunc(services, func(x, y state.Service) int {
		return cmp.Or(cmp.Compare(x.Name.Namespace, y.Name.Namespace), cmp.Compare(x.Name.Name, y.Name.Name))
	})
	out := Announcement{Addr: a}
	for _, s := range services {
		out.Services = append(out.Services, s.Name)
		if holder := in.leases[state.L2Lease(s.Name)]; out.Holder == "" && holder != "" {
			out.Holder, out.Devices = holder, in.devicesFor(a, s, holder)
		}
	}
	return out
}

// devicesFor are the devices of this node on which it answers for an address, if it is
// the holder.
func (in input) devicesFor(a netip.Addr, s state.Service, holder string) []Device {
	i := slices.IndexFunc(in.nodes, func(n state.Node) bool { return n.Local && n.Name == holder })
	if i < 0 {
		return nil
	}
	var out []Device
	for _, d := range in.devices {
		if len(d.MAC) == 6 && slices.ContainsFunc(in.policies, func(p state.L2Policy) bool {
			return p.OfService(s) && p.OfNode(in.nodes[i]) && slices.Contains(p.Addresses(s), a) && matches(p.Interfaces, d.Name)
		}) {
			out = append(out, Device{d.Name, d.Index, d.MAC})
		}
	}
	slices.SortFunc(out, func(a, b Device) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// matches reports whether one of the regular expressions, or none at all, is for a
// device. The source has compiled them before.
func matches(interfaces []string, name string) bool {
	return len(interfaces) == 0 || slices.ContainsFunc(interfaces, func(text string) bool {
		ok, err := regexp.MatchString(text, name)
		return ok && err == nil
	})
}

// entries are the rows of weir_l2.
func entries(list []Announcement) map[bpf.L2Key]bpf.L2Entry {
	out := map[bpf.L2Key]bpf.L2Entry{}
	for _, a := range list {
		for _, d := range a.Devices {
			out[Key(a.Addr, d.Index)] = bpf.L2Entry{MAC: bpf.MACFrom(d.MAC)}
		}
	}
	return out
}
