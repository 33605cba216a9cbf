package link

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/datapath/link/linktest"
)

var (
	router4 = netip.MustParseAddr("10.1.0.1")
	router6 = netip.MustParseAddr("fd01::1")
)

func dual() BaseOptions {
	return BaseOptions{Tunnel: true, TunnelPort: 8472, MTU: 1500, Routers: []netip.Addr{router4, router6}}
}

func ensure(t *testing.T, o BaseOptions) Base {
	t.Helper()
	b, err := EnsureBase(o)
	if err != nil {
		t.Fatalf("EnsureBase(%+v): %v", o, err)
	}
	return b
}

func addrsOf(t *testing.T, device string) []string {
	t.Helper()
	have, err := netlink.AddrList(linktest.Link(t, device), netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range have {
		out = append(out, a.IPNet.String()+" "+netlink.Scope(a.Scope).String())
	}
	slices.Sort(out)
	return out
}

func TestBaseHasItsShape(t *testing.T) {
	linktest.Enter(t)
	b := ensure(t, dual())
	for _, name := range []string{HostName, NetName} {
		a := linktest.Link(t, name).Attrs()
		if a.RawFlags&unix.IFF_NOARP == 0 || a.RawFlags&unix.IFF_UP == 0 || a.MTU != 1500 {
			t.Errorf("%s: flags %#x, MTU %d; want NOARP, UP and 1500", name, a.RawFlags, a.MTU)
		}
	}
	v, ok := linktest.Link(t, TunnelName).(*netlink.Vxlan)
	if !ok || !v.FlowBased || v.Port != 8472 || v.Learning || v.MTU != 1500 || v.RawFlags&unix.IFF_UP == 0 {
		t.Errorf("%s = %+v; want an external vxlan on port 8472, MTU 1500, not learning, up", TunnelName, v)
	}
	want := []string{"10.1.0.1/32 universe", "fd01::1/128 universe"}
	if diff := cmp.Diff(want, addrsOf(t, HostName)); diff != "" {
		t.Errorf("addresses of %s (-want +got):\n%s", HostName, diff)
	}
	for _, name := range []string{NetName, TunnelName} {
		if got := addrsOf(t, name); len(got) > 0 {
			t.Errorf("%s has addresses %v, want none", name, got)
		}
	}
	if b.Host.Index == 0 || b.Net.Index == 0 || b.Tunnel.Index == 0 || len(b.Host.MAC) != 6 {
		t.Errorf("EnsureBase = %+v, want all indexes and MACs", b)
	}
}

func TestBaseIsAdoptedAsItIs(t *testing.T) {
	linktest.Enter(t)
	first := ensure(t, dual())
	addrs := addrsOf(t, HostName)
	again := ensure(t, dual())
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("a second call changed the devices:\n%s", diff)
	}
	if diff := cmp.Diff(addrs, addrsOf(t, HostName)); diff != "" {
		t.Errorf("a second call changed the addresses:\n%s", diff)
	}
}

func TestBaseFollowsItsOptions(t *testing.T) {
	linktest.Enter(t)
	first := ensure(t, dual())
	o := dual()
	o.MTU, o.Tunnel, o.RouterScopeLink = 1400, false, true
	o.Routers = []netip.Addr{router4, netip.MustParseAddr("fd02::1")}
	b := ensure(t, o)
	if b.Host.Index != first.Host.Index || b.Net.Index != first.Net.Index {
		t.Errorf("pair was made anew: %+v, was %+v", b, first)
	}
	if b.Host.MTU != 1400 || b.Net.MTU != 1400 {
		t.Errorf("MTUs are %d and %d, want 1400", b.Host.MTU, b.Net.MTU)
	}
	if _, err := netlink.LinkByName(TunnelName); err == nil || b.Tunnel.Index != 0 {
		t.Errorf("%s is still there in native mode", TunnelName)
	}
	want := []string{"10.1.0.1/32 link", "fd02::1/128 universe"}
	if diff := cmp.Diff(want, addrsOf(t, HostName)); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func TestTunnelIsMadeAnewForAnotherPort(t *testing.T) {
	linktest.Enter(t)
	ensure(t, dual())
	o := dual()
	o.TunnelPort = 4789
	ensure(t, o)
	if v := linktest.Link(t, TunnelName).(*netlink.Vxlan); v.Port != 4789 {
		t.Errorf("UDP port is %d, want 4789", v.Port)
	}
}

func TestSingleStackNeedsNoOtherFamily(t *testing.T) {
	for _, r := range []netip.Addr{router4, router6} {
		t.Run(r.String(), func(t *testing.T) {
			linktest.Enter(t)
			o := dual()
			o.Routers = []netip.Addr{r}
			ensure(t, o)
			if got := addrsOf(t, HostName); len(got) != 1 {
				t.Errorf("addresses of %s = %v, want only %s", HostName, got, r)
			}
		})
	}
}

func TestRemoveBaseLeavesNothingOfOurs(t *testing.T) {
	linktest.Enter(t)
	ensure(t, dual())
	for range 2 {
		if err := RemoveBase(); err != nil {
			t.Fatal(err)
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "weir") {
			t.Errorf("%s is left", l.Attrs().Name)
		}
	}
}

func TestForeignDevicesAreRefusedAndLeftAlone(t *testing.T) {
	vxlan := func(name string, port, vni int, external bool) netlink.Link {
		a := netlink.NewLinkAttrs()
		a.Name = name
		return &netlink.Vxlan{LinkAttrs: a, Port: port, VxlanId: vni, FlowBased: external}
	}
	veth := func(name, peer string) netlink.Link {
		a := netlink.NewLinkAttrs()
		a.Name = name
		v := netlink.NewVeth(a)
		v.PeerName = peer
		return v
	}
	bridge := func(name string) netlink.Link {
		a := netlink.NewLinkAttrs()
		a.Name = name
		return &netlink.Bridge{LinkAttrs: a}
	}
	tests := []struct {
		name    string
		foreign netlink.Link
		says    []string
	}{
		{"bridge at host", bridge(HostName), []string{HostName, "bridge", "ip link del weir_host"}},
		{"bridge at net", bridge(NetName), []string{NetName, "bridge", "ip link del weir_net"}},
		{"veth of another pair", veth(HostName, "other"), []string{HostName, "veth"}},
		{"tunnel on another port", vxlan(TunnelName, 4789, 0, true), []string{TunnelName, "4789", "8472"}},
		{"tunnel with a VNI", vxlan(TunnelName, 8472, 7, false), []string{TunnelName, "VNI 7"}},
		{"port owned by another", vxlan("flannel.1", 8472, 1, false), []string{"flannel.1", "8472", "tunnelPort"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			linktest.Enter(t)
			if err := netlink.LinkAdd(tt.foreign); err != nil {
				t.Skipf("the kernel cannot make the foreign device: %v", err)
			}
			before := linktest.Link(t, tt.foreign.Attrs().Name)
			_, err := EnsureBase(dual())
			if !errors.Is(err, ErrForeign) {
				t.Fatalf("EnsureBase = %v, want ErrForeign", err)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error %q does not say %q", err, s)
				}
			}
			if err := RemoveBase(); err != nil {
				t.Errorf("RemoveBase: %v", err)
			}
			links, err := netlink.LinkList()
			if err != nil {
				t.Fatal(err)
			}
			ours := slices.DeleteFunc(links, func(l netlink.Link) bool {
				return l.Attrs().Index <= max(before.Attrs().Index, before.Attrs().ParentIndex)
			})
			if len(ours) > 0 {
				t.Errorf("a refused call made %s", ours[0].Attrs().Name)
			}
		})
	}
}
