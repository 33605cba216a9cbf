package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/state"
)

// single is the i-th of many addresses, none of which is beside another.
func single(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 1}), 32)
}

// lists is a policy of many rules of one CIDR each.
func lists(name, subject string, n int) state.Policy {
	p := allow(name, subject)
	for i := range n {
		p.Specs[0].Ingress = append(p.Specs[0].Ingress, state.PolicyRule{Path: fmt.Sprintf("spec.ingress[%d]", i),
			Peers: []state.PolicyPeer{{Kind: state.PeerCIDR, CIDR: single(i)}}, Ports: []state.PolicyPort{tcp(80)}})
	}
	return p
}

// within fails when f takes longer than most, not counting what others do with
// the machine.
func within(t *testing.T, what string, most time.Duration, f func()) {
	t.Helper()
	begin, work := time.Now(), worked(t)
	f()
	took := min(worked(t)-work, time.Since(begin))
	t.Logf("%s: %s", what, took.Round(time.Millisecond/10))
	if took > most {
		t.Errorf("%s took %s, more than %s", what, took, most)
	}
}

// worked is for how long this process has had a processor.
func worked(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func TestALargeObjectCostsItsOwnWorkOnce(t *testing.T) {
	for _, tt := range []struct {
		rules int
		most  time.Duration
		state string
	}{{15_000, time.Second, StateInForce}, {17_000, time.Second, StateTooLarge}, {40_000, 2 * time.Second, StateTooLarge}} {
		t.Run(fmt.Sprint(tt.rules), func(t *testing.T) {
			r := newRig(t, Options{})
			r.identity(300, "web")
			r.identity(301, "a0")
			r.endpoint(1, 300)
			r.step(t)
			r.tables.Policies.Put(lists("large", "web", tt.rules))
			within(t, "the object", tt.most, func() { r.step(t) })
			if s := r.status("large"); s.State != tt.state {
				t.Errorf("it is %s: %s", s.State, s.Message)
			}
			r.tables.Policies.Put(allow("small", "web", "a0"))
			within(t, "a policy of one line beside it", 50*time.Millisecond, func() { r.step(t) })
			if s := r.status("small"); s.State != StateInForce {
				t.Errorf("the small one is %s: %s", s.State, s.Message)
			}
			r.identity(302, "b")
			within(t, "an identity beside it", 50*time.Millisecond, func() { r.step(t) })
			r.restart(t, Options{})
			within(t, "a restart", 3*tt.most, func() { r.step(t) })
		})
	}
}

// Whatever an object asks for, the loop is not held up by it: neither at once nor
// by what comes next.
func TestNoObjectHoldsTheLoopUp(t *testing.T) {
	wide := netip.MustParsePrefix("10.0.0.0/8")
	endpoints := func(op state.Operator, values ...string) []state.PolicyPeer {
		return []state.PolicyPeer{{Kind: state.PeerEndpoints, Endpoints: state.Selector{{Key: "k8s:app", Op: op, Values: values}}}}
	}
	for _, tt := range []struct {
		name  string
		rules int
		rule  func(i int) state.PolicyRule
		state string
	}{
		{"ranges of ports that begin alike", 10_000, func(i int) state.PolicyRule {
			return state.PolicyRule{AnyPeer: true, Ports: []state.PolicyPort{{Proto: 6, First: 1, Last: uint16(2 + i)}}}
		}, StateTooLarge},
		{"ranges of ports that lie within each other, by peer", 10_000, func(i int) state.PolicyRule {
			return state.PolicyRule{Peers: endpoints(state.In, fmt.Sprint(i)), Ports: []state.PolicyPort{{Proto: 6, First: uint16(1 + i), Last: uint16(60_000 - i)}}}
		}, StateTooLarge},
		{"ranges of ports that overlap the next", 10_000, func(i int) state.PolicyRule {
			return state.PolicyRule{AnyPeer: true, Ports: []state.PolicyPort{{Proto: 6, First: uint16(1 + 3*i), Last: uint16(5 + 3*i)}}}
		}, StateInForce},
		{"the same rule again and again", 60_000, func(i int) state.PolicyRule {
			return state.PolicyRule{Peers: endpoints(state.In, "a0"), Ports: []state.PolicyPort{tcp(80)}}
		}, StateInForce},
		{"the same range again and again", 60_000, func(i int) state.PolicyRule {
			return state.PolicyRule{Peers: endpoints(state.In, "a0"), Ports: []state.PolicyPort{{Proto: 6, First: 80, Last: 90}}}
		}, StateInForce},
		{"a range of addresses without another address each", 10_000, func(i int) state.PolicyRule {
			except := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 32)
			return state.PolicyRule{AnyPort: true, Peers: []state.PolicyPeer{{Kind: state.PeerCIDR, CIDR: wide, Except: []netip.Prefix{except}}}}
		}, StateTooLarge},
		{"ranges of addresses that lie within each other", 10_000, func(i int) state.PolicyRule {
			at, _ := netip.AddrFrom4([4]byte{10, byte(i >> 6), byte(i >> 4), byte(i)}).Prefix(8 + i%25)
			return state.PolicyRule{AnyPort: true, Peers: []state.PolicyPeer{{Kind: state.PeerCIDR, CIDR: at}}}
		}, ""},
		{"peers who all are everybody but one", 30_000, func(i int) state.PolicyRule {
			return state.PolicyRule{AnyPort: true, Peers: endpoints(state.NotIn, fmt.Sprint("x", i))}
		}, StateTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, Options{})
			r.identity(300, "web")
			for i := range 200 {
				r.identity(state.IdentityID(1000+i), fmt.Sprint("a", i))
			}
			r.endpoint(1, 300)
			r.step(t)
			p := allow("large", "web")
			for i := range tt.rules {
				p.Specs[0].Ingress = append(p.Specs[0].Ingress, tt.rule(i))
			}
			r.tables.Policies.Put(p)
			within(t, "the object", time.Second, func() { r.step(t) })
			s := r.status("large")
			t.Log(s.State, s.Message)
			if tt.state != "" && s.State != tt.state {
				t.Errorf("it is %s: %s", s.State, s.Message)
			}
			r.tables.Policies.Put(allow("small", "web", "a0"))
			within(t, "a policy of one line beside it", 50*time.Millisecond, func() { r.step(t) })
			if s := r.status("small"); s.State != StateInForce {
				t.Errorf("the small one is %s: %s", s.State, s.Message)
			}
			p.Specs[0].Ingress = append(p.Specs[0].Ingress[1:], state.PolicyRule{AnyPeer: true, Ports: []state.PolicyPort{tcp(1)}})
			r.tables.Policies.Put(p)
			within(t, "another version of it", time.Second, func() { r.step(t) })
			r.tables.Policies.Delete(p.Key)
			within(t, "without it", time.Second, func() { r.step(t) })
		})
	}
}

