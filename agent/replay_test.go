package agent

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weir/agent/config"
	api "weir/api/agent"
	"weir/bpf"
	"weir/control/policy"
	"weir/datapath"
	"weir/observe"
	"weir/state"
)

// Identities of the replay tests. The clients' endpoint is 5, web's is 7; db is elsewhere.
const clientsID, websID, dbsID = 1001, 1002, 1003

type replayRig struct {
	*Agent
	t *testing.T
}

func newReplayRig(t *testing.T) *replayRig {
	t.Helper()
	maps, err := datapath.OpenPolicyMaps(datapath.MemoryPolicyStores(datapath.PolicyCapacity{}))
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{tables: state.New(), cfg: config.Loaded{Config: config.Config{NodeName: "n1"}}}
	a.policy = policy.New(slog.New(slog.DiscardHandler), policy.Options{IPv4: true, IPv6: true}, a.tables, maps)
	a.flows = observe.New(observe.Options{Cluster: "default", Node: "n1", Flows: 300}, a.tables, flowRules{a.policy})
	for _, i := range state.AllReserved() {
		a.tables.Identities.Put(i)
	}
	a.tables.VisibleLabels.Put(state.VisibleLabel{Key: "k8s:app"})
	r := &replayRig{a, t}
	for id, app := range map[state.IdentityID]string{clientsID: "client", websID: "web", dbsID: "db"} {
		a.tables.Identities.Put(state.Identity{ID: id, Labels: state.Labels{"k8s:app=" + app, state.LabelNamespace + "=default"}})
	}
	r.pod("client", "client", clientsID, 5, "10.0.0.5", "fd00::5")
	r.pod("web", "web", websID, 7, "10.0.0.7", "fd00::7")
	r.pod("db", "db", dbsID, 0, "10.0.1.9", "fd00:1::9")
	r.step()
	return r
}

func (r *replayRig) pod(name, app string, id state.IdentityID, ep state.EndpointID, addrs ...string) {
	pod := state.PodName{Namespace: "default", Name: name}
	r.tables.Pods.Put(state.Pod{Name: pod, Labels: map[string]string{"app": app}, Workload: state.Workload{Kind: "Deployment", Name: app}})
	row := state.IP{Identity: id, Endpoint: ep, Source: state.IPPod, Of: pod.String()}
	if ep != 0 {
		row.Source = state.IPEndpoint
		r.tables.Endpoints.Put(state.Endpoint{ID: ep, Pod: pod, Identity: id, State: state.EndpointReady})
	}
	for _, s := range addrs {
		a := netip.MustParseAddr(s)
		row.Prefix = netip.PrefixFrom(a, a.BitLen())
		r.tables.IPs.Put(row)
	}
}

func (r *replayRig) dies(ep state.EndpointID, addrs ...string) {
	r.tables.Endpoints.Delete(ep)
	for _, s := range addrs {
		a := netip.MustParseAddr(s)
		r.tables.IPs.Delete(netip.PrefixFrom(a, a.BitLen()))
	}
}

