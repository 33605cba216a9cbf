package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/state"
)

// scene is a web pod (endpoint 1) and a database (endpoint 2) with policies.
func scene(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, Options{})
	r.identity(300, "web")
	r.identity(301, "db")
	r.identity(302, "client")
	r.endpoint(1, 300)
	r.endpoint(2, 301)
	web := allow("web", "web", "client")
	web.Specs[0].Ingress = append(web.Specs[0].Ingress,
		state.PolicyRule{Path: "spec.ingress[1]", Ports: []state.PolicyPort{{Proto: 6, First: 8000, Last: 8080}},
			Peers: []state.PolicyPeer{{Kind: state.PeerCIDR, CIDR: prefix("10.0.0.0/8"), Except: []netip.Prefix{prefix("10.0.0.0/28")}}}},
		state.PolicyRule{Path: "spec.ingress[2]", AnyPort: true, NotEnforced: "toFQDNs is not enforced yet"})
	r.tables.Policies.Put(web)
	deny := allow("no-db", "web")
	deny.Respond = state.DenyReject
	deny.Specs[0].IsolateIngress = false
	deny.Specs[0].Ingress = []state.PolicyRule{{Path: "spec.ingressDeny[0]", Deny: true, AnyPort: true, Peers: []state.PolicyPeer{{Kind: state.PeerEndpoints, Endpoints: app("db")}}}}
	r.tables.Policies.Put(deny)
	r.step(t)
	return r
}

