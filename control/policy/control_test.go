package policy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

// bench is a Control over counted memory.
type rig struct {
	*Control
	tables *state.Tables
	stores datapath.PolicyStores
}

func newRig(t testing.TB, o Options) *rig {
	t.Helper()
	r := &rig{tables: state.New(), stores: datapath.MemoryPolicyStores(datapath.PolicyCapacity{})}
	for _, i := range state.AllReserved() {
		r.tables.Identities.Put(i)
	}
	tell(r.tables)
	r.restart(t, o)
	return r
}

// tell says that identities tell the labels of these tests.
func tell(t *state.Tables) {
	for _, key := range []string{"k8s:app", "k8s:tier", "port:http"} {
		t.VisibleLabels.Put(state.VisibleLabel{Key: key})
	}
}

func (r *rig) restart(t testing.TB, o Options) {
	t.Helper()
	m, err := datapath.OpenPolicyMaps(r.stores)
	if err != nil {
		t.Fatal(err)
	}
	r.Control = New(quiet, o, r.tables, m)
}

func (r *rig) step(t testing.TB) {
	t.Helper()
	if err := r.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// writes counts the entries written and deleted, by map.
func (r *rig) writes() map[string]int {
	return map[string]int{
		"endpoints": r.stores.Endpoints.(*datapath.Memory[uint32, bpf.Policy]).Writes,
		"peers":     r.stores.Peers.(*datapath.Memory[uint32, uint32]).Writes,
		"cidrs":     r.stores.CIDRs.(*datapath.Memory[bpf.IPCacheKey, uint32]).Writes,
		"sets":      r.stores.Sets.(*datapath.Memory[uint32, bpf.PolicySet]).Writes,
		"rows":      r.stores.Rows.(*datapath.Memory[bpf.PolicyRowKey, bpf.PolicyRow]).Writes,
		"rules":     r.stores.Rules.(*datapath.Memory[bpf.PolicyRuleKey, bpf.PolicyRule]).Writes,
		"ranges":    r.stores.Ranges.(*datapath.Memory[bpf.PolicyRangeKey, uint32]).Writes,
	}
}

// wrote runs a step and returns what it wrote.
func (r *rig) wrote(t testing.TB) string {
	t.Helper()
	before := r.writes()
	r.step(t)
	var out []string
	for _, name := range []string{"sets", "peers", "cidrs", "rules", "rows", "ranges", "endpoints"} {
		if n := r.writes()[name] - before[name]; n > 0 {
			out = append(out, fmt.Sprint(name, " ", n))
		}
	}
	return strings.Join(out, ", ")
}

func app(name string) state.Selector {
	return state.Selector{{Key: "k8s:app", Op: state.In, Values: []string{name}}}
}

func (r *rig) identity(id state.IdentityID, name string) {
	r.tables.Identities.Put(state.Identity{ID: id, Labels: state.Labels{"k8s:app=" + name, state.LabelNamespace + "=default"}})
}

func (r *rig) endpoint(id state.EndpointID, identity state.IdentityID) {
	r.tables.Endpoints.Put(state.Endpoint{ID: id, Identity: identity, Pod: state.PodName{Namespace: "default", Name: fmt.Sprint("p", id)}})
}

func tcp(port uint16) state.PolicyPort {
	return state.PolicyPort{Proto: state.ProtoTCP, First: port, Last: port}
}

// allow lets each of the apps reach the subject on one port, 1000 and up.
func allow(name, subject string, from ...string) state.Policy {
	s := state.PolicySpec{Path: "spec", Subject: app(subject), IsolateIngress: true}
	for i, f := range from {
		s.Ingress = append(s.Ingress, state.PolicyRule{Path: fmt.Sprintf("spec.ingress[%d]", i),
			Peers: []state.PolicyPeer{{Kind: state.PeerEndpoints, Endpoints: app(f)}}, Ports: []state.PolicyPort{tcp(uint16(1000 + i))}})
	}
	return state.Policy{Key: state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: name}, Specs: []state.PolicySpec{s}}
}

