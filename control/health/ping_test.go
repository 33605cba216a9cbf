package health

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"weir/datapath/link/linktest"
)

// TestEchoRequestsAreAnswered by sockets of both kinds, in both families, and one
// that nobody answers ends with its time.
func TestEchoRequestsAreAnswered(t *testing.T) {
	linktest.Enter(t)
	linktest.Veth(t, "eth0", "wire0", "192.168.7.1/24", "fd77::1/64")
	// Where no group is in the range, sockets of the kind without rights are refused.
	for _, groups := range []string{"1 0", "0 2147483647"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(groups), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, a := range []string{"192.168.7.1", "fd77::1"} {
			addr := netip.MustParseAddr(a)
			conn, raw, err := icmpOf(addr).dial(addr)
			if err != nil || raw != (groups == "1 0") {
				t.Fatalf("groups %s, %s: raw %v, %v", groups, a, raw, err)
			}
			conn.Close()
			took := time.Duration(0)
			for range 20 { // an IPv6 address is nobody's until it was looked for
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				took, err = ping(ctx, addr)
				if cancel(); err == nil {
					break
				}
			}
			if err != nil || took <= 0 {
				t.Errorf("groups %s: ping %s: %s, %v", groups, a, took, err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := ping(ctx, netip.MustParseAddr("192.168.7.9")); err == nil || errors.Is(err, errNoPing) {
		t.Errorf("ping of nobody: %v, want that the time is over", err)
	}
}

func TestTheAnswerOfAnotherIsNotTaken(t *testing.T) {
	sent := []byte("12345678")
	v4, v6 := icmpOf(netip.MustParseAddr("10.0.0.1")), icmpOf(netip.MustParseAddr("fd00::1"))
	header := append([]byte{0x45}, make([]byte, 19)...)
	for _, x := range []struct {
		family icmp
		raw    bool
		packet []byte
		want   bool
	}{
		{v4, false, append([]byte{0, 0, 0, 0, 0, 0, 0, 0}, sent...), true},
		{v4, false, append([]byte{8, 0, 0, 0, 0, 0, 0, 0}, sent...), false}, // a request
		{v4, false, append([]byte{0, 0, 0, 0, 0, 0, 0, 0}, "87654321"...), false},
		{v4, true, append(append([]byte{}, header...), append([]byte{0, 0, 0, 0, 0, 0, 0, 0}, sent...)...), true},
		{v4, true, append([]byte{0, 0, 0, 0, 0, 0, 0, 0}, sent...), false}, // shorter than its header
		{v4, true, []byte{0x4f}, false},
		{v4, true, append([]byte{0x4f}, make([]byte, 25)...), false},
		{v6, true, append([]byte{129, 0, 0, 0, 0, 0, 0, 0}, sent...), true},
		{v6, true, append([]byte{3, 0, 0, 0, 0, 0, 0, 0}, sent...), false},
		{v6, false, nil, false},
	} {
		if got := x.family.answers(x.packet, x.raw, sent); got != x.want {
			t.Errorf("%v raw %v % x: %v, want %v", x.family, x.raw, x.packet, got, x.want)
		}
	}
}
