package healthcheck

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/state"
)

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func named(name string) state.ServiceName { return state.ServiceName{Namespace: "d", Name: name} }

func service(name string, port uint16, clusterIPs ...string) state.Service {
	s := state.Service{Name: named(name), Kind: state.ServiceLoadBalancer, ExternalLocal: true, HealthPort: port,
		Ports: []state.ServicePort{{Name: "http", Proto: state.ProtoTCP, Port: 80}, {Name: "dns", Proto: state.ProtoUDP, Port: 53}}}
	for _, a := range clusterIPs {
		s.ClusterIPs = append(s.ClusterIPs, addr(a))
	}
	return s
}

func slice(name, service, port string, proto uint8, endpoints ...state.SliceEndpoint) state.Slice {
	return state.Slice{Name: state.SliceName{Namespace: "d", Name: name}, Service: named(service),
		Ports: []state.SlicePort{{Name: port, Proto: proto, Port: 8080}}, Endpoints: endpoints}
}

func ready(a, node string) state.SliceEndpoint {
	return state.SliceEndpoint{Addr: addr(a), Node: node, Ready: true, Serving: true}
}

func TestAPortStaysWithTheServiceThatHasIt(t *testing.T) {
	both := []state.Service{service("b", 30000, "10.96.0.2"), service("a", 30000, "10.96.0.1"), service("c", 30001, "10.96.0.3"), service("none", 0, "10.96.0.4")}
	for _, c := range []struct {
		owners           map[uint16]state.ServiceName
		has, doesWithout string
	}{
		{nil, "a", "b"},
		{map[uint16]state.ServiceName{30000: named("b")}, "b", "a"},
		{map[uint16]state.ServiceName{30001: named("b"), 30000: named("gone")}, "a", "b"},
	} {
		got, problems := wanted(slices.Clone(both), c.owners)
		if len(got) != 2 || got[30000].service != named(c.has) || got[30001].service != named("c") {
			t.Errorf("owners %v: got %v, want 30000 with %s", c.owners, got, c.has)
		}
		want := []Problem{{named(c.doesWithout), fmt.Sprintf("healthCheckNodePort 30000 is d/%s's: load balancers cannot ask for this service's health; give one of them another", c.has)}}
		if diff := cmp.Diff(want, problems); diff != "" {
			t.Errorf("owners %v: problems (-want +got):\n%s", c.owners, diff)
		}
	}
}

func TestReadyEndpointsOfThisNodeCount(t *testing.T) {
	ends := state.SliceEndpoint{Addr: addr("10.0.0.5"), Node: "n1", Serving: true, Terminating: true}
	for _, c := range []struct {
		what          string
		unready       bool
		slices        []state.Slice
		local, local6 int
	}{
		{"none", false, nil, 0, 0},
		{"here and elsewhere", false, []state.Slice{slice("x", "a", "http", 6, ready("10.0.0.1", "n1"), ready("10.0.1.1", "n2"), ready("10.0.2.1", ""))}, 1, 0},
		{"two ports, one endpoint", false, []state.Slice{slice("x", "a", "http", 6, ready("10.0.0.1", "n1")), slice("y", "a", "dns", 17, ready("10.0.0.1", "n1"))}, 1, 0},
		{"both families", false, []state.Slice{slice("x", "a", "http", 6, ready("10.0.0.1", "n1"), ready("10.0.0.2", "n1")), slice("y", "a", "http", 6, ready("fd00::1", "n1"))}, 2, 1},
		{"one that ends still serves, and does not count", false, []state.Slice{slice("x", "a", "http", 6, ends)}, 0, 0},
		{"unready ones that are published", true, []state.Slice{slice("x", "a", "http", 6, ends)}, 1, 0},
		{"a port that the service does not have", false, []state.Slice{slice("x", "a", "http", 17, ready("10.0.0.1", "n1"))}, 0, 0},
		{"another service's", false, []state.Slice{slice("x", "b", "http", 6, ready("10.0.0.1", "n1"))}, 0, 0},
	} {
		s := service("a", 30000, "10.96.0.1", "fd96::1")
		s.PublishUnready = c.unready
		checks, _ := wanted([]state.Service{s}, nil)
		count(checks, []state.Service{s}, c.slices, "n1")
		if got := checks[30000]; got.local != c.local || got.local6 != c.local6 {
			t.Errorf("%s: got %d and %d, want %d and %d", c.what, got.local, got.local6, c.local, c.local6)
		}
	}
}

func TestPlacesFollowFamiliesAndNodePortAddresses(t *testing.T) {
	checks, _ := wanted([]state.Service{service("a", 30000, "10.96.0.1", "fd96::1"), service("b", 30001, "10.96.0.2"), service("c", 30002, "fd96::3")}, nil)
	mine := []netip.Addr{addr("172.18.0.2"), addr("fd18::2")}
	within := []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")}
	for _, c := range []struct {
		what  string
		o     Options
		addrs []netip.Addr
		want  []string
	}{
		{"all addresses", Options{Healthz: ":10256", IPv4: true, IPv6: true}, mine,
			[]string{"tcp :10256", "tcp4 0.0.0.0:30000", "tcp6 [::]:30000 of IPv6", "tcp4 0.0.0.0:30001", "tcp6 [::]:30001", "tcp4 0.0.0.0:30002 of IPv6", "tcp6 [::]:30002 of IPv6"}},
		{"some", Options{Addresses: within, IPv4: true, IPv6: true}, mine[:1], []string{"tcp4 172.18.0.2:30000", "tcp4 172.18.0.2:30001", "tcp4 172.18.0.2:30002 of IPv6"}},
		{"none of them here", Options{Addresses: within, IPv4: true, IPv6: true}, nil, nil},
		{"IPv6 is off", Options{IPv4: true}, mine, []string{"tcp4 0.0.0.0:30000", "tcp4 0.0.0.0:30001", "tcp4 0.0.0.0:30002 of IPv6"}},
	} {
		var got []string
		for _, p := range placesOf(checks, c.o, c.addrs) {
			text := p.network + " " + p.addr
			if p.is6 {
				text += " of IPv6"
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}
