package operator

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/state"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func poolOf(cidr string, mask int) Pool { return Pool{netip.MustParsePrefix(cidr), mask} }

func TestNodesGetOneCIDROfEachFamily(t *testing.T) {
	got, err := PodCIDRs(DefaultPools(), []string{"n1", "n2", "n3"}, nil)
	want := "map[n1:[10.0.0.0/24 fd00::/120] n2:[10.0.1.0/24 fd00::100/120] n3:[10.0.2.0/24 fd00::200/120]]"
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v\nwant %s", got, err, want)
	}
}

func TestWhatIsTakenStays(t *testing.T) {
	taken := map[string][]netip.Prefix{
		"n2":   prefixes("10.0.0.0/24"),
		"n3":   prefixes("fd00::/120", "172.16.0.0/24"),
		"gone": prefixes("10.0.1.0/24"),
		"odd":  prefixes("10.0.2.0/23"),
	}
	got, err := PodCIDRs(DefaultPools(), []string{"n1", "n2", "n3"}, taken)
	want := "map[n1:[10.0.4.0/24 fd00::100/120] n2:[10.0.0.0/24 fd00::200/120] n3:[fd00::/120 172.16.0.0/24]]"
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v\nwant %s", got, err, want)
	}
	again, err := PodCIDRs(DefaultPools(), []string{"n3", "n2", "n1", "n0"}, got)
	if err != nil || !sameCIDRs(again["n1"], got["n1"]) || !sameCIDRs(again["n2"], got["n2"]) || !sameCIDRs(again["n3"], got["n3"]) {
		t.Errorf("second run moved CIDRs: %v, want %v", again, got)
	}
}

func sameCIDRs(a, b []netip.Prefix) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

func TestExhaustedPoolIsNamedAndTheRestIsGiven(t *testing.T) {
	pools := []Pool{poolOf("10.1.0.0/24", 25), poolOf("10.2.0.0/25", 25)}
	got, err := PodCIDRs(pools, []string{"n1", "n2", "n3", "n4"}, nil)
	if err == nil || !strings.Contains(err.Error(), "node n4: pool 10.1.0.0/24 with mask /25 is exhausted, pool 10.2.0.0/25") {
		t.Errorf("err = %v", err)
	}
	if want := "map[n1:[10.1.0.0/25] n2:[10.1.0.128/25] n3:[10.2.0.0/25] n4:[]]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestBadPoolsAreRefused(t *testing.T) {
	for says, pools := range map[string][]Pool{
		"no bits set":    {poolOf("10.0.0.1/8", 24)},
		"use /16 to /32": {poolOf("10.0.0.0/16", 8)},
		"overlap":        {poolOf("10.0.0.0/8", 24), poolOf("10.1.0.0/16", 24)},
		"not a CIDR":     {{}},
	} {
		if _, err := PodCIDRs(pools, nil, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v, want %q", pools, err, says)
		}
	}
}

func TestPodCIDRsNeverOverlap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		pools := []Pool{poolOf("10.0.0.0/20", 24+r.IntN(3)), poolOf("10.9.0.0/22", 23+r.IntN(4)), poolOf("fd00::/116", 120+r.IntN(3))}
		var nodes []string
		taken := map[string][]netip.Prefix{}
		for i := range r.IntN(20) {
			nodes = append(nodes, fmt.Sprint("n", i))
			if r.IntN(3) == 0 { // disjoint by construction: one /26 inside each node's own /24
				a := netip.AddrFrom4([4]byte{10, byte(9 * r.IntN(2)), byte(i), byte(64 * r.IntN(4))})
				taken[nodes[i]] = []netip.Prefix{netip.PrefixFrom(a, 26)}
			}
		}
		got, _ := PodCIDRs(pools, nodes, taken) // may be exhausted
		var all []netip.Prefix
		for _, cidrs := range got {
			all = append(all, cidrs...)
		}
		for i, p := range all {
			for _, q := range all[:i] {
				if p.Overlaps(q) {
					t.Fatalf("%s and %s overlap: pools %v taken %v", p, q, pools, taken)
				}
			}
		}
	}
}

