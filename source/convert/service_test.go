package convert

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"weir/state"
)

// service converts a Service named x/a out of what stands behind its name.
func service(t *testing.T, rest string) (state.Service, error) {
	t.Helper()
	var o corev1.Service
	if err := yaml.UnmarshalStrict([]byte("{metadata: {name: a, namespace: x"+rest+"}"), &o); err != nil {
		t.Fatalf("%s: %v", rest, err)
	}
	return Service(&o)
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestServicesSayWhatTheDatapathNeeds(t *testing.T) {
	name := state.ServiceName{Namespace: "x", Name: "a"}
	lb := func(s state.Service) state.Service { s.Name, s.Kind = name, state.ServiceLoadBalancer; return s }
	cluster := func(s state.Service) state.Service { s.Name, s.Kind = name, state.ServiceClusterIP; return s }
	port80 := []state.ServicePort{{Proto: 6, Port: 80}}
	for _, tt := range []struct {
		rest string
		want state.Service
	}{
		{`}`, cluster(state.Service{})},
		{`, labels: {l: m}}, spec: {selector: {app: a}, clusterIP: 10.96.0.1, ports: [{port: 80}]`,
			cluster(state.Service{Labels: map[string]string{"l": "m"}, Selector: map[string]string{"app": "a"}, ClusterIPs: addrs("10.96.0.1"), Ports: port80})},
		// Addresses: the order is the object's.
		{`}, spec: {clusterIP: "fd00:10:96::1", clusterIPs: ["fd00:10:96::1", 10.96.0.1], ipFamilies: [IPv6, IPv4], ipFamilyPolicy: PreferDualStack`,
			cluster(state.Service{ClusterIPs: addrs("fd00:10:96::1", "10.96.0.1")})},
		{`}, spec: {clusterIPs: [10.96.0.1], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack`, cluster(state.Service{ClusterIPs: addrs("10.96.0.1")})},
		{`}, spec: {externalIPs: [192.0.2.7, "2001:db8::7", 192.0.2.7], externalTrafficPolicy: Local`,
			cluster(state.Service{ExternalIPs: addrs("192.0.2.7", "2001:db8::7"), ExternalLocal: true})},
		// Without a frontend: whom policies select stays.
		{`, labels: {l: m}}, spec: {clusterIP: None, selector: {app: a}, ports: [{port: 80}], externalIPs: [192.0.2.7], publishNotReadyAddresses: true`,
			state.Service{Name: name, Labels: map[string]string{"l": "m"}, Selector: map[string]string{"app": "a"}}},
		{`}, spec: {clusterIPs: [None], ipFamilies: [IPv6, IPv4], ipFamilyPolicy: RequireDualStack`, state.Service{Name: name}},
		{`}, spec: {type: ExternalName, externalName: a.example, selector: {app: a}`, state.Service{Name: name}},
		{`, labels: {service.kubernetes.io/service-proxy-name: other}}, spec: {clusterIP: 10.96.0.1, selector: {app: a}`,
			state.Service{Name: name, Labels: map[string]string{LabelServiceProxy: "other"}, Selector: map[string]string{"app": "a"}}},
		{`, labels: {service.kubernetes.io/headless: ""}}, spec: {clusterIP: 10.96.0.1`, state.Service{Name: name, Labels: map[string]string{LabelHeadless: ""}}},
		// Ports.
		{`}, spec: {type: NodePort, ports: [{name: dns, port: 53, protocol: UDP, nodePort: 30053}, {name: dns-tcp, port: 53, nodePort: 30053, targetPort: dns}, {name: s, port: 1, protocol: SCTP, targetPort: 2}]`,
			state.Service{Name: name, Kind: state.ServiceNodePort, Ports: []state.ServicePort{
				{Name: "dns", Proto: 17, Port: 53, NodePort: 30053}, {Name: "dns-tcp", Proto: 6, Port: 53, NodePort: 30053}, {Name: "s", Proto: 132, Port: 1}}}},
		// Load balancers.
		{`}, spec: {type: LoadBalancer, allocateLoadBalancerNodePorts: false, loadBalancerClass: some.example/class, ports: [{port: 80}]}, status: {loadBalancer: {ingress: [{ip: 192.0.2.9, ports: [{port: 80, protocol: TCP}]}, {hostname: a.example}, {ip: 192.0.2.10, ipMode: Proxy}, {ip: "2001:db8::9", ipMode: VIP}]}`,
			lb(state.Service{Class: "some.example/class", Ports: port80, LoadBalancerIPs: addrs("192.0.2.9", "2001:db8::9")})},
		{`}, spec: {type: NodePort}, status: {loadBalancer: {ingress: [{ip: 192.0.2.9}]}`, state.Service{Name: name, Kind: state.ServiceNodePort}},
		{`}, spec: {type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 31000`, lb(state.Service{ExternalLocal: true, HealthPort: 31000})},
		{`}, spec: {type: LoadBalancer, loadBalancerSourceRanges: [" 10.0.0.1/8 ", "2001:db8::/32", 10.0.0.0/8]`,
			lb(state.Service{SourceRanges: prefixes("10.0.0.0/8", "2001:db8::/32")})},
		{`, annotations: {service.beta.kubernetes.io/load-balancer-source-ranges: "192.0.2.0/24, 10.1.2.3/16"}}, spec: {type: LoadBalancer`,
			lb(state.Service{SourceRanges: prefixes("10.1.0.0/16", "192.0.2.0/24")})},
		{`, annotations: {service.beta.kubernetes.io/load-balancer-source-ranges: not read}}, spec: {type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8]`,
			lb(state.Service{SourceRanges: prefixes("10.0.0.0/8")})},
		// Which backend.
		{`}, spec: {sessionAffinity: None, externalTrafficPolicy: "", internalTrafficPolicy: Cluster`, cluster(state.Service{})},
		{`}, spec: {sessionAffinity: ClientIP`, cluster(state.Service{Affinity: 3 * time.Hour})},
		{`}, spec: {sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {}}`, cluster(state.Service{Affinity: 3 * time.Hour})},
		{`}, spec: {sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86400}}`, cluster(state.Service{Affinity: 24 * time.Hour})},
		{`}, spec: {type: NodePort, internalTrafficPolicy: Local, externalTrafficPolicy: Cluster`, state.Service{Name: name, Kind: state.ServiceNodePort, InternalLocal: true}},
		{`}, spec: {publishNotReadyAddresses: true, trafficDistribution: PreferClose`, cluster(state.Service{PublishUnready: true, Distribution: state.DistributeSameZone})},
		{`}, spec: {trafficDistribution: PreferSameZone`, cluster(state.Service{Distribution: state.DistributeSameZone})},
		{`}, spec: {trafficDistribution: PreferSameNode`, cluster(state.Service{Distribution: state.DistributeSameNode})},
		{`, annotations: {service.kubernetes.io/topology-mode: Auto}`, cluster(state.Service{})},
		{`, annotations: {service.cilium.io/lb-algorithm: maglev, service.cilium.io/forwarding-mode: dsr}`, cluster(state.Service{Algorithm: state.AlgorithmMaglev, Forwarding: "dsr"})},
		{`, annotations: {service.cilium.io/lb-algorithm: random, service.cilium.io/forwarding-mode: hybrid}`, cluster(state.Service{Algorithm: state.AlgorithmRandom, Forwarding: "hybrid"})},
	} {
		got, err := service(t, tt.rest+"}")
		if diff := cmp.Diff(tt.want, got, exact); diff != "" || err != nil {
			t.Errorf("%s\n%v (-want +got):\n%s", tt.rest, err, diff)
		}
	}
}

func TestServicesWithAWrongFieldAreRefusedWhole(t *testing.T) {
	ports := func(ports string) string { return `}, spec: {type: NodePort, ports: [` + ports + `]` }
	lb := func(rest string) string { return `}, spec: {type: LoadBalancer, ` + rest }
	for _, tt := range []struct{ rest, says string }{
		{`}, spec: {type: Loadbalancer`, `Service x/a: spec.type: "Loadbalancer" is no type: use ClusterIP, NodePort, LoadBalancer, ExternalName (did you mean "LoadBalancer"?)`},
		// Addresses.
		{`}, spec: {clusterIP: 10.96.0.256`, `spec.clusterIP: "10.96.0.256" is not an IP address`},
		{`}, spec: {clusterIP: none`, `spec.clusterIP: "none" is not an IP address`},
		{`}, spec: {clusterIPs: [10.96.0.1, ""]`, `spec.clusterIPs[1]: "" is not an IP address`},
		{`}, spec: {clusterIP: 10.96.0.2, clusterIPs: [10.96.0.1]`, `spec.clusterIPs[0]: "10.96.0.1" is not what clusterIP says, "10.96.0.2": write the same`},
		{`}, spec: {clusterIPs: [10.96.0.1, 10.96.0.2]`, `spec.clusterIPs[1]: "10.96.0.2" is a second IPv4 address: a service has at most one of each family`},
		{`}, spec: {clusterIPs: ["fd00:10:96::1"], ipFamilies: [IPv4]`, `spec.clusterIPs[0]: "fd00:10:96::1" is no IPv4 address, as ipFamilies[0] says`},
		{`}, spec: {clusterIPs: [None, 10.96.0.1]`, `spec.clusterIPs: ["None" "10.96.0.1"]: None stands alone`},
		{`}, spec: {type: NodePort, clusterIP: None`, `spec.clusterIP: None in a service of type NodePort, which needs an address`},
		{`}, spec: {type: LoadBalancer, clusterIPs: [None]`, `spec.clusterIPs[0]: None in a service of type LoadBalancer`},
		{`}, spec: {clusterIP: 0.0.0.0`, `spec.clusterIP: "0.0.0.0" is the unspecified address, which means another thing on each node: use one that is routed`},
		{`}, spec: {clusterIP: 127.0.0.1`, `"127.0.0.1" is a loopback address`},
		{`}, spec: {clusterIP: "::1"`, `"::1" is a loopback address`},
		{`}, spec: {clusterIP: 224.0.0.251`, `"224.0.0.251" is a multicast address`},
		{`}, spec: {clusterIP: "ff02::1"`, `"ff02::1" is a multicast address`},
		{`}, spec: {clusterIP: 169.254.1.1`, `"169.254.1.1" is a link-local address`},
		{`}, spec: {clusterIP: "fe80::1"`, `"fe80::1" is a link-local address`},
		{`}, spec: {clusterIP: "::ffff:10.96.0.1"`, `is not an IP address`},
		{`}, spec: {externalIPs: [192.0.2.1, "::"]`, `spec.externalIPs[1]: "::" is the unspecified address`},
		{`}, spec: {externalIPs: [127.0.0.1]`, `spec.externalIPs[0]: "127.0.0.1" is a loopback address`},
		{`}, spec: {externalIPs: [a.example]`, `spec.externalIPs[0]: "a.example" is not an IP address`},
		{`}, spec: {ipFamilies: [ipv4]`, `spec.ipFamilies[0]: "ipv4" is no family: use IPv4, IPv6 (did you mean "IPv4"?)`},
		{`}, spec: {ipFamilies: [IPv4, IPv4]`, `spec.ipFamilies[1]: "IPv4" stands twice`},
		{`}, spec: {ipFamilyPolicy: DualStack`, `spec.ipFamilyPolicy: "DualStack" is no policy: use SingleStack, PreferDualStack, RequireDualStack`},
		{`}, spec: {ipFamilyPolicy: SingleStack, clusterIPs: [10.96.0.1, "fd00:10:96::1"]`, `spec.ipFamilyPolicy: "SingleStack" with addresses of two families`},
		{lb(`}, status: {loadBalancer: {ingress: [{ip: a}]}`), `status.loadBalancer.ingress[0].ip: "a" is not an IP address`},
		{lb(`}, status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {ip: 127.0.0.1}]}`), `ingress[1].ip: "127.0.0.1" is a loopback address`},
		{lb(`}, status: {loadBalancer: {ingress: [{ip: 192.0.2.1, ipMode: vip}]}`), `ingress[0].ipMode: "vip" is no mode: use VIP, Proxy (did you mean "VIP"?)`},
		// Ports.
		{ports(`{}`), `spec.ports[0].port: 0 is not a port: use 1 to 65535`},
		{ports(`{port: -80}`), `spec.ports[0].port: -80 is not a port`},
		{ports(`{name: a, port: 80}, {name: b, port: 65536}`), `spec.ports[1].port: 65536 is not a port`},
		{ports(`{port: 80, nodePort: 65536}`), `spec.ports[0].nodePort: 65536 is not a port`},
		{ports(`{port: 80, nodePort: -1}`), `spec.ports[0].nodePort: -1 is not a port`},
		{ports(`{port: 80, protocol: tcp}`), `spec.ports[0].protocol: "tcp" is no protocol: use TCP, UDP, SCTP (did you mean "TCP"?)`},
		{ports(`{port: 80, protocol: ICMP}`), `spec.ports[0].protocol: "ICMP" is no protocol`},
		{ports(`{port: 80, targetPort: 65536}`), `spec.ports[0].targetPort: 65536 is not a port`},
		{ports(`{port: 80, targetPort: "80"}`), `spec.ports[0].targetPort: "80" is not a port's name`},
		{ports(`{port: 80, name: A_b}`), `spec.ports[0].name: "A_b" is not a port's name`},
		{ports(`{port: 80}, {name: b, port: 81}`), `spec.ports[0].name: is missing: of several ports each needs one`},
		{ports(`{name: a, port: 80}, {name: b, port: 80}`), `spec.ports[1].port: 80/TCP is that of ports[0]: keep one`},
		{ports(`{name: a, port: 80}, {name: a, port: 81}`), `spec.ports[1].name: "a" is that of ports[0]: write another`},
		{ports(`{name: a, port: 80, nodePort: 30000}, {name: b, port: 81, nodePort: 30000}`), `spec.ports[1].nodePort: 30000/TCP is that of ports[0]: write another`},
		{`}, spec: {ports: [{port: 80, nodePort: 30000}]`, `spec.ports[0].nodePort: 30000 in a service of type ClusterIP: leave it out, or write type: NodePort`},
		// The rest.
		{`}, spec: {sessionAffinity: clientIP`, `spec.sessionAffinity: "clientIP" is no affinity: use None, ClientIP (did you mean "ClientIP"?)`},
		{`}, spec: {sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}`, `spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is out of range: use 1 to 86400`},
		{`}, spec: {sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}`, `timeoutSeconds: 86401 is out of range`},
		{`}, spec: {sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}`, `spec.sessionAffinityConfig.clientIP: stands beside sessionAffinity: None`},
		{`}, spec: {type: NodePort, externalTrafficPolicy: local`, `spec.externalTrafficPolicy: "local" is no policy: use Cluster, Local (did you mean "Local"?)`},
		{`}, spec: {externalTrafficPolicy: Local`, `spec.externalTrafficPolicy: "Local" in a service that nobody outside can reach`},
		{`}, spec: {internalTrafficPolicy: Lokal`, `spec.internalTrafficPolicy: "Lokal" is no policy`},
		{`}, spec: {healthCheckNodePort: 30000`, `spec.healthCheckNodePort: 30000 without type: LoadBalancer and externalTrafficPolicy: Local`},
		{lb(`healthCheckNodePort: 30000`), `spec.healthCheckNodePort: 30000 without type`},
		{lb(`externalTrafficPolicy: Local, healthCheckNodePort: 65536`), `spec.healthCheckNodePort: 65536 is not a port`},
		{lb(`loadBalancerSourceRanges: [10.0.0.0/8, 10.0.0.1]`), `spec.loadBalancerSourceRanges[1]: "10.0.0.1" is not a CIDR`},
		{lb(`loadBalancerSourceRanges: [10.0.0.0/33]`), `"10.0.0.0/33" is not a CIDR`},
		{`}, spec: {loadBalancerSourceRanges: [10.0.0.0/8]`, `spec.loadBalancerSourceRanges: ["10.0.0.0/8"] in a service of type ClusterIP: only a LoadBalancer's clients are chosen so`},
		{`, annotations: {service.beta.kubernetes.io/load-balancer-source-ranges: "10.0.0.0/8,"}}, spec: {type: LoadBalancer`, `metadata.annotations: "" is not a CIDR`},
		{`}, spec: {trafficDistribution: PreferClosest`, `spec.trafficDistribution: "PreferClosest" is no distribution: use PreferSameZone, PreferSameNode, PreferClose (did you mean "PreferClose"?)`},
		{`, annotations: {service.cilium.io/lb-algorithm: Maglev}`, `metadata.annotations: service.cilium.io/lb-algorithm: "Maglev" is no algorithm: use random, maglev (did you mean "maglev"?)`},
		{`, annotations: {service.cilium.io/forwarding-mode: ""}`, `metadata.annotations: service.cilium.io/forwarding-mode: "" is no mode of forwarding: use snat, dsr, hybrid`},
		// What has no frontends is checked, too.
		{`}, spec: {clusterIP: None, ports: [{port: 0}]`, `spec.ports[0].port: 0 is not a port`},
	} {
		got, err := service(t, tt.rest+"}")
		if !strings.Contains(fmt.Sprint(err), tt.says) || !got.Same(state.Service{}) {
			t.Errorf("%s\n got %v and %+v\nwant %s", tt.rest, err, got, tt.says)
		}
	}
}
