package operator

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// svc is a service x/NAME out of its spec, and with "; status" behind it.
func svc(t *testing.T, name, spec string) *corev1.Service {
	t.Helper()
	spec, status, _ := strings.Cut(spec, "; ")
	var o corev1.Service
	if err := yaml.UnmarshalStrict([]byte("{metadata: {name: "+name+", namespace: x}, spec: {"+spec+"}, status: {"+status+"}}"), &o); err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return &o
}

// text is what a service was given, in a line.
func text(o *corev1.Service) string {
	out := []string{strings.Join(o.Spec.ClusterIPs, " ")}
	for _, p := range o.Spec.Ports {
		if p.NodePort != 0 {
			out = append(out, fmt.Sprint(p.NodePort))
		}
	}
	if o.Spec.HealthCheckNodePort != 0 {
		out = append(out, fmt.Sprint("health ", o.Spec.HealthCheckNodePort))
	}
	for _, in := range o.Status.LoadBalancer.Ingress {
		out = append(out, "lb "+in.IP+in.Hostname)
	}
	return strings.Join(out, ", ")
}

func TestServicesAreGivenWhatTheirTypeNeeds(t *testing.T) {
	for _, tt := range []struct{ spec, want string }{
		{``, `10.96.1.1`},
		{`type: ClusterIP, clusterIP: 10.96.0.10`, `10.96.0.10`},
		{`clusterIPs: ["fd00:10:96::a"]`, `fd00:10:96::a`},
		{`ipFamilies: [IPv6]`, `fd00:10:96::101`},
		{`ipFamilyPolicy: PreferDualStack`, `10.96.1.1 fd00:10:96::101`},
		{`ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6]`, `fd00:10:96::101 10.96.1.1`},
		{`ipFamilyPolicy: PreferDualStack, clusterIP: "fd00:10:96::a"`, `fd00:10:96::a 10.96.1.1`},
		{`ipFamilyPolicy: SingleStack, ipFamilies: [IPv4]`, `10.96.1.1`},
		{`ipFamilies: [IPv4, IPv6]`, `10.96.1.1 fd00:10:96::101`},
		{`clusterIP: None, ports: [{port: 80}]`, `None`},
		{`type: ExternalName, externalName: a.example`, ``},
		{`ports: [{port: 80}]`, `10.96.1.1`},
		{`type: NodePort, ports: [{name: a, port: 80}, {name: b, port: 81}]`, `10.96.1.1, 30086, 30087`},
		{`type: NodePort, ports: [{name: a, port: 80}, {name: b, port: 81, nodePort: 30086}]`, `10.96.1.1, 30087, 30086`},
		{`type: NodePort, ports: [{name: a, port: 53, protocol: UDP}, {name: b, port: 53}]`, `10.96.1.1, 30086, 30086`},
		{`type: NodePort, ports: [{name: a, port: 53, nodePort: 30053}, {name: b, port: 53, protocol: UDP}]`, `10.96.1.1, 30053, 30053`},
		{`type: NodePort, externalTrafficPolicy: Local, ports: [{port: 80}]`, `10.96.1.1, 30086`},
		{`type: LoadBalancer, ports: [{port: 80}]`, `10.96.1.1, 30086, lb 172.18.200.1`},
		{`type: LoadBalancer, ipFamilyPolicy: PreferDualStack`, `10.96.1.1 fd00:10:96::101, lb 172.18.200.1, lb fc00:f853:ccd:e793:200::1`},
		{`type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{port: 80}]`, `10.96.1.1, lb 172.18.200.1`},
		{`type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{port: 80, nodePort: 31000}]`, `10.96.1.1, 31000, lb 172.18.200.1`},
		{`type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]`, `10.96.1.1, 30087, health 30086, lb 172.18.200.1`},
		{`type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 32000`, `10.96.1.1, health 32000, lb 172.18.200.1`},
		{`type: LoadBalancer, loadBalancerIP: 172.18.200.77`, `10.96.1.1, lb 172.18.200.77`},
		{`type: LoadBalancer, loadBalancerClass: a.example/b`, `10.96.1.1, lb 172.18.200.1`},
		{`type: LoadBalancer; loadBalancer: {ingress: [{ip: 192.0.2.1, ipMode: Proxy}, {hostname: a.example}]}`, `10.96.1.1, lb 192.0.2.1, lb a.example`},
		{`; loadBalancer: {ingress: [{ip: 192.0.2.1}]}`, `10.96.1.1`},
	} {
		got, err := NewServices(DefaultServiceRanges(), nil).Give(svc(t, "a", tt.spec))
		if err != nil || text(got) != tt.want {
			t.Errorf("%s\n got %v, %v\nwant %s", tt.spec, text(got), err, tt.want)
		}
	}
}