func TestLastCIDROfTheAddressSpace(t *testing.T) {
	got, err := PodCIDRs([]Pool{poolOf("255.255.255.0/24", 25)}, []string{"a", "b", "c"}, nil)
	if err == nil || fmt.Sprint(got) != "map[a:[255.255.255.0/25] b:[255.255.255.128/25] c:[]]" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestRouterAndHealthAddresses(t *testing.T) {
	for _, tt := range []struct{ cidrs, router, health string }{
		{"10.0.1.0/24", "[10.0.1.1]", "[10.0.1.2]"},
		{"fd00::100/120 10.0.1.0/24 10.0.2.0/24", "[10.0.1.1 fd00::101]", "[10.0.1.2 fd00::102]"},
		{"10.0.1.0/31", "[10.0.1.0]", "[10.0.1.1]"},
		{"10.0.1.9/32", "[10.0.1.9]", "[]"},
	} {
		cidrs := prefixes(strings.Fields(tt.cidrs)...)
		if r, h := fmt.Sprint(RouterIP(cidrs)), fmt.Sprint(HealthIP(cidrs)); r != tt.router || h != tt.health {
			t.Errorf("%s: router %s health %s, want %s %s", tt.cidrs, r, h, tt.router, tt.health)
		}
	}
}

func pod(name, app string) state.Pod {
	return state.Pod{Name: state.PodName{Namespace: "default", Name: name}, ServiceAccount: "default", Labels: map[string]string{"app": app}}
}

// identities are those where policies see the label app.
func identities(pods []state.Pod, taken []state.Identity) []state.Identity {
	return Identities(pods, nil, state.Visible{"k8s:app": true}, "lab", taken)
}

func TestWhatNoPolicySeesMakesNoIdentity(t *testing.T) {
	pods := []state.Pod{pod("a", "web"), pod("b", "db")}
	if got := Identities(pods, nil, nil, "lab", nil); len(got) != 1 {
		t.Errorf("got %v, want one for both pods", got)
	}
	team := state.Visible{state.LabelNamespacePrefix + "team": true}
	spaces := []state.Namespace{{Name: "other", Labels: map[string]string{"team": "x"}}, {Name: "default", Labels: map[string]string{"team": "a"}}}
	got := Identities(pods, spaces, team, "lab", nil)
	if len(got) != 1 || got[0].Labels[0] != "k8s:io.cilium.k8s.namespace.labels.team=a" {
		t.Errorf("got %v, want one with the label of the pods' namespace", got)
	}
}

// A number that is taken without labels is one that must not be given again yet.
func TestANumberThatWasGivenLastIsNotGivenAtOnce(t *testing.T) {
	got := identities([]state.Pod{pod("a", "web")}, []state.Identity{{ID: 300}})
	if len(got) != 1 || got[0].ID != 301 {
		t.Errorf("got %v, want 301", got)
	}
}

func TestSameLabelsSameIdentity(t *testing.T) {
	host := pod("h", "host")
	host.HostNetwork = true
	got := identities([]state.Pod{pod("a", "web"), pod("b", "db"), pod("c", "web"), host}, nil)
	labels := func(app string) state.Labels {
		return state.Labels{"k8s:app=" + app, "k8s:io.cilium.k8s.policy.cluster=lab", "k8s:io.kubernetes.pod.namespace=default"}
	}
	want := []state.Identity{{ID: 256, Labels: labels("db")}, {ID: 257, Labels: labels("web")}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestIdentitiesKeepTheirNumbers(t *testing.T) {
	first := identities([]state.Pod{pod("a", "web"), pod("b", "db")}, nil)
	second := identities([]state.Pod{pod("a", "web"), pod("c", "cache")}, first)
	var ids []string
	for _, i := range second {
		ids = append(ids, i.ID.String()+" "+i.Labels[0])
	}
	if len(second) != 2 || second[0].ID != 257 || second[1].ID != 258 {
		t.Errorf("got %v, want web still 257, cache 258 and not db's 256", ids)
	}
}

func TestNumbersWrapAroundAndEnd(t *testing.T) {
	taken := []state.Identity{{ID: state.IdentityMax, Labels: state.Labels{"k8s:x=y"}}}
	got := identities([]state.Pod{pod("a", "web")}, taken)
	if len(got) != 1 || got[0].ID != state.IdentityMin {
		t.Errorf("got %v, want 256 after 65535", got)
	}
	for id := state.IdentityMin; id < state.IdentityMax; id++ {
		taken = append(taken, state.Identity{ID: id, Labels: state.Labels{"k8s:n=" + id.String()}})
	}
	if got := identities([]state.Pod{pod("a", "web")}, taken); len(got) != 0 {
		t.Errorf("got %v out of a full range", got)
	}
}

// Numbers of other clusters do not make this one begin anew with those that just went.
func TestNumbersOfOtherClustersAreNoneOfOurs(t *testing.T) {
	pods := []state.Pod{{Name: state.PodName{Namespace: "default", Name: "web"}}}
	got := Identities(pods, nil, nil, "default", []state.Identity{{ID: 300}, {ID: 1<<16 + 700, Labels: state.Labels{"k8s:app=theirs"}}})
	if len(got) != 1 || got[0].ID != 301 {
		t.Errorf("got %v, want 301", got)
	}
}

func TestOnlyNewPodCIDRsAreAdmitted(t *testing.T) {
	given := map[string][]netip.Prefix{"n1": prefixes("10.0.0.0/24"), "n2": prefixes("10.0.1.0/24")}
	for _, c := range []struct {
		node       string
		said, want []netip.Prefix
		bad        string
	}{
		{"n1", prefixes("10.0.0.0/24"), prefixes("10.0.0.0/24"), ""},
		{"n1", nil, prefixes("10.0.0.0/24"), ""},
		{"n1", prefixes("10.0.7.0/24"), prefixes("10.0.0.0/24", "10.0.7.0/24"), ""},
		{"n1", prefixes("0.0.0.0/0", "10.0.7.0/24"), prefixes("10.0.0.0/24", "10.0.7.0/24"), "0.0.0.0/0 overlaps 10.0.0.0/24, which node n1 has"},
		{"n1", prefixes("10.0.1.0/25"), prefixes("10.0.0.0/24"), "10.0.1.0/25 overlaps 10.0.1.0/24 of node n2"},
		{"n3", prefixes("10.0.1.0/24"), prefixes("10.0.1.0/24"), ""}, // nobody can tell who was first
		{"n3", prefixes("10.0.3.0/24", "10.0.0.0/8"), prefixes("10.0.3.0/24"), "10.0.0.0/8 overlaps 10.0.3.0/24, which node n3 has"},
	} {
		got, err := Admit(given, c.node, c.said)
		if !slices.Equal(got, c.want) || (err == nil) != (c.bad == "") || err != nil && !strings.Contains(err.Error(), c.bad) {
			t.Errorf("%s says %v: got %v, %v, want %v, %q", c.node, c.said, got, err, c.want, c.bad)
		}
	}
}
