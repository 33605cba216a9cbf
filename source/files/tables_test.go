package files

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weir/source/convert"
	"weir/state"
)

const policyYAML = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - toPorts: [{ports: [{port: "80", protocol: TCP}]}]
`

var webKey = state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: "web"}

func firstPort(tables *state.Tables) uint16 {
	p, ok := tables.Policies.Get(webKey)
	if !ok {
		return 0
	}
	return p.Specs[0].Ingress[0].Ports[0].First
}

func TestWhatPoliciesReferToBecomesRows(t *testing.T) {
	_, tables := start(t, map[string]string{"a.yaml": `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a, kubernetes.io/metadata.name: lies}, annotations: {policy.weir.io/deny-response: reject}}
---
apiVersion: v1
kind: Namespace
metadata: {name: bare}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {selector: {app: db}, clusterIP: None, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop}
spec: {type: ExternalName, externalName: a.example, selector: {app: db}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.9]}, {addresses: [10.0.0.8, 10.0.0.9], conditions: {ready: false}}]
ports: [{port: 5432}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: names, namespace: shop}
addressType: FQDN
endpoints: [{addresses: [a.example]}]
ports: []
---
apiVersion: cilium.io/v2alpha1
kind: CiliumCIDRGroup
metadata: {name: vpn, labels: {role: vpn}}
spec: {externalCIDRs: ["2001:db8::/32", 10.8.0.0/16, 192.0.2.1, 10.8.0.0/16]}
---
apiVersion: cilium.io/v2alpha1
kind: CiliumL2AnnouncementPolicy
metadata: {name: edge}
spec:
  serviceSelector: {matchLabels: {io.kubernetes.service.namespace: shop}}
  nodeSelector: {matchExpressions: [{key: node-role.kubernetes.io/control-plane, operator: DoesNotExist}]}
  interfaces: ["^eth[0-9]+"]
  externalIPs: true
  loadBalancerIPs: true
status: {conditions: []}
---
apiVersion: cilium.io/v2alpha1
kind: CiliumL2AnnouncementPolicy
metadata: {name: all}
spec: {loadBalancerIPs: true}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: cilium-l2announce-shop-db, namespace: kube-system}
spec: {holderIdentity: n1, leaseDurationSeconds: 15, leaseTransitions: 1, acquireTime: "2026-01-02T03:04:05.000006Z", renewTime: "2026-01-02T03:04:05.000006Z"}
---
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: nobody}
spec: {externalCIDRs: []}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: shop}
spec:
  containers:
  - {name: a, ports: [{name: http, containerPort: 80}, {containerPort: 81}, {name: dns, containerPort: 53, protocol: UDP}]}
  - {name: b, ports: [{name: dns, containerPort: 53}, {name: http, containerPort: 8080}]}
  initContainers:
  - {name: once, ports: [{name: setup, containerPort: 1}]}
  - {name: side, restartPolicy: Always, ports: [{name: metrics, containerPort: 9090}]}
