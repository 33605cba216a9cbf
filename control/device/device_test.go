package device

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weir/datapath/link/linktest"
	"weir/state"
)

func TestDevicesFollowTheKernel(t *testing.T) {
	linktest.Enter(t)
	linktest.Veth(t, "eth0", "wire0", "192.168.7.1/24", "fd77::1/64")
	tables := state.New()
	d := New(slog.New(slog.DiscardHandler), nil, tables)
	ctx, cancel := context.WithCancel(t.Context())
	linktest.Go(t, func() {
		if err := d.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	defer cancel()

	if tables.Devices.Synced() {
		t.Error("devices are synced before the nodes are")
	}
	tables.Nodes.MarkSynced()
	see := func(what string, ok func(map[string]state.Device) bool) {
		t.Helper()
		linktest.Eventually(t, 2*time.Second, what, func() bool {
			have := map[string]state.Device{}
			for name, row := range tables.Devices.All() {
				have[name] = row
			}
			return tables.Devices.Synced() && ok(have)
		})
	}
	see("the card with both its addresses", func(have map[string]state.Device) bool {
		want := []netip.Prefix{netip.MustParsePrefix("192.168.7.1/24"), netip.MustParsePrefix("fd77::1/64")}
		return len(have) == 1 && slices.Equal(have["eth0"].Addrs, want) && have["eth0"].MTU == 1500
	})
	linktest.Veth(t, "eth1", "wire1", "10.5.0.1/24")
	see("a second card", func(have map[string]state.Device) bool { return len(have) == 2 })
	if err := netlink.LinkSetMTU(linktest.Link(t, "eth0"), 1400); err != nil {
		t.Fatal(err)
	}
	see("the other MTU", func(have map[string]state.Device) bool { return have["eth0"].MTU == 1400 })
	linktest.Veth(t, "br7", "wire7", "10.7.0.1/32")
	tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: []netip.Addr{netip.MustParseAddr("10.7.0.1")}})
	see("the device with the node's address", func(have map[string]state.Device) bool { return len(have) == 3 })
	if err := netlink.LinkDel(linktest.Link(t, "eth1")); err != nil {
		t.Fatal(err)
	}
	see("the second card gone", func(have map[string]state.Device) bool { _, ok := have["eth1"]; return !ok && len(have) == 2 })
}
