package operator

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "weir/api/v1"
	"weir/state"
)

func TestANodeThatIsFullGetsOneCIDRMore(t *testing.T) {
	pools := []Pool{poolOf("10.0.0.0/24", 28), poolOf("fd00::/112", 120)}
	taken := map[string][]netip.Prefix{"n1": prefixes("10.0.0.0/28", "fd00::/120"), "n2": prefixes("10.0.0.16/28")}
	full := FullFamilies(taken["n1"], 10, 4)
	got, err := MorePodCIDRs(pools, map[string][]bool{"n1": full}, taken)
	if err != nil || fmt.Sprint(full, got) != "[true] map[n1:[10.0.0.0/28 fd00::/120 10.0.0.32/28]]" {
		t.Errorf("got %v %v, %v", full, got, err)
	}
	if more := FullFamilies(got["n1"], 10, 4); more != nil {
		t.Errorf("with two CIDRs %v is full", more)
	}
	small := []Pool{poolOf("10.0.0.0/28", 28)}
	got, err = MorePodCIDRs(small, map[string][]bool{"n1": {true}}, taken)
	if err == nil || !strings.Contains(err.Error(), "no more pod CIDR for node n1: pool 10.0.0.0/28 with mask /28 is exhausted") || len(got["n1"]) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAddressesThatANodeHasLeft(t *testing.T) {
	for _, tt := range []struct {
		cidrs string
		pods  int
		want  string
	}{
		{"10.0.0.0/24", 110, "[]"},
		{"10.0.0.0/24", 245, "[true]"}, // 254 addresses, 2 of them the node's, 8 spare
		{"10.0.0.0/24", 244, "[]"},
		{"10.0.0.0/24 fd00::/120", 250, "[true false]"},
		{"fd00::/64", 100000, "[]"},
		{"", 10, "[]"},
	} {
		if got := fmt.Sprint(FullFamilies(prefixes(strings.Fields(tt.cidrs)...), tt.pods, 8)); got != tt.want {
			t.Errorf("%s with %d pods: %s, want %s", tt.cidrs, tt.pods, got, tt.want)
		}
	}
}

func TestTwoNodesWithOneCIDRAreNamed(t *testing.T) {
	got := Overlaps(map[string][]netip.Prefix{
		"n1": prefixes("10.0.0.0/23", "fd00::/120"), "n2": prefixes("10.0.1.0/24"), "n3": prefixes("10.0.2.0/24", "10.0.2.0/25"), "n4": prefixes("fd00::/120"),
	})
	if len(got) != 3 || got["n3"] != "" || !strings.Contains(got["n2"], "pod CIDR 10.0.1.0/24 overlaps 10.0.0.0/23 of node n1") ||
		!strings.Contains(got["n4"], "pod CIDR fd00::/120 overlaps fd00::/120 of node n1") || got["n1"] == "" {
		t.Errorf("got %v", got)
	}
}

func node(name string, addrs ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, a := range addrs {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	return n
}

func TestACiliumNodeFollowsFromNodeAndCIDRs(t *testing.T) {
	old := &v1.CiliumNode{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "u", ResourceVersion: "7"}}
	old.Spec.Addresses = []v1.NodeAddress{{Type: v1.InternalIP, IP: "192.0.2.9"}}
	old.Spec.BootID, old.Spec.ENI = "b", []byte(`{"x":1}`)
	n := node("n1", "172.18.0.2", "fc00::2")
	n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: "n1"})
	got := CiliumNode(n, prefixes("10.0.0.0/24", "fd00::/120"), "trouble", old)
	want := old.DeepCopy()
	want.Spec.Addresses = []v1.NodeAddress{
		{Type: v1.InternalIP, IP: "172.18.0.2"}, {Type: v1.InternalIP, IP: "fc00::2"},
		{Type: v1.CiliumInternalIP, IP: "10.0.0.1"}, {Type: v1.CiliumInternalIP, IP: "fd00::1"},
	}
	want.Spec.Health = v1.AddressPair{IPv4: "10.0.0.2", IPv6: "fd00::2"}
	want.Spec.IPAM.PodCIDRs = []string{"10.0.0.0/24", "fd00::/120"}
	want.Status.IPAM.Operator.Error = "trouble"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if bare := CiliumNode(n, nil, "", nil); bare.Name != "n1" || len(bare.Spec.Addresses) != 2 || bare.Spec.Health != (v1.AddressPair{}) {
		t.Errorf("without CIDRs: %+v", bare)
	}
}

func TestKubernetesDealsOut(t *testing.T) {
	for _, tt := range []struct{ spec, has, want, says string }{
		{"10.1.0.0/24 fd01::/120", "", "[10.1.0.0/24 fd01::/120]", ""},
		{"10.1.0.0/24", "10.1.0.0/24", "[10.1.0.0/24]", ""},
		{"", "", "[]", "has no spec.podCIDRs: let kube-controller-manager allocate them"},
		{"10.2.0.0/24", "10.1.0.0/24", "[10.1.0.0/24]", "its pods use [10.1.0.0/24], which stay"},
		{"", "10.1.0.0/24", "[10.1.0.0/24]", "which stay"},
		{"ten", "10.1.0.0/24", "[10.1.0.0/24]", `"ten" is not a pod CIDR`},
	} {
		n := node("n1")
		n.Spec.PodCIDRs = strings.Fields(tt.spec)
		got, says := KubernetesCIDRs(n, prefixes(strings.Fields(tt.has)...))
		if fmt.Sprint(got) != tt.want || !strings.Contains(says, tt.says) || says != "" && tt.says == "" {
			t.Errorf("%q with %q: %v, %q", tt.spec, tt.has, got, says)
		}
	}
}

