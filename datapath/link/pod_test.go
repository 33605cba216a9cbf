package link

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/datapath/link/linktest"
)

func podIn(netns string) Pod {
	return Pod{
		Netns: netns, Interface: "eth0", Device: "weir0123456789a", Index: 70001,
		MAC:     net.HardwareAddr{0x0a, 0, 0, 0, 0, 1},
		NodeMAC: net.HardwareAddr{0x0a, 0, 0, 0, 0, 2},
		MTU:     1500, RouteMTU: 1450,
		Addrs:    []netip.Addr{netip.MustParseAddr("10.1.0.40"), netip.MustParseAddr("fd01::40")},
		Gateways: []netip.Addr{router4, router6},
	}
}

func makePod(t testing.TB, p Pod) {
	t.Helper()
	index, err := CreatePod(p)
	if err != nil {
		t.Fatal(err)
	}
	if p.Index != 0 && index != p.Index {
		t.Fatalf("CreatePod = index %d, want %d", index, p.Index)
	}
	if err := ConfigurePod(p); err != nil {
		t.Fatal(err)
	}
}

func podRoutesOf(t *testing.T, p Pod) []string {
	t.Helper()
	var out []string
	linktest.In(t, p.Netns, func() {
		l, err := netlink.LinkByName(p.Interface)
		if err != nil {
			t.Error(err)
			return
		}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			routes, err := netlink.RouteList(l, family)
			if err != nil {
				t.Error(err)
			}
			for _, r := range routes {
				out = append(out, strings.TrimSpace(r.Dst.String()+" via "+toAddr(r.Gw).String()+" "+r.Scope.String()+" mtu "+strconv.Itoa(r.MTU)))
			}
		}
	})
	slices.Sort(out)
	return out
}

func TestPodIsDownUntilConfigured(t *testing.T) {
	linktest.Enter(t)
	p := podIn(linktest.New(t))
	index, err := CreatePod(p)
	if err != nil || index != 70001 {
		t.Fatalf("CreatePod = %d, %v", index, err)
	}
	host := linktest.Link(t, p.Device).Attrs()
	if host.RawFlags&unix.IFF_UP != 0 || host.HardwareAddr.String() != p.NodeMAC.String() {
		t.Errorf("host side: flags %#x, MAC %s; want it down, with %s", host.RawFlags, host.HardwareAddr, p.NodeMAC)
	}
	linktest.In(t, p.Netns, func() {
		l, err := netlink.LinkByName("eth0")
		if err != nil || l.Attrs().RawFlags&unix.IFF_UP != 0 || l.Attrs().HardwareAddr.String() != p.MAC.String() {
			t.Errorf("pod side = %v, %v; want it down, with %s", l, err, p.MAC)
		}
	})
}

func TestPodHasAddressesAndExactlyTwoRoutesOfEachFamily(t *testing.T) {
	linktest.Enter(t)
	p := podIn(linktest.New(t))
	makePod(t, p)
	want := []string{
		"0.0.0.0/0 via 10.1.0.1 universe mtu 1450", "10.1.0.1/32 via invalid IP link mtu 0",
		"::/0 via fd01::1 universe mtu 1450", "fd01::1/128 via invalid IP universe mtu 0",
	}
	if diff := cmp.Diff(want, podRoutesOf(t, p)); diff != "" {
		t.Errorf("routes in the pod (-want +got):\n%s", diff)
	}
	linktest.In(t, p.Netns, func() {
		want := []string{"10.1.0.40/32 universe", "fd01::40/128 universe", "fe80::800:ff:fe00:1/128 link"}
		if diff := cmp.Diff(want, addrsOf(t, "eth0")); diff != "" {
			t.Errorf("addresses in the pod (-want +got):\n%s", diff)
		}
		if linktest.Link(t, "lo").Attrs().RawFlags&unix.IFF_UP == 0 {
			t.Error("lo is down in the pod")
		}
	})
	if got := addrsOf(t, p.Device); len(got) > 0 {
		t.Errorf("host side has addresses %v, want none", got)
	}
	wantSysctl(t, "ipv4/conf/"+p.Device+"/rp_filter", "0")
	if err := CheckPod(p); err != nil {
		t.Errorf("CheckPod = %v", err)
	}
}

