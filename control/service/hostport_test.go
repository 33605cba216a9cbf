package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/bpf"
	"weir/state"
)

func podName(name string) state.PodName { return state.PodName{Namespace: "d", Name: name} }

// withHostPort is a pod of n1 and its endpoint.
func withHostPort(id state.EndpointID, name, addr string, ports ...state.HostPort) (state.Pod, state.Endpoint) {
	return state.Pod{Name: podName(name), Node: "n1", UID: name, HostPorts: ports},
		state.Endpoint{ID: id, Pod: podName(name), PodUID: name, IPv4: netip.MustParseAddr(addr)}
}

func TestFrontendsOfHostPorts(t *testing.T) {
	p := state.HostPort{Proto: 6, Port: 8080, Target: 80}
	at := func(ip string) state.HostPort { q := p; q.IP = netip.MustParseAddr(ip); return q }
	every := []string{"0.0.0.0:8080/TCP", "172.18.0.2:8080/TCP", "192.168.9.2:8080/TCP"}
	for _, c := range []struct {
		what  string
		addrs []netip.Addr
		ports []state.HostPort
		want  []string
		notes []string
	}{
		{"every address", addrs("10.0.0.1"), []state.HostPort{p}, every, nil},
		{"both families", addrs("10.0.0.1", "fd00::1"), []state.HostPort{p}, append([]string{"[::]:8080/TCP", "[fd18::2]:8080/TCP"}, every...), nil},
		{"every one of IPv4", addrs("10.0.0.1", "fd00::1"), []state.HostPort{at("0.0.0.0")}, every, nil},
		{"an address", addrs("10.0.0.1"), []state.HostPort{at("192.168.9.2")}, []string{"192.168.9.2:8080/TCP"}, nil},
		{"an address, and all", addrs("10.0.0.1"), []state.HostPort{at("192.168.9.2"), p}, every, nil},
		{"the node itself", addrs("10.0.0.1"), []state.HostPort{at("127.0.0.1")}, []string{"127.0.0.1:8080/TCP"}, nil},
		{"one of nobody", addrs("10.0.0.1"), []state.HostPort{at("192.0.2.1")}, nil, []string{"HostPort 192.0.2.1:8080/TCP: 192.0.2.1 is not an address of this node: it is left out"}},
		{"of the other family", addrs("10.0.0.1"), []state.HostPort{at("fd18::2")}, nil, []string{"HostPort [fd18::2]:8080/TCP: the pod has no address of this family: it is left out"}},
	} {
		v := view{node: node{name: "n1"}, ipv4: true, ipv6: true, own: addrs("172.18.0.2", "192.168.9.2", "fd18::2"), addrs: addrs("172.18.0.2")}
		plans, notes := compileHosted(&hosted{podName("web"), c.ports, c.addrs, nil}, &v)
		var want []string
		for _, w := range c.want {
			want = append(want, w+" HostPort everywhere/everywhere external,keepclient")
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, frontendsOf(plans)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
		if diff := cmp.Diff(c.notes, notes); diff != "" {
			t.Errorf("%s: notes (-want +got):\n%s", c.what, diff)
		}
		for _, p := range plans {
			if got := p.endpoints[0].at; got.Port() != 80 || got.Addr().Is6() != p.key.is6 || len(p.endpoints) != 1 {
				t.Errorf("%s: the backend is %s", c.what, got)
			}
		}
	}
}

// A pod's ports are there while its endpoint is: its object may come later and stay
// longer, and another node's are that node's.
func TestHostPortsFollowTheEndpoint(t *testing.T) {
	k, tables := newKernel(t), state.New()
	tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: addrs("172.18.0.2")})
	pod, endpoint := withHostPort(1, "web", "10.0.0.1", state.HostPort{Proto: 6, Port: 8080, Target: 80})
	elsewhere, other := pod, pod
	elsewhere.Node, other.UID = "n2", "another"
	c := k.control(Options{IPv4: true}, tables)
	for _, s := range []struct {
		what   string
		change func()
		there  bool
	}{
		{"an object only", func() { tables.Pods.Put(pod) }, false},
		{"its endpoint", func() { tables.Endpoints.Put(endpoint) }, true},
		{"another pod of its name", func() { tables.Pods.Put(other) }, false},
		{"itself again", func() { tables.Pods.Put(pod) }, true},
		{"on another node", func() { tables.Pods.Put(elsewhere) }, false},
		{"here again", func() { tables.Pods.Put(pod) }, true},
		{"the endpoint is gone", func() { tables.Endpoints.Delete(1) }, false},
		{"it is back", func() { tables.Endpoints.Put(endpoint) }, true},
		{"the object is gone", func() { tables.Pods.Delete(pod.Name) }, false},
	} {
		s.change()
		step(t, c)
		if got := k.entry("172.18.0.2:8080").ID != 0; got != s.there {
			t.Errorf("%s: there %v, want %v", s.what, got, s.there)
		}
	}
}