`})
	check := func(want, got any, ok bool) {
		t.Helper()
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" || !ok {
			t.Errorf("found %v (-want +got):\n%s", ok, diff)
		}
	}
	ns, ok := tables.Namespaces.Get("shop")
	check(state.Namespace{Name: "shop", Labels: map[string]string{"team": "a", "kubernetes.io/metadata.name": "shop"}, Respond: state.DenyReject}, ns, ok)
	ns, ok = tables.Namespaces.Get("bare")
	check(state.Namespace{Name: "bare", Labels: map[string]string{"kubernetes.io/metadata.name": "bare"}}, ns, ok)
	db := state.ServiceName{Namespace: "shop", Name: "db"}
	svc, ok := tables.Services.Get(db)
	check(state.Service{Name: db, Labels: map[string]string{"app": "db"}, Selector: map[string]string{"app": "db"}}, svc, ok)
	outside := state.ServiceName{Namespace: "shop", Name: "outside"}
	svc, ok = tables.Services.Get(outside)
	check(state.Service{Name: outside}, svc, ok)
	l2, ok := tables.L2Policies.Get("edge")
	check(state.L2Policy{Name: "edge", Services: state.Selector{{Key: "any:io.kubernetes.service.namespace", Op: state.In, Values: []string{"shop"}}},
		Nodes:      state.Selector{{Key: "any:node-role.kubernetes.io/control-plane", Op: state.DoesNotExist}},
		Interfaces: []string{"^eth[0-9]+"}, ExternalIPs: true, LoadBalancerIPs: true}, l2, ok)
	l2, ok = tables.L2Policies.Get("all")
	check(state.L2Policy{Name: "all", LoadBalancerIPs: true}, l2, ok)
	lease, ok := tables.Leases.Get(state.L2Lease(db))
	check(state.Lease{Name: state.L2Lease(db), Holder: "n1"}, lease, ok)
	slice, ok := tables.Slices.Get(state.SliceName{Namespace: "shop", Name: "db-1"})
	eight, nine := netip.MustParseAddr("10.0.0.8"), netip.MustParseAddr("10.0.0.9")
	check(state.Slice{
		Name: state.SliceName{Namespace: "shop", Name: "db-1"}, Service: db, Addrs: []netip.Addr{eight, nine},
		Ports: []state.SlicePort{{Proto: 6, Port: 5432}}, Endpoints: []state.SliceEndpoint{{Addr: nine, Ready: true, Serving: true}, {Addr: eight}},
	}, slice, ok)
	slice, ok = tables.Slices.Get(state.SliceName{Namespace: "shop", Name: "names"})
	check(state.Slice{Name: state.SliceName{Namespace: "shop", Name: "names"}}, slice, ok)
	group, ok := tables.CIDRGroups.Get("vpn")
	check(state.CIDRGroup{Name: "vpn", Labels: map[string]string{"role": "vpn"}, CIDRs: []netip.Prefix{
		netip.MustParsePrefix("10.8.0.0/16"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/32")}}, group, ok)
	group, ok = tables.CIDRGroups.Get("nobody")
	check(state.CIDRGroup{Name: "nobody"}, group, ok)
	pod, ok := tables.Pods.Get(state.PodName{Namespace: "shop", Name: "p"})
	check([]state.NamedPort{
		{Name: "http", Proto: 6, Port: 80}, {Name: "dns", Proto: 17, Port: 53}, {Name: "dns", Proto: 6, Port: 53}, {Name: "metrics", Proto: 6, Port: 9090},
	}, pod.Ports, ok)
	if got := problems(tables); len(got) != 0 {
		t.Errorf("problems = %+v", got)
	}
}

func TestARefusedPolicyKeepsItsLastGoodVersion(t *testing.T) {
	other := strings.Replace(policyYAML, "name: web", "name: other", 1)
	dir, tables := start(t, map[string]string{"a.yaml": policyYAML + "---\n" + other})
	bad := strings.Replace(policyYAML, `"80"`, `"80000"`, 1)
	write(t, dir, "a.yaml", bad+"---\n"+strings.Replace(other, `"80"`, `"81"`, 1))
	eventually(t, "the refusal is a problem", func() bool { return tables.Problems.Len() == 1 })
	if got := firstPort(tables); got != 80 {
		t.Errorf("port %d is in force, want that of the last good version, 80", got)
	}
	if p, _ := tables.Policies.Get(state.PolicyKey{Kind: state.KindCNP, Namespace: "default", Name: "other"}); p.Specs[0].Ingress[0].Ports[0].First != 81 {
		t.Error("a policy beside the refused one did not apply")
	}
	want := state.Problem{Key: state.ProblemKey{File: "a.yaml", Object: "CiliumNetworkPolicy default/web"}, Line: 7,
		Error: `CiliumNetworkPolicy default/web: spec.ingress[0].toPorts[0].ports[0].port: "80000" is not a port: use 1 to 65535 or a name`}
	if diff := cmp.Diff([]state.Problem{want}, problems(tables)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	write(t, dir, "a.yaml", strings.Replace(policyYAML, `"80"`, `"82"`, 1))
	eventually(t, "the mended one applies", func() bool { return firstPort(tables) == 82 && tables.Problems.Len() == 0 })
	write(t, dir, "a.yaml", "# nothing\n")
	eventually(t, "a removed one goes", func() bool { return tables.Policies.Len() == 0 })
}

func TestAPolicyRefusedFromTheStartIsAProblemAndNoRow(t *testing.T) {
	_, tables := start(t, map[string]string{"a.yaml": strings.Replace(policyYAML, "app: web", `"reserved:hst": ""`, 1)})
	if tables.Policies.Len() != 0 || tables.Problems.Len() != 1 {
		t.Errorf("%d policies, problems %+v", tables.Policies.Len(), problems(tables))
	}
}

func TestTenThousandRulesInOneObject(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: web}\nspec:\n  endpointSelector: {}\n  ingress:\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "  - fromCIDR: [10.%d.%d.0/24]\n    toPorts: [{ports: [{port: \"%d\", protocol: TCP}]}]\n", i/256, i%256, i+1)
	}
	began := time.Now()
	policies, problems := Policies("a.yaml", []byte(b.String()), convert.Scope{})
	if len(policies) != 1 || len(policies[0].Specs[0].Ingress) != 10_000 || len(problems) != 0 {
		t.Fatalf("%d policies, problems %+v", len(policies), problems)
	}
	b.WriteString("  - fromCIDR: [10.0.0.1/8]\n  - toPorts: [{ports: [{port: 1}]}]\n")
	_, problems = Policies("a.yaml", []byte(b.String()), convert.Scope{})
	if len(problems) != 1 || problems[0].Line != 20_008 || !strings.Contains(problems[0].Error, "spec.ingress[10001].toPorts[0].ports[0].port: got a number") {
		t.Errorf("problems = %+v, want the last rule's", problems)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %v", took)
	} else {
		t.Logf("took %v", took)
	}
}