func TestFamiliesAreWrittenDown(t *testing.T) {
	four := DefaultServiceRanges()
	four.ClusterIPs = four.ClusterIPs[:1]
	for _, tt := range []struct {
		ranges     ServiceRanges
		spec, want string
	}{
		{DefaultServiceRanges(), ``, `SingleStack [IPv4]`},
		{DefaultServiceRanges(), `clusterIP: "fd00:10:96::1"`, `SingleStack [IPv6]`},
		{DefaultServiceRanges(), `clusterIP: None, selector: {a: b}`, `SingleStack [IPv4]`},
		{DefaultServiceRanges(), `clusterIP: None`, `RequireDualStack [IPv4 IPv6]`},
		{DefaultServiceRanges(), `clusterIP: None, selector: {a: b}, ipFamilies: [IPv6, IPv4]`, `RequireDualStack [IPv6 IPv4]`},
		{DefaultServiceRanges(), `ipFamilyPolicy: PreferDualStack`, `PreferDualStack [IPv4 IPv6]`},
		{four, `ipFamilyPolicy: PreferDualStack`, `PreferDualStack [IPv4]`},
		{four, `clusterIP: None`, `SingleStack [IPv4]`},
	} {
		got, err := NewServices(tt.ranges, nil).Give(svc(t, "a", tt.spec))
		if err != nil || fmt.Sprint(*got.Spec.IPFamilyPolicy, " ", got.Spec.IPFamilies) != tt.want {
			t.Errorf("%s: %v, %v; want %s", tt.spec, got, err, tt.want)
		}
	}
}

func TestWhatAServiceHasItKeeps(t *testing.T) {
	book := NewServices(DefaultServiceRanges(), nil)
	give := func(name, spec, want string) {
		t.Helper()
		if got, err := book.Give(svc(t, name, spec)); err != nil || text(got) != want {
			t.Errorf("%s %s\n got %v, %v\nwant %s", name, spec, text(got), err, want)
		}
	}
	const lb = `type: LoadBalancer, externalTrafficPolicy: Local, ipFamilyPolicy: PreferDualStack, ports: [{name: a, port: 80}, {name: b, port: 81}`
	give("a", lb+`]`, `10.96.1.1 fd00:10:96::101, 30087, 30088, health 30086, lb 172.18.200.1, lb fc00:f853:ccd:e793:200::1`)
	give("b", `type: NodePort, ports: [{port: 80}]`, `10.96.1.2, 30089`)
	give("a", lb+`]`, `10.96.1.1 fd00:10:96::101, 30087, 30088, health 30086, lb 172.18.200.1, lb fc00:f853:ccd:e793:200::1`)
	// A port more, another order: each keeps its own.
	give("a", strings.Replace(lb, "[", "[{name: c, port: 82}, ", 1)+`]`, `10.96.1.1 fd00:10:96::101, 30090, 30087, 30088, health 30086, lb 172.18.200.1, lb fc00:f853:ccd:e793:200::1`)
	// What the type needs no more is free for others.
	give("a", `ports: [{port: 80}]`, `10.96.1.1`)
	give("c", `type: NodePort, ports: [{port: 80, nodePort: 30087}]`, `10.96.1.3, 30087`)
	give("a", `type: NodePort, ports: [{port: 80}]`, `10.96.1.1, 30090`)
	// What people say counts more than what it had.
	give("a", `type: NodePort, clusterIP: 10.96.0.5, ports: [{port: 80, nodePort: 30088}]`, `10.96.0.5, 30088`)
	give("a", `clusterIP: None`, `None`)
	give("d", `clusterIP: 10.96.1.1`, `10.96.1.1`)
	book.Take("x", "d")
	give("e", `clusterIP: 10.96.1.1`, `10.96.1.1`)

	// The same book is made of what was given.
	var all []*corev1.Service
	for _, o := range book.services {
		all = append(all, o)
	}
	book = NewServices(DefaultServiceRanges(), all)
	give("b", `type: NodePort, ports: [{port: 80}]`, `10.96.1.2, 30089`)
	give("f", `type: NodePort, ports: [{port: 80}]`, `10.96.1.4, 30086`)
}

