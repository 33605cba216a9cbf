package operator

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/state"
)

// l2World is three nodes, and services with an address of a load balancer each.
func l2World(services int) L2Input {
	in := L2Input{Policies: []state.L2Policy{{Name: "all", LoadBalancerIPs: true}}}
	for i := range 3 {
		in.Nodes = append(in.Nodes, state.Node{Name: fmt.Sprintf("n%d", i+1), Labels: map[string]string{"zone": fmt.Sprint(i)}})
	}
	for i := range services {
		in.Services = append(in.Services, state.Service{Name: state.ServiceName{Namespace: "default", Name: fmt.Sprintf("s%d", i)},
			LoadBalancerIPs: []netip.Addr{netip.AddrFrom4([4]byte{172, 18, 200, byte(i)})}})
	}
	return in
}

func holders(in L2Input) map[string]string {
	out := map[string]string{}
	for _, l := range L2Leases(in) {
		out[l.Name.Name] = l.Holder
	}
	return out
}

func TestLeasesSpreadAndOnlyThoseOfANodeThatGoesMove(t *testing.T) {
	in := l2World(120)
	first := L2Leases(in)
	share := map[string]int{}
	for _, l := range first {
		share[l.Holder]++
	}
	for _, n := range in.Nodes {
		if share[n.Name] < 20 {
			t.Errorf("%s holds %d of 120 leases: %v", n.Name, share[n.Name], share)
		}
	}
	for _, goes := range []func(*state.Node){
		func(n *state.Node) { n.Unready = "its condition Ready is Unknown" },
		func(n *state.Node) { n.Leaves = "it is being deleted" },
		func(n *state.Node) { n.Name = "another" },
	} {
		next := in
		next.Leases, next.Nodes = first, slices.Clone(in.Nodes)
		goes(&next.Nodes[1])
		second := L2Leases(next)
		for i, l := range second {
			if moved := l.Holder != first[i].Holder; moved != (first[i].Holder == "n2") || l.Holder == "n2" {
				t.Errorf("%s: %s, was %s", l.Name, l.Holder, first[i].Holder)
			}
		}
		back := in
		back.Leases, back.Nodes = second, append(slices.Clone(in.Nodes), state.Node{Name: "another"})
		if diff := cmp.Diff(second, L2Leases(back)); diff != "" {
			t.Errorf("the node that came back takes something (-before +after):\n%s", diff)
		}
	}
}

func TestLeasesDoNotDependOnTheOrderOfTheInput(t *testing.T) {
	in := l2World(20)
	want := L2Leases(in)
	for range 20 {
		mixed := L2Input{Policies: in.Policies, Services: slices.Clone(in.Services), Nodes: slices.Clone(in.Nodes)}
		rand.Shuffle(len(mixed.Services), func(i, j int) { mixed.Services[i], mixed.Services[j] = mixed.Services[j], mixed.Services[i] })
		rand.Shuffle(len(mixed.Nodes), func(i, j int) { mixed.Nodes[i], mixed.Nodes[j] = mixed.Nodes[j], mixed.Nodes[i] })
		if diff := cmp.Diff(want, L2Leases(mixed)); diff != "" {
			t.Fatalf("another order (-want +got):\n%s", diff)
		}
	}
}