func TestExplainNamesTheRuleOrTheFieldThatMissed(t *testing.T) {
	r := scene(t)
	for _, tt := range []struct {
		name                     string
		from                     Party
		proto                    uint8
		port                     uint16
		verdict, rule, origin    string
		nearest, source, missing string
	}{
		{name: "allowed", from: Party{Identity: 302}, proto: 6, port: 1000, verdict: Allowed, rule: "allow k8s:app in (client) on 1000/TCP",
			origin: "CiliumNetworkPolicy default/web spec.ingress[0]"},
		{name: "port", from: Party{Identity: 302}, proto: 6, port: 81, verdict: Denied, origin: "CiliumNetworkPolicy default/web",
			nearest: "allow k8s:app in (client) on 1000/TCP", source: "CiliumNetworkPolicy default/web spec.ingress[0]", missing: "port 81 is not 1000"},
		{name: "protocol", from: Party{Identity: 302}, proto: 17, port: 1000, verdict: Denied, origin: "CiliumNetworkPolicy default/web",
			nearest: "allow k8s:app in (client) on 1000/TCP", source: "CiliumNetworkPolicy default/web spec.ingress[0]", missing: "protocol UDP is not TCP"},
		{name: "label", from: Party{Identity: 300}, proto: 6, port: 1000, verdict: Denied, origin: "CiliumNetworkPolicy default/web",
			nearest: "allow k8s:app in (client) on 1000/TCP", source: "CiliumNetworkPolicy default/web spec.ingress[0]", missing: `label k8s:app is "web", want client`},
		{name: "denied by a rule", from: Party{Identity: 301}, proto: 6, port: 1000, verdict: Denied, rule: "deny k8s:app in (db) on ANY",
			origin: "CiliumNetworkPolicy default/no-db spec.ingressDeny[0]"},
		{name: "range", from: Party{Identity: 9, Addr: addr("10.9.0.1")}, proto: 6, port: 8040, verdict: Allowed,
			rule: "allow cidr 10.0.0.0/8 except 10.0.0.0/28 on 8000-8080/TCP", origin: "CiliumNetworkPolicy default/web spec.ingress[1]"},
		{name: "except", from: Party{Identity: 9, Addr: addr("10.0.0.5")}, proto: 6, port: 8040, verdict: Denied, origin: "CiliumNetworkPolicy default/web",
			nearest: "allow cidr 10.0.0.0/8 except 10.0.0.0/28 on 8000-8080/TCP", source: "CiliumNetworkPolicy default/web spec.ingress[1]",
			missing: "address 10.0.0.5 is in except 10.0.0.0/28"},
		{name: "of the cluster", from: Party{Identity: 999, Addr: addr("10.9.0.1")}, proto: 6, port: 8040, verdict: Denied, origin: "CiliumNetworkPolicy default/web",
			nearest: "allow cidr 10.0.0.0/8 except 10.0.0.0/28 on 8000-8080/TCP", source: "CiliumNetworkPolicy default/web spec.ingress[1]",
			missing: "address 10.9.0.1 is of the cluster (identity 999), and cidr 10.0.0.0/8 except 10.0.0.0/28 matches others only"},
		{name: "own node", from: Party{Identity: 1}, proto: 6, port: 5, verdict: Allowed, rule: "allow entity host on ANY", origin: "built-in: from this node itself"},
	} {
		got := r.Explain(Query{From: tt.from, To: Party{Endpoint: 1, Local: true, Identity: 300}, Proto: tt.proto, Port: tt.port}).Ingress
		rule := ""
		if got.Rule.ID != 0 {
			rule = got.Rule.String()
		}
		want := []string{tt.verdict, tt.rule, tt.origin, tt.nearest, tt.source, tt.missing}
		have := []string{got.Verdict, rule, strings.Join(got.Origins, ";"), got.Nearest, strings.Join(got.Source, ";"), got.Missed}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestExplainJudgesBothEndsThatAreHere(t *testing.T) {
	r := scene(t)
	got := r.Explain(Query{From: Party{Endpoint: 2, Local: true, Identity: 301}, To: Party{Endpoint: 1, Local: true, Identity: 300}, Proto: 6, Port: 1000})
	if got.Allowed || got.Egress.Verdict != NotEnforced || got.Ingress.Verdict != Denied || got.Ingress.Response != state.DenyReject {
		t.Errorf("got %+v", got)
	}
	got = r.Explain(Query{From: Party{Identity: 9}, To: Party{Identity: 999}, Proto: 6, Port: 1})
	if got.Egress.Known || got.Ingress.Verdict != Unknown {
		t.Errorf("ends elsewhere: %+v", got)
	}
}

func TestOfListsRulesWithWhereTheyComeFrom(t *testing.T) {
	r := scene(t)
	got, ok := r.Of(1)
	if !ok || !got.Ingress.Enforced || got.Egress.Enforced {
		t.Fatalf("got %+v", got)
	}
	var rules []string
	for _, x := range got.Ingress.Rules {
		rules = append(rules, x.String()+" by "+strings.Join(x.Origins, ","))
		if back, ok := r.DecideRule(x.ID); !ok || back.String() != x.String() {
			t.Errorf("rule %d is %q here and %q by its id", x.ID, x, back)
		}
	}
	want := []string{
		"deny k8s:app in (db) on ANY by CiliumNetworkPolicy default/no-db spec.ingressDeny[0]",
		"allow cidr 10.0.0.0/8 except 10.0.0.0/28 on 8000-8080/TCP by CiliumNetworkPolicy default/web spec.ingress[1]",
		"allow entity host on ANY by built-in: from this node itself",
		"allow k8s:app in (client) on 1000/TCP by CiliumNetworkPolicy default/web spec.ingress[0]",
	}
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := r.IsolatedBy(1, true); !slices.Equal(got, []string{"CiliumNetworkPolicy default/web"}) {
		t.Errorf("isolated by %v", got)
	}
	if _, ok := r.DecideRule(9999); ok {
		t.Error("a rule that is not there is told")
	}
	if got := r.Meets(302); !slices.Equal(got, []string{"k8s:app in (client)"}) {
		t.Errorf("the client meets %v", got)
	}
}

func TestPoliciesListsWhatIsNotEnforced(t *testing.T) {
	r := scene(t)
	r.tables.Policies.Put(state.Policy{Key: state.PolicyKey{Kind: state.KindCCNP, Name: "host"}, Specs: []state.PolicySpec{{Nodes: true, IsolateIngress: true}}})
	r.step(t)
	if got := r.status("web"); got.State != StateInForce || got.Rules != 3 || !slices.Equal(got.Endpoints, []state.EndpointID{1}) ||
		len(got.NotEnforced) != 1 || got.NotEnforced[0] != (Part{"spec.ingress[2]", "toFQDNs is not enforced yet"}) {
		t.Errorf("got %+v", got)
	}
	if got := r.status("host"); got.State != StateNotEnforced || got.Message != "hostFirewall.enabled is false" {
		t.Errorf("got %+v", got)
	}
	r.restart(t, Options{Mode: ModeNever})
	r.step(t)
	if got := r.status("web"); got.State != StateNotEnforced {
		t.Errorf("got %+v", got)
	}
}

func TestTraceTellsWhatWouldChangeAndWritesNothing(t *testing.T) {
	r := scene(t)
	before := r.writes()
	p := allow("db", "db", "web")
	got, _ := r.Trace([]state.Policy{p}, nil)
	want := []Change{{Endpoint: 2, Pod: state.PodName{Namespace: "default", Name: "p2"}, Ingress: true, Isolates: true,
		Added: []string{"allow entity host on ANY", "allow k8s:app in (web) on 1000/TCP"}}}
	if diff := cmp.Diff(want, got.Changes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	q := Query{From: Party{Identity: 302}, To: Party{Endpoint: 2, Local: true}, Proto: 6, Port: 1000}
	if !got.Now(q).Allowed || got.Then(q).Allowed {
		t.Errorf("now %+v, then %+v", got.Now(q), got.Then(q))
	}
	if diff := cmp.Diff(before, r.writes()); diff != "" {
		t.Errorf("the trace wrote: %s", diff)
	}
}

func TestRespondIsOfPolicyThenNamespaceThenCluster(t *testing.T) {
	for _, tt := range []struct {
		policy, namespace, cluster state.DenyResponse
		want                       state.DenyResponse
	}{
		{"", "", "", state.DenyDrop},
		{"", "", state.DenyReject, state.DenyReject},
		{"", state.DenyReject, state.DenyDrop, state.DenyReject},
		{state.DenyDrop, state.DenyReject, state.DenyReject, state.DenyDrop},
		{state.DenyReject, state.DenyDrop, state.DenyDrop, state.DenyReject},
	} {
		r := newRig(t, Options{Respond: tt.cluster})
		r.identity(300, "web")
		r.identity(301, "db")
		r.endpoint(1, 300)
		r.tables.Namespaces.Put(state.Namespace{Name: "default", Respond: tt.namespace})
		p := allow("p", "web", "x")
		p.Respond = tt.policy
		p.Specs[0].Ingress = append(p.Specs[0].Ingress, state.PolicyRule{Deny: true, AnyPort: true, Peers: []state.PolicyPeer{{Kind: state.PeerEndpoints, Endpoints: app("db")}}})
		r.tables.Policies.Put(p)
		r.step(t)
		to := Party{Endpoint: 1, Local: true}
		byDefault := r.Explain(Query{From: Party{Identity: 999}, To: to, Proto: 6, Port: 1}).Ingress
		byRule := r.Explain(Query{From: Party{Identity: 301}, To: to, Proto: 6, Port: 1}).Ingress
		if byDefault.Response != tt.want || byRule.Response != tt.want {
			t.Errorf("policy %q, namespace %q, cluster %q: got %q and %q, want %q", tt.policy, tt.namespace, tt.cluster, byDefault.Response, byRule.Response, tt.want)
		}
	}
}
