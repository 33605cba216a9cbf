package observe

import (
	"net/netip"
	"slices"
	"testing"

	"weir/api/observer"
	"weir/bpf"
	"weir/state"
)

// What goes and what takes its place may come in one look at the tables, in any order.

func TestTheNextServiceOfAnAddressIsNamed(t *testing.T) {
	tables := cluster()
	o := New(Options{Node: "n1", Flows: 16}, tables, &fakeRules{})
	asks := packet(func(e *bpf.Event) { e.Asked, e.AskedPort = bpf.AddrFrom(addr("10.96.0.10")), bpf.Network(80) })
	byPort := packet(func(e *bpf.Event) { e.Asked, e.AskedPort = bpf.AddrFrom(addr("192.168.0.1")), bpf.Network(30080) })
	o.Add(asks)
	tables.Services.Delete(state.ServiceName{Namespace: "default", Name: "web"})
	tables.Services.Put(state.Service{Name: state.ServiceName{Namespace: "default", Name: "next"}, ClusterIPs: []netip.Addr{addr("10.96.0.10")},
		Ports: []state.ServicePort{{Proto: protoTCP, Port: 80, NodePort: 30080}}})
	o.Add(asks)
	o.Add(byPort)
	for i, want := range []string{"web", "next", "next"} {
		if got := flowsOf(t, o, &observer.GetFlowsRequest{})[i].GetDestinationService().GetName(); got != want {
			t.Errorf("flow %d: service %q, want %q", i, got, want)
		}
	}
}

func TestTheNextPodOfAnEndpointsNumberIsNamed(t *testing.T) {
	tables := cluster()
	o := New(Options{Node: "n1", Flows: 16}, tables, &fakeRules{})
	spoofs := packet(dropped(bpf.DropInvalidSourceIP), func(e *bpf.Event) { e.Src, e.SrcIdentity = bpf.AddrFrom(addr("192.0.2.1")), 0 })
	o.Add(spoofs)
	next := state.PodName{Namespace: "default", Name: "next"}
	tables.IPs.Delete(netip.MustParsePrefix("10.0.0.5/32"))
	tables.Endpoints.Put(state.Endpoint{ID: clientID, Pod: next})
	tables.IPs.Put(state.IP{Prefix: netip.MustParsePrefix("10.0.0.6/32"), Identity: 1001, Endpoint: clientID, Source: state.IPEndpoint, Of: next.String()})
	o.Add(spoofs)
	for i, want := range []string{"client", "next"} {
		if got := flowsOf(t, o, &observer.GetFlowsRequest{})[i].GetSource().GetPodName(); got != want {
			t.Errorf("flow %d: pod %q, want %q", i, got, want)
		}
	}
}

// The table of identities may be later than that of addresses.
func TestLabelsThatComeAfterTheAddressAreTold(t *testing.T) {
	tables := cluster()
	o := New(Options{Node: "n1", Flows: 16}, tables, &fakeRules{})
	tables.IPs.Put(state.IP{Prefix: netip.MustParsePrefix("10.0.2.9/32"), Identity: 1009, Source: state.IPPod, Of: "default/far"})
	sent := packet(func(e *bpf.Event) { e.Src, e.SrcIdentity = bpf.AddrFrom(addr("10.0.2.9")), 1009 })
	o.Add(sent)
	tables.Identities.Put(state.Identity{ID: 1009, Labels: state.Labels{"k8s:app=far"}})
	o.Add(sent)
	flows := flowsOf(t, o, &observer.GetFlowsRequest{})
	if got := flows[1].GetSource().GetLabels(); len(got) != 1 || got[0] != "k8s:app=far" || flows[1].Source.PodName != "far" {
		t.Errorf("source %v, want default/far with its labels", flows[1].Source)
	}
}

// Whoever is too late for a table's changes gets its rows, and has to see what is not there.
func TestWhatHasGoneWhileNobodyLookedIsTold(t *testing.T) {
	tables := state.New()
	tables.Endpoints.MarkSynced()
	s := seen{known: true, endpoints: map[state.EndpointID]state.Endpoint{}, policies: map[state.PolicyKey]bool{}}
	policy := state.PolicyKey{Kind: state.KindNetworkPolicy, Namespace: "default", Name: "p"}
	tables.Endpoints.Put(state.Endpoint{ID: 5})
	tables.Policies.Put(state.Policy{Key: policy})
	if got := s.read(tables); len(got) != 2 {
		t.Fatalf("got %v", got)
	}
	tables.Endpoints.Delete(5)
	tables.Policies.Delete(policy)
	for range 2000 { // more than a table remembers
		tables.Endpoints.Put(state.Endpoint{ID: 6})
		tables.Endpoints.Delete(6)
		tables.Policies.Put(state.Policy{Key: state.PolicyKey{Name: "q"}})
		tables.Policies.Delete(state.PolicyKey{Name: "q"})
	}
	var got []string
	for _, e := range s.read(tables) {
		got = append(got, e.Type.String())
	}
	if want := []string{"ENDPOINT_DELETED", "POLICY_DELETED"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
