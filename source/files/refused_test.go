package files

import (
	"fmt"
	"strings"
	"testing"

	"weir/source/convert"
)

// Each policy is wrong in one place, and must be refused with the path of the
// field, its value and the way out.
func TestWrongPoliciesAreRefusedWithFieldValueAndWayOut(t *testing.T) {
	cnp := func(spec string) string {
		return "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec: " + spec
	}
	ingress := func(rule string) string { return cnp("{endpointSelector: {}, ingress: [" + rule + "]}") }
	deny := func(rule string) string { return cnp("{endpointSelector: {}, ingressDeny: [" + rule + "]}") }
	egress := func(rule string) string { return cnp("{endpointSelector: {}, egress: [" + rule + "]}") }
	ports := func(port string) string { return ingress("{toPorts: [{ports: [" + port + "]}]}") }
	from := func(selector string) string { return ingress("{fromEndpoints: [" + selector + "]}") }
	np := func(spec string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: " + spec
	}
	npRule := func(rule string) string { return np("{podSelector: {}, ingress: [" + rule + "]}") }
	ccnp := func(spec string) string {
		return "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspec: " + spec
	}
	for _, tt := range []struct{ yaml, says string }{
		// Ports.
		{ports(`{port: "70000", protocol: TCP}`), `spec.ingress[0].toPorts[0].ports[0].port: "70000" is not a port: use 1 to 65535 or a name`},
		{ports(`{port: "-1", protocol: TCP}`), `port: "-1" is not a port`},
		{ports(`{port: "080", protocol: TCP}`), `port: "080" is not a port`},
		{ports(`{port: "", protocol: TCP}`), `port: "" is not a port`},
		{ports(`{port: "a_b", protocol: TCP}`), `port: "a_b" is not a port`},
		{ports(`{port: 80}`), `spec.ingress[0].toPorts[0].ports[0].port: got a number, want a string (put it in quotes)`},
		{ports(`{port: "80", protocol: tcp}`), `ports[0].protocol: "tcp" is no protocol: use ANY, TCP, UDP, SCTP, AH, ESP, GRE, ICMP, ICMPV6, ICMPv6, IGMP, IPIP, IPV6, VRRP (did you mean "TCP"?)`},
		{ports(`{port: "80", protocol: VRRP}`), `ports[0].port: "80": VRRP has no ports: leave port out`},
		{ports(`{port: "8", protocol: ICMP}`), `ports[0].port: "8": ICMP has types instead of ports: leave port out, or use icmps`},
		{ports(`{port: "80", endPort: 79}`), `ports[0].endPort: 79 is not the end of a range from 80: use 80 to 65535`},
		{ports(`{port: "80", endPort: 65536}`), `endPort: 65536 is not the end`},
		{ports(`{port: "80", endPort: -1}`), `endPort: -1 is not the end`},
		{ports(`{port: http, endPort: 90}`), `endPort: 90 with the named port "http": a range begins with a number`},
		{ports(`{port: "0", endPort: 90}`), `endPort: 90 without a port to begin with`},
		{ports(`{port: "80", endPort: 99999999999}`), `ports[0].endPort: got a number 99999999999, want a whole number`},
		// ICMP.
		{ingress(`{icmps: [{fields: [{type: 8}]}], toPorts: [{}]}`), `spec.ingress[0].icmps: stands beside toPorts: write two rules`},
		{ingress(`{icmps: [{fields: [{type: 256}]}]}`), `icmps[0].fields[0].type: 256 is no type: use 0 to 255 or a name`},
		{ingress(`{icmps: [{fields: [{type: EchoRequst}]}]}`), `"EchoRequst" is no type of IPv4: use 0 to 255, or one of`},
		{ingress(`{icmps: [{fields: [{type: PacketTooBig}]}]}`), `"PacketTooBig" is no type of IPv4`},
		{ingress(`{icmps: [{fields: [{family: IPv4}]}]}`), `fields[0].type: is missing: write a number or a name`},
		{ingress(`{icmps: [{fields: [{family: ipv6, type: 1}]}]}`), `family: "ipv6" is no family: use IPv4, IPv6 (did you mean "IPv6"?)`},
		{ingress(`{icmps: [{}]}`), `spec.ingress[0].icmps[0].fields: is missing: list the types`},
		{ingress(`{icmps: [{fields: [` + strings.Repeat("{type: 1},", 41) + `]}]}`), `fields: has 41 elements, and 40 are possible`},
		{ingress(`{icmps: [{fields: [{type: 99999999999}]}]}`), `spec.ingress[0].icmps[0].fields[0].type: `},
		// CIDRs.
		{ingress(`{fromCIDR: [10.0.0.1/8]}`), `spec.ingress[0].fromCIDR[0]: "10.0.0.1/8" has host bits set: write 10.0.0.0/8`},
		{ingress(`{fromCIDR: [10.0.0.0/33]}`), `"10.0.0.0/33" is not a CIDR`},
		{ingress(`{fromCIDR: ["::ffff:10.0.0.0/104"]}`), `is not a CIDR`},
		{ingress(`{fromCIDR: ["fe80::1%eth0"]}`), `is not a CIDR`},
		{ingress(`{fromCIDR: [""]}`), `spec.ingress[0].fromCIDR[0]: "" is not a CIDR`},
		{ingress(`{fromCIDRSet: [{}]}`), `spec.ingress[0].fromCIDRSet[0]: has 0 of cidr, cidrGroupRef and cidrGroupSelector: write one`},
		{ingress(`{fromCIDRSet: [{cidr: 10.0.0.0/8, cidrGroupRef: a}]}`), `has 2 of cidr`},
		{ingress(`{fromCIDRSet: [{cidrGroupRef: A_b}]}`), `fromCIDRSet[0].cidrGroupRef: "A_b" is no name`},
		{ingress(`{fromCIDRSet: [{cidr: 10.0.0.0/8, except: [11.0.0.0/16]}]}`), `fromCIDRSet[0].except[0]: "11.0.0.0/16" does not lie within 10.0.0.0/8`},
		{ingress(`{fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.0.0.0/7]}]}`), `except[0]: "10.0.0.0/7" does not lie within 10.0.0.0/8`},
		{ingress(`{fromCIDRSet: [{cidr: 10.0.0.0/8, except: ["fd00::/16"]}]}`), `"fd00::/16" does not lie within`},
		// Entities, selectors.
		{ingress(`{fromEntities: [wrold]}`), `spec.ingress[0].fromEntities[0]: "wrold" is no entity: use all, world, world-ipv4, world-ipv6, cluster, cluster-mesh, host, remote-node, kube-apiserver, health, init, unmanaged, ingress, none (did you mean "world"?)`},
		{from(`{matchLabels: {"a b": c}}`), `fromEndpoints[0].matchLabels: "a b" is not a label's key`},
		{from(`{matchLabels: {a: "b c"}}`), `matchLabels: any:a has the value "b c"`},
		{from(`{matchLabels: {"reserved:hots": ""}}`), `"reserved:hots" is no reserved label: use reserved: with one of host,`},
		{from(`{matchLabels: {"reserved:unknown": ""}}`), `"reserved:unknown" is no reserved label`},
		{from(`{matchLabels: {"reserved:host": "yes"}}`), `reserved:host has the value "yes": a reserved label has no value`},
		{from(`{matchLabels: {"port:http": "TCP/80"}}`), `"port:http" has the source "port", which no label has that policies select by`},
		{from(`{matchLabels: {"cidr:10.0.0.0/8": ""}}`), `has the source "cidr"`},
		{from(`{matchLabels: {":a": ""}}`), `":a" has the source ""`},
		{from(`{matchLabels: {"k8s:": ""}}`), `"k8s:" is not a label's key`},
		{from(`{matchExpressions: [{key: a, operator: in, values: [b]}]}`), `matchExpressions[0].operator: "in" is no operator: use In, NotIn, Exists, DoesNotExist (did you mean "In"?)`},
		{from(`{matchExpressions: [{key: a, operator: In}]}`), `matchExpressions[0].values: is empty: list values, or use Exists or DoesNotExist`},
		{from(`{matchExpressions: [{key: a, operator: Exists, values: [b]}]}`), `values: ["b"] with the operator Exists`},
		{from(`{matchExpressions: [{key: a, operator: In, values: [b, "c d"]}]}`), `matchExpressions[0].values[1]: any:a has the value "c d"`},
		{from(`{matchExpressions: [{operator: Exists}]}`), `matchExpressions[0].key: "" is not a label's key`},
		{from(`{matchLabel: {a: b}}`), `unknown field "spec.ingress[0].fromEndpoints[0].matchLabel"`},
		{from(`[]`), `spec.ingress[0].fromEndpoints[0]: got a list, want a mapping`},
		{ingress(`{fromNodes: [{matchLabels: {"reserved:host": ""}}]}`), `fromNodes[0].matchLabels: "reserved:host": only endpoints have reserved labels`},
		// Rules.
		{ingress(`{fromRequires: []}`), `spec.ingress[0].fromRequires: is not part of the API: write the labels into fromEndpoints`},
		{egress(`{toRequires: [{}]}`), `spec.egress[0].toRequires: is not part of the API`},
		{ingress(`{authentication: {mode: always}}`), `authentication.mode: "always" is no mode: use disabled, required, test-always-fail`},
		{ingress(`{toEndpoints: [{}]}`), `unknown field "spec.ingress[0].toEndpoints"`},
		{deny(`{toPorts: [{rules: {http: [{}]}}]}`), `spec.ingressDeny[0].toPorts[0].rules.http: stands in a deny rule, which has ports only`},
		{deny(`{toPorts: [{serverNames: [a]}]}`), `toPorts[0].serverNames: stands in a deny rule`},
		{deny(`{authentication: {mode: required}}`), `authentication: stands in a deny rule`},
		{deny(`{fromGroups: [{aws: {region: a}}]}`), `spec.ingressDeny[0].fromGroups: is not enforced yet, so nothing would be denied`},
		{cnp(`{endpointSelector: {}, egressDeny: [{toFQDNs: [{matchName: a.b}]}]}`), `spec.egressDeny[0].toFQDNs: stands in a deny rule`},
		{egress(`{toServices: [{}]}`), `spec.egress[0].toServices[0]: has both or neither`},
		{egress(`{toServices: [{k8sService: {namespace: a}}]}`), `k8sService.serviceName: "" is no name of a service`},
		{egress(`{toServices: [{k8sService: {serviceName: a, namespace: A}}]}`), `k8sService.namespace: "A" is no name of a namespace`},
		{egress(`{toServices: [{k8sServiceSelector: {namespace: a}}]}`), `k8sServiceSelector.selector: is missing`},
		// Objects.
		{cnp(`{ingress: [{}]}`), `spec.endpointSelector: is missing: write one; {} selects all pods`},
		{cnp(`{endpointSelector: {}, nodeSelector: {}}`), `spec.nodeSelector: stands beside endpointSelector`},
		{cnp(`{nodeSelector: {}}`), `spec.nodeSelector: selects nodes, which are in no namespace: write a CiliumClusterwideNetworkPolicy`},
		{ccnp(`{nodeSelector: {matchLabels: {"reserved:host": ""}}}`), `spec.nodeSelector.matchLabels: "reserved:host": only endpoints have reserved labels`},
		{strings.Split(cnp(""), "spec:")[0], `spec: is missing, and so is specs`},
		{strings.Split(cnp(""), "spec:")[0] + "specs: []", `spec: is missing, and so is specs`},
		{strings.Split(cnp(""), "spec:")[0] + "specs: [{endpointSelector: {}}, {}]", `specs[1].endpointSelector: is missing`},
		{cnp(`{endpointSelector: {}, ingres: []}`), `unknown field "spec.ingres"`},
		{strings.Replace(cnp(`{endpointSelector: {}}`), "{name: p}", "{name: P_1}", 1), `metadata.name: "P_1"`},
		{strings.Replace(cnp(`{endpointSelector: {}}`), "{name: p}", "{name: p, annotations: {policy.weir.io/deny-response: icmp}}", 1), `metadata.annotations: policy.weir.io/deny-response: "icmp" is no answer to a denied packet: use drop or reject`},
		{strings.Replace(cnp(`{endpointSelector: {}}`), "cilium.io/v2", "cilium.io/v1", 1), `apiVersion: "cilium.io/v1" has no kind CiliumNetworkPolicy: write cilium.io/v2`},
		// Fields without a value.
		{ingress(`{fromEndpoints: , toPorts: [{}]}`), `spec.ingress[0].fromEndpoints: has no value: leave it out, or write an empty list or mapping`},
		{from(`null`), `spec.ingress[0].fromEndpoints[0]: has no value`},
		{from(`{matchLabels: {app: }}`), `fromEndpoints[0].matchLabels.app: has no value`},
		{ports(`null`), `toPorts[0].ports[0]: has no value`},
		{ingress(`null`), `spec.ingress[0]: has no value`},
		{cnp(`{endpointSelector: }`), `spec.endpointSelector: has no value`},
		{strings.Split(cnp(""), "spec:")[0] + "specs: [null]", `specs[0]: has no value`},
		{npRule(`{from: }`), `spec.ingress[0].from: has no value`},
		{npRule(`{from: [null]}`), `spec.ingress[0].from[0]: has no value`},
		{np(`{podSelector: }`), `spec.podSelector: has no value`},
		// Kubernetes' own kind.
		{np(`{podSelector: {}, policyTypes: [ingress]}`), `spec.policyTypes[0]: "ingress" is no type: use Ingress, Egress (did you mean "Ingress"?)`},
		{npRule(`{from: [{}]}`), `spec.ingress[0].from[0]: is empty: write podSelector, namespaceSelector or ipBlock`},
		{npRule(`{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}`), `from[0].ipBlock: stands beside a selector: write two peers`},
		{npRule(`{from: [{ipBlock: {cidr: 10.0.0.1}}]}`), `from[0].ipBlock.cidr: "10.0.0.1" has no length: write 10.0.0.1/32`},
		{npRule(`{from: [{ipBlock: {cidr: 10.0.0.1/8}}]}`), `ipBlock.cidr: "10.0.0.1/8" has host bits set: write 10.0.0.0/8`},
		{npRule(`{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [192.168.0.0/16]}}]}`), `ipBlock.except[0]: "192.168.0.0/16" does not lie within 10.0.0.0/8`},
		{npRule(`{from: [{ipBlock: {}}]}`), `ipBlock.cidr: "" is not a CIDR`},
		{npRule(`{from: [{podSelector: {matchLabels: {io.kubernetes.pod.namespace: x}}}]}`), `"io.kubernetes.pod.namespace" is a label of the system`},
		{npRule(`{from: [{podSelector: {matchLabels: {io.cilium.k8s.policy.cluster: x}}}]}`), `is a label of the system`},
		{npRule(`{from: [{podSelector: {matchLabels: {"k8s:app": x}}}]}`), `"k8s:app" is not a label's key`},
		{npRule(`{from: [{podSelector: {matchLabels: {"reserved:host": ""}}}]}`), `"reserved:host" is not a label's key`},
		{npRule(`{ports: [{port: "80"}]}`), `ports[0].port: "80" is not a port's name`},
		{npRule(`{ports: [{port: 0}]}`), `ports[0].port: 0 is not a port: use 1 to 65535 or a name`},
		{npRule(`{ports: [{port: 70000}]}`), `ports[0].port: 70000 is not a port`},
		{npRule(`{ports: [{port: 80, endPort: 79}]}`), `ports[0].endPort: 79 is not the end of a range from 80`},
		{npRule(`{ports: [{port: http, endPort: 79}]}`), `endPort: 79 with the named port "http"`},
		{npRule(`{ports: [{endPort: 79}]}`), `endPort: 79 without a port to begin with`},
		{npRule(`{ports: [{protocol: ICMP}]}`), `ports[0].protocol: "ICMP" is no protocol: use TCP, UDP, SCTP`},
	} {
		policies, problems := Policies("f.yaml", []byte(tt.yaml), convert.Scope{})
		if len(policies) != 0 || len(problems) != 1 || !strings.Contains(problems[0].Error, tt.says) {
			t.Errorf("%s\n got %d policies and %+v\nwant %s", tt.yaml, len(policies), problems, tt.says)
		}
	}
}

