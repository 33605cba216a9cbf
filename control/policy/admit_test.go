package policy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"weir/datapath"
	"weir/state"
)

func (r *rig) status(name string) Status {
	for _, s := range r.Policies() {
		if s.Key.Name == name {
			return s
		}
	}
	return Status{}
}

func (r *rig) in(t *testing.T, from state.IdentityID, port uint16) string {
	t.Helper()
	return r.Explain(Query{From: Party{Identity: from}, To: Party{Endpoint: 1, Local: true}, Proto: state.ProtoTCP, Port: port}).Ingress.Verdict
}

func manyApps(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint("a", i))
	}
	return out
}

func TestPolicyThatDoesNotFitIsRefusedAndTheVersionBeforeStays(t *testing.T) {
	r := newRig(t, Options{Capacity: Capacity{Rules: 20}})
	r.identity(300, "web")
	r.identity(301, "a0")
	r.identity(302, "other")
	r.endpoint(1, 300)
	r.tables.Policies.Put(allow("p", "web", "a0"))
	r.step(t)
	r.tables.Policies.Put(allow("p", "web", manyApps(15)...))
	r.step(t)
	r.tables.Policies.Put(allow("small", "web", "x"))
	r.tables.Policies.Put(allow("p", "web", append([]string{"other"}, manyApps(40)...)...))
	r.step(t)
	s := r.status("p")
	if s.State != StateTooLarge || !strings.Contains(s.Message, "41 rules of 20") || !strings.Contains(s.Message, "version before stays") {
		t.Errorf("got %+v", s)
	}
	if got := r.in(t, 301, 1000); got != Allowed {
		t.Errorf("what the version in force allows is %s", got)
	}
	if got := r.in(t, 302, 1000); got != Denied {
		t.Errorf("what only the refused version allows is %s", got)
	}
	if s := r.status("small"); s.State != StateInForce {
		t.Errorf("the policy that fits: %+v", s)
	}
	r.tables.Policies.Put(allow("p", "web", "other"))
	r.step(t)
	if got := r.in(t, 302, 1000); got != Allowed || r.status("p").State != StateInForce {
		t.Errorf("after it was made smaller: %s, %+v", got, r.status("p"))
	}
}

func TestTheNewestIsRefusedAndComesBackWhenThereIsRoom(t *testing.T) {
	r := newRig(t, Options{Capacity: Capacity{Rules: 25}})
	r.identity(300, "web")
	r.endpoint(1, 300)
	r.step(t)
	r.tables.Policies.Put(allow("a", "web", manyApps(10)...))
	r.step(t)
	r.tables.Policies.Put(allow("b", "web", manyApps(15)[5:]...))
	r.tables.Policies.Put(allow("c", "web", manyApps(40)[20:30]...))
	r.step(t)
	if a, b, c := r.status("a"), r.status("b"), r.status("c"); a.State != StateInForce || b.State != StateInForce || c.State != StateTooLarge {
		t.Fatalf("got %+v, %+v, %+v", a, b, c)
	}
	r.tables.Policies.Delete(state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: "a"})
	r.step(t) // while it is being deleted, its rules still take room
	r.endpoint(2, 999)
	r.step(t)
	if c := r.status("c"); c.State != StateInForce {
		t.Errorf("with room: %+v", c)
	}
}

func TestAtAStartWhoeverARefusedPolicySelectsIsIsolated(t *testing.T) {
	r := newRig(t, Options{Capacity: Capacity{Rules: 20}})
	r.identity(300, "web")
	r.identity(301, "a0")
	r.endpoint(1, 300)
	r.tables.Policies.Put(allow("a", "web", manyApps(15)...))
	r.tables.Policies.Put(allow("b", "web", manyApps(60)[30:]...))
	r.step(t)
	if a, b := r.status("a"), r.status("b"); a.State != StateInForce || b.State != StateTooLarge || !strings.Contains(b.Message, "isolated") {
		t.Fatalf("got %+v, %+v", a, b)
	}
	if got := r.in(t, 301, 1000); got != Allowed {
		t.Errorf("what the other policy allows is %s", got)
	}
	r.tables.Policies.Delete(state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: "a"})
	r.step(t)
	if got := r.in(t, 301, 1000); got != Denied {
		t.Errorf("with the refused policy alone it is %s", got)
	}
	r.tables.Policies.Delete(state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: "b"})
	r.step(t)
	if got := r.in(t, 301, 1000); got != NotEnforced {
		t.Errorf("without any policy it is %s", got)
	}
}

func TestADenialThatDoesNotFitAtAStartDeniesAll(t *testing.T) {
	r := newRig(t, Options{Capacity: Capacity{Rules: 20}})
	r.identity(300, "web")
	r.identity(301, "a0")
	r.endpoint(1, 300)
	p := allow("b", "web", manyApps(60)...)
	for i := range p.Specs[0].Ingress {
		p.Specs[0].Ingress[i].Deny = true
	}
	p.Specs[0].IsolateIngress = false
	r.tables.Policies.Put(p)
	r.tables.Policies.Put(allow("a", "web", "a0"))
	r.step(t)
	if got := r.in(t, 301, 1000); got != Denied {
		t.Errorf("it is %s", got)
	}
}

