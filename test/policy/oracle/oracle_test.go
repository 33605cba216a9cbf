package oracle

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// cluster is what the examples talk about. Addresses: frontend 10.0.1.11,
// backend 10.0.1.12, db 10.0.2.13 (on n2), other 10.0.1.14 (in "prod").
const cluster = `
apiVersion: cilium.io/v2
kind: CiliumNode
metadata: {name: n1, labels: {zone: east}}
spec:
  addresses: [{type: InternalIP, ip: 172.18.0.2}, {type: CiliumInternalIP, ip: 10.0.1.1}, {type: InternalIP, ip: "fd12::2"}]
  health: {ipv4: 10.0.1.2}
  ipam: {podCIDRs: [10.0.1.0/24, "fd00:1::/64"]}
---
apiVersion: cilium.io/v2
kind: CiliumNode
metadata: {name: n2, labels: {zone: west, app: frontend}}
spec:
  addresses: [{type: InternalIP, ip: 172.18.0.3}]
  health: {ipv4: 10.0.2.2}
  ipam: {podCIDRs: [10.0.2.0/24]}
---
apiVersion: v1
kind: Namespace
metadata: {name: prod, labels: {env: prod}}
---
apiVersion: v1
kind: Pod
metadata: {name: frontend, namespace: default, labels: {app: frontend}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: web, containerPort: 80}]}]}
status: {podIPs: [{ip: 10.0.1.11}, {ip: "fd00:1::11"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: backend, namespace: default, labels: {app: backend}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: web, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]}]}
status: {podIPs: [{ip: 10.0.1.12}, {ip: "fd00:1::12"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: default, labels: {app: db}}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: web, containerPort: 81}]}]}
status: {podIPs: [{ip: 10.0.2.13}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other, namespace: prod, labels: {app: frontend, io.kubernetes.pod.namespace: default}}
spec: {nodeName: n1, containers: [{name: c}]}
status: {podIPs: [{ip: 10.0.1.14}]}
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: default, labels: {app: frontend}}
spec: {nodeName: n2, hostNetwork: true, containers: [{name: c}]}
status: {podIPs: [{ip: 172.18.0.3}]}
---
apiVersion: v1
kind: Service
metadata: {name: by-selector, namespace: default, labels: {tier: back}}
spec: {selector: {app: db}}
---
apiVersion: v1
kind: Service
metadata: {name: by-slice, namespace: default}
spec: {}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-slice-1, namespace: default, labels: {kubernetes.io/service-name: by-slice}}
endpoints: [{addresses: [192.0.2.80]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
endpoints: [{addresses: [172.18.0.3]}]
---
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: partners, labels: {team: red}}
spec: {externalCIDRs: [192.0.2.0/24]}
`

func world(t *testing.T, text string, change func(*Settings)) *World {
	t.Helper()
	s := Settings{Cluster: "lab", Node: "n1", Mode: "default", IPv4: true, IPv6: true, Orphans: []netip.Addr{netip.MustParseAddr("10.0.1.99")}}
	if change != nil {
		change(&s)
	}
	var objects []json.RawMessage
	for doc := range strings.SplitSeq(cluster+"\n---\n"+text, "\n---\n") {
		data, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if string(data) != "null" {
			objects = append(objects, data)
		}
	}
	w, err := New(s, objects)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// The policies of the tests. %s in a CNP's or NetworkPolicy's name is not
// needed: each test has one.
func netpol(spec string) string {
	return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: default}\nspec: " + spec
}

func cnp(spec string) string {
	return "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: default}\nspec: " + spec
}

func ccnp(spec string) string {
	return "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspec: " + spec
}

const (
	frontend, backend, db, other = "10.0.1.11", "10.0.1.12", "10.0.2.13", "10.0.1.14"
	host, node2, health, remote  = "172.18.0.2", "172.18.0.3", "10.0.1.2", "10.0.2.2"
	outside, orphan, nobody      = "192.0.2.1", "10.0.1.99", "10.0.2.77"
)

// expect is one line of a table: "egress of SRC, ingress of DST".
type expect struct {
	src, dst string
	proto    uint8
	port     uint16
	egress   Verdict
	ingress  Verdict
}

