package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/bpf"
	"weir/state"
)

// frontendsOf prints each frontend of the plans: where, kind, who is asked from
// inside and outside, flags.
func frontendsOf(plans []plan) []string {
	scopes := []string{"nobody", "everywhere", "here"}
	var out []string
	for _, p := range plans {
		for _, f := range p.frontends {
			flags := strings.Join(bpf.Service{Flags: uint32(f.flags)}.FlagNames(), ",")
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s/%s %s", f.key, f.kind, scopes[f.inside], scopes[f.outside], flags)))
		}
	}
	slices.Sort(out)
	return out
}

func TestFrontendsOfAService(t *testing.T) {
	base := state.Service{Kind: state.ServiceLoadBalancer, ClusterIPs: addrs("10.96.0.1"), Ports: []state.ServicePort{{Proto: 6, Port: 80}}}
	elsewhere := []*state.Slice{{Ports: []state.SlicePort{{Proto: 6, Port: 8080}}, Endpoints: []state.SliceEndpoint{{Addr: addrs("10.0.0.1")[0], Ready: true, Node: "n2"}}}}
	for _, c := range []struct {
		what   string
		change func(*state.Service)
		slices []*state.Slice
		want   []string
	}{
		{"a cluster IP", func(*state.Service) {}, nil, []string{"10.96.0.1:80/TCP ClusterIP everywhere/nobody"}},
		{"two families, two ports", func(s *state.Service) {
			s.ClusterIPs = addrs("10.96.0.1", "fd96::1")
			s.Ports = append(s.Ports, state.ServicePort{Proto: 17, Port: 53})
		}, nil, []string{"10.96.0.1:53/UDP ClusterIP everywhere/nobody", "10.96.0.1:80/TCP ClusterIP everywhere/nobody",
			"[fd96::1]:53/UDP ClusterIP everywhere/nobody", "[fd96::1]:80/TCP ClusterIP everywhere/nobody"}},
		{"a NodePort of IPv6", func(s *state.Service) { s.ClusterIPs, s.Ports[0].NodePort = addrs("fd96::1"), 32000 }, nil,
			[]string{"[::]:32000/TCP NodePort everywhere/everywhere external,nodeport", "[fd18::2]:32000/TCP NodePort everywhere/everywhere external,nodeport",
				"[fd96::1]:80/TCP ClusterIP everywhere/nobody"}},
		{"Local without a backend here", func(s *state.Service) {
			s.ExternalLocal, s.InternalLocal, s.ExternalIPs = true, true, addrs("198.51.100.1")
		}, elsewhere, []string{"10.96.0.1:80/TCP ClusterIP here/nobody dropinside", "198.51.100.1:80/TCP ExternalIPs everywhere/here external,keepclient,dropoutside"}},
		{"Local without a backend anywhere", func(s *state.Service) { s.ExternalLocal, s.ExternalIPs = true, addrs("198.51.100.1") }, nil,
			[]string{"10.96.0.1:80/TCP ClusterIP everywhere/nobody", "198.51.100.1:80/TCP ExternalIPs everywhere/here external,keepclient"}},
		{"ranges are of load balancers", func(s *state.Service) {
			s.SourceRanges, s.LoadBalancerIPs, s.ExternalIPs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, addrs("198.51.100.2"), addrs("198.51.100.1")
		}, nil, []string{"10.96.0.1:80/TCP ClusterIP everywhere/nobody", "198.51.100.1:80/TCP ExternalIPs everywhere/everywhere external",
			"198.51.100.2:80/TCP LoadBalancer everywhere/everywhere external,ranges"}},
		{"hybrid is DSR for TCP", func(s *state.Service) {
			s.Forwarding, s.ExternalIPs, s.Algorithm = "hybrid", addrs("198.51.100.1"), state.AlgorithmMaglev
			s.Ports = append(s.Ports, state.ServicePort{Proto: 17, Port: 80})
		}, nil, []string{"10.96.0.1:80/TCP ClusterIP everywhere/nobody maglev", "10.96.0.1:80/UDP ClusterIP everywhere/nobody maglev",
			"198.51.100.1:80/TCP ExternalIPs everywhere/everywhere external,maglev,dsr", "198.51.100.1:80/UDP ExternalIPs everywhere/everywhere external,maglev"}},
		{"DSR at addresses that other nodes know", func(s *state.Service) {
			s.ClusterIPs, s.Ports[0].NodePort, s.Forwarding = addrs("10.96.0.1"), 32000, "dsr"
		}, nil, []string{"0.0.0.0:32000/TCP NodePort everywhere/everywhere external,nodeport,dsr", "10.96.0.1:80/TCP ClusterIP everywhere/nobody",
			"172.18.0.2:32000/TCP NodePort everywhere/everywhere external,nodeport,dsr", "192.168.7.7:32000/TCP NodePort everywhere/everywhere external,nodeport"}},
		{"none of its own", func(s *state.Service) { s.Kind = state.ServiceNone }, elsewhere, nil},
	} {
		s := base
		s.Ports = slices.Clone(base.Ports)
		c.change(&s)
		v := view{node: node{name: "n1"}, ipv4: true, ipv6: true, addrs: addrs("fd18::2"), named: addrs("172.18.0.2"), taken: func(netip.Addr) string { return "" }}
		if s.ClusterIPs[0].Is4() && s.Ports[0].NodePort != 0 {
			v.addrs = addrs("172.18.0.2", "192.168.7.7")
		}
		plans, notes := compile(&s, c.slices, &v)
		if diff := cmp.Diff(c.want, frontendsOf(plans)); diff != "" || len(notes) > 0 {
			t.Errorf("%s: notes %q (-want +got):\n%s", c.what, notes, diff)
		}
	}
}

func TestWhatOfAServiceCannotBeIsNoted(t *testing.T) {
	s := state.Service{Kind: state.ServiceClusterIP, ClusterIPs: addrs("10.96.0.1"), LoadBalancerIPs: addrs("fd00::1"), Affinity: 1500 * time.Millisecond,
		Ports: []state.ServicePort{{Name: "zero", Proto: 6}, {Name: "a", Proto: 6, Port: 80}, {Name: "b", Proto: 6, Port: 80}}}
	v := view{ipv4: true, taken: func(netip.Addr) string { return "" }}
	plans, notes := compile(&s, nil, &v)
	want := []string{"LoadBalancer fd00::1 is of a family that the service does not have: it is left out",
		`port "zero" is 0: it is left out`, "port 80/TCP stands twice: the first counts"}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	if len(plans) != 1 || plans[0].name != "a" || plans[0].affinity != 2 {
		t.Errorf("plans are %+v", plans)
	}
}