func TestOverlappingRangesThatExplodeAreRefused(t *testing.T) {
	r := newRig(t, Options{Capacity: Capacity{Rules: 5000}})
	r.identity(300, "web")
	r.endpoint(1, 300)
	r.step(t)
	p := allow("p", "web")
	for i := range uint16(1000) {
		p.Specs[0].Ingress = append(p.Specs[0].Ingress, state.PolicyRule{AnyPeer: true, Ports: []state.PolicyPort{{Proto: 6, First: 1 + i, Last: 60000 - i}}})
	}
	r.tables.Policies.Put(p)
	for i := range uint16(1000) {
		p.Specs[0].Ingress[i].AnyPeer = false
		p.Specs[0].Ingress[i].Peers = []state.PolicyPeer{{Kind: state.PeerEndpoints, Endpoints: app(fmt.Sprint("a", i))}}
	}
	r.step(t)
	if s := r.status("p"); s.State != StateTooLarge {
		t.Errorf("got %+v", s)
	}
	if n := len(r.maps.Rules.Held()); n != 1 {
		t.Errorf("%d rules were written, not that of the own node alone", n)
	}
}

func TestEndpointWithoutRoomForItsPolicyIsCutOff(t *testing.T) {
	r := newRig(t, Options{Capacity: Capacity{Rules: 20}})
	r.identity(300, "web")
	r.identity(301, "db")
	r.endpoint(1, 300)
	r.tables.Policies.Put(allow("a", "web", manyApps(15)...))
	r.step(t)
	r.tables.Policies.Put(allow("b", "db", manyApps(15)...)) // nobody here yet
	r.step(t)
	r.endpoint(2, 301)
	if err := r.Step(t.Context()); !errors.Is(err, errNoRoom) || !strings.Contains(err.Error(), "endpoints [2]") {
		t.Errorf("the step says %v", err)
	}
	if _, ok := r.tables.EndpointPolicies.Get(2); ok {
		t.Error("an endpoint without room has a policy")
	}
	if row, ok := r.tables.EndpointPolicies.Get(1); !ok || row.Class == 0 {
		t.Error("the other endpoint lost its policy")
	}
	if got := r.Explain(Query{From: Party{Identity: 300}, To: Party{Endpoint: 2, Local: true}, Proto: 6, Port: 1}).Ingress; got.Verdict != Denied {
		t.Errorf("got %+v", got)
	}
	r.tables.Endpoints.Delete(1)
	if err := r.Step(t.Context()); !errors.Is(err, errNoRoom) { // the rules of the other are still there
		t.Errorf("the step says %v", err)
	}
	r.step(t)
	if _, ok := r.tables.EndpointPolicies.Get(2); !ok {
		t.Error("with room it still has none")
	}
}

func TestPeerThatMeetsTooManySelectorsKeepsThoseThatDeny(t *testing.T) {
	r := newRig(t, Options{})
	r.identity(300, "web")
	r.endpoint(1, 300)
	p := allow("p", "web")
	for i := range 300 {
		who := state.Selector{{Key: "k8s:app", Op: state.In, Values: []string{"peer", fmt.Sprint("x", i)}}}
		p.Specs[0].Ingress = append(p.Specs[0].Ingress, state.PolicyRule{Deny: i == 299, AnyPort: i == 299,
			Peers: []state.PolicyPeer{{Kind: state.PeerEndpoints, Endpoints: who}}, Ports: []state.PolicyPort{tcp(uint16(1000 + i))}})
	}
	r.tables.Policies.Put(p)
	r.step(t) // nobody meets them yet
	r.identity(301, "peer")
	r.step(t)
	if got := r.in(t, 301, 1000); got != Denied {
		t.Errorf("it is %s", got)
	}
	r.tables.Policies.Put(allow("q", "web", "peer"))
	r.step(t)
	if s := r.status("q"); s.State != StateInForce {
		t.Errorf("a policy that makes it no worse: %+v", s)
	}
}