func check(t *testing.T, w *World, table []expect) {
	t.Helper()
	for _, e := range table {
		p := Packet{netip.MustParseAddr(e.src), netip.MustParseAddr(e.dst), e.proto, e.port}
		egress, ingress := w.Judge(p)
		if egress.Verdict != e.egress || ingress.Verdict != e.ingress {
			t.Errorf("%s -> %s %d/%d: got (%s, %s) by %q, %q; want (%s, %s)", w.Who(p.Src).Name(), w.Who(p.Dst).Name(), e.port, e.proto,
				egress.Verdict, ingress.Verdict, egress.By, ingress.By, e.egress, e.ingress)
		}
	}
}

func TestWithoutPoliciesNothingIsEnforced(t *testing.T) {
	check(t, world(t, "", nil), []expect{
		{frontend, backend, 6, 80, NotEnforced, NotEnforced},
		{frontend, db, 6, 80, NotEnforced, NotJudged},
		{outside, orphan, 6, 80, NotJudged, NotEnforced},
		{frontend, host, 6, 80, NotEnforced, NotJudged},
	})
}

func TestNetworkPolicyExamples(t *testing.T) {
	for _, tt := range []struct {
		name, spec string
		table      []expect
	}{
		{"deny all ingress", `{podSelector: {}, policyTypes: [Ingress]}`, []expect{
			{frontend, backend, 6, 80, NotEnforced, DefaultDeny},
			{outside, backend, 1, 8, NotJudged, DefaultDeny},
			{host, backend, 6, 80, NotJudged, Allowed}, // probes
			{frontend, other, 6, 80, NotEnforced, NotEnforced},
			{frontend, health, 6, 80, NotEnforced, NotEnforced},
			{frontend, orphan, 6, 80, NotEnforced, DefaultDeny},
		}},
		{"allow all ingress", `{podSelector: {}, ingress: [{}]}`, []expect{
			{outside, backend, 1, 8, NotJudged, Allowed},
			{backend, outside, 6, 80, NotEnforced, NotJudged}, // no egress rule: ingress only
		}},
		{"deny all egress", `{podSelector: {matchLabels: {app: backend}}, policyTypes: [Egress]}`, []expect{
			{backend, frontend, 6, 80, DefaultDeny, NotEnforced},
			{backend, host, 6, 80, Allowed, NotJudged}, // the node is always reached
			{backend, node2, 6, 80, DefaultDeny, NotJudged},
			{frontend, backend, 6, 80, NotEnforced, NotEnforced},
		}},
		{"rules of a type that is not listed mean nothing", `{podSelector: {}, policyTypes: [Ingress], egress: [], ingress: [{from: [{podSelector: {matchLabels: {app: frontend}}}]}]}`, []expect{
			{frontend, backend, 6, 80, NotEnforced, Allowed},
			{other, backend, 6, 80, NotEnforced, DefaultDeny}, // of another namespace
			{node2, backend, 6, 80, NotJudged, DefaultDeny},   // a host's pod has no labels here
		}},
		{"egress rule without policyTypes isolates both", `{podSelector: {matchLabels: {app: frontend}}, egress: [{to: [{podSelector: {}}]}]}`, []expect{
			{frontend, db, 6, 80, Allowed, NotJudged},
			{frontend, outside, 6, 80, DefaultDeny, NotJudged},
			{backend, frontend, 6, 80, NotEnforced, DefaultDeny},
		}},
		{"block with exception, whoever has the address", `{podSelector: {matchLabels: {app: backend}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.2.0/24]}}], ports: [{port: 80, endPort: 90}, {protocol: SCTP}]}]}`, []expect{
			{frontend, backend, 6, 80, NotEnforced, Allowed},
			{frontend, backend, 6, 90, NotEnforced, Allowed},
			{frontend, backend, 6, 91, NotEnforced, DefaultDeny},
			{frontend, backend, 17, 80, NotEnforced, DefaultDeny},
			{frontend, backend, 132, 9, NotEnforced, Allowed},
			{frontend, backend, 1, 8, NotEnforced, DefaultDeny},
			{db, backend, 6, 80, NotJudged, DefaultDeny},
		}},
		{"namespaces by labels, and both selectors are AND", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {env: prod}}, podSelector: {matchLabels: {app: frontend}}}, {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: nowhere}}}]}]}`, []expect{
			{other, backend, 6, 80, NotEnforced, Allowed},
			{frontend, backend, 6, 80, NotEnforced, DefaultDeny},
		}},
		{"empty namespaceSelector: pods, and nobody else", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}`, []expect{
			{other, backend, 6, 80, NotEnforced, Allowed},
			{outside, backend, 6, 80, NotJudged, DefaultDeny},
			{remote, backend, 6, 80, NotJudged, DefaultDeny},
			{orphan, backend, 6, 80, DefaultDeny, DefaultDeny},
		}},
		{"named ports of the selected pod", `{podSelector: {}, ingress: [{ports: [{port: web}]}]}`, []expect{
			{other, frontend, 6, 80, NotEnforced, Allowed},
			{other, frontend, 6, 8080, NotEnforced, DefaultDeny},
			{other, backend, 6, 8080, NotEnforced, Allowed},
		}},
		{"named ports of the peer", `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: web}]}, {to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: dns, protocol: UDP}]}]}`, []expect{
			{frontend, backend, 6, 8080, Allowed, NotEnforced},
			{frontend, db, 6, 81, Allowed, NotJudged},
			{frontend, outside, 6, 80, DefaultDeny, NotJudged},
			{frontend, backend, 17, 53, DefaultDeny, NotEnforced}, // by address: no names
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { check(t, world(t, netpol(tt.spec), nil), tt.table) })
	}
}

