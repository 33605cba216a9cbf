package link

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"weir/datapath/link/linktest"
)

func set(t *testing.T, key, value string) {
	t.Helper()
	if err := ApplySysctls(Sysctl{key, value}); err != nil {
		t.Fatal(err)
	}
}

func wantSysctl(t *testing.T, key, want string) {
	t.Helper()
	if got, err := readSysctl(key); err != nil || got != want {
		t.Errorf("net/%s = %q, %v; want %s", key, got, err, want)
	}
}

func TestHostForwardsAndOthersKeepTheirSettings(t *testing.T) {
	linktest.Enter(t)
	linktest.Veth(t, "eth0", "wire0")
	linktest.Veth(t, "eth1.5", "wire1") // a dot in the name
	set(t, "ipv4/conf/all/rp_filter", "1")
	set(t, "ipv4/conf/default/rp_filter", "0")
	set(t, "ipv4/conf/eth0/rp_filter", "0")
	set(t, "ipv4/conf/eth1.5/rp_filter", "2")
	set(t, "ipv6/conf/eth0/accept_ra", "1")
	set(t, "ipv6/conf/eth1.5/accept_ra", "0")
	for range 2 {
		ensure(t, dual())
	}
	wantSysctl(t, "ipv4/ip_forward", "1")
	wantSysctl(t, "ipv6/conf/all/forwarding", "1")
	wantSysctl(t, "ipv4/conf/all/rp_filter", "0")
	wantSysctl(t, "ipv4/conf/default/rp_filter", "1")
	wantSysctl(t, "ipv4/conf/eth0/rp_filter", "1")
	wantSysctl(t, "ipv4/conf/eth1.5/rp_filter", "2")
	wantSysctl(t, "ipv6/conf/eth0/accept_ra", "2")
	wantSysctl(t, "ipv6/conf/eth1.5/accept_ra", "0")
	for _, d := range []string{HostName, NetName, TunnelName} {
		wantSysctl(t, "ipv4/conf/"+d+"/rp_filter", "0")
	}
}

func TestIPv6SwitchedOffMattersOnlyWhenWanted(t *testing.T) {
	linktest.Enter(t)
	set(t, "ipv6/conf/all/disable_ipv6", "1")
	_, err := EnsureBase(dual())
	if !errors.Is(err, ErrNoIPv6) || !strings.Contains(err.Error(), "ipv6.enabled") {
		t.Errorf("EnsureBase = %v, want ErrNoIPv6 with the way out", err)
	}
	o := dual()
	o.Routers = []netip.Addr{router4}
	ensure(t, o)
	wantSysctl(t, "ipv6/conf/all/forwarding", "0")
}
