package route

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/datapath/link/linktest"
)

var asText = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.SortSlices(func(a, b Route) bool { return a.Prefix.String() < b.Prefix.String() }),
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr       { return netip.MustParseAddr(s) }

// host makes a namespace with weir_host (both router addresses) and an underlay
// device, and returns their indexes.
func host(t *testing.T) (host, eth int) {
	t.Helper()
	linktest.Enter(t)
	linktest.Veth(t, "weir_host", "weir_net", "10.1.0.1/32", "fd01::1/128")
	linktest.Veth(t, "eth0", "wire0", "192.168.7.1/24", "fd77::1/64")
	return linktest.Link(t, "weir_host").Attrs().Index, linktest.Link(t, "eth0").Attrs().Index
}

func some(host, eth int) []Route {
	return []Route{
		{Prefix: prefix("10.2.0.0/24"), Via: ip("10.1.0.1"), Device: host, MTU: 1450},
		{Prefix: prefix("10.1.0.1/32"), Device: host, Link: true},
		{Prefix: prefix("10.1.0.0/24"), Via: ip("10.1.0.1"), Device: host, Src: ip("10.1.0.1")},
		{Prefix: prefix("10.3.0.0/24"), Via: ip("192.168.7.3"), Device: eth},
		{Prefix: prefix("fd02::/64"), Device: host, Src: ip("fd01::1"), MTU: 1430},
		{Prefix: prefix("fd03::/64"), Via: ip("fd77::3"), Device: eth},
	}
}

func apply(t *testing.T, want []Route) Changes {
	t.Helper()
	done, err := Apply(Nodes, want)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return done
}

func inKernel(t *testing.T, owner Owner) []Route {
	t.Helper()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	have, err := list(h, owner)
	if err != nil {
		t.Fatal(err)
	}
	var out []Route
	for _, r := range have {
		r.Table = 0
		out = append(out, r)
	}
	return out
}

func TestApplyWritesOnlyWhatDiffers(t *testing.T) {
	host, eth := host(t)
	want := some(host, eth)
	if got := apply(t, want); got != (Changes{Added: 6}) {
		t.Errorf("first Apply = %+v, want 6 added", got)
	}
	if diff := cmp.Diff(want, inKernel(t, Nodes), asText); diff != "" {
		t.Errorf("routes in the kernel (-want +got):\n%s", diff)
	}
	if got := apply(t, want); got != (Changes{}) {
		t.Errorf("second Apply = %+v, want nothing done", got)
	}
	want[0].MTU = 1400
	want[5] = Route{Prefix: prefix("fd03::/64"), Via: ip("fd77::4"), Device: eth}
	if got := apply(t, want); got != (Changes{Replaced: 2}) {
		t.Errorf("Apply of two changes = %+v, want 2 replaced", got)
	}
	if diff := cmp.Diff(want, inKernel(t, Nodes), asText); diff != "" {
		t.Errorf("routes in the kernel (-want +got):\n%s", diff)
	}
	if got := apply(t, want[1:3]); got != (Changes{Removed: 4}) {
		t.Errorf("Apply of two routes = %+v, want 4 removed", got)
	}
}

func TestApplyPutsBackWhatSomeoneRemoved(t *testing.T) {
	host, eth := host(t)
	want := some(host, eth)
	apply(t, want)
	for _, r := range []Route{want[0], want[4]} {
		k := toKernel(Nodes, r)
		if err := netlink.RouteDel(&k); err != nil {
			t.Fatal(err)
		}
	}
	if got := apply(t, want); got != (Changes{Added: 2}) {
		t.Errorf("Apply = %+v, want 2 added", got)
	}
}