func (r *replayRig) step() {
	r.t.Helper()
	if err := r.policy.Step(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// flow records the first packet of a connection.
func (r *replayRig) flow(from, to string, ids [2]uint32, sport, dport uint16, change ...func(*bpf.Event)) {
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	e := &bpf.Event{Time: bootNanos(), Src: bpf.AddrFrom(src), Dst: bpf.AddrFrom(dst), SrcIdentity: ids[0], DstIdentity: ids[1], Sport: bpf.Network(sport),
		Dport: bpf.Network(dport), Family: 2, Proto: state.ProtoTCP, Kind: uint8(bpf.EventNew), Reason: uint8(bpf.ReasonToEndpoint), Place: uint8(bpf.PlaceFromPod)}
	for _, c := range change {
		c(e)
	}
	r.flows.Add(e)
}

func bootNanos() uint64 { return uint64(time.Since(wallClock(0))) }

func (r *replayRig) replay(yaml string) api.ReplayReply {
	r.t.Helper()
	out, err := r.policyReplay(r.t.Context(), api.ReplayRequest{TraceRequest: api.TraceRequest{File: "p.yaml", YAML: yaml}, Since: time.Hour})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func ingressOf(subject, rest string) string {
	return "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: default}\nspec:\n  endpointSelector: {matchLabels: {app: " + subject + "}}\n  " + rest + "\n"
}

const port80 = "ingress: [{fromEndpoints: [{matchLabels: {app: client}}], toPorts: [{ports: [{port: '80', protocol: TCP}]}]}]"

var clientToWeb = [2]uint32{clientsID, websID}

var timeless = cmpopts.IgnoreTypes(time.Time{})

func TestAReplaySaysWhatWouldBeDropped(t *testing.T) {
	r := newReplayRig(t)
	r.flow("10.0.0.5", "10.0.0.7", clientToWeb, 40000, 80)
	r.flow("10.0.0.5", "10.0.0.7", clientToWeb, 40001, 8080)
	r.flow("10.0.0.5", "10.0.0.7", clientToWeb, 40001, 8080, func(e *bpf.Event) { e.Kind = uint8(bpf.EventGoing) })
	r.flow("10.0.0.5", "10.0.0.7", clientToWeb, 40002, 8080)
	r.flow("fd00::5", "fd00::7", clientToWeb, 40003, 8080, func(e *bpf.Event) { e.Family = 10 })
	// An answer is judged as what was asked: by the port of who answers.
	r.flow("10.0.0.7", "10.0.0.5", [2]uint32{websID, clientsID}, 8080, 40002, func(e *bpf.Event) { e.Kind, e.Reply = uint8(bpf.EventGoing), 1 })
	r.flow("10.0.0.7", "10.0.0.5", [2]uint32{websID, clientsID}, 0, 0, func(e *bpf.Event) { e.Kind, e.Reply, e.Proto = uint8(bpf.EventGoing), 1, state.ProtoICMP })
	r.flow("203.0.113.4", "10.0.0.7", [2]uint32{uint32(state.IdentityWorldIPv4), websID}, 5555, 80)
	r.flow("10.0.0.5", "10.0.0.7", clientToWeb, 1, 3, func(e *bpf.Event) { e.Kind, e.Proto = uint8(bpf.EventPacket), state.ProtoICMP }) // of no connection
	r.flow("10.0.0.5", "10.0.1.9", [2]uint32{clientsID, dbsID}, 40004, 5432)
	r.flow("10.0.1.9", "192.0.2.1", [2]uint32{dbsID, uint32(state.IdentityWorldIPv4)}, 40005, 443)
	r.flow("10.0.0.5", "10.0.0.7", clientToWeb, 40006, 81, func(e *bpf.Event) { e.Kind, e.Reason = uint8(bpf.EventDrop), uint8(bpf.DropFIB) })
	got := r.replay(ingressOf("web", port80))
	isolated := []string{"CiliumNetworkPolicy default/p"}
	nearest := "allow any:app in (client), k8s:io.kubernetes.pod.namespace in (default) on 80/TCP (CiliumNetworkPolicy default/p spec.ingress[0])"
	want := []api.ReplayedFlow{
		{Source: "Deployment default/client", Destination: "Deployment default/web", Port: "8080/TCP", Connections: 3, Missed: "port 8080 is not 80"},
		{Source: "Deployment default/client", Destination: "Deployment default/web", Port: "type 8/ICMPv4", Connections: 1, Missed: "protocol ICMPv4 is not TCP"},
		{Source: "reserved:world-ipv4", Destination: "Deployment default/web", Port: "80/TCP", Connections: 1, Missed: "reserved:world-ipv4 is no endpoint, and selectors of labels select endpoints"},
	}
	for i := range want {
		want[i].Direction, want[i].Was, want[i].Now, want[i].Then, want[i].Origin, want[i].Nearest = "ingress", "allowed", "allowed", "denied", isolated, nearest
	}
	if diff := cmp.Diff(want, got.Changed, timeless); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	if got.Connections != 8 || got.Elsewhere != 1 || got.Apart != 1 || len(got.NotJudged) != 0 || got.Node != "n1" {
		t.Errorf("got %+v", got)
	}
	for _, x := range got.Changed {
		if age := time.Since(x.First); x.First.IsZero() || x.Last.Before(x.First) || age < 0 || age > time.Minute {
			t.Errorf("%s: first %s, last %s", x.Port, x.First, x.Last)
		}
	}
}

func TestAReplaySaysWhatWouldNewlyBeAllowed(t *testing.T) {
	r := newReplayRig(t)
	r.tables.Policies.Put(state.Policy{Key: state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: "p"},
		Specs: []state.PolicySpec{{Path: "spec", Subject: state.Selector{{Key: "k8s:app", Op: state.In, Values: []string{"web"}}}, IsolateIngress: true}}})
	r.step()
	r.flow("10.0.0.5", "10.0.0.7", clientToWeb, 40000, 80, func(e *bpf.Event) {
		e.Kind, e.Reason, e.Direction, e.Endpoint = uint8(bpf.EventDrop), uint8(bpf.DropPolicy), 1, 7
	})
	got := r.replay(ingressOf("web", port80))
	want := []api.ReplayedFlow{{Source: "Deployment default/client", Destination: "Deployment default/web", Port: "80/TCP", Direction: "ingress",
		Was: "denied", Now: "denied", Then: "allowed", Connections: 1, Rule: "allow any:app in (client), k8s:io.kubernetes.pod.namespace in (default) on 80/TCP",
		Origin: []string{"CiliumNetworkPolicy default/p spec.ingress[0]"}}}
	if diff := cmp.Diff(want, got.Changed, timeless); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
}

func TestAReplayNamesTheDenyRuleOfTheSender(t *testing.T) {
	r := newReplayRig(t)
	r.flow("10.0.0.5", "198.51.100.9", [2]uint32{clientsID, uint32(state.IdentityWorldIPv4)}, 40000, 443)
	got := r.replay(ingressOf("client", "egressDeny: [{toCIDR: [198.51.100.0/24]}]"))
	want := []api.ReplayedFlow{{Source: "Deployment default/client", Destination: "reserved:world-ipv4 198.51.100.9", Port: "443/TCP", Direction: "egress",
		Was: "allowed", Now: "allowed", Then: "denied", Connections: 1, Rule: "deny cidr 198.51.100.0/24 on ANY", Origin: []string{"CiliumNetworkPolicy default/p spec.egressDeny[0]"}}}
	if diff := cmp.Diff(want, got.Changed, timeless); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
}

// A new pod that has the address of one that is gone is not taken for it.
func TestWhoIsGoneIsJudgedByItsIdentityOrNotAtAll(t *testing.T) {
	const to8080 = 8080
	for name, c := range map[string]struct {
		then    func(*replayRig)
		labels  string // that the file asks for
		changed int
		why     string
	}{
		"all there": {then: func(*replayRig) {}, changed: 1},
		"the client is gone, another has its identity": {changed: 1, then: func(r *replayRig) {
			r.dies(5, "10.0.0.5")
			r.pod("client-2", "client", clientsID, 6, "10.0.0.6")
		}},
		"the client is gone, and its address is a friend's": {changed: 1, then: func(r *replayRig) {
			r.dies(5, "10.0.0.5")
			r.pod("client-2", "client", clientsID, 6, "10.0.0.6")
			r.pod("friend", "friend", dbsID, 8, "10.0.0.5")
		}},
		"nobody has its identity": {why: "source: the pod is gone, and no endpoint of this node has its identity 1001", then: func(r *replayRig) { r.dies(5, "10.0.0.5") }},
		"nobody knows its identity": {why: "source: the pod is gone, and nobody knows the labels of its identity 1001 any more", then: func(r *replayRig) {
			r.dies(5, "10.0.0.5")
			r.tables.Identities.Delete(clientsID)
		}},
		"the server is gone": {why: "destination: the pod is gone, and no endpoint of this node has its identity 1002", then: func(r *replayRig) { r.dies(7, "10.0.0.7") }},
		"labels that identities do not tell": {labels: ", squad: red", why: "source: the pod is gone, and its identity 1001 does not tell all labels that the policies ask for",
			then: func(r *replayRig) {
				r.dies(5, "10.0.0.5")
				r.pod("client-2", "client", clientsID, 6, "10.0.0.6")
			}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplayRig(t)
			r.flow("10.0.0.5", "10.0.0.7", clientToWeb, 40000, to8080)
			r.flow("10.0.0.5", "10.0.0.7", clientToWeb, 40001, to8080)
			c.then(r)
			r.step()
			got := r.replay(ingressOf("web", "ingress: [{fromEndpoints: [{matchLabels: {app: db"+c.labels+"}}]}]"))
			if len(got.Changed) != c.changed || c.changed == 1 && got.Changed[0].Connections != 2 {
				t.Errorf("changed %+v", got.Changed)
			}
			var want []api.NotJudgedFlow
			if c.why != "" {
				want = []api.NotJudgedFlow{{Source: "Deployment default/client", Destination: "Deployment default/web", Port: "8080/TCP", Connections: 2, Why: c.why}}
			}
			if diff := cmp.Diff(want, got.NotJudged, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("not judged (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAReplayThatCannotBeIsNoAnswer(t *testing.T) {
	good := api.TraceRequest{File: "p.yaml", YAML: ingressOf("web", port80)}
	r := newReplayRig(t)
	for want, q := range map[string]api.ReplayRequest{
		"no policies in this file: ns.yaml has neither": {TraceRequest: api.TraceRequest{File: "ns.yaml", YAML: namespaceOnly}, Since: time.Hour},
		"since 0s: give how far":                        {TraceRequest: good},
	} {
		if _, err := r.policyReplay(t.Context(), q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %q", err, want)
		}
	}
	r.flows = nil
	if _, err := r.policyReplay(t.Context(), api.ReplayRequest{TraceRequest: good, Since: time.Hour}); err == nil || !strings.Contains(err.Error(), "hubble.enabled is false") {
		t.Errorf("without flows: err = %v", err)
	}
}

// An address that was outside of the cluster then is not the pod that has it now.
func TestWhoWasOutsideIsNotThePodThatHasTheAddressNow(t *testing.T) {
	for _, c := range []struct {
		labels  string
		changed int
		not     []api.NotJudgedFlow
	}{
		{"", 1, nil},
		{", squad: red", 0, []api.NotJudgedFlow{{Source: "reserved:world-ipv4", Destination: "Deployment default/web", Port: "80/TCP", Connections: 1, Why: "source: 10.0.0.99 is an address of default/friend now"}}},
	} {
		r := newReplayRig(t)
		r.flow("10.0.0.99", "10.0.0.7", [2]uint32{uint32(state.IdentityWorldIPv4), websID}, 40000, 80)
		r.pod("friend", "client", clientsID, 8, "10.0.0.99")
		r.step()
		got := r.replay(ingressOf("web", "ingress: [{fromEndpoints: [{matchLabels: {app: client"+c.labels+"}}]}]"))
		if len(got.Changed) != c.changed {
			t.Errorf("changed %+v", got.Changed)
		}
		if diff := cmp.Diff(c.not, got.NotJudged, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("not judged (-want +got):\n%s", diff)
		}
	}
}

// What is good of a broken file is replayed, and the rest is told.
func TestAReplayOfAFileThatIsPartlyWrong(t *testing.T) {
	r := newReplayRig(t)
	r.flow("10.0.0.5", "10.0.0.7", clientToWeb, 40001, 8080)
	bad := strings.ReplaceAll(ingressOf("web", "ingress: [{fromEntities: [mars]}]"), "name: p", "name: bad")
	got := r.replay(ingressOf("web", port80) + "---\n" + bad)
	if len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Error, "mars") || len(got.Changed) != 1 {
		t.Errorf("problems %+v, changed %+v", got.Problems, got.Changed)
	}
}