func TestWhatAnotherServiceHasIsRefusedByItsName(t *testing.T) {
	one := DefaultServiceRanges()
	one.ClusterIPs = prefixes("10.96.0.0/30")
	one.LoadBalancerIPs = prefixes("192.0.2.1/32")
	one.NodePorts = PortRange{30000, 30001}
	taken := svc(t, "old", `type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30001, clusterIPs: [10.96.0.1], ports: [{port: 80, nodePort: 30000}]; loadBalancer: {ingress: [{ip: 192.0.2.1}]}`)
	for _, tt := range []struct{ spec, says string }{
		{`clusterIPs: [10.96.0.1]`, `spec.clusterIPs[0]: "10.96.0.1" is that of Service x/old: use another, or leave it out`},
		{`clusterIP: 10.97.0.1`, `spec.clusterIP: "10.97.0.1" is not in the range 10.96.0.0/30: use an address that is, or leave it out`},
		{`clusterIP: "fd00:10:96::1"`, `spec.clusterIP: IPv6 has no range of cluster IPs: there is 10.96.0.0/30`},
		{`ipFamilies: [IPv4, IPv6]`, `spec.ipFamilies[1]: IPv6 has no range of cluster IPs: there is 10.96.0.0/30`},
		{`ipFamilyPolicy: RequireDualStack`, `spec.ipFamilyPolicy: "RequireDualStack" needs ranges of cluster IPs of both families, and there is 10.96.0.0/30: write PreferDualStack`},
		{`type: NodePort, ports: [{port: 80, nodePort: 30000}]`, `spec.ports[0].nodePort: 30000 is that of Service x/old`},
		{`type: NodePort, ports: [{port: 80, protocol: UDP, nodePort: 30001}]`, `spec.ports[0].nodePort: 30001 is that of Service x/old`},
		{`type: NodePort, ports: [{port: 80, nodePort: 8080}]`, `spec.ports[0].nodePort: 8080 is not in the range of node ports 30000-30001`},
		{`type: NodePort, ports: [{port: 80}]`, `spec.ports[0].nodePort: none of the node ports 30000-30001 is free: remove services`},
		{`type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30000`, `spec.healthCheckNodePort: 30000 is that of Service x/old`},
		{`type: LoadBalancer, externalTrafficPolicy: Local`, `spec.healthCheckNodePort: none of the node ports`},
		{`type: LoadBalancer`, `status.loadBalancer.ingress: no address of 192.0.2.1/32 is free: remove services, or choose a larger range`},
		{`type: LoadBalancer, loadBalancerIP: 192.0.2.1`, `spec.loadBalancerIP: "192.0.2.1" is that of Service x/old`},
		{`type: LoadBalancer, loadBalancerIP: 192.0.2.2`, `spec.loadBalancerIP: "192.0.2.2" is not in the range 192.0.2.1/32`},
		{`type: LoadBalancer; loadBalancer: {ingress: [{ip: 10.96.0.1}]}`, `status.loadBalancer.ingress[0].ip: "10.96.0.1" is that of Service x/old`},
	} {
		book := NewServices(one, []*corev1.Service{taken, svc(t, "a", `clusterIPs: [10.96.0.2]`)})
		got, err := book.Give(svc(t, "a", tt.spec))
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s\n got %v, %v\nwant %s", tt.spec, got, err, tt.says)
		}
		// Nothing has changed: the service has what it had, and the rest is free.
		if got, err := book.Give(svc(t, "a", ``)); err != nil || text(got) != "10.96.0.2" {
			t.Errorf("%s: afterwards %v, %v", tt.spec, got, err)
		}
		if _, err := book.Give(svc(t, "b", ``)); err == nil || !strings.Contains(err.Error(), "no address of 10.96.0.0/30 is free") {
			t.Errorf("%s: a third of two addresses: %v", tt.spec, err)
		}
		if len(book.addrs) != 3 || len(book.ports) != 2 {
			t.Errorf("%s: leaves %v and %v", tt.spec, book.addrs, book.ports)
		}
	}
}