func TestPodOfOneFamilyIsSilentInTheOther(t *testing.T) {
	linktest.Enter(t)
	p := podIn(linktest.New(t))
	p.Addrs, p.Gateways = p.Addrs[:1], p.Gateways[:1]
	makePod(t, p)
	linktest.In(t, p.Netns, func() {
		if diff := cmp.Diff([]string{"10.1.0.40/32 universe"}, addrsOf(t, "eth0")); diff != "" {
			t.Errorf("addresses in the pod (-want +got):\n%s", diff)
		}
	})
}

func TestIPv6WorksWhereTheRuntimeSwitchedItOff(t *testing.T) {
	linktest.Enter(t)
	p := podIn(linktest.New(t))
	linktest.In(t, p.Netns, func() {
		set(t, "ipv6/conf/all/disable_ipv6", "1")
		set(t, "ipv6/conf/default/disable_ipv6", "1")
	})
	makePod(t, p)
	if err := CheckPod(p); err != nil {
		t.Errorf("CheckPod = %v", err)
	}
}

func TestWhatIsTakenIsNamed(t *testing.T) {
	linktest.Enter(t)
	first := podIn(linktest.New(t))
	makePod(t, first)
	other := func(change func(*Pod)) Pod {
		p := podIn(linktest.New(t))
		p.Device, p.Index = "weirb", 70002
		change(&p)
		return p
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		pod  Pod
		want error
		says string
	}{
		{"index", other(func(p *Pod) { p.Index = 70001 }), ErrIndexTaken, first.Device},
		{"device", other(func(p *Pod) { p.Device = first.Device }), ErrDeviceTaken, first.Device},
		{"interface", other(func(p *Pod) { p.Netns = first.Netns }), ErrInterfaceTaken, "eth0"},
		{"no netns", other(func(p *Pod) { p.Netns = "/nowhere/ns" }), ErrNoNetns, "/nowhere/ns"},
		{"a file", other(func(p *Pod) { p.Netns = file }), ErrNoNetns, file},
		{"another namespace", other(func(p *Pod) { p.Netns = "/proc/self/ns/uts" }), ErrNoNetns, "uts"},
		{"own namespace", other(func(p *Pod) { p.Netns = threadNetns }), ErrNoNetns, "host"},
	}
	for _, tt := range tests {
		_, err := CreatePod(tt.pod)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: CreatePod = %v, want %v naming %s", tt.name, err, tt.want, tt.says)
		}
	}
	if err := CheckPod(first); err != nil {
		t.Errorf("the pod that was there: %v", err)
	}
}

func TestCheckSaysWhatIsAmiss(t *testing.T) {
	inPod := func(f func(l netlink.Link) error) func(*testing.T, Pod) {
		return func(t *testing.T, p Pod) {
			linktest.In(t, p.Netns, func() {
				if err := f(linktest.Link(t, "eth0")); err != nil {
					t.Error(err)
				}
			})
		}
	}
	tests := []struct {
		name  string
		spoil func(*testing.T, Pod)
		says  string
	}{
		{"address", inPod(func(l netlink.Link) error {
			return netlink.AddrDel(l, &netlink.Addr{IPNet: hostNet(netip.MustParseAddr("fd01::40"))})
		}), "fd01::40"},
		{"route", inPod(func(l netlink.Link) error {
			return netlink.RouteDel(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}})
		}), "0.0.0.0/0"},
		{"MAC", inPod(func(l netlink.Link) error {
			return netlink.LinkSetHardwareAddr(l, net.HardwareAddr{0x0a, 0, 0, 0, 0, 9})
		}), "0a:00:00:00:00:09"},
		{"device", func(t *testing.T, p Pod) {
			if err := DeletePod(p.Device); err != nil {
				t.Error(err)
			}
		}, "weir0123456789a"},
		{"down", func(t *testing.T, p Pod) {
			if err := netlink.LinkSetDown(linktest.Link(t, p.Device)); err != nil {
				t.Error(err)
			}
		}, "down"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			linktest.Enter(t)
			p := podIn(linktest.New(t))
			makePod(t, p)
			tt.spoil(t, p)
			if err := CheckPod(p); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("CheckPod = %v, want it to say %q", err, tt.says)
			}
		})
	}
}

