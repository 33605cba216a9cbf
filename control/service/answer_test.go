package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weir/state"
)

// answering is a service that is reached in every way, of which one endpoint drains,
// one is not ready, and one stands for another service, too.
func answering(t *testing.T) (*Control, *state.Tables) {
	t.Helper()
	k, tables := newKernel(t), state.New()
	s := simple("web", "10.96.0.1")
	s.Kind, s.ExternalLocal, s.Ports[0].NodePort, s.Ports[0].Name = state.ServiceNodePort, true, 32000, "http"
	s.ExternalIPs = addrs("172.18.0.9")
	slice := of("web", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
	slice.Ports[0].Name = "http"
	slice.Endpoints[0].Node = "n1"
	slice.Endpoints[2] = state.SliceEndpoint{Addr: slice.Endpoints[2].Addr, Serving: true, Terminating: true}
	slice.Endpoints[3] = state.SliceEndpoint{Addr: slice.Endpoints[3].Addr}
	tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: addrs("172.18.0.2")}, state.Node{Name: "n2", Addresses: addrs("172.18.0.9")})
	tables.Services.Put(s, simple("other", "10.96.0.2"), state.Service{Name: state.ServiceName{Namespace: "d", Name: "headless"}})
	tables.Slices.Put(slice, of("other", "10.0.0.2"))
	c := k.control(Options{IPv4: true}, tables)
	if n := c.Count(); n != (Counts{}) {
		t.Errorf("before the first step there are %+v", n)
	}
	step(t, c)
	return c, tables
}

func TestListNamesFrontendsWithTheirBackends(t *testing.T) {
	c, _ := answering(t)
	got := map[string]string{}
	for _, f := range c.Frontends() {
		var list []string
		for _, b := range f.Backends {
			list = append(list, fmt.Sprintf("%s %s", b.At, b.State))
		}
		got[f.At.String()] = fmt.Sprintf("%s %s: %s", f.Of.Name, f.Kind, strings.Join(list, ", "))
	}
	web := "10.0.0.1:8080 active, 10.0.0.2:8080 active, 10.0.0.3:8080 terminating"
	want := map[string]string{"10.96.0.1:80": "web ClusterIP: " + web, "172.18.0.2:32000": "web NodePort: " + web, "0.0.0.0:32000": "web NodePort: " + web,
		"10.96.0.2:80": "other ClusterIP: 10.0.0.2:8080 active"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if n := c.Count(); n != (Counts{Services: 2, Frontends: 4, Backends: 4, Problems: 1}) {
		t.Errorf("counted %+v", n)
	}
}

func TestBackendsNameTheServicesTheyStandFor(t *testing.T) {
	c, _ := answering(t)
	var got []string
	for _, b := range c.Backends() {
		got = append(got, fmt.Sprintf("%s %s %v", b.At, b.State, b.Of))
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{"10.0.0.2:8080 active [d/other d/web]", "10.0.0.3:8080 terminating [d/web]", "10.0.0.4:8080 not ready [d/web]"} {
		if !strings.Contains(text, want) || len(got) != 4 {
			t.Errorf("backends do not have %q:\n%s", want, text)
		}
	}
}

func TestAServiceSaysWhyAnEndpointIsNotUsed(t *testing.T) {
	c, tables := answering(t)
	d, ok := c.Service(state.ServiceName{Namespace: "d", Name: "web"})
	if !ok || len(d.Ports) != 1 || d.Ports[0].NodePort != 32000 || d.Algorithm != state.AlgorithmRandom || d.Forwarding != "snat" {
		t.Fatalf("got %+v", d)
	}
	why := map[string][2]string{}
	for _, e := range d.Ports[0].Endpoints {
		why[e.At.Addr().String()] = [2]string{e.NotInside, e.NotOutside}
		if e.Inside != (e.NotInside == "") || e.Outside != (e.NotOutside == "") {
			t.Errorf("%+v", e)
		}
	}
	want := map[string][2]string{"10.0.0.1": {}, "10.0.0.2": {"", "not on this node"},
		"10.0.0.3": {"terminating, and others are ready", "not on this node"}, "10.0.0.4": {"not ready", "not ready"}}
	if fmt.Sprint(why) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", why, want)
	}
	if len(d.Problems) != 1 || !strings.Contains(d.Problems[0], "172.18.0.9 is the address of node n2") {
		t.Errorf("problems are %q", d.Problems)
	}
	late := simple("late", "10.96.0.3")
	late.Kind, late.Ports[0].NodePort = state.ServiceNodePort, 32000
	tables.Services.Put(late)
	step(t, c)
	d, _ = c.Service(late.Name)
	instead := map[netip.AddrPort]string{}
	for _, f := range d.Ports[0].Frontends {
		instead[f.At] = f.Instead
	}
	if instead[netip.MustParseAddrPort("0.0.0.0:32000")] != "d/web port 80/TCP" || instead[netip.MustParseAddrPort("10.96.0.3:80")] != "" {
		t.Errorf("in its place are %v", instead)
	}
	if list := c.Problems(); len(list) != 3 || list[0].Of.Name != "late" {
		t.Errorf("problems are %v", list)
	}
	if d, ok = c.Service(state.ServiceName{Namespace: "d", Name: "headless"}); !ok || len(d.Ports) != 0 {
		t.Errorf("the headless one is %+v", d)
	}
	if _, ok = c.Service(state.ServiceName{Namespace: "d", Name: "none"}); ok {
		t.Error("there is one that is not")
	}
}

func TestASliceOfAnUnknownServiceIsNamedUntilTheServiceIsThere(t *testing.T) {
	c, tables := answering(t)
	before := len(c.Problems())
	tables.Slices.Put(state.Slice{Name: state.SliceName{Namespace: "d", Name: "early-1"}, Service: state.ServiceName{Namespace: "d", Name: "early"}})
	step(t, c)
	list := c.Problems()
	if len(list) != before+1 || !slices.ContainsFunc(list, func(p Problem) bool {
		return p.Of.Name == "early" && p.Text == "EndpointSlice d/early-1 waits: there is no such service"
	}) {
		t.Errorf("problems are %v", list)
	}
	tables.Services.Put(simple("early", "10.96.0.77"))
	step(t, c)
	if list := c.Problems(); len(list) != before {
		t.Errorf("with the service, problems are %v", list)
	}
}
