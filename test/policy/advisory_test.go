package policytest

import (
	"net/netip"
	"testing"

	"weir/test/policy/generate"
	"weir/test/policy/oracle"
)

// Advisories about what rules mean, each as objects and packets. Those about
// what programs do are tested where programs are.

// small is a cluster of two nodes. On n1: a/web 10.0.1.11, a/db 10.0.1.12,
// b/web 10.0.1.13; on n2: a/far 10.0.2.14.
const small = `
apiVersion: cilium.io/v2
kind: CiliumNode
metadata: {name: n1, labels: {role: gateway}}
spec:
  addresses: [{type: InternalIP, ip: 172.18.0.2}, {type: CiliumInternalIP, ip: 10.0.1.1}]
  ipam: {podCIDRs: [10.0.1.0/24]}
---
apiVersion: cilium.io/v2
kind: CiliumNode
metadata: {name: n2, labels: {app: web, team: red}}
spec:
  addresses: [{type: InternalIP, ip: 172.18.0.3}, {type: CiliumInternalIP, ip: 10.0.2.1}]
  ipam: {podCIDRs: [10.0.2.0/24]}
---
apiVersion: v1
kind: Namespace
metadata: {name: a, labels: {team: red}}
---
apiVersion: v1
kind: Namespace
metadata: {name: b, labels: {team: blue}}
---
apiVersion: v1
kind: Pod
metadata: {name: web1, namespace: a, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, image: x}]}
status: {podIP: 10.0.1.11, podIPs: [{ip: 10.0.1.11}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db2, namespace: a, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: c, image: x}]}
status: {podIP: 10.0.1.12, podIPs: [{ip: 10.0.1.12}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: web3
  namespace: b
  labels:
    app: web
    io.kubernetes.pod.namespace: a
    io.cilium.k8s.namespace.labels.team: red
    io.cilium.k8s.policy.serviceaccount: admin
    io.cilium.k8s.policy.cluster: other
spec: {nodeName: n1, serviceAccountName: default, containers: [{name: c, image: x}]}
status: {podIP: 10.0.1.13, podIPs: [{ip: 10.0.1.13}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far4, namespace: a, labels: {app: far}}
spec: {nodeName: n2, containers: [{name: c, image: x}]}
status: {podIP: 10.0.2.14, podIPs: [{ip: 10.0.2.14}]}
`

const (
	web, db, stranger, far = "10.0.1.11", "10.0.1.12", "10.0.1.13", "10.0.2.14"
	otherNode, world       = "172.18.0.3", "192.0.2.1"
)

// flow is a TCP connection and whether it may be.
type flow struct {
	src, dst string
	port     uint16
	passes   bool
}

// advisory checks that every reader agrees, and that what they agree on is right.
func advisory(t *testing.T, policy string, flows ...flow) {
	t.Helper()
	advisoryIn(t, oracle.Settings{}, policy, flows...)
}

func advisoryIn(t *testing.T, s oracle.Settings, policy string, flows ...flow) {
	t.Helper()
	c, err := generate.Parse(small + "\n---\n" + policy)
	if err != nil {
		t.Fatal(err)
	}
	s.Cluster, s.Node, s.IPv4 = "lab", "n1", true
	if s.Mode == "" {
		s.Mode = "default"
	}
	c.Settings = s
	for _, f := range flows {
		c.Packets = append(c.Packets, oracle.Packet{Src: netip.MustParseAddr(f.src), Dst: netip.MustParseAddr(f.dst), Proto: 6, Port: f.port})
	}
	w, err := c.World()
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range flows {
		e, in := w.Judge(c.Packets[i])
		if got := e.Passes() && in.Passes(); got != f.passes {
			t.Errorf("%s -> %s:%d: passes %v (egress %s by %q, ingress %s by %q), want %v", f.src, f.dst, f.port, got, e.Verdict, e.By, in.Verdict, in.By, f.passes)
		}
	}
	if bad := newLab(t).compare(c); bad != nil {
		t.Error(bad)
	}
}