func TestRouteMTUFollows(t *testing.T) {
	linktest.Enter(t)
	p := podIn(linktest.New(t))
	makePod(t, p)
	before := podRoutesOf(t, p)
	if err := SetRouteMTU(p.Netns, p.Interface, p.Gateways, 1330); err != nil {
		t.Fatal(err)
	}
	for i := range before {
		before[i] = strings.ReplaceAll(before[i], "1450", "1330")
	}
	if diff := cmp.Diff(before, podRoutesOf(t, p)); diff != "" {
		t.Errorf("routes changed beyond the MTU:\n%s", diff)
	}
	linktest.In(t, p.Netns, func() {
		for _, dst := range []string{"10.9.9.9", "fd09::9"} {
			routes, err := netlink.RouteGet(net.ParseIP(dst))
			if err != nil || routes[0].MTU != 1330 {
				t.Errorf("route to %s = %v, %v; want MTU 1330", dst, routes, err)
			}
		}
	})
}

func TestDeletePodToleratesAMissingOne(t *testing.T) {
	linktest.Enter(t)
	p := podIn(linktest.New(t))
	makePod(t, p)
	for range 2 {
		if err := DeletePod(p.Device); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := netlink.LinkByName(p.Device); err == nil {
		t.Error("the host side is still there")
	}
}

func TestNetnsCookieTellsNamespacesApart(t *testing.T) {
	a, b := linktest.New(t), linktest.New(t)
	ca, errA := NetnsCookie(a)
	again, _ := NetnsCookie(a)
	cb, errB := NetnsCookie(b)
	if errA != nil || errB != nil || ca == 0 || ca != again || ca == cb {
		t.Errorf("cookies = %d, %d, %d (%v, %v); want the first two equal, the third other", ca, again, cb, errA, errB)
	}
}

func TestWithinIsInTheNamespaceOfTheCookieAndInNoOther(t *testing.T) {
	a, b := linktest.New(t), linktest.New(t)
	cookie, err := NetnsCookie(a)
	if err != nil {
		t.Fatal(err)
	}
	there := uint64(0)
	if err := Within(a, cookie, func() (err error) { there, err = threadCookie(); return err }); err != nil || there != cookie {
		t.Errorf("it was in %d, want %d: %v", there, cookie, err)
	}
	if err := Within(b, cookie, func() error { t.Error("it was in another one"); return nil }); !errors.Is(err, ErrNoNetns) {
		t.Errorf("another one at the path: %v", err)
	}
	if own, err := threadCookie(); err != nil || own == cookie {
		t.Errorf("this thread is in %d, %v", own, err)
	}
}

func TestNamespacesAreFoundByTheirProcesses(t *testing.T) {
	path := linktest.New(t)
	cookie, err := NetnsCookie(path)
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := Namespaces()[cookie]; ok {
		t.Errorf("nobody is in it, and it is at %s", at)
	}
	linktest.In(t, path, func() {
		sleep := exec.Command("sleep", "60")
		if err := sleep.Start(); err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { sleep.Process.Kill(); sleep.Wait() })
	})
	at, ok := Namespaces()[cookie]
	if got, err := NetnsCookie(at); !ok || err != nil || got != cookie {
		t.Errorf("found at %q, which is %d, %v; want %d", at, got, err, cookie)
	}
}

// BenchmarkPod measures both halves of joining a pod, and leaving.
func BenchmarkPod(b *testing.B) {
	linktest.Enter(b)
	netns := linktest.New(b)
	for b.Loop() {
		p := podIn(netns)
		makePod(b, p)
		b.StopTimer()
		if err := DeletePod(p.Device); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