func TestTaintsFollowTheAgent(t *testing.T) {
	other := corev1.Taint{Key: "x", Effect: corev1.TaintEffectNoExecute}
	ours := corev1.Taint{Key: AgentNotReady, Effect: corev1.TaintEffectNoExecute}
	both := NodeMarks{RemoveTaint: true, SetTaint: true}
	for i, tt := range []struct {
		marks   NodeMarks
		has     []corev1.Taint
		agent   AgentState
		left    int
		changed bool
	}{
		{both, []corev1.Taint{ours, other}, AgentReady, 1, true},
		{both, []corev1.Taint{other}, AgentReady, 1, false},
		{both, []corev1.Taint{other}, AgentStarting, 2, true},
		{both, []corev1.Taint{ours}, AgentStarting, 1, false},
		{both, []corev1.Taint{ours}, NoAgent, 1, false},
		{both, nil, NoAgent, 0, false},
		{NodeMarks{}, []corev1.Taint{ours}, AgentReady, 1, false},
		{NodeMarks{}, nil, AgentStarting, 0, false},
		{NodeMarks{RemoveTaint: true, Taint: "x"}, []corev1.Taint{ours, other}, AgentReady, 1, true},
	} {
		got, changed := tt.marks.Taints(tt.has, tt.agent)
		if len(got) != tt.left || changed != tt.changed {
			t.Errorf("case %d: %v %v", i, got, changed)
		}
	}
}

func TestTheNetworkIsAvailableOnceTheAgentIsReady(t *testing.T) {
	m, now := NodeMarks{Network: true}, metav1.Now()
	if _, changed := m.NetworkCondition(nil, AgentStarting, now); changed {
		t.Error("said before the agent was ready")
	}
	c, changed := m.NetworkCondition([]corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}}, AgentReady, now)
	if !changed || c.Status != corev1.ConditionFalse || c.Reason == "" {
		t.Errorf("got %v %v", c, changed)
	}
	if _, changed := m.NetworkCondition([]corev1.NodeCondition{c}, AgentReady, now); changed {
		t.Error("said twice")
	}
}

func TestAConditionKeepsItsTime(t *testing.T) {
	first, later := metav1.NewTime(time.Unix(1, 0)), metav1.NewTime(time.Unix(2, 0))
	yes, no := PolicyCondition(state.Policy{}, nil, Enforcement{}), PolicyCondition(state.Policy{}, errors.New("x"), Enforcement{})
	has, changed := WithCondition([]v1.PolicyCondition{{Type: "Other"}}, yes, first)
	if !changed || len(has) != 2 {
		t.Fatalf("got %v", has)
	}
	if _, changed := WithCondition(has, yes, later); changed {
		t.Error("the same again is a change")
	}
	has, changed = WithCondition(has, no, later)
	if !changed || len(has) != 2 || has[1].LastTransitionTime != later {
		t.Errorf("got %v", has)
	}
	said := no
	said.Message = "y"
	if has, _ = WithCondition(has, said, first); has[1].LastTransitionTime != later {
		t.Errorf("another message is no transition: %v", has)
	}
}

func TestNothingIsCollectedBeforeItsTimeNorAllAtOnce(t *testing.T) {
	all := map[int]bool{}
	for i := range 100 {
		all[i] = true
	}
	c := Collector[int]{Grace: time.Minute, Most: 3, Part: 20}
	now := time.Unix(1000, 0)
	used := map[int]bool{7: true}
	collect := func(at time.Duration) []int {
		return c.Collect(now.Add(at), maps.Keys(all), func(i int) bool { return used[i] })
	}
	if got := collect(0); got != nil || c.Waiting() != 99 {
		t.Fatalf("at once: %v, waiting %d", got, c.Waiting())
	}
	used[3] = true
	if got := collect(59 * time.Second); got != nil {
		t.Fatalf("early: %v", got)
	}
	delete(used, 3) // used a moment ago
	if got := fmt.Sprint(collect(time.Minute)); got != "[0 1 2 4 5]" {
		t.Errorf("a twentieth: %v", got)
	}
	if got := collect(-time.Hour); len(got) != 0 {
		t.Errorf("after the clock was set back: %v", got)
	}
}

func TestPodsThatAnotherPluginMade(t *testing.T) {
	ip := []netip.Addr{netip.MustParseAddr("10.9.0.1")}
	made := func(name, node string, change func(*state.Pod)) state.Pod {
		p := state.Pod{Name: state.PodName{Namespace: "a", Name: name}, Node: node, IPs: ip}
		change(&p)
		return p
	}
	same := func(*state.Pod) {}
	pods := []state.Pod{
		made("old", "n1", same), made("ours", "n1", same), made("elsewhere", "n2", same),
		made("host", "n1", func(p *state.Pod) { p.HostNetwork = true }), made("going", "n1", func(p *state.Pod) { p.Deleting = true }),
		made("starting", "n1", func(p *state.Pod) { p.IPs = nil }),
	}
	got := Unmanaged(func(yield func(state.Pod) bool) {
		for _, p := range pods {
			if !yield(p) {
				return
			}
		}
	}, func(n string) bool { return n == "n1" }, func(p state.PodName) bool { return p.Name == "ours" })
	if fmt.Sprint(got) != "[a/old]" {
		t.Errorf("got %v", got)
	}
}
