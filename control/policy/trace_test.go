package policy

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/state"
)

// A label that no policy sees makes no identity: what a policy that selects by
// it would do cannot be read off the identities as they are.
func TestTraceSeesLabelsThatNoPolicySeesYet(t *testing.T) {
	r := newRig(t, Options{Cluster: "lab"})
	base := state.Labels{state.LabelCluster + "=lab", state.LabelNamespace + "=default"}
	r.tables.Identities.Put(state.Identity{ID: 300, Labels: base})
	for i, labels := range []map[string]string{{"squad": "red"}, {"squad": "blue"}, nil} {
		id := state.EndpointID(i + 1)
		r.endpoint(id, 300)
		e, _ := r.tables.Endpoints.Get(id)
		r.tables.Pods.Put(state.Pod{Name: e.Pod, Labels: labels})
		r.tables.PodIdentities.Put(state.PodIdentity{Pod: e.Pod, ID: 300})
		r.tables.IPs.Put(state.IP{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(id)}), 32), Identity: 300, Endpoint: id, Source: state.IPEndpoint, Of: e.Pod.String()})
	}
	r.step(t)
	squad := func(op state.Operator, values ...string) state.Selector {
		return state.Selector{{Key: "k8s:squad", Op: op, Values: values}}
	}
	for _, tt := range []struct {
		subject state.Selector
		want    []state.EndpointID
	}{
		{squad(state.In, "red"), []state.EndpointID{1}},
		{squad(state.NotIn, "red"), []state.EndpointID{2, 3}},
		{squad(state.Exists), []state.EndpointID{1, 2}},
		{squad(state.DoesNotExist), []state.EndpointID{3}},
	} {
		p := state.Policy{Key: state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: "p"},
			Specs: []state.PolicySpec{{Subject: tt.subject, IsolateIngress: true}}}
		var got []state.EndpointID
		traced, _ := r.Trace([]state.Policy{p}, nil)
		if !traced.SeesMore() {
			t.Errorf("subject %s: nobody tells the label, and it is not said", tt.subject)
		}
		for _, c := range traced.Changes {
			if c.Isolates {
				got = append(got, c.Endpoint)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("subject %s (-want +got):\n%s", tt.subject, diff)
		}
	}
	p := allow("p", "none")
	p.Specs[0].Subject = nil
	p.Specs[0].Ingress = []state.PolicyRule{{Peers: []state.PolicyPeer{{Kind: state.PeerEndpoints, Endpoints: squad(state.In, "red")}}, AnyPort: true}}
	got, _ := r.Trace([]state.Policy{p}, nil)
	for from, want := range map[byte]bool{1: true, 2: false} {
		q := Query{From: Party{Identity: 300, Addr: netip.AddrFrom4([4]byte{10, 0, 1, from})}, To: Party{Endpoint: 3, Local: true, Identity: 300}, Proto: 6, Port: 80}
		if now, then := got.Now(q).Allowed, got.Then(q).Allowed; !now || then != want {
			t.Errorf("from 10.0.1.%d: now %v, then %v, want true and %v", from, now, then, want)
		}
	}
}

func TestTraceOfACIDRGroupTellsItsAddresses(t *testing.T) {
	r := newRig(t, Options{})
	r.identity(300, "web")
	r.endpoint(1, 300)
	prefix := netip.MustParsePrefix
	r.tables.CIDRGroups.Put(state.CIDRGroup{Name: "g", CIDRs: []netip.Prefix{prefix("192.0.2.0/24"), prefix("198.51.100.0/24")}})
	p := allow("p", "web")
	p.Specs[0].Ingress = []state.PolicyRule{{AnyPort: true, Peers: []state.PolicyPeer{{Kind: state.PeerCIDRGroups,
		CIDRGroups: state.Selector{{Key: "name", Op: state.In, Values: []string{"g"}}}}}}}
	r.tables.Policies.Put(p)
	r.step(t)
	if traced, _ := r.Trace([]state.Policy{p}, nil); traced.SeesMore() {
		t.Error("the policy asks for no label that is not told")
	}
	got, _ := r.Trace(nil, []state.CIDRGroup{{Name: "g", CIDRs: []netip.Prefix{prefix("192.0.2.0/24"), prefix("203.0.113.0/24")}}})
	want := []Change{{Endpoint: 1, Pod: state.PodName{Namespace: "default", Name: "p1"}, Ingress: true,
		Added:   []string{"allow cidr group name in (g) on ANY: 203.0.113.0/24"},
		Removed: []string{"allow cidr group name in (g) on ANY: 198.51.100.0/24"}}}
	if diff := cmp.Diff(want, got.Changes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	q := Query{From: Party{Identity: state.IdentityWorldIPv4, Addr: netip.MustParseAddr("198.51.100.7")}, To: Party{Endpoint: 1, Local: true, Identity: 300}, Proto: 6, Port: 80}
	if now, then := got.Now(q).Allowed, got.Then(q).Allowed; !now || then {
		t.Errorf("now %v, then %v, want true and false", now, then)
	}
}