func TestObjectsThatDoNotFitTogetherAreRefusedOnce(t *testing.T) {
	r := newRig(t, Options{})
	r.identity(300, "web")
	r.endpoint(1, 300)
	r.step(t)
	for i := range 20 {
		p := lists(fmt.Sprint("large", i), "web", 3000)
		for j := range p.Specs[0].Ingress {
			p.Specs[0].Ingress[j].Peers[0].CIDR = single(3000*i + j)
		}
		r.tables.Policies.Put(p)
	}
	within(t, "all at once", time.Second, func() { r.step(t) })
	states := func() string {
		n := map[string]int{}
		for _, s := range r.Policies() {
			n[s.State]++
		}
		return fmt.Sprint(n)
	}
	if got := states(); got != "map[in force:5 too large:15]" {
		t.Errorf("got %s", got)
	}
	for i := range 10 {
		r.tables.Policies.Put(allow("small", "web", fmt.Sprint("a", i)))
		within(t, "a policy of one line beside them", 50*time.Millisecond, func() { r.step(t) })
	}
	r.tables.Policies.Delete(state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: "large3"})
	r.step(t) // while it is being deleted, it still takes room
	within(t, "the next in its place", time.Second, func() { r.step(t) })
	if got := states(); got != "map[in force:6 too large:14]" {
		t.Errorf("with the small one, got %s", got)
	}
}