func TestAHostPortThatIsTakenStaysWithWhoHasIt(t *testing.T) {
	k, tables := newKernel(t), state.New()
	tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: addrs("172.18.0.2")})
	s := simple("web", "10.96.0.1")
	s.Kind, s.Ports[0].NodePort = state.ServiceNodePort, 32000
	port := state.HostPort{Proto: 6, Port: 32000, Target: 80}
	b, endpointB := withHostPort(1, "web", "10.0.0.1", port)
	a, endpointA := withHostPort(2, "a", "10.0.0.2", port)
	tables.Pods.Put(b)
	tables.Endpoints.Put(endpointB)
	c := k.control(Options{IPv4: true}, tables)
	step(t, c)
	first := k.entry("172.18.0.2:32000")
	tables.Pods.Put(a)
	tables.Endpoints.Put(endpointA)
	tables.Services.Put(s)
	for _, c := range []*Control{c, k.control(Options{IPv4: true}, tables)} { // also after a restart
		step(t, c)
		if got := k.entry("172.18.0.2:32000"); got.ID != first.ID {
			t.Errorf("it is %s, was %s", got, first)
		}
		var got []string
		for _, p := range c.Problems() {
			got = append(got, p.Of.String()+": "+p.Text)
		}
		want := []string{}
		for _, of := range []string{"d/web", "pod d/a"} {
			for _, at := range []string{"0.0.0.0", "172.18.0.2"} {
				want = append(want, fmt.Sprintf("%s: %s:32000/TCP is pod d/web port 32000/TCP's: it is left out", of, at))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
		if d, ok := c.Service(s.Name); !ok || len(d.Problems) != 2 {
			t.Errorf("the service of the pod's name has problems %q", d.Problems)
		}
	}
	tables.Endpoints.Delete(1)
	step(t, c)
	if got := k.entry("172.18.0.2:32000"); got.ID == first.ID || got.ID != k.entry("10.96.0.1:80").ID {
		t.Errorf("with the pod gone it is %s, want the service's", got)
	}
}

func TestHostPortsAreListedAsThePods(t *testing.T) {
	k, tables := newKernel(t), state.New()
	tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: addrs("172.18.0.2")})
	pod, endpoint := withHostPort(1, "web", "10.0.0.1", state.HostPort{Proto: 17, Port: 53, Target: 5353})
	tables.Pods.Put(pod)
	tables.Endpoints.Put(endpoint)
	c := k.control(Options{IPv4: true}, tables)
	step(t, c)
	var got []string
	for _, f := range c.Frontends() {
		got = append(got, fmt.Sprintf("%s %s %s => %s %s", f.At, f.Kind, f.Of, f.Backends[0].At, f.Backends[0].State))
	}
	want := []string{"0.0.0.0:53 HostPort pod d/web => 10.0.0.1:5353 active", "172.18.0.2:53 HostPort pod d/web => 10.0.0.1:5353 active"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frontends (-want +got):\n%s", diff)
	}
	if list := c.Backends(); len(list) != 1 || fmt.Sprint(list[0].Of) != "[pod d/web]" {
		t.Errorf("backends are %+v", list)
	}
	if n := c.Count(); n != (Counts{Frontends: 2, Backends: 1}) {
		t.Errorf("counted %+v", n)
	}
	if d, ok := c.Service(state.ServiceName{Namespace: "d", Name: "web"}); ok {
		t.Errorf("the pod is taken for a service: %+v", d)
	}
}

func TestANodePortOutsideOfTheRangeIsLeftOutByName(t *testing.T) {
	k, tables := newKernel(t), state.New()
	tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: addrs("172.18.0.2")})
	s := simple("web", "10.96.0.1")
	s.Kind, s.Ports[0].NodePort = state.ServiceNodePort, 29999
	s.Ports = append(s.Ports, state.ServicePort{Name: "last", Proto: 17, Port: 81, NodePort: 32767})
	tables.Services.Put(s)
	tables.Slices.Put(of("web", "10.0.0.1"))
	c := k.control(Options{IPv4: true, Ports: [2]uint16{30000, 32767}}, tables)
	step(t, c)
	held, _ := k.services.Load()
	for at := range held {
		if strings.Contains(at.String(), ":29999/") {
			t.Errorf("%s is in force", at)
		}
	}
	if len(held) != 4 || k.entry("10.96.0.1:80").Inside.Count != 1 {
		t.Errorf("%d entries, want the two cluster IPs and the other NodePort: %v", len(held), held)
	}
	const want = "NodePort 29999/TCP is outside of nodePort.range 30000-32767: it is left out; give the service another, or change nodePort.range on all nodes"
	if list := c.Problems(); len(list) != 1 || list[0].Text != want {
		t.Errorf("problems are %+v", list)
	}
}