// A broad deny was ignored where a narrower CIDR was allowed together with
// everybody, or with enableDefaultDeny false.
func TestAdvisoryCVE202447825BroadDenyBeatsNarrowAllow(t *testing.T) {
	for _, more := range []string{"egress: [{toEntities: [all]}, {toCIDR: [192.0.2.1/32]}]", "egress: [{toCIDRSet: [{cidr: 192.0.2.0/31}]}]\n  enableDefaultDeny: {egress: false}"} {
		advisory(t, `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: a}
spec:
  endpointSelector: {}
  egressDeny: [{toCIDRSet: [{cidr: 192.0.0.0/8, except: [192.0.3.0/24]}]}]
  `+more+"\n",
			flow{web, world, 443, false}, flow{web, "192.0.2.9", 443, false}, flow{web, "198.51.100.1", 443, true})
	}
}

// A rule for HTTP was lost inside a range of ports that another rule allowed:
// here the part above ports allows nothing, and takes nothing away either.
func TestAdvisoryCVE202452529RuleAbovePortsInsideARange(t *testing.T) {
	advisory(t, `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: a}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: web}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{method: GET}]}}]
  - fromEntities: [remote-node]
    toPorts: [{ports: [{port: "1", endPort: 1000, protocol: TCP}]}]
`, flow{web, db, 80, false}, flow{web, db, 81, false}, flow{otherNode, db, 80, true}, flow{otherNode, db, 1001, false})
}

// A list that came out empty was left out, and what was left allowed everybody.
func TestAdvisoryCVE202564715EmptyListIsNobody(t *testing.T) {
	for _, peers := range []string{
		"toCIDRSet: []", "toCIDR: []", "toEndpoints: []", "toEntities: []", "toNodes: []", "toServices: []", "toFQDNs: []",
		"toCIDRSet: [{cidrGroupRef: none}]", "toCIDRSet: [{cidrGroupSelector: {matchLabels: {a: b}}}]",
		"toGroups: [{aws: {securityGroupsIds: [sg-1]}}]", "toServices: [{k8sService: {serviceName: none}}]", "toNodes: [{matchLabels: {a: b}}]",
	} {
		for _, ports := range []string{"", ", toPorts: [{ports: [{port: \"443\", protocol: TCP}]}]"} {
			advisory(t, `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: a}
spec:
  endpointSelector: {matchLabels: {app: web}}
  egress: [{`+peers+ports+`}]
`, flow{web, world, 443, false}, flow{web, far, 443, false}, flow{db, world, 443, true})
		}
	}
}

// fromNodes matched pods that had the labels of the nodes.
func TestAdvisoryCVE202530163NodesAreNotPodsWithTheirLabels(t *testing.T) {
	advisory(t, `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: a}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress: [{fromNodes: [{matchLabels: {app: web}}]}]
`, flow{web, db, 80, false}, flow{stranger, db, 80, false}, flow{otherNode, db, 80, true}, flow{"10.0.2.1", db, 80, true}, flow{far, db, 80, false})
}

// A namespaced policy selected endpoints beyond its namespace.
func TestAdvisoryCVE202341333PolicyStaysInItsNamespace(t *testing.T) {
	for _, selector := range []string{
		"{matchExpressions: [{key: k8s:io.kubernetes.pod.namespace, operator: DoesNotExist}]}",
		"{matchLabels: {k8s:io.kubernetes.pod.namespace: a}}",
		"{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: In, values: [a, b]}]}",
		"{matchExpressions: [{key: 'reserved:init', operator: DoesNotExist}]}",
		"{}",
	} {
		advisory(t, `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: b}
spec:
  endpointSelector: `+selector+`
  enableDefaultDeny: {ingress: false, egress: false}
  ingress: [{fromEntities: [all]}]
  ingressDeny: [{fromEntities: [world]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: a}
spec: {podSelector: {}, policyTypes: [Ingress]}
`, flow{far, db, 80, false}, flow{world, db, 80, false}, flow{far, stranger, 80, true})
	}
}