func TestAnEndpointThatIsCutOffIsNotTriedAgainWithoutRoom(t *testing.T) {
	r := newRig(t, Options{})
	r.identity(300, "web")
	r.identity(301, "db")
	r.endpoint(2, 301)
	for i := range 5 {
		p := lists(fmt.Sprint("large", i), "web", 5000)
		for j := range p.Specs[0].Ingress {
			p.Specs[0].Ingress[j].Peers[0].CIDR = single(5000*i + j)
		}
		r.tables.Policies.Put(p)
	}
	r.step(t)
	r.endpoint(1, 300)
	within(t, "the endpoint", time.Second, func() { _ = r.Step(t.Context()) })
	if _, there := r.tables.EndpointPolicies.Get(1); there {
		t.Error("it has a policy")
	}
	for i := range 5 {
		r.tables.Policies.Put(allow("small", "db", fmt.Sprint("a", i)))
		within(t, "a policy of one line", 50*time.Millisecond, func() { _ = r.Step(t.Context()) })
	}
	for i := range 2 {
		r.tables.Policies.Delete(state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: fmt.Sprint("large", i)})
	}
	within(t, "with room", time.Second, func() { r.step(t) })
	if _, there := r.tables.EndpointPolicies.Get(1); !there {
		t.Error("it has no policy")
	}
}

// A state of the tables has one verdict, however the agent came to it.
func TestWhatANewObjectSelectsThatDoesNotFitIsIsolatedBeforeAndAfterARestart(t *testing.T) {
	r := newRig(t, Options{})
	r.identity(300, "web")
	r.identity(301, "a0")
	r.endpoint(1, 300)
	r.step(t)
	if got := r.in(t, 301, 80); got != NotEnforced {
		t.Fatalf("without a policy it is %s", got)
	}
	r.tables.Policies.Put(lists("large", "web", 40_000))
	for _, when := range []string{"at once", "after a restart", "after another"} {
		r.step(t)
		if got := r.in(t, 301, 80); got != Denied {
			t.Errorf("%s it is %s", when, got)
		}
		if s := r.status("large"); s.State != StateTooLarge || !strings.Contains(s.Message, "whoever it selects is isolated by it") || len(s.Endpoints) != 1 {
			t.Errorf("%s: %+v", when, s)
		}
		r.restart(t, Options{})
	}
}

// said is a verdict and the rules that it comes from.
type said struct{ verdict, origins string }

// All CIDRs of a long list are one selector and one set; a short one stays as it
// is, so that rules share what they have in common.
func TestALongListOfCIDRsIsOneSelector(t *testing.T) {
	for _, n := range []int{longList - 1, longList, 100_000} {
		r := newRig(t, Options{IPv4: true})
		r.identity(300, "web")
		r.endpoint(1, 300)
		r.step(t)
		p := allow("list", "web")
		rule := state.PolicyRule{Path: "spec.ingress[0]", Ports: []state.PolicyPort{tcp(80)}}
		for i := range n {
			rule.Peers = append(rule.Peers, state.PolicyPeer{Kind: state.PeerCIDR, CIDR: single(i)})
		}
		p.Specs[0].Ingress = []state.PolicyRule{rule}
		r.tables.Policies.Put(p)
		within(t, fmt.Sprint(n, " addresses"), 3*time.Second, func() { r.step(t) })
		if s := r.status("list"); s.State != StateInForce {
			t.Fatalf("%d: it is %s: %s", n, s.State, s.Message)
		}
		want := 2 // with that of the own node
		if n < longList {
			want = n + 1
		}
		if got := len(r.e.selectors); got != want {
			t.Errorf("%d: %d selectors, want %d", n, got, want)
		}
		verdict := func(a netip.Addr, port uint16) said {
			j := r.Explain(Query{From: Party{Identity: state.IdentityWorld, Addr: a}, To: Party{Endpoint: 1, Local: true}, Proto: state.ProtoTCP, Port: port}).Ingress
			return said{j.Verdict, strings.Join(j.Origins, " ")}
		}
		if got := verdict(single(n-1).Addr(), 80); got.verdict != Allowed || !strings.Contains(got.origins, "spec.ingress[0]") {
			t.Errorf("%d: the last of the list is %v", n, got)
		}
		if got := verdict(addr("192.0.2.1"), 80); got.verdict != Denied {
			t.Errorf("%d: another is %v", n, got)
		}
		rule.Peers = slices.Clone(rule.Peers[:n-1])
		p.Specs = slices.Clone(p.Specs)
		p.Specs[0].Ingress = []state.PolicyRule{rule}
		r.tables.Policies.Put(p)
		r.step(t)
		if got := verdict(single(n-1).Addr(), 80); got.verdict != Denied {
			t.Errorf("%d: taken off the list it is %v", n, got)
		}
		if got := verdict(single(0).Addr(), 80); got.verdict != Allowed {
			t.Errorf("%d: what is still on it is %v", n, got)
		}
	}
}
