package agent

import (
	"net/netip"
	"strings"
	"testing"

	"weir/api/walk"
	"weir/bpf"
)

func TestAWalkIsAskedForAsItIs(t *testing.T) {
	pod, other := bpf.AddrFrom(netip.MustParseAddr("10.0.0.3")), bpf.AddrFrom(netip.MustParseAddr("fd00::7"))
	for name, f := range map[string]bpf.WalkFilter{
		"one end":              {Used: 1, A: pod, PortA: bpf.Network(40000), Proto: 6},
		"both":                 {Used: 1, A: pod, B: other, PortB: bpf.Network(53)},
		"a pod that is both":   {Used: 1, A: pod, B: pod},
		"whoever, by its port": {Used: 1, PortB: bpf.Network(80), Proto: 6},
	} {
		w := bpf.Walk{On: 1}
		w.Filter[0] = f
		if got, err := walkOf(betweenOf(w)); err != nil || got != w {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, w)
		}
	}
}

func TestAWalkThatCannotBeIsRefused(t *testing.T) {
	one := &walk.Between{A: []byte{10, 0, 0, 3}}
	for want, q := range map[string]*walk.FollowRequest{
		"0 pairs of ends":                  {},
		"5 pairs of ends, give 1 to 4":     {Between: []*walk.Between{one, one, one, one, one}},
		"between[1]: ports 70000 and 0":    {Between: []*walk.Between{one, {PortA: 70000}}},
		"between[0]: an address of 5 octe": {Between: []*walk.Between{{B: make([]byte, 5)}}},
	} {
		if _, err := walkOf(q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