func TestWrongObjectsThatPoliciesReferToAreRefused(t *testing.T) {
	object := func(version, kind, rest string) string {
		return fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: a, namespace: x%s}", version, kind, rest)
	}
	for _, tt := range []struct{ yaml, says string }{
		{object("v1", "Namespace", `, labels: {"k8s:a": b}}}`), `Namespace a: metadata.labels: "k8s:a" is not a label's key`},
		{object("v1", "Namespace", `, annotations: {policy.weir.io/deny-response: no}}}`), `got a bool, want a string`},
		{object("v1", "Namespace", `, annotations: {policy.weir.io/deny-response: nope}}}`), `"nope" is no answer`},
		{object("v1", "Pod", `, labels: {app: "a;k8s:app=db"}}}`), `Pod x/a: metadata.labels: "app" has the value "a;k8s:app=db"`},
		{object("v1", "Pod", `, labels: {"reserved:host": ""}}}`), `"reserved:host" is not a label's key`},
		{object("v1", "Pod", `}, spec: {containers: [{name: a, ports: [{name: http, containerPort: 0}]}]}}`), `spec.containers[0].ports[0].containerPort: 0 is not a port`},
		{object("v1", "Pod", `}, spec: {containers: [{name: a, ports: [{name: "80", containerPort: 80}]}]}}`), `ports[0].name: "80" is not a port's name`},
		{object("v1", "Pod", `}, spec: {containers: [{name: a, ports: [{name: a, containerPort: 80, protocol: tcp}]}]}}`), `ports[0].protocol: "tcp" has no ports`},
		{object("v1", "Node", `, labels: {"a=b": c}}}`), `Node a: metadata.labels: "a=b"`},
		{object("v1", "Service", `}, spec: {selector: {"a b": c}}}`), `Service x/a: spec.selector: "a b" is not a label's key`},
		{object("discovery.k8s.io/v1", "EndpointSlice", `}, addressType: IPv4, endpoints: [{addresses: ["fd00::1"]}]}`), `endpoints[0].addresses[0]: "fd00::1" is no IPv4 address`},
		{object("discovery.k8s.io/v1", "EndpointSlice", `}, addressType: ipv4}`), `addressType: "ipv4" is no type`},
		{object("discovery.k8s.io/v1", "EndpointSlice", `}, addressType: IPv4, endpoints: [{addresses: [a]}]}`), `"a" is not an IP address`},
		{object("cilium.io/v2", "CiliumCIDRGroup", `}, spec: {externalCIDRs: [10.0.0.0/8, 10.0.0.1/8]}}`), `CiliumCIDRGroup a: spec.externalCIDRs[1]: "10.0.0.1/8" has host bits set: write 10.0.0.0/8`},
		{object("cilium.io/v2", "CiliumL2AnnouncementPolicy", `}, spec: {}}`), `"cilium.io/v2" has no kind CiliumL2AnnouncementPolicy: write cilium.io/v2alpha1`},
		{object("cilium.io/v2alpha1", "CiliumL2AnnouncementPolicy", `}, spec: {interfaces: [eth0, "eth("]}}`), `CiliumL2AnnouncementPolicy a: spec.interfaces[1]: "eth(" is not a regular expression: write one such as ^eth[0-9]+$`},
		{object("cilium.io/v2alpha1", "CiliumL2AnnouncementPolicy", `}, spec: {serviceSelector: {matchExpressions: [{key: a, operator: Is}]}}}`), `spec.serviceSelector.matchExpressions[0].operator: "Is" is no operator`},
		{object("cilium.io/v2alpha1", "CiliumL2AnnouncementPolicy", `}, spec: {nodeSelector: }}`), `spec.nodeSelector: has no value`},
		{object("cilium.io/v2alpha1", "CiliumL2AnnouncementPolicy", `}, spec: {loadbalancerIPs: true}}`), `unknown field "spec.loadbalancerIPs"`},
		{object("coordination.k8s.io/v1", "Lease", `}, spec: {holderIdentity: [n1]}}`), `spec.holderIdentity: got a list, want a string`},
		{object("cilium.io/v2", "CiliumCIDRGroup", `}, spec: {}}`), `spec.externalCIDRs: is missing`},
		{object("cilium.io/v2", "CiliumCIDRGroup", `}, spec: {externalCIDRs: }}`), `spec.externalCIDRs: has no value`},
	} {
		f := load("f.yaml", []byte(tt.yaml), convert.Scope{})
		if len(f.entries) != 1 || !strings.Contains(f.entries[0].err, tt.says) {
			t.Errorf("%s\n got %+v\nwant %s", tt.yaml, f, tt.says)
		}
	}
}