func TestOwnHealthPortIsNoNodePort(t *testing.T) {
	const spec = `type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30000, ports: [{name: a, port: 80}, {name: b, port: 81, nodePort: 30000}]`
	if _, err := NewServices(DefaultServiceRanges(), nil).Give(svc(t, "a", spec)); err == nil || !strings.Contains(err.Error(), "spec.healthCheckNodePort: 30000 is that of ports[1]") {
		t.Errorf("got %v", err)
	}
}

func TestRangesAreGivenToTheLast(t *testing.T) {
	for _, tt := range []struct {
		cidr  string
		count int
	}{{"10.0.0.0/24", 254}, {"10.0.0.0/28", 14}, {"10.0.0.0/31", 2}, {"10.0.0.0/32", 1}, {"fd00::/120", 255}, {"255.255.255.0/24", 254}, {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120", 255}} {
		ranges := DefaultServiceRanges()
		ranges.ClusterIPs = prefixes(tt.cidr)
		book := NewServices(ranges, nil)
		seen := map[string]bool{}
		for i := range tt.count {
			got, err := book.Give(svc(t, fmt.Sprint("s", i), ""))
			if err != nil {
				t.Fatalf("%s: service %d: %v", tt.cidr, i, err)
			}
			a := netip.MustParseAddr(got.Spec.ClusterIP)
			if seen[got.Spec.ClusterIP] || !prefixes(tt.cidr)[0].Contains(a) {
				t.Fatalf("%s: service %d got %s", tt.cidr, i, a)
			}
			seen[got.Spec.ClusterIP] = true
		}
		if _, err := book.Give(svc(t, "more", "")); err == nil {
			t.Errorf("%s: one more than %d", tt.cidr, tt.count)
		}
		book.Take("x", "s0")
		if _, err := book.Give(svc(t, "more", "")); err != nil {
			t.Errorf("%s: after one went: %v", tt.cidr, err)
		}
	}
}

// However services come, change and go, no two have an address or port in
// common, and what is given again is the same.
func TestNothingIsGivenTwice(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	ranges := DefaultServiceRanges()
	ranges.ClusterIPs = prefixes("10.0.0.0/27", "fd00::/123")
	ranges.LoadBalancerIPs = prefixes("192.0.2.0/28", "2001:db8::/124")
	ranges.NodePorts = PortRange{30000, 30030}
	specs := []string{``, `clusterIP: None`, `type: ExternalName`, `ipFamilyPolicy: PreferDualStack`, `ipFamilies: [IPv6]`, `clusterIP: 10.0.0.7`,
		`type: NodePort, ports: [{name: a, port: 80}, {name: b, port: 80, protocol: UDP}, {name: c, port: 81}]`,
		`type: NodePort, ports: [{name: a, port: 80, nodePort: 30003}, {name: b, port: 81}]`,
		`type: LoadBalancer, externalTrafficPolicy: Local, ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]`,
		`type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{port: 80}]`,
	}
	book := NewServices(ranges, nil)
	for range 5000 {
		name := fmt.Sprint("s", r.IntN(25))
		if r.IntN(5) == 0 {
			book.Take("x", name)
			continue
		}
		o := svc(t, name, specs[r.IntN(len(specs))])
		got, err := book.Give(o)
		if err != nil {
			continue
		}
		if again, err := book.Give(o); err != nil || text(again) != text(got) {
			t.Fatalf("first %s, then %s, %v", text(got), text(again), err)
		}
		owner := map[string]string{}
		count := 0
		for key, o := range book.services {
			var have []string
			for _, a := range addrsOf(o) {
				have = append(have, a.String())
			}
			for _, p := range portsOf(o) {
				have = append(have, fmt.Sprint(p))
			}
			slices.Sort(have)
			for _, h := range slices.Compact(have) {
				if owner[h] != "" {
					t.Fatalf("%s and %s have %s", key, owner[h], h)
				}
				owner[h] = key
				count++
			}
		}
		if len(book.addrs)+len(book.ports) != count {
			t.Fatalf("%d are taken, the services have %d", len(book.addrs)+len(book.ports), count)
		}
	}
}