func TestGroupWithMoreAddressesThanThereIsRoomKeepsThoseBefore(t *testing.T) {
	r := newRig(t, Options{Capacity: Capacity{CIDRs: 20}})
	r.identity(300, "web")
	r.endpoint(1, 300)
	p := allow("p", "web")
	p.Specs[0].Ingress = []state.PolicyRule{{AnyPort: true, Peers: []state.PolicyPeer{{Kind: state.PeerCIDRGroups, CIDRGroups: state.Selector{}}}}}
	r.tables.Policies.Put(p)
	group := state.CIDRGroup{Name: "g", CIDRs: []netip.Prefix{prefix("10.0.0.0/24")}}
	r.tables.CIDRGroups.Put(group)
	r.step(t)
	verdict := func(a string) string {
		return r.Explain(Query{From: Party{Identity: 9, Addr: addr(a)}, To: Party{Endpoint: 1, Local: true}, Proto: 6, Port: 1}).Ingress.Verdict
	}
	big := group
	for i := range 100 {
		big.CIDRs = append(big.CIDRs, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32))
	}
	r.tables.CIDRGroups.Put(big)
	r.step(t)
	if verdict("10.0.0.1") != Allowed || verdict("192.0.2.1") != Denied {
		t.Errorf("too many: %s, %s", verdict("10.0.0.1"), verdict("192.0.2.1"))
	}
	r.tables.CIDRGroups.Put(state.CIDRGroup{Name: "g", CIDRs: big.CIDRs[1:5]})
	r.step(t)
	if verdict("10.0.0.1") != Denied || verdict("192.0.2.1") != Allowed {
		t.Errorf("fewer: %s, %s", verdict("10.0.0.1"), verdict("192.0.2.1"))
	}
}

// With little room things are refused, but nothing is opened or written that
// does not fit.
func TestLittleRoomNeverOpensOrOverflows(t *testing.T) {
	for seed := range uint64(150) {
		w := world{rand.New(rand.NewPCG(seed, 17))}
		o := options(seed)
		o.Capacity = Capacity{Rules: 20 + w.IntN(20), Rows: 40, Ranges: 60, Sets: 12 + w.IntN(10), CIDRs: 20, Selectors: 6 + w.IntN(10)}
		var log []func(*image)
		tables, m := state.New(), recordedMaps(t, &log)
		w.begin(tables)
		c := New(quiet, o, tables, m)
		for range 20 {
			before := heldImage(m).clone()
			for range w.IntN(4) {
				w.edit(tables)
			}
			log = nil
			if err := c.Step(t.Context()); err != nil && !errors.Is(err, errNoRoom) {
				t.Fatalf("seed %d: %v", seed, err)
			}
			opensNothing(t, seed, w, before, heldImage(m), log)
			fits(t, seed, o.Capacity, before, log)
			if w.IntN(10) == 0 {
				c = New(quiet, o, tables, m)
			}
		}
	}
}

func fits(t *testing.T, seed uint64, c Capacity, m image, log []func(*image)) {
	t.Helper()
	for _, op := range log {
		op(&m)
		for _, x := range []struct {
			what       string
			have, room int
		}{{"rules", len(m.rules), c.Rules}, {"rows", len(m.rows), c.Rows}, {"ranges", len(m.ranges), c.Ranges}, {"sets", len(m.sets), c.Sets - 1}, {"prefixes", len(m.cidrs), c.CIDRs}} {
			if x.have > x.room {
				t.Fatalf("seed %d: %d %s, room for %d", seed, x.have, x.what, x.room)
			}
		}
		for k := range m.rules {
			if int(k.Selector) > c.Selectors {
				t.Fatalf("seed %d: selector %d of %d", seed, k.Selector, c.Selectors)
			}
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	r := newRig(b, Options{})
	fill(r)
	b.ResetTimer()
	for b.Loop() {
		r.restart(b, Options{})
		r.maps = datapath.MemoryPolicyMaps(datapath.PolicyCapacity{})
		r.step(b)
	}
}

func BenchmarkOneMoreIdentity(b *testing.B) {
	r := newRig(b, Options{})
	fill(r)
	r.step(b)
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		r.tables.Identities.Put(state.Identity{ID: state.IdentityID(20000 + i%40000), Labels: state.Labels{fmt.Sprint("k8s:app=a", i%1000), state.LabelNamespace + "=default"}})
		r.step(b)
	}
}

func BenchmarkOneRule(b *testing.B) {
	r := newRig(b, Options{})
	fill(r)
	r.step(b)
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		r.tables.Policies.Put(allow("p7", "a7", manyApps(3+i%2)...))
		r.step(b)
	}
}

// fill makes 10,000 identities, 1,000 policies and 200 endpoints.
func fill(r *rig) {
	for i := range 10000 {
		r.tables.Identities.Put(state.Identity{ID: state.IdentityID(256 + i), Labels: state.Labels{fmt.Sprint("k8s:app=a", i%1000), fmt.Sprint("k8s:version=", i/1000),
			state.LabelCluster + "=default", state.LabelNamespace + "=default"}})
	}
	for i := range 200 {
		r.endpoint(state.EndpointID(1+i), state.IdentityID(256+i*5))
	}
	for i := range 1000 {
		r.tables.Policies.Put(allow(fmt.Sprint("p", i), fmt.Sprint("a", i), fmt.Sprint("a", (i+1)%1000), fmt.Sprint("a", (i+2)%1000), fmt.Sprint("a", (i+3)%1000)))
	}
}