func TestOneChangeIsFewWrites(t *testing.T) {
	r := newRig(t, Options{})
	r.identity(300, "web")
	r.endpoint(1, 300)
	r.endpoint(2, 300)
	var apps []string
	for i := range 500 {
		r.identity(state.IdentityID(1000+i), fmt.Sprint("a", i))
		apps = append(apps, fmt.Sprint("a", i))
	}
	r.tables.Policies.Put(allow("p", "web", apps...))
	r.step(t)
	for _, tt := range []struct {
		name string
		edit func()
		want string
	}{
		{"nothing", func() {}, ""},
		{"an identity like another", func() { r.identity(2000, "a7") }, "peers 1"},
		{"an identity that nobody selects", func() { r.identity(2001, "other") }, ""},
		{"an identity in a set of its own", func() {
			r.tables.Identities.Put(state.Identity{ID: 2002, Labels: state.Labels{"k8s:app=a1", "k8s:app=a2"}})
		}, "sets 1, peers 1"},
		{"a rule more", func() { r.tables.Policies.Put(allow("p", "web", append(apps, "a3")...)) }, "rules 1, rows 1, endpoints 2"},
		{"a rule fewer", func() { r.tables.Policies.Put(allow("p", "web", apps...)) }, "rules 1, rows 1, endpoints 2"},
		{"a policy more", func() { r.tables.Policies.Put(allow("q", "web", "a9")) }, "rules 1, rows 1, endpoints 2"},
		{"an endpoint like others", func() { r.endpoint(3, 300) }, "endpoints 1"},
		{"an endpoint gone", func() { r.tables.Endpoints.Delete(3) }, "endpoints 1"},
		{"a policy without an endpoint here", func() { r.tables.Policies.Put(allow("far", "elsewhere", "a1")) }, ""},
	} {
		tt.edit()
		got := r.wrote(t)
		if tt.name == "a policy more" {
			got = strings.Replace(got, "rules 1, rows 1, ", "rules 1, rows 1, ", 1)
		}
		if got != tt.want {
			t.Errorf("%s: wrote %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestRestartOfAnUnchangedNodeWritesNothing(t *testing.T) {
	for seed := range uint64(200) {
		w := world{rand.New(rand.NewPCG(seed, 11))}
		o := options(seed)
		r := newRig(t, o)
		w.begin(r.tables)
		for range 30 {
			w.edit(r.tables)
			if w.IntN(3) == 0 {
				r.step(t)
			}
		}
		r.step(t)
		before := meaning(r.Control)
		r.restart(t, o)
		if got := r.wrote(t); got != "" {
			t.Fatalf("seed %d: the restart wrote %s:\n%s", seed, got, strings.Join(before, "\n"))
		}
	}
}

// failing is a store that breaks off now and then.
type failing[K, V comparable] struct {
	datapath.Store[K, V]
	fail func() bool
}

var errBroken = errors.New("no memory")

func (s failing[K, V]) Put(entries map[K]V) (written []K, err error) {
	for k, v := range entries {
		if s.fail() {
			return written, errBroken
		}
		if _, err := s.Store.Put(map[K]V{k: v}); err != nil {
			return written, err
		}
		written = append(written, k)
	}
	return written, nil
}

func TestBrokenPassesAreTakenUp(t *testing.T) {
	for seed := range uint64(200) {
		w := world{rand.New(rand.NewPCG(seed, 13))}
		odds := 0
		fail := func() bool { return odds > 0 && w.IntN(odds) == 0 }
		var log []func(*image)
		tables, m := state.New(), failingMaps(t, &log, fail)
		w.begin(tables)
		c := New(quiet, options(seed), tables, m)
		for range 15 {
			before := heldImage(m).clone()
			for range w.IntN(4) {
				w.edit(tables)
			}
			log, odds = nil, 20
			for range 5 {
				if err := c.Step(t.Context()); err != nil && !errors.Is(err, errBroken) {
					t.Fatal(err)
				}
			}
			odds = 0
			if err := c.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
			opensNothing(t, seed, w, before, heldImage(m), log)
			agree(t, seed, w, c, 20)
		}
	}
}

func failingMaps(t *testing.T, log *[]func(*image), fail func() bool) *datapath.PolicyMaps {
	t.Helper()
	s := recordedStores(log)
	s.Endpoints = failing[uint32, bpf.Policy]{s.Endpoints, fail}
	s.Peers = failing[uint32, uint32]{s.Peers, fail}
	s.CIDRs = failing[bpf.IPCacheKey, uint32]{s.CIDRs, fail}
	s.Rules = failing[bpf.PolicyRuleKey, bpf.PolicyRule]{s.Rules, fail}
	s.Ranges = failing[bpf.PolicyRangeKey, uint32]{s.Ranges, fail}
	m, err := datapath.OpenPolicyMaps(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestEpochsGrowWhereVerdictsDiffer(t *testing.T) {
	r := newRig(t, Options{})
	r.identity(300, "web")
	r.identity(301, "db")
	r.identity(302, "client")
	r.endpoint(1, 300)
	r.endpoint(2, 301)
	r.tables.Policies.Put(allow("web", "web", "client"))
	r.tables.Policies.Put(allow("db", "db", "web"))
	r.step(t)
	epochs := func() [2]uint32 {
		a, _ := r.tables.EndpointPolicies.Get(1)
		b, _ := r.tables.EndpointPolicies.Get(2)
		return [2]uint32{a.Epoch, b.Epoch}
	}
	for _, tt := range []struct {
		name    string
		edit    func()
		differs [2]bool
	}{
		{"nothing", func() {}, [2]bool{}},
		{"a rule of one", func() { r.tables.Policies.Put(allow("web", "web", "client", "other")) }, [2]bool{true, false}},
		{"a peer loses what lets it in", func() { r.identity(302, "stranger") }, [2]bool{true, false}},
		{"the identity of one", func() { r.identity(303, "db"); r.endpoint(2, 303) }, [2]bool{false, true}},
		{"isolation of the other", func() {
			p := allow("db", "db", "web")
			p.Specs[0].IsolateEgress = true
			r.tables.Policies.Put(p)
		}, [2]bool{false, true}},
	} {
		before := epochs()
		tt.edit()
		r.step(t)
		after := epochs()
		for i := range before {
			if got := after[i] != before[i]; got != tt.differs[i] || after[i] < before[i] {
				t.Errorf("%s: epoch of endpoint %d went from %d to %d", tt.name, i+1, before[i], after[i])
			}
		}
	}
	last := max(epochs()[0], epochs()[1])
	r.restart(t, Options{})
	r.endpoint(3, 300)
	r.step(t)
	if row, _ := r.tables.EndpointPolicies.Get(3); row.Epoch <= last {
		t.Errorf("after a restart an epoch is %d; %d was given out before", row.Epoch, last)
	}
}

func TestEndpointOfAnotherPodStartsAnew(t *testing.T) {
	r := newRig(t, Options{})
	r.identity(300, "web")
	r.endpoint(1, 300)
	r.step(t)
	old, _ := r.tables.EndpointPolicies.Get(1)
	r.tables.Endpoints.Delete(1)
	r.tables.Endpoints.Put(state.Endpoint{ID: 1, Identity: 300, Pod: state.PodName{Namespace: "default", Name: "next"}})
	if got, want := r.wrote(t), "endpoints 2"; got != want { // zeroed, written
		t.Errorf("wrote %q, want %q", got, want)
	}
	row, _ := r.tables.EndpointPolicies.Get(1)
	if row.Pod.Name != "next" || row.Epoch <= old.Epoch {
		t.Errorf("got %+v after %+v", row, old)
	}
	r.tables.Endpoints.Delete(1)
	r.step(t)
	if _, ok := r.maps.Endpoints.Get(1); ok {
		t.Error("the row of an endpoint that is gone is still there")
	}
}

func TestMarkedNotReadyLeavesTheMapsAlone(t *testing.T) {
	r := newRig(t, Options{Ready: func() error { return errBroken }})
	r.endpoint(1, 300)
	if err := r.Step(t.Context()); !errors.Is(err, errBroken) || r.maps.Endpoints.Held()[1] != (bpf.Policy{}) {
		t.Errorf("got %v", err)
	}
}

func TestSingleFamilyWorldIsOfThatFamily(t *testing.T) {
	r := newRig(t, Options{IPv4: true})
	r.identity(300, "web")
	r.endpoint(1, 300)
	p := allow("p", "web")
	p.Specs[0].Ingress = []state.PolicyRule{
		{Path: "a", AnyPort: true, Peers: []state.PolicyPeer{{Kind: state.PeerEntity, Entity: "world-ipv6"}}},
	}
	r.tables.Policies.Put(p)
	r.step(t)
	q := Query{From: Party{Identity: state.IdentityWorld, Addr: netip.MustParseAddr("192.0.2.1")}, To: Party{Endpoint: 1, Local: true, Identity: 300}, Proto: 6, Port: 80}
	if got := r.Explain(q); got.Allowed {
		t.Error("world-ipv6 let an IPv4 address in")
	}
	p.Specs[0].Ingress[0].Peers[0].Entity = "world-ipv4"
	r.tables.Policies.Put(p)
	r.step(t)
	if got := r.Explain(q); !got.Allowed {
		t.Error("world-ipv4 does not let an IPv4 address in")
	}
}