// NodePorts follow the addresses that the node's devices have, within those configured.
func TestNodePortsFollowTheNodesAddresses(t *testing.T) {
	k, tables := newKernel(t), state.New()
	s := simple("web", "10.96.0.1")
	s.Kind, s.Ports[0].NodePort = state.ServiceNodePort, 32000
	tables.Services.Put(s)
	tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: addrs("172.18.0.2")})
	c := k.control(Options{IPv4: true, Addresses: []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16"), netip.MustParsePrefix("192.168.9.0/24")}}, tables)
	eth := func(texts ...string) state.Device {
		d := state.Device{Name: "eth0"}
		for _, t := range texts {
			d.Addrs = append(d.Addrs, netip.MustParsePrefix(t))
		}
		return d
	}
	for _, x := range []struct {
		change func()
		want   string
	}{
		{func() {}, "0.0.0.0 172.18.0.2"},
		{func() { tables.Devices.Put(eth("172.18.0.2/16", "192.168.9.2/24", "198.51.100.2/24")) }, "0.0.0.0 172.18.0.2 192.168.9.2"},
		{func() { tables.Devices.Put(eth("172.18.0.9/16")) }, "0.0.0.0 172.18.0.2 172.18.0.9"},
		{func() { tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: addrs("172.18.0.9")}) }, "0.0.0.0 172.18.0.9"},
		{func() { tables.Devices.Delete("eth0") }, "0.0.0.0 172.18.0.9"},
	} {
		x.change()
		step(t, c)
		var got []string
		held, _ := k.services.Load()
		for at := range held {
			if at.AddrPort().Port() == 32000 {
				got = append(got, at.AddrPort().Addr().String())
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != x.want {
			t.Errorf("got %v, want %s", got, x.want)
		}
	}
}

// Another node's HostPorts are known here, so that pods of this node get to them
// through the tunnel: at that node's addresses, and only there.
func TestHostPortsOfOtherNodes(t *testing.T) {
	k, tables := newKernel(t), state.New()
	tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: addrs("172.18.0.2")})
	pod := state.Pod{Name: podName("web"), Node: "n2", IPs: addrs("10.0.1.3", "fd00::103"), HostPorts: []state.HostPort{
		{Proto: 6, Port: 8080, Target: 80}, {Proto: 6, Port: 30000, Target: 80}, {Proto: 6, Port: 8081, Target: 80, IP: netip.MustParseAddr("127.0.0.1")},
		{Proto: 17, Port: 53, Target: 53, IP: netip.MustParseAddr("172.18.0.3")}, {Proto: 17, Port: 54, Target: 54, IP: netip.MustParseAddr("172.18.0.2")}}}
	tables.Pods.Put(pod)
	c := k.control(Options{IPv4: true, IPv6: true, Ports: [2]uint16{30000, 32767}}, tables)
	finished := pod
	finished.IPs = nil
	for _, x := range []struct {
		what   string
		change func()
		want   string
	}{
		{"its node is not known", func() {}, ""},
		{"its node", func() { tables.Nodes.Put(state.Node{Name: "n2", Addresses: addrs("172.18.0.3", "fd18::3")}) }, "172.18.0.3:30000/TCP 172.18.0.3:53/UDP 172.18.0.3:8080/TCP [fd18::3]:30000/TCP [fd18::3]:8080/TCP"},
		{"another address of it", func() { tables.Nodes.Put(state.Node{Name: "n2", Addresses: addrs("172.18.0.4")}) }, "172.18.0.4:30000/TCP 172.18.0.4:8080/TCP"},
		{"it has ended", func() { tables.Pods.Put(finished) }, ""},
	} {
		x.change()
		step(t, c)
		held, _ := k.services.Load()
		var got []string
		for at, v := range held {
			got = append(got, at.String())
			if bpf.ServiceFlag(v.Flags)&bpf.ServiceElsewhere == 0 {
				t.Errorf("%s: %s goes before a NodePort", x.what, at)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != x.want || len(c.Problems()) > 0 {
			t.Errorf("%s: got %v with problems %v, want %s", x.what, got, c.Problems(), x.want)
		}
	}
}
