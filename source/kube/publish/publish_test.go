package publish

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	v1 "weir/api/v1"
	"weir/state"
	"weir/test/fakeapi"
)

// to sends requests to a server, whichever host they name.
type to struct{ s *fakeapi.Server }

func (t to) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", t.s.Addr()
	return http.DefaultTransport.RoundTrip(r)
}

func started(t *testing.T) (*fakeapi.Server, *state.Tables) {
	t.Helper()
	s := fakeapi.New()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, agentAt(t, s)
}

// agentAt is the part of an agent of node n1 that writes objects.
func agentAt(t *testing.T, s *fakeapi.Server) *state.Tables {
	t.Helper()
	tables := state.New()
	tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: []netip.Addr{netip.MustParseAddr("172.18.0.2")}})
	w, err := New(slog.New(slog.DiscardHandler), to{s}, "n1", tables)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	for _, mark := range []func(){tables.Nodes.MarkSynced, tables.Pods.MarkSynced, tables.Endpoints.MarkSynced, tables.EndpointPolicies.MarkSynced} {
		mark()
	}
	return tables
}

func pod(name, uid, node string) state.Pod {
	return state.Pod{Name: state.PodName{Namespace: "default", Name: name}, UID: uid, Node: node, ServiceAccount: "robot",
		Ports: []state.NamedPort{{Name: "http", Proto: 6, Port: 80}}}
}

func endpoint(id state.EndpointID, p state.Pod) state.Endpoint {
	return state.Endpoint{ID: id, ContainerID: "c", Interface: "eth0", Pod: p.Name, PodUID: p.UID, State: state.EndpointReady, Identity: 256,
		Labels: state.Labels{"k8s:app=web"}, IPv4: netip.MustParseAddr("10.0.0.7"), IPv6: netip.MustParseAddr("fd00::7")}
}

// line is what kubectl shows of an object, and who owns it.
func line(s *fakeapi.Server, name string) string {
	var o v1.CiliumEndpoint
	if !s.Get("default", name, &o) || o.Status.Identity == nil {
		return "none"
	}
	st := o.Status
	return fmt.Sprint(st.Identity.ID, st.Policy.Ingress.State, st.Policy.Egress.State, " ", st.State, " ", st.Networking.Addressing[0], " ", st.Networking.Node, " ", o.OwnerReferences[0].UID)
}

func want(t *testing.T, s *fakeapi.Server, name, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if got = line(s, name); got == want {
			return
		}
	}
	t.Fatalf("%s: %s, want %s", name, got, want)
}

func TestRowK1AnObjectForEachPodWithIdentityAndAddresses(t *testing.T) {
	s, tables := started(t)
	web := pod("web", "u1", "n1")
	tables.Pods.Put(web)
	tables.Endpoints.Put(endpoint(7, web))
	want(t, s, "web", "256disableddisabled ready {10.0.0.7 fd00::7} 172.18.0.2 u1")
	tables.EndpointPolicies.Put(state.EndpointPolicy{Endpoint: 7, Pod: web.Name, Ingress: true})
	want(t, s, "web", "256enforcingdisabled ready {10.0.0.7 fd00::7} 172.18.0.2 u1")
	e := endpoint(7, web)
	e.Identity = 300
	tables.Endpoints.Put(e)
	want(t, s, "web", "300enforcingdisabled ready {10.0.0.7 fd00::7} 172.18.0.2 u1")
	tables.Endpoints.Delete(7)
	want(t, s, "web", "none")
}

func TestWhoHasNoObject(t *testing.T) {
	s, tables := started(t)
	known, elsewhere := pod("known", "u1", "n1"), pod("elsewhere", "u2", "n2")
	health := endpoint(4, pod("health", "u4", "n1"))
	health.Health = true
	tables.Pods.Put(known, elsewhere, pod("anew", "u9", "n1"), pod("health", "u4", "n1"))
	tables.Endpoints.Put(endpoint(1, known), endpoint(2, elsewhere), endpoint(3, pod("unknown", "u3", "n1")), health, endpoint(5, pod("anew", "u5", "n1")))
	want(t, s, "known", "256disableddisabled ready {10.0.0.7 fd00::7} 172.18.0.2 u1")
	if n := s.Count("ciliumendpoints"); n != 1 {
		t.Errorf("%d objects, want one", n)
	}
}

// Two machines of one name are one node for the cluster: what one agent knows nothing of
// is the other's, and stays.
func TestTwoAgentsOfOneNameLeaveEachOthersObjects(t *testing.T) {
	s, one := started(t)
	two := agentAt(t, s)
	web, db := pod("web", "u1", "n1"), pod("db", "u2", "n1")
	for _, tables := range []*state.Tables{one, two} {
		tables.Pods.Put(web, db)
	}
	one.Endpoints.Put(endpoint(7, web))
	two.Endpoints.Put(endpoint(7, db))
	for name, uid := range map[string]string{"web": "u1", "db": "u2"} {
		want(t, s, name, "256disableddisabled ready {10.0.0.7 fd00::7} 172.18.0.2 "+uid)
	}
	third := agentAt(t, s) // one that starts knows of neither
	third.Pods.Put(web, db)
	two.Endpoints.Delete(7)
	want(t, s, "db", "none")
	time.Sleep(300 * time.Millisecond)
	if got := line(s, "web"); !strings.HasSuffix(got, "u1") {
		t.Errorf("the other machine's object: %s", got)
	}
}

// Others' writes, a server that is away and one that is forbidden: the object is
// right in the end, and another pod's is not touched.
func TestObjectsAreRightInTheEnd(t *testing.T) {
	s, tables := started(t)
	web, db := pod("web", "u1", "n1"), pod("db", "u2", "n1")
	s.Forbid("ciliumendpoints")
	tables.Pods.Put(web, db)
	tables.Endpoints.Put(endpoint(7, web))
	time.Sleep(300 * time.Millisecond) // it fails meanwhile
	s.Allow("ciliumendpoints")
	want(t, s, "web", "256disableddisabled ready {10.0.0.7 fd00::7} 172.18.0.2 u1")

	s.Down()
	tables.Endpoints.Put(endpoint(8, db))
	time.Sleep(300 * time.Millisecond)
	if err := s.Up(); err != nil {
		t.Fatal(err)
	}
	want(t, s, "db", "256disableddisabled ready {10.0.0.7 fd00::7} 172.18.0.2 u2")

	var o v1.CiliumEndpoint // conflict: another has written it since
	s.Get("default", "web", &o)
	o.Status.State = "invalid"
	if err := s.Put(&o); err != nil {
		t.Fatal(err)
	}
	tables.EndpointPolicies.Put(state.EndpointPolicy{Endpoint: 7, Pod: web.Name, Egress: true})
	want(t, s, "web", "256disabledenforcing ready {10.0.0.7 fd00::7} 172.18.0.2 u1")

	s.Get("default", "web", &o) // by now the pod of this name is on another node
	o.OwnerReferences[0].UID = "u7"
	if err := s.Put(&o); err != nil {
		t.Fatal(err)
	}
	tables.Pods.Put(pod("web", "u7", "n2"))
	tables.Endpoints.Delete(7)
	time.Sleep(300 * time.Millisecond)
	if got := line(s, "web"); !strings.HasSuffix(got, "u7") {
		t.Errorf("another node's object: %s", got)
	}
}
