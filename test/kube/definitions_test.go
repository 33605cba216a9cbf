package kube

import (
	"os"
	"strings"
	"testing"
	"time"

	"weir/test/kubetest"
)

// A real API server takes the definitions, and judges by them as the tests of tools/crd do.
func TestTheAPIServerJudgesByTheDefinitions(t *testing.T) {
	need(t)
	apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
	const good = "../../tools/crd/testdata/good/cnp.yaml"
	if _, err := os.Stat(good); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", good) // some are there
	for spec, want := range map[string]string{
		`{"endpointSelector":{},"ingress":[{"toPorts":[{"ports":[{"port":"99999"}]}]}]}`:               "port in body should match",
		`{"endpointSelector":{},"ingress":[{"toPorts":[{"ports":[{"port":"9000","endPort":8000}]}]}]}`: "endPort is the end of a range",
		`{"endpointSelector":{},"ingress":[{"fromCIDR":["10.0.0.0/99"]}]}`:                             "must be of type cidr",
		`{"endpointSelector":{"matchLabels":{"a b c":"x"}}}`:                                           "the key of a label has no spaces",
	} {
		file := write(t, `{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"name":"bad","namespace":"shop"},"spec":`+spec+`}`)
		if r := k.Kubectl(t.Context(), "create", "--dry-run=server", "-f", file); r.OK() || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: %d %s%s, want %q", spec, r.Code, r.Stdout, r.Stderr, want)
		}
	}
}

// The condition follows groups, and knows what agents have switched off.
func TestValidSaysWhatIsInForce(t *testing.T) {
	need(t)
	apply(t, `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: to-vpn}
spec: {endpointSelector: {matchLabels: {app: nobody}}, egress: [{toCIDRSet: [{cidrGroupRef: vpn}]}]}
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: nodes}
spec: {nodeSelector: {matchLabels: {role: none}}, ingress: [{fromEntities: [cluster]}]}
`)
	says := func(kind, name, want string) {
		t.Helper()
		kubetest.Eventually(t, 30*time.Second, kind+" "+name, func() string {
			got := kubectl(t, "get", kind, name, "-o", `jsonpath={.status.conditions[0].status} {.status.conditions[0].reason} {.status.conditions[0].message}`)
			if !strings.Contains(got, want) {
				return got + ", want " + want
			}
			return ""
		})
	}
	says("ccnp", "nodes", "True NotEnforced not enforced: hostFirewall.enabled is false")
	says("cnp", "to-vpn", "there is no CiliumCIDRGroup vpn")
	apply(t, `
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: vpn}
spec: {externalCIDRs: [192.0.2.0/24]}
`)
	says("cnp", "to-vpn", "True Accepted the whole policy is in force")
	kubectl(t, "delete", "ciliumcidrgroup", "vpn")
	says("cnp", "to-vpn", "there is no CiliumCIDRGroup vpn")
}