// A pod's own label passed for its namespace, its namespace's labels, its
// service account or its cluster.
func TestAdvisoryCVE202339347PodsCannotClaimANamespace(t *testing.T) {
	for _, labels := range []string{
		"k8s:io.kubernetes.pod.namespace: a", "io.kubernetes.pod.namespace: a", "any:io.kubernetes.pod.namespace: a", "k8s.io.kubernetes.pod.namespace: a",
	} {
		advisory(t, `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: a}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress: [{fromEndpoints: [{matchLabels: {"`+labels[:len(labels)-3]+`": a}}]}]
`, flow{stranger, db, 80, false}, flow{web, db, 80, true})
	}
}

func TestAdvisoryGHSApfhrpccphwmhPodsCannotClaimLabelsOfNamespaces(t *testing.T) {
	for _, selector := range []string{
		"matchLabels: {k8s:io.cilium.k8s.namespace.labels.team: red}",
		"matchLabels: {io.cilium.k8s.namespace.labels.team: red}",
		"matchExpressions: [{key: io.kubernetes.pod.namespace, operator: Exists}, {key: io.cilium.k8s.policy.serviceaccount, operator: In, values: [admin]}]",
		"matchExpressions: [{key: io.kubernetes.pod.namespace, operator: Exists}, {key: io.cilium.k8s.policy.cluster, operator: NotIn, values: [lab]}]",
	} {
		advisory(t, `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: a}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress: [{fromEndpoints: [{`+selector+`}]}]
`, flow{stranger, db, 80, false})
	}
	advisory(t, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}}]}]}
`, flow{stranger, db, 80, false}, flow{web, db, 80, true})
}

// The labels of the host were lost by a race, and its policies with them: the
// node's object comes last here.
func TestAdvisoryCVE202442488HostPolicyHoldsWhenLabelsComeLate(t *testing.T) {
	advisoryIn(t, oracle.Settings{HostFirewall: true}, `
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: p}
spec:
  nodeSelector: {matchLabels: {zone: east}}
  ingress: [{fromEntities: [cluster], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: east}}
`, flow{web, "172.18.0.2", 80, true}, flow{web, "172.18.0.2", 81, false}, flow{world, "172.18.0.2", 80, false})
}

// Traffic of one family was taken for the host's and skipped the policy: what
// isolates does so in both families, and the host's own exception is for the
// host's own addresses alone.
func TestAdvisoryCVE202327594OnlyTheOwnHostIsTheHost(t *testing.T) {
	advisory(t, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
`, flow{"172.18.0.2", db, 80, true}, flow{"10.0.1.1", db, 80, true}, flow{otherNode, db, 80, false}, flow{"10.0.2.1", db, 80, false},
		flow{db, "172.18.0.2", 80, true}, flow{db, otherNode, 80, false}, flow{world, db, 80, false}, flow{db, "10.0.1.99", 80, false})
}

// An allow for everybody, or a mode, must not carry a deny rule away.
func TestAdvisoryModesKeepDenyRules(t *testing.T) {
	policy := `
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: p}
spec:
  endpointSelector: {}
  ingress: [{fromEntities: [all]}]
  egress: [{toEntities: [all]}]
  ingressDeny: [{fromEndpoints: [{matchLabels: {app: web}}], toPorts: [{ports: [{port: "80"}]}]}]
`
	flows := []flow{{web, db, 80, false}, {web, db, 81, true}, {far, db, 80, true}}
	advisoryIn(t, oracle.Settings{Mode: "always"}, policy, flows...)
	advisoryIn(t, oracle.Settings{Mode: "default", HostFirewall: true}, policy, flows...)
	advisoryIn(t, oracle.Settings{Mode: "never"}, policy, flow{web, db, 80, true})
}

// Found by these tests: what came from outside for an address of the host other
// than the underlay's was not asked about.
func TestHostFirewallIsAskedForEveryAddressOfTheHost(t *testing.T) {
	advisoryIn(t, oracle.Settings{HostFirewall: true}, `
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: p}
spec:
  nodeSelector: {}
  ingress: [{fromEntities: [remote-node]}]
`, flow{world, "172.18.0.2", 80, false}, flow{world, "10.0.1.1", 80, false}, flow{otherNode, "10.0.1.1", 80, true})
}