func TestCiliumPolicyExamples(t *testing.T) {
	for _, tt := range []struct {
		name, policy string
		table        []expect
	}{
		{"empty selector is the policy's namespace", cnp(`{endpointSelector: {}, ingress: [{fromEndpoints: [{}]}]}`), []expect{
			{frontend, backend, 6, 80, NotEnforced, Allowed},
			{other, backend, 6, 80, NotEnforced, DefaultDeny},
			{outside, backend, 6, 80, NotJudged, DefaultDeny},
		}},
		{"another namespace must be named", cnp(`{endpointSelector: {matchLabels: {app: backend}}, ingress: [{fromEndpoints: [{matchLabels: {k8s:io.kubernetes.pod.namespace: prod}}]}]}`), []expect{
			{other, backend, 6, 80, NotEnforced, Allowed},
			{frontend, backend, 6, 80, NotEnforced, DefaultDeny},
		}},
		{"by the labels of namespaces", cnp(`{endpointSelector: {}, ingress: [{fromEndpoints: [{matchLabels: {io.cilium.k8s.namespace.labels.env: prod}}]}]}`), []expect{
			{other, backend, 6, 80, NotEnforced, Allowed},
			{frontend, backend, 6, 80, NotEnforced, DefaultDeny},
		}},
		{"an empty list is nobody", cnp(`{endpointSelector: {}, ingress: [{fromEndpoints: []}]}`), []expect{{frontend, backend, 6, 80, NotEnforced, DefaultDeny}}},
		{"an empty rule is nobody", cnp(`{endpointSelector: {}, ingress: [{}]}`), []expect{{frontend, backend, 6, 80, NotEnforced, DefaultDeny}}},
		{"empty toPorts is no port", cnp(`{endpointSelector: {}, ingress: [{fromEndpoints: [{}], toPorts: []}]}`), []expect{{frontend, backend, 6, 80, NotEnforced, DefaultDeny}}},
		{"no rules: nothing", cnp(`{endpointSelector: {}, ingress: []}`), []expect{{frontend, backend, 6, 80, NotEnforced, NotEnforced}}},
		{"default deny by request", cnp(`{endpointSelector: {}, enableDefaultDeny: {ingress: true}}`), []expect{{frontend, backend, 6, 80, NotEnforced, DefaultDeny}}},
		{"no default deny by request", cnp(`{endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: "80"}]}]}], ingressDeny: [{fromEndpoints: [{matchLabels: {app: frontend}}]}], enableDefaultDeny: {ingress: false}}`), []expect{
			{frontend, backend, 6, 80, NotEnforced, RuleDeny},
			{other, backend, 6, 80, NotEnforced, Allowed},
			{other, backend, 6, 81, NotEnforced, NotEnforced},
		}},
		{"deny beats the built-in", cnp(`{endpointSelector: {}, ingressDeny: [{fromEntities: [host]}]}`), []expect{{host, backend, 6, 80, NotJudged, RuleDeny}}},
		{"a clusterwide empty selector: endpoints", ccnp(`{endpointSelector: {}, ingress: [{fromEndpoints: [{}]}]}`), []expect{
			{other, backend, 6, 80, NotEnforced, Allowed},
			{remote, health, 6, 80, NotJudged, Allowed},
			{node2, health, 6, 80, NotJudged, DefaultDeny},
			{outside, orphan, 6, 80, NotJudged, DefaultDeny},
			{orphan, backend, 6, 80, DefaultDeny, Allowed},
		}},
		{"reserved labels", ccnp(`{endpointSelector: {matchLabels: {"reserved:init": ""}}, ingress: [{fromEndpoints: [{matchLabels: {"reserved:world": ""}}]}]}`), []expect{
			{outside, orphan, 6, 80, NotJudged, Allowed},
			{frontend, orphan, 6, 80, NotEnforced, DefaultDeny},
			{frontend, backend, 6, 80, NotEnforced, NotEnforced},
		}},
		{"CIDRs are for outside", cnp(`{endpointSelector: {}, egress: [{toCIDR: [0.0.0.0/0]}]}`), []expect{
			{frontend, outside, 6, 80, Allowed, NotJudged},
			{frontend, nobody, 6, 80, DefaultDeny, NotJudged},
			{frontend, db, 6, 80, DefaultDeny, NotJudged},
			{frontend, node2, 6, 80, DefaultDeny, NotJudged},
			{frontend, host, 6, 80, DefaultDeny, NotJudged}, // only a NetworkPolicy has this exception
		}},
		{"groups of CIDRs", cnp(`{endpointSelector: {}, egress: [{toCIDRSet: [{cidrGroupRef: partners, except: [192.0.2.64/26]}, {cidrGroupRef: nobody}]}]}`), []expect{
			{frontend, outside, 6, 80, Allowed, NotJudged},
			{frontend, "192.0.2.65", 6, 80, DefaultDeny, NotJudged},
		}},
		{"nodes, not pods with such labels", cnp(`{endpointSelector: {}, ingress: [{fromNodes: [{matchLabels: {app: frontend}}]}]}`), []expect{
			{node2, backend, 6, 80, NotJudged, Allowed},
			{frontend, backend, 6, 80, NotEnforced, DefaultDeny},
		}},
		{"services", cnp(`{endpointSelector: {}, egress: [{toServices: [{k8sService: {serviceName: by-slice}}, {k8sServiceSelector: {selector: {matchLabels: {tier: back}}}}]}]}`), []expect{
			{frontend, "192.0.2.80", 6, 80, Allowed, NotJudged},
			{frontend, db, 6, 80, Allowed, NotJudged},
			{frontend, backend, 6, 80, DefaultDeny, NotEnforced},
		}},
		{"entities", cnp(`{endpointSelector: {}, egress: [{toEntities: [kube-apiserver, world-ipv6]}]}`), []expect{
			{frontend, node2, 6, 80, Allowed, NotJudged},
			{frontend, outside, 6, 80, DefaultDeny, NotJudged},
			{"fd00:1::11", "2001:db8::1", 6, 80, Allowed, NotJudged},
		}},
		{"cluster is not the world nor an address without a pod", cnp(`{endpointSelector: {}, egress: [{toEntities: [cluster]}]}`), []expect{
			{frontend, db, 6, 80, Allowed, NotJudged},
			{frontend, host, 6, 80, Allowed, NotJudged},
			{frontend, outside, 6, 80, DefaultDeny, NotJudged},
			{frontend, nobody, 6, 80, DefaultDeny, NotJudged},
		}},
		{"what is above ports allows nothing", cnp(`{endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: "80"}], rules: {http: [{}]}}, {ports: [{port: "81"}]}, {ports: [{port: "82"}], rules: {}}]}]}`), []expect{
			{frontend, backend, 6, 80, NotEnforced, DefaultDeny},
			{frontend, backend, 6, 82, NotEnforced, Allowed},
			{frontend, backend, 6, 81, NotEnforced, Allowed},
		}},
		{"FQDNs isolate and allow nothing", cnp(`{endpointSelector: {}, egress: [{toFQDNs: [{matchName: example.com}]}]}`), []expect{{frontend, outside, 6, 80, DefaultDeny, NotJudged}}},
		{"ICMP by family and name", cnp(`{endpointSelector: {}, ingress: [{icmps: [{fields: [{type: 8}, {family: IPv6, type: EchoRequest}]}]}]}`), []expect{
			{frontend, backend, 1, 8, NotEnforced, Allowed},
			{frontend, backend, 1, 3, NotEnforced, DefaultDeny},
			{"fd00:1::11", "fd00:1::12", 58, 128, NotEnforced, Allowed},
		}},
		{"ANY is TCP, UDP and SCTP", cnp(`{endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: "0"}]}]}]}`), []expect{
			{frontend, backend, 132, 7, NotEnforced, Allowed},
			{frontend, backend, 1, 8, NotEnforced, DefaultDeny},
		}},
		{"an entry without ports is everything", cnp(`{endpointSelector: {}, ingress: [{toPorts: [{}]}]}`), []expect{{frontend, backend, 1, 8, NotEnforced, Allowed}}},
	} {
		t.Run(tt.name, func(t *testing.T) { check(t, world(t, tt.policy, nil), tt.table) })
	}
}

