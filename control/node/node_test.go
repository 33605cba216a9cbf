package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/datapath/link"
	"weir/datapath/link/linktest"
	"weir/datapath/route"
	"weir/state"
)

// onHost lists our routes as "prefix mtu".
func onHost(t *testing.T) []string {
	t.Helper()
	filter := &netlink.Route{Protocol: netlink.RouteProtocol(route.Nodes)}
	have, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil // a dump that was interrupted: the caller looks again
	}
	var out []string
	for _, r := range have {
		out = append(out, fmt.Sprintf("%s %d", r.Dst, r.MTU))
	}
	slices.Sort(out)
	return out
}

func start(t *testing.T, o Options) *state.Tables {
	t.Helper()
	linktest.Enter(t)
	linktest.Veth(t, "eth0", "wire0", "192.168.7.1/24", "fd77::1/64")
	_, err := link.EnsureBase(link.BaseOptions{Tunnel: o.Tunnel, TunnelPort: 8472, MTU: 1500, Routers: three()[0].Routers})
	if err != nil {
		t.Fatal(err)
	}
	tables := state.New()
	ctx, cancel := context.WithCancel(t.Context())
	linktest.Go(t, func() {
		if err := New(slog.New(slog.DiscardHandler), o, tables).Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(cancel)
	return tables
}

func device(t *testing.T, mtu int) state.Device {
	return state.Device{Name: "eth0", Index: linktest.Link(t, "eth0").Attrs().Index, MTU: mtu, Addrs: prefixes("192.168.7.1/24 fd77::1/64")}
}

func TestRoutesFollowTheTables(t *testing.T) {
	tables := start(t, Options{Tunnel: true, IPv4: true, IPv6: true})
	stale := &netlink.Route{LinkIndex: linktest.Link(t, link.HostName).Attrs().Index, Dst: ipNet("10.9.0.0/24"), Protocol: netlink.RouteProtocol(route.Nodes)}
	if err := netlink.RouteAdd(stale); err != nil { // of a node that went while the agent was down
		t.Fatal(err)
	}
	see := func(what string, want ...string) {
		t.Helper()
		slices.Sort(want)
		linktest.Eventually(t, 2*time.Second, what, func() bool { return slices.Equal(onHost(t), want) })
	}
	tables.Nodes.Put(three()[:2]...)
	tables.Nodes.MarkSynced()
	tables.Devices.Put(device(t, 1500))
	if got := onHost(t); !slices.Equal(got, []string{"10.9.0.0/24 0"}) {
		t.Errorf("routes before the tables are synced: %v, want the stale one left alone", got)
	}
	tables.Devices.MarkSynced()
	own := []string{"10.1.0.1/32 0", "fd01::1/128 0", "10.1.0.0/24 0", "fd01::/64 0"}
	see("routes to both nodes, the stale one gone", append(own, "10.2.0.0/24 1450", "10.22.0.0/24 1450", "fd02::/64 1450")...)

	tables.Devices.Put(device(t, 1400))
	see("the MTU of the underlay", append(own, "10.2.0.0/24 1350", "10.22.0.0/24 1350", "fd02::/64 1350")...)

	tables.Nodes.Put(three()[2])
	tables.Nodes.Delete("n2")
	see("the other node", append(own, "10.3.0.0/24 1350", "fd03::/64 1350")...)
}

func TestWhatSomeoneTookAwayComesBack(t *testing.T) {
	tables := start(t, Options{Direct: true, IPv4: true, IPv6: true})
	tables.Nodes.Put(three()[:2]...)
	tables.Nodes.MarkSynced()
	tables.Devices.Put(device(t, 1500))
	tables.Devices.MarkSynced()
	whole := []string{"10.1.0.0/24 0", "10.1.0.1/32 0", "10.2.0.0/24 0", "10.22.0.0/24 0", "fd01::/64 0", "fd01::1/128 0", "fd02::/64 0"}
	see := func(what string) {
		t.Helper()
		linktest.Eventually(t, time.Second, what, func() bool { return slices.Equal(onHost(t), whole) && managed(t) == 2 })
	}
	see("all routes and neighbours")
	for _, dst := range []string{"10.2.0.0/24", "fd01::/64"} {
		if err := netlink.RouteDel(&netlink.Route{Dst: ipNet(dst)}); err != nil {
			t.Fatal(err)
		}
	}
	see("deleted routes again")
	eth := linktest.Link(t, "eth0")
	for _, a := range addrs("192.168.7.2 fd77::2") {
		if err := netlink.NeighDel(&netlink.Neigh{LinkIndex: eth.Attrs().Index, IP: a.AsSlice()}); err != nil {
			t.Fatal(err)
		}
	}
	see("flushed neighbours again")
	if err := netlink.LinkSetDown(linktest.Link(t, link.HostName)); err != nil {
		t.Fatal(err)
	}
	linktest.Up(t, link.HostName)
	see("routes again after weir_host was down")
}

func managed(t *testing.T) int {
	t.Helper()
	have, err := netlink.NeighList(linktest.Link(t, "eth0").Attrs().Index, unix.AF_UNSPEC)
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range have {
		if e.FlagsExt&netlink.NTF_EXT_MANAGED != 0 {
			n++
		}
	}
	return n
}

func ipNet(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}