// Found by review: a selector that says what it is not about, health endpoints
// or a namespace, was about everything else: the world, nodes, all namespaces.
func TestASelectorThatExcludesMeansPodsOnly(t *testing.T) {
	policy := func(selector string) string {
		return `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: a}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress: [{fromEndpoints: [{matchExpressions: [` + selector + `]}]}]
`
	}
	own := []flow{{web, db, 80, true}, {far, db, 80, true}, {stranger, db, 80, false}, {world, db, 80, false}, {otherNode, db, 80, false}, {"10.0.2.1", db, 80, false}}
	for _, selector := range []string{
		`{key: "reserved:health", operator: DoesNotExist}`, `{key: "reserved:health", operator: NotIn, values: [""]}`,
		`{key: "reserved:world", operator: DoesNotExist}, {key: "reserved:host", operator: DoesNotExist}`,
	} {
		advisory(t, policy(selector), own...)
	}
	for _, source := range []string{"", "any:", "k8s:", "k8s."} {
		others := []flow{{web, db, 80, false}, {stranger, db, 80, true}, {world, db, 80, false}, {otherNode, db, 80, false}, {"10.0.2.99", db, 80, false}}
		advisory(t, policy(`{key: "`+source+`io.kubernetes.pod.namespace", operator: NotIn, values: [a]}`), others...)
		advisory(t, policy(`{key: "`+source+`io.cilium.k8s.namespace.labels.team", operator: NotIn, values: [red]}`), others...)
		advisory(t, policy(`{key: "`+source+`io.kubernetes.pod.namespace", operator: DoesNotExist}`),
			flow{web, db, 80, false}, flow{stranger, db, 80, false}, flow{world, db, 80, false}, flow{otherNode, db, 80, false})
	}
	advisory(t, policy(`{key: "reserved:world", operator: Exists}, {key: "reserved:health", operator: DoesNotExist}`),
		flow{web, db, 80, false}, flow{world, db, 80, true}, flow{otherNode, db, 80, false})
}

func TestASelectorOfAllNamespacesThatExcludesMeansEndpoints(t *testing.T) {
	advisory(t, `
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: p}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress: [{fromEndpoints: [{matchExpressions: [{key: "reserved:health", operator: DoesNotExist}]}]}]
`, flow{web, db, 80, true}, flow{stranger, db, 80, true}, flow{world, db, 80, false}, flow{otherNode, db, 80, false}, flow{"10.0.2.99", db, 80, false})
}

// Found by review: an address of a node's pod CIDR that no pod has, or none yet,
// was outside of the cluster for rules by CIDR, and no part of the world.
func TestAnAddressForPodsIsNeverOutsideOfTheCluster(t *testing.T) {
	const nobodyFar, nobodyHere = "10.0.2.99", "10.0.1.99"
	policy := func(rules string) string {
		return `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: a}
spec:
  endpointSelector: {matchLabels: {app: web}}
` + rules + "\n"
	}
	for _, peers := range []string{"toCIDR: [10.0.0.0/8]", "toCIDRSet: [{cidr: 0.0.0.0/0, except: [198.51.100.0/24]}]", "toEntities: [world, cluster]"} {
		advisory(t, policy("  egress: [{"+peers+"}]"), flow{web, nobodyFar, 80, false}, flow{web, nobodyHere, 80, false})
		advisory(t, policy("  enableDefaultDeny: {egress: false}\n  egressDeny: [{"+peers+"}]"), flow{web, nobodyFar, 80, true}, flow{web, nobodyHere, 80, true})
	}
	advisory(t, policy("  egress: [{toEntities: [all]}]"), flow{web, nobodyFar, 80, true})
	advisoryIn(t, oracle.Settings{CIDRMatch: []string{"pods"}}, policy("  egress: [{toCIDR: [10.0.0.0/8]}]"), flow{web, nobodyFar, 80, true}, flow{web, far, 80, true})
	advisory(t, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.2.0/24}}]}]}
`, flow{web, nobodyFar, 80, true}, flow{web, far, 80, true}, flow{web, nobodyHere, 80, false})
}