func TestLeasesAreOfServicesAndNodesThatPoliciesSelect(t *testing.T) {
	in := l2World(1)
	zone := func(values ...string) state.Selector {
		return state.Selector{{Key: "any:zone", Op: state.In, Values: values}}
	}
	lease := "cilium-l2announce-default-s0"
	for _, c := range []struct {
		name   string
		change func(*L2Input)
		want   map[string]string
	}{
		{"one zone", func(in *L2Input) { in.Policies[0].Nodes = zone("2") }, map[string]string{lease: "n3"}},
		{"no node", func(in *L2Input) { in.Policies[0].Nodes = zone("9") }, map[string]string{lease: ""}},
		{"no addresses of this kind", func(in *L2Input) { in.Policies[0] = state.L2Policy{ExternalIPs: true} }, map[string]string{}},
		{"a class of somebody else's", func(in *L2Input) { in.Services[0].Class = "example.com/lb" }, map[string]string{}},
		{"another service", func(in *L2Input) {
			in.Policies[0].Services = state.Selector{{Key: "any:io.kubernetes.service.name", Op: state.In, Values: []string{"s1"}}}
		}, map[string]string{}},
		{"this service, by its namespace", func(in *L2Input) {
			in.Policies[0].Nodes = zone("0")
			in.Policies[0].Services = state.Selector{{Key: "any:io.kubernetes.service.namespace", Op: state.In, Values: []string{"default"}}}
		}, map[string]string{lease: "n1"}},
		{"held by a node that no policy selects", func(in *L2Input) {
			in.Policies[0].Nodes = zone("0")
			in.Leases = []state.Lease{{Name: state.L2Lease(in.Services[0].Name), Holder: "n2"}}
		}, map[string]string{lease: "n1"}},
		{"of another namespace", func(in *L2Input) {
			in.Policies[0].Nodes = zone("0", "1")
			in.Leases = []state.Lease{{Name: state.LeaseName{Namespace: "default", Name: lease}, Holder: "n3"}}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := in
			in.Policies, in.Services = slices.Clone(in.Policies), slices.Clone(in.Services)
			c.change(&in)
			got := holders(in)
			if c.want == nil {
				if got[lease] == "n3" || got[lease] == "" {
					t.Errorf("holder %q", got[lease])
				}
				return
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestALocalServiceIsHeldWhereAReadyEndpointIs(t *testing.T) {
	in := l2World(1)
	in.Services[0].ExternalLocal = true
	if got := L2Leases(in); len(got) != 1 || got[0].Holder != "" {
		t.Fatalf("without an endpoint: %v", got)
	}
	end := func(node string, ready bool) state.SliceEndpoint {
		return state.SliceEndpoint{Node: node, Ready: ready}
	}
	in.Slices = []state.Slice{{Service: in.Services[0].Name, Endpoints: []state.SliceEndpoint{end("n1", false), end("n2", true)}},
		{Service: state.ServiceName{Namespace: "default", Name: "other"}, Endpoints: []state.SliceEndpoint{end("n3", true)}}}
	in.Leases = L2Leases(in)
	if in.Leases[0].Holder != "n2" {
		t.Fatalf("held by %q, want n2", in.Leases[0].Holder)
	}
	in.Slices[0].Endpoints = []state.SliceEndpoint{end("n1", true), end("n2", false)}
	if got := L2Leases(in); got[0].Holder != "n1" {
		t.Errorf("held by %q when the endpoint of n2 is not ready, want n1", got[0].Holder)
	}
}

// Of two services with one lease the holder can answer for both.
func TestServicesWithOneLeaseNameHaveOneHolder(t *testing.T) {
	in := l2World(0)
	for _, name := range []state.ServiceName{{Namespace: "a-b", Name: "c"}, {Namespace: "a", Name: "b-c"}} {
		in.Services = append(in.Services, state.Service{Name: name, ExternalLocal: true, LoadBalancerIPs: []netip.Addr{netip.MustParseAddr("172.18.200.1")}})
	}
	for i, nodes := range [][]string{{"n1", "n2"}, {"n2", "n3"}} {
		s := state.Slice{Service: in.Services[i].Name}
		for _, n := range nodes {
			s.Endpoints = append(s.Endpoints, state.SliceEndpoint{Node: n, Ready: true})
		}
		in.Slices = append(in.Slices, s)
	}
	if got := holders(in); len(got) != 1 || got["cilium-l2announce-a-b-c"] != "n2" {
		t.Errorf("leases %v, want one of n2", got)
	}
}

func TestLeaseObjectTellsWhenItsHolderChanged(t *testing.T) {
	row := state.Lease{Name: state.L2Lease(state.ServiceName{Namespace: "default", Name: "web"}), Holder: "n1"}
	at := time.Unix(1000, 0)
	first := LeaseObject(row, nil, at)
	if first.Namespace != "kube-system" || *first.Spec.HolderIdentity != "n1" || !first.Spec.AcquireTime.Time.Equal(at) || first.Spec.LeaseTransitions != nil {
		t.Errorf("first: %+v", first.Spec)
	}
	if same := LeaseObject(row, first, at.Add(time.Hour)); !cmp.Equal(first, same) {
		t.Errorf("nothing changed:\n%s", cmp.Diff(first, same))
	}
	row.Holder = "n2"
	next := LeaseObject(row, first, at.Add(time.Hour))
	if *next.Spec.HolderIdentity != "n2" || *next.Spec.LeaseTransitions != 1 || next.Spec.AcquireTime.Time.Equal(at) || *first.Spec.HolderIdentity != "n1" {
		t.Errorf("moved: %+v", next.Spec)
	}
	row.Holder = ""
	if none := LeaseObject(row, next, at); none.Spec.HolderIdentity != nil || *none.Spec.LeaseTransitions != 2 {
		t.Errorf("nobody: %+v", none.Spec)
	}
}