func TestModes(t *testing.T) {
	deny := cnp(`{endpointSelector: {}, ingressDeny: [{fromEntities: [all]}]}`)
	check(t, world(t, deny, func(s *Settings) { s.Mode = "never" }), []expect{{frontend, backend, 6, 80, NotEnforced, NotEnforced}})
	check(t, world(t, "", func(s *Settings) { s.Mode = "always" }), []expect{
		{frontend, backend, 6, 80, DefaultDeny, DefaultDeny},
		{host, backend, 6, 80, NotJudged, Allowed},
		{backend, host, 6, 80, DefaultDeny, NotJudged},
		{outside, orphan, 6, 80, NotJudged, DefaultDeny},
	})
}

func TestCIDRMatchModeMeansWhoeverHasTheAddress(t *testing.T) {
	check(t, world(t, cnp(`{endpointSelector: {}, egress: [{toCIDR: [0.0.0.0/0]}]}`), func(s *Settings) { s.CIDRMatch = []string{"nodes"} }), []expect{
		{frontend, db, 6, 80, Allowed, NotJudged},
		{frontend, node2, 6, 80, Allowed, NotJudged},
	})
}

func TestHostFirewall(t *testing.T) {
	policy := ccnp(`{nodeSelector: {matchLabels: {zone: east}}, ingress: [{fromEntities: [cluster], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]}`)
	table := []expect{
		{frontend, host, 6, 80, NotEnforced, Allowed},
		{frontend, host, 6, 81, NotEnforced, DefaultDeny},
		{outside, host, 6, 80, NotJudged, DefaultDeny},
		{outside, host, 6, 22, NotJudged, Allowed},
		{node2, host, 17, 8472, NotJudged, Allowed},
		{outside, host, 17, 8472, NotJudged, DefaultDeny},
		{host, frontend, 6, 80, NotEnforced, Allowed},
	}
	on := func(s *Settings) {
		s.HostFirewall, s.TunnelPort, s.FailSafe = true, 8472, []FailSafe{{true, 6, 22}}
	}
	check(t, world(t, policy, on), table)
	check(t, world(t, policy, nil), []expect{{outside, host, 6, 81, NotJudged, NotJudged}})
}

func TestRespondGoesFromPolicyToNamespaceToCluster(t *testing.T) {
	w := world(t, strings.Replace(netpol(`{podSelector: {}}`), "name: p,", "name: p, annotations: {policy.weir.io/deny-response: reject},", 1), nil)
	_, in := w.Judge(Packet{netip.MustParseAddr(frontend), netip.MustParseAddr(backend), 6, 80})
	if len(in.Respond) != 1 || in.Respond[0] != "reject" || len(in.By) != 1 || in.By[0] != "NetworkPolicy default/p" {
		t.Errorf("got %+v, want reject by NetworkPolicy default/p", in)
	}
	w = world(t, netpol(`{podSelector: {}}`), func(s *Settings) { s.Respond = "reject" })
	if _, in = w.Judge(Packet{netip.MustParseAddr(frontend), netip.MustParseAddr(backend), 6, 80}); in.Respond[0] != "reject" {
		t.Errorf("got %+v, want the cluster's reject", in)
	}
}