func TestRoutesOfOthersAreNeverTouched(t *testing.T) {
	host, eth := host(t)
	for i, dst := range []string{"10.3.0.0/24", "10.9.0.0/24", "fd03::/64", "fd09::/64"} {
		owner := Owner(unix.RTPROT_STATIC)
		if i%2 == 1 {
			owner = Endpoints
		}
		k := toKernel(owner, Route{Prefix: prefix(dst), Device: eth})
		if err := netlink.RouteAdd(&k); err != nil {
			t.Fatal(err)
		}
	}
	done, err := Apply(Nodes, some(host, eth))
	if !errors.Is(err, ErrForeign) || done.Added != 4 {
		t.Errorf("Apply = %+v, %v; want 4 added and ErrForeign", done, err)
	}
	for _, s := range []string{"10.3.0.0/24", "fd03::/64"} {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not name %s", err, s)
		}
	}
	apply(t, nil)
	if got := len(inKernel(t, Endpoints)) + len(inKernel(t, Owner(unix.RTPROT_STATIC))); got != 4 {
		t.Errorf("%d foreign routes are left of 4", got)
	}
}

func TestRoutesInOtherTablesAreKeptApart(t *testing.T) {
	host, eth := host(t)
	want := []Route{{Prefix: prefix("10.2.0.0/24"), Device: host}, {Prefix: prefix("10.2.0.0/24"), Device: eth, Table: 200}}
	apply(t, want)
	if got := apply(t, want); got != (Changes{}) {
		t.Errorf("second Apply = %+v, want nothing done", got)
	}
	if got := apply(t, want[:1]); got != (Changes{Removed: 1}) {
		t.Errorf("Apply without the second table = %+v, want 1 removed", got)
	}
}

func TestNeighborsAreResolvedAndPutBack(t *testing.T) {
	linktest.Enter(t)
	peer := linktest.New(t)
	joinUnderlay(t, peer)
	eth := linktest.Link(t, "eth0").Attrs().Index
	want := []Neighbor{{eth, ip("192.168.7.2")}, {eth, ip("fd77::2")}}
	if done, err := ApplyNeighbors(Nodes, want); err != nil || done.Added != 2 {
		t.Fatalf("ApplyNeighbors = %+v, %v; want 2 added", done, err)
	}
	if done, err := ApplyNeighbors(Nodes, want); err != nil || done != (Changes{}) {
		t.Errorf("second ApplyNeighbors = %+v, %v; want nothing done", done, err)
	}
	// Over IPv6 the kernel asks from its link-local address, which takes a second to settle.
	reachable := func() bool {
		have, err := neighbors()
		return err == nil && !slices.ContainsFunc(want, func(n Neighbor) bool {
			return have[n].state&(unix.NUD_REACHABLE|unix.NUD_STALE|unix.NUD_DELAY|unix.NUD_PROBE) == 0
		})
	}
	linktest.Eventually(t, 5*time.Second, "neighbours are resolved without traffic", reachable)
	for _, n := range want {
		if err := forget(n); err != nil { // what `ip neigh flush all` does
			t.Fatal(err)
		}
	}
	if done, err := ApplyNeighbors(Nodes, want); err != nil || done.Added != 2 {
		t.Errorf("ApplyNeighbors after a flush = %+v, %v; want 2 added", done, err)
	}
	linktest.Eventually(t, 5*time.Second, "neighbours are resolved again", reachable)
	if done, err := ApplyNeighbors(Nodes, nil); err != nil || done.Removed != 2 {
		t.Errorf("ApplyNeighbors of none = %+v, %v; want 2 removed", done, err)
	}
}

func TestPermanentNeighborsOfOthersStay(t *testing.T) {
	_, eth := host(t)
	n := Neighbor{eth, ip("192.168.7.2")}
	static := &netlink.Neigh{LinkIndex: eth, IP: n.Addr.AsSlice(), State: unix.NUD_PERMANENT, HardwareAddr: []byte{2, 0, 0, 0, 0, 9}}
	if err := netlink.NeighAdd(static); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]Neighbor{{n}, nil} {
		if done, err := ApplyNeighbors(Nodes, want); err != nil || done != (Changes{}) {
			t.Errorf("ApplyNeighbors(%v) = %+v, %v; want nothing done", want, done, err)
		}
	}
}

// joinUnderlay connects the test's namespace and the peer by eth0 on both sides.
func joinUnderlay(t *testing.T, peer string) {
	t.Helper()
	linktest.Pair(t, peer, "eth0", []string{"192.168.7.1/24", "fd77::1/64"}, []string{"192.168.7.2/24", "fd77::2/64"})
}
