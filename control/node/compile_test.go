package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/datapath/route"
	"weir/state"
)

func addrs(s string) []netip.Addr {
	var out []netip.Addr
	for _, f := range strings.Fields(s) {
		out = append(out, netip.MustParseAddr(f))
	}
	return out
}

func prefixes(s string) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range strings.Fields(s) {
		out = append(out, netip.MustParsePrefix(f))
	}
	return out
}

func three() []state.Node {
	return []state.Node{
		{Name: "n1", Addresses: addrs("192.168.7.1 fd77::1"), Routers: addrs("10.1.0.1 fd01::1"), PodCIDRs: prefixes("10.1.0.0/24 fd01::/64"), Local: true},
		{Name: "n2", Addresses: addrs("192.168.7.2 fd77::2"), Routers: addrs("10.2.0.1 fd02::1"), PodCIDRs: prefixes("10.2.0.0/24 10.22.0.0/24 fd02::/64")},
		{Name: "n3", Addresses: addrs("192.168.8.3 fd78::3"), Routers: addrs("10.3.0.1 fd03::1"), PodCIDRs: prefixes("10.3.0.0/24 fd03::/64")},
	}
}

func cards() []state.Device {
	return []state.Device{
		{Name: "eth0", Index: 2, MTU: 1500, Addrs: prefixes("192.168.7.1/24 fd77::1/64")},
		{Name: "eth1", Index: 3, MTU: 1500, Addrs: prefixes("172.16.0.1/16")},
	}
}

// lines prints the output as `ip route` and `ip neigh` would.
func lines(in input, out output) []string {
	names := map[int]string{in.Host: "weir_host"}
	for _, d := range in.Devices {
		names[d.Index] = d.Name
	}
	var text []string
	for _, r := range out.Routes {
		text = append(text, routeLine(r, names))
	}
	for _, n := range out.Neighbors {
		text = append(text, fmt.Sprintf("neigh %s dev %s", n.Addr, names[n.Device]))
	}
	for _, s := range out.Skipped {
		text = append(text, "skipped "+s)
	}
	return text
}

func routeLine(r route.Route, names map[int]string) string {
	s := r.Prefix.String()
	if r.Via.IsValid() {
		s += " via " + r.Via.String()
	}
	s += " dev " + names[r.Device]
	if r.Link {
		s += " scope link"
	}
	if r.Src.IsValid() {
		s += " src " + r.Src.String()
	}
	if r.MTU != 0 {
		s += fmt.Sprintf(" mtu %d", r.MTU)
	}
	return s
}

func TestRoutesOfEachMode(t *testing.T) {
	tests := []struct {
		name   string
		opts   Options
		change func(*input)
		want   string
	}{
		{"tunnel, dual stack", Options{Tunnel: true, IPv4: true, IPv6: true}, nil, `
			10.1.0.1/32 dev weir_host scope link
			fd01::1/128 dev weir_host
			10.1.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1
			fd01::/64 dev weir_host src fd01::1
			10.2.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1 mtu 1450
			10.22.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1 mtu 1450
			fd02::/64 dev weir_host src fd01::1 mtu 1450
			10.3.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1 mtu 1450
			fd03::/64 dev weir_host src fd01::1 mtu 1450
			neigh 192.168.7.2 dev eth0
			neigh fd77::2 dev eth0`},
		{"tunnel over IPv6, IPv4 only", Options{Tunnel: true, IPv4: true, Underlay: "ipv6"}, nil, `
			10.1.0.1/32 dev weir_host scope link
			10.1.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1
			10.2.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1 mtu 1430
			10.22.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1 mtu 1430
			10.3.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1 mtu 1430
			neigh 192.168.7.2 dev eth0
			neigh fd77::2 dev eth0`},
		{"native, direct routes", Options{Direct: true, IPv4: true, IPv6: true}, nil, `
			10.1.0.1/32 dev weir_host scope link
			fd01::1/128 dev weir_host
			10.1.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1
			fd01::/64 dev weir_host src fd01::1
			10.2.0.0/24 via 192.168.7.2 dev eth0
			10.22.0.0/24 via 192.168.7.2 dev eth0
			fd02::/64 via fd77::2 dev eth0
			neigh 192.168.7.2 dev eth0
			neigh fd77::2 dev eth0
			skipped n3: 192.168.8.3 is on no common link
			skipped n3: fd78::3 is on no common link`},
		{"native, the underlay routes; IPv6 only", Options{IPv6: true}, nil, `
			fd01::1/128 dev weir_host
			fd01::/64 dev weir_host src fd01::1
			neigh 192.168.7.2 dev eth0
			neigh fd77::2 dev eth0`},
		{"MTU of the smallest device", Options{Tunnel: true, IPv6: true}, func(in *input) { in.Devices[1].MTU = 1400; in.Nodes = in.Nodes[:2] }, `
			fd01::1/128 dev weir_host
			fd01::/64 dev weir_host src fd01::1
			fd02::/64 dev weir_host src fd01::1 mtu 1350
			neigh 192.168.7.2 dev eth0
			neigh fd77::2 dev eth0`},
		{"MTU that the user set", Options{Tunnel: true, IPv4: true, MTU: 9000}, func(in *input) { in.Nodes = in.Nodes[:2] }, `
			10.1.0.1/32 dev weir_host scope link
			10.1.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1
			10.2.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1 mtu 8950
			10.22.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1 mtu 8950
			neigh 192.168.7.2 dev eth0
			neigh fd77::2 dev eth0`},
		{"several links: the longest prefix", Options{Direct: true, IPv4: true}, func(in *input) {
			in.Devices[1].Addrs = prefixes("192.168.7.129/25 192.168.8.1/24")
			in.Nodes[1].Addresses = addrs("192.168.7.130")
			in.Nodes[1].PodCIDRs = prefixes("10.2.0.0/24")
		}, `
			10.1.0.1/32 dev weir_host scope link
			10.1.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1
			10.2.0.0/24 via 192.168.7.130 dev eth1
			10.3.0.0/24 via 192.168.8.3 dev eth1
			neigh 192.168.7.130 dev eth1
			neigh 192.168.8.3 dev eth1`},
		{"a CIDR claimed twice", Options{Tunnel: true, IPv4: true}, func(in *input) {
			in.Nodes[1].PodCIDRs = prefixes("10.1.0.0/24")
			in.Nodes[2].PodCIDRs = nil
		}, `
			10.1.0.1/32 dev weir_host scope link
			10.1.0.0/24 via 10.1.0.1 dev weir_host src 10.1.0.1
			neigh 192.168.7.2 dev eth0
			neigh fd77::2 dev eth0`},
		{"no router yet", Options{Tunnel: true, IPv4: true, IPv6: true}, func(in *input) { in.Nodes[0].Routers = nil; in.Nodes = in.Nodes[:1] }, ``},
	}
	for _, tt := range tests {
		in := input{Options: tt.opts, Nodes: three(), Devices: cards(), Host: 7}
		if tt.change != nil {
			tt.change(&in)
		}
		var want []string
		for l := range strings.Lines(tt.want) {
			if l = strings.TrimSpace(l); l != "" {
				want = append(want, l)
			}
		}
		got := lines(in, compile(in))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		slices.Reverse(in.Nodes) // rows come sorted, yet nothing but claims depends on it
		again := lines(in, compile(in))
		slices.Sort(again)
		slices.Sort(got)
		if diff := cmp.Diff(got, again); diff != "" {
			t.Errorf("%s: order of nodes matters:\n%s", tt.name, diff)
		}
	}
}
