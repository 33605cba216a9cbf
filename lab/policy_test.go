package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"weir/source/convert"
	"weir/source/files"
	"weir/state"
)

const policies = `apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {}}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec: {endpointSelector: {}, ingress: [{fromEndpoints: []}]}
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: all}
spec: {endpointSelector: {}, egress: [{toEntities: [cluster]}]}
---
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: vpn}
spec: {externalCIDRs: []}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.1]}]
ports: []
`

// agentsRead returns what agents make of the objects of a lab.
func agentsRead(t *testing.T, lab string) (policies []state.Policy) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(labDir(lab), "objects", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		objects, problems := files.Parse(name, data)
		for _, o := range objects {
			if err := files.Check(o); err != nil || len(problems) > 0 {
				t.Errorf("%s: %v %+v", name, err, problems)
			}
		}
		found, _ := files.Policies(name, data, convert.Scope{})
		policies = append(policies, found...)
	}
	return policies
}

func TestPoliciesAreHandedToTheAgents(t *testing.T) {
	l := fake(t, Spec{Name: "t-policy", Nodes: Nodes(1)})
	apply := func(text string) Report { return l.ApplyYAML(t.Context(), "m.yaml", []byte(text)) }
	names := []string{"Namespace shop", "NetworkPolicy default/web", "CiliumNetworkPolicy shop/web", "CiliumClusterwideNetworkPolicy all", "CiliumCIDRGroup vpn", "Node n1", "EndpointSlice default/db"}
	for _, verb := range []string{"created", "unchanged"} {
		var want []string
		for _, n := range names {
			want = append(want, n+" "+verb)
		}
		rep := apply(policies)
		if diff := cmp.Diff(want, rep.Lines); diff != "" || rep.Err() != nil {
			t.Errorf("apply: %v (-want +got):\n%s", rep.Err(), diff)
		}
	}
	found := agentsRead(t, "t-policy")
	if len(found) != 3 {
		t.Errorf("agents read %d policies, want 3", len(found))
	}
	for _, p := range found { // an empty list must not become an absent one on its way
		if p.Key.Kind == state.KindCNP && (p.Specs[0].Ingress[0].AnyPeer || len(p.Specs[0].Ingress[0].Peers) > 0) {
			t.Errorf("the empty fromEndpoints became %+v", p.Specs[0].Ingress[0])
		}
	}
	rep := apply(strings.Replace(policies, "toEntities: [cluster]", "toEntities: [clusetr]", 1))
	if rep.Err() == nil || !strings.Contains(rep.Err().Error(), `m.yaml:18: CiliumClusterwideNetworkPolicy all: spec.egress[0].toEntities[0]: "clusetr" is no entity`) {
		t.Errorf("apply of a wrong policy: %v", rep.Err())
	}
	if len(agentsRead(t, "t-policy")) != 3 {
		t.Error("the last good version of a wrong policy went")
	}
	file := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	if rep := l.Delete(t.Context(), file); rep.Err() != nil || len(rep.Lines) != len(names) || rep.Lines[1] != names[1]+" deleted" {
		t.Errorf("delete: %v %q", rep.Err(), rep.Lines)
	}
	if got := agentsRead(t, "t-policy"); len(got) != 0 {
		t.Errorf("policies left: %+v", got)
	}
}

func TestPodsKeepTheirNamedPorts(t *testing.T) {
	l := fake(t, Spec{Name: "t-ports", Nodes: Nodes(1)})
	rep := l.ApplyYAML(t.Context(), "m.yaml", []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - {name: a, command: [sleep, \"300\"], ports: [{name: http, containerPort: 8080}]}\n"))
	if rep.Err() != nil {
		t.Fatal(rep.Err())
	}
	data, err := os.ReadFile(filepath.Join(labDir("t-ports"), "objects", objectFile("Pod", "default", "p")))
	if err != nil {
		t.Fatal(err)
	}
	var o corev1.Pod
	if err := yaml.UnmarshalStrict(data, &o); err != nil {
		t.Fatal(err)
	}
	p, err := convert.Pod(&o)
	if want := []state.NamedPort{{Name: "http", Proto: state.ProtoTCP, Port: 8080}}; err != nil || fmt.Sprint(p.Ports) != fmt.Sprint(want) {
		t.Errorf("ports = %v, %v; want %v", p.Ports, err, want)
	}
}

func TestPodsThatAgentsWouldRefuseAreNotMade(t *testing.T) {
	for text, want := range map[string]string{
		`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"reserved:host": ""}}, "spec": {"containers": [{"name": "a"}]}}`:                                         `metadata.labels: "reserved:host" is not a label's key`,
		`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "ports": [{"name": "A", "containerPort": 1}]}]}}`:                            `spec.containers[0].ports[0].name: "A"`,
		`{"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "a"}, "spec": {"template": {"metadata": {"labels": {"a": "b;c"}}, "spec": {"containers": [{"name": "a"}]}}}}`: `spec.template.metadata.labels: "a" has the value "b;c"`,
	} {
		objects, _ := files.Parse("x.yaml", []byte(text))
		b := &batch{record: &record{Name: "x"}, report: &Report{}}
		if err := b.apply(objects[0]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
