package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weir/state"
)

func addresses(all ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range all {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func warningsOf(has []netip.Addr, ends ...state.Endpoint) string {
	t := state.New()
	t.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: addresses("172.18.0.2", "fc00::2"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.7.0/24"), netip.MustParsePrefix("fd00::700/120")}},
		state.Node{Name: "n2", Addresses: addresses("172.18.0.3")})
	for _, a := range has {
		t.HostAddresses.Put(state.HostAddress{Addr: a, Device: "eth0"})
	}
	t.Endpoints.Put(ends...)
	return strings.Join(nodeWarnings(t), "\n")
}

func TestAddressesOfAnotherMachineAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		has  []netip.Addr
		want string
	}{
		"both":                {addresses("172.18.0.2", "fc00::2"), ""},
		"one family":          {addresses("10.9.9.9", "fc00::2"), ""},
		"not known yet":       {nil, ""},
		"another machine's":   {addresses("172.18.0.3", "fc00::3"), "the cluster has node n1 at 172.18.0.2, fc00::2, which is no address of this machine"},
		"a bridge of its own": {addresses("172.17.0.1"), "give one of them another"},
		"among others":        {addresses("10.0.7.1", "172.18.0.2"), ""},
	} {
		if got := warningsOf(c.has); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestPodsOutsideOfTheNodesCIDRsAreNamed(t *testing.T) {
	end := func(id state.EndpointID, v4, v6 string) state.Endpoint {
		return state.Endpoint{ID: id, Pod: state.PodName{Namespace: "default", Name: fmt.Sprint("p", id)}, IPv4: netip.MustParseAddr(v4), IPv6: netip.MustParseAddr(v6)}
	}
	health := end(9, "10.0.0.2", "fd00::2")
	health.Health = true // follows its node by itself
	if got := warningsOf(nil, end(1, "10.0.7.3", "fd00::703"), health); got != "" {
		t.Errorf("with none: %s", got)
	}
	var ends []state.Endpoint
	for i := range 5 {
		ends = append(ends, end(state.EndpointID(i+1), fmt.Sprint("10.0.0.", i+3), fmt.Sprint("fd00::", i+3)))
	}
	got := warningsOf(nil, append(ends, end(6, "10.0.7.3", "fd00::9"))...)
	if want := "6 pods (default/p1, default/p2, default/p3, ...) have addresses that are in no pod CIDR of node n1 (10.0.7.0/24, fd00::700/120)"; !strings.Contains(got, want) {
		t.Errorf("got %s", got)
	}
}
