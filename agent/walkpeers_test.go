package agent

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/api/walk"
	"weir/bpf"
	"weir/state"
)

func TestAWalkIsAskedForAsItIs(t *testing.T) {
	pod, other := bpf.AddrFrom(netip.MustParseAddr("10.0.0.3")), bpf.AddrFrom(netip.MustParseAddr("fd00::7"))
	for name, f := range map[string]bpf.WalkFilter{
		"one end":            {Used: 1, A: pod, PortA: bpf.Network(40000), Proto: 6},
		"both":               {Used: 1, A: pod, B: other, PortB: bpf.Network(53)},
		"a pod that is both": {Used: 1, A: pod, B: pod},
		"whoever, with it":   {Used: 1, B: pod, PortB: bpf.Network(80), Proto: 6},
	} {
		w := bpf.Walk{On: 1}
		w.Filter[0] = f
		if got, err := walkOf(betweenOf(w)); err != nil || got != w {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, w)
		}
	}
}

func TestOnlyPacketsOfTheWalkAreItsOwn(t *testing.T) {
	at := netip.MustParseAddrPort
	between := func(src, dst string) *walk.Between {
		a, b := at(src), at(dst)
		return &walk.Between{A: a.Addr().AsSlice(), PortA: uint32(a.Port()), B: b.Addr().AsSlice(), PortB: uint32(b.Port()), Proto: 6}
	}
	step := bpf.Step{CameSrc: bpf.AddrFrom(netip.MustParseAddr("10.0.0.3")), CameSport: bpf.Network(40000), Src: bpf.AddrFrom(netip.MustParseAddr("172.18.0.2")), Sport: bpf.Network(50000), Proto: 6}
	for _, x := range []struct {
		what string
		p    *walk.Between
		own  bool
	}{
		{"the opener's", between("10.0.0.3:40000", "10.0.1.3:80"), true},
		{"its answer", between("10.0.1.3:80", "10.0.0.3:40000"), true},
		{"by what took its place", between("172.18.0.2:50000", "172.18.0.3:80"), true},
		{"the answer to that", between("172.18.0.3:80", "172.18.0.2:50000"), true},
		{"another's", between("172.18.0.2:50001", "172.18.0.3:80"), false},
		{"of a node that does not say", nil, true},
	} {
		if got := isOwn(x.p, netip.MustParseAddr("10.0.0.3"), taken([]bpf.Step{step})); got != x.own {
			t.Errorf("%s: own %v, want %v", x.what, got, x.own)
		}
	}
}

func TestAWalkThatCannotBeIsRefused(t *testing.T) {
	one := &walk.Between{A: []byte{10, 0, 0, 3}}
	for want, q := range map[string]*walk.FollowRequest{
		"0 pairs of ends":                  {},
		"5 pairs of ends, give 1 to 4":     {Between: []*walk.Between{one, one, one, one, one}},
		"between[1]: ports 70000 and 0":    {Between: []*walk.Between{one, {A: one.A, PortA: 70000}}},
		"between[1]: neither end has an a": {Between: []*walk.Between{one, {PortA: 80, Proto: 6}}},
		"between[0]: an address of 5 octe": {Between: []*walk.Between{{B: make([]byte, 5)}}},
	} {
		if _, err := walkOf(q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestNodesThatHaveAnEndAreAskedFirst(t *testing.T) {
	addr, cidr := netip.MustParseAddr, netip.MustParsePrefix
	nodes := []state.Node{{Name: "a"}, {Name: "b", Local: true, PodCIDRs: []netip.Prefix{cidr("10.0.1.0/24")}}, {Name: "c", PodCIDRs: []netip.Prefix{cidr("10.0.2.0/24")}},
		{Name: "d"}, {Name: "e", Addresses: []netip.Addr{addr("fd00::5")}}}
	var got []string
	for _, n := range nodesOf(nodes, []netip.Addr{addr("10.0.1.3"), addr("10.0.2.3"), addr("fd00::5")}) {
		got = append(got, n.Name)
	}
	if want := "c e a d"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

// Whatever another node tells, it takes no more memory than a walk does, and no other name.
func TestANodeIsNotBelievedInEverything(t *testing.T) {
	forever := func(text string) func() (*walk.FollowResponse, error) {
		return func() (*walk.FollowResponse, error) { return &walk.FollowResponse{Step: []byte(text)}, nil }
	}
	for name, x := range map[string]struct {
		next  func() (*walk.FollowResponse, error)
		want  string
		steps int
	}{
		"small ones for ever": {forever(`{"node":"another"}`), "tells more than is kept", stepsKept},
		"large ones for ever": {forever(`{"node":"another","packet":"` + strings.Repeat("x", 60<<10) + `"}`), "tells more than is kept", peerOctets / (60 << 10)},
		"garbage":             {forever("\x1b[2J"), "tells what is no step", 0},
	} {
		kept := 0
		err := readPeer("n2", x.next, func(s peerStep) {
			if kept++; s.Node != "n2" {
				t.Fatalf("%s: a step of node %q", name, s.Node)
			}
		})
		if err == nil || !strings.Contains(err.Error(), x.want) || kept > x.steps || kept < x.steps-1 {
			t.Errorf("%s: %d steps, then %v; want %d and %s", name, kept, err, x.steps, x.want)
		}
	}
}

func TestAWalkWaitsForNodesThatAreBusy(t *testing.T) {
	late := &peerSteps{}
	go func() {
		time.Sleep(3 * afterwards)
		late.keep(peerStep{})
	}()
	late.settle(t.Context(), true)
	late.mu.Lock()
	defer late.mu.Unlock()
	if len(late.steps) != 1 {
		t.Error("a step that came late is not waited for")
	}
	began := time.Now()
	(&peerSteps{}).settle(t.Context(), false)
	(*peerSteps)(nil).settle(t.Context(), false)
	if took := time.Since(began); took > 6*afterwards {
		t.Errorf("%s are waited for nobody", took)
	}
}
