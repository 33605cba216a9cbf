package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"weir/agent/config"
	"weir/source/files"
)

func TestSpecTakesACountNamesOrNodes(t *testing.T) {
	for text, want := range map[string]NodeSpecs{
		"nodes: 2":                       {{Name: "n1"}, {Name: "n2"}},
		"nodes: [a, b]":                  {{Name: "a"}, {Name: "b"}},
		"nodes: [{name: a, nics: 1}, b]": {{Name: "a", NICs: 1}, {Name: "b"}},
	} {
		s, err := ParseSpec("lab.yaml", []byte(text))
		if diff := cmp.Diff(want, s.Nodes); err != nil || diff != "" {
			t.Errorf("%s: %v %s", text, err, diff)
		}
	}
}

func TestBadSpecIsExplained(t *testing.T) {
	for text, want := range map[string]string{
		"name: x\nnode: 3":                           `lab.yaml: line 2: unknown key "node"; did you mean "nodes"?`,
		"nodes:\n- name: a\n  podCIDR: [10.0.0.0/8]": `line 3: unknown key "nodes[0].podCIDR"; did you mean "podCIDRs"?`,
		"zzzzzz: 1":                        `known are agent, clusterName`,
		"nodes: 0":                         "1 to 200 are possible",
		"mode: vlan":                       `mode "vlan": use "vxlan" or "native"`,
		"name: Big":                        `lab name "Big": use lower case`,
		"name: " + strings.Repeat("x", 25): "at most 24",
		"nodes: [a, a]":                    `node name "a" is taken`,
		"nodes: [world]":                   `node name "world" is taken`,
		"ipv4: false\nipv6: false":         "leave one of them",
		"mtu: 900":                         "mtu 900",
		"agent: {routngMode: native}":      `did you mean "routingMode"`,
		"pools: {ipv4: [172.18.0.0/16]}":   "collides with the underlay network 172.18.0.0/16",
		"pools: {ipv4: [10.0.0.0/24], ipv4MaskSize: 24}":                                       "exhausted",
		"nodes: [{name: a, podCIDRs: [10.9.0.0/24]}, {name: b, nics: 99}]":                     "nics 99",
		"nodes: [{name: a, podCIDRs: [10.9.1.0/24]}, b, {name: c, podCIDRs: [10.9.1.0/25]}]":   "pod CIDR 10.9.1.0/24 of node a overlaps 10.9.1.0/25 of node c",
		`nodes: [{name: a, podCIDRs: ["fd00:9::/64"]}, {name: b, podCIDRs: ["fd00:9::/120"]}]`: "pod CIDR fd00:9::/64 of node a overlaps fd00:9::/120 of node b",
		"name: [": "yaml",
	} {
		s, err := ParseSpec("lab.yaml", []byte(text))
		if err == nil {
			s = s.withDefaults()
			err = s.check()
		}
		if err == nil {
			_, err = s.layout()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestManifestsAreRelativeToTheLabFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(file, []byte("manifests: [pods.yaml, /abs.yaml]"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ReadSpec(file)
	want := []string{filepath.Join(filepath.Dir(file), "pods.yaml"), "/abs.yaml"}
	if diff := cmp.Diff(want, s.Manifests); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestAgentKeysOfTheLabWin(t *testing.T) {
	s := Spec{Name: "x", Mode: ModeNative, IPv6: new(false), Agent: map[string]any{"bpf": map[string]any{"attachMode": "tc"}, "mtu": 1400}}.withDefaults()
	nodes, err := s.layout()
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.agentConfig(nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Parse("weir.yaml", data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if c.BPF.AttachMode != "tc" || c.BPF.Root != "/run/weir/lab/x/n1/bpf" || c.MTU != 1400 || c.RoutingMode != "native" || c.IPv6.Enabled || !c.AutoDirectNodeRoutes {
		t.Errorf("configuration: %+v", c)
	}
	if c.Socket != nodes[0].Socket() {
		t.Errorf("socket: got %s, want %s", c.Socket, nodes[0].Socket())
	}
}

func TestPodNamespacesNeverClash(t *testing.T) {
	taken := map[string]bool{}
	seen := map[string]bool{}
	for _, pod := range [][2]string{{"a-b", "c"}, {"a", "b-c"}, {"default", strings.Repeat("x", 253)}, {"default", strings.Repeat("x", 252) + "y"}} {
		name := podNetns("lab", pod[0], pod[1], func(n string) bool { return taken[n] })
		if seen[name] || len(name) > 255 {
			t.Errorf("%v: name %q is taken or too long", pod, name)
		}
		taken[name], seen[name] = true, true
	}
}

func decode(t *testing.T, text string) *workload {
	t.Helper()
	objects, problems := files.Parse("x.yaml", []byte(text))
	if len(problems) > 0 || len(objects) != 1 {
		t.Fatalf("parse: %v", problems)
	}
	w, err := decodeWorkload(objects[0])
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestPodsKeepTheirNamesUntilTheTemplateChanges(t *testing.T) {
	text := `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 40,
	"selector": {}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}}}}`
	names := func(text string) map[string]bool {
		out := map[string]bool{}
		for _, p := range decode(t, text).pods([]string{"n1"}, nil) {
			out[p.Name] = true
			if checkName("pod name", p.Name, 63) != nil {
				t.Errorf("pod name %q is not one of Kubernetes", p.Name)
			}
		}
		return out
	}
	first := names(text)
	if len(first) != 40 {
		t.Errorf("names: got %d different ones, want 40", len(first))
	}
	if diff := cmp.Diff(first, names(text)); diff != "" {
		t.Error(diff)
	}
	for name := range names(strings.Replace(text, `"x"`, `"y"`, 1)) {
		if first[name] {
			t.Errorf("pod %s survives a change of its template", name)
		}
	}
}

func TestPodsSpreadOverTheNodes(t *testing.T) {
	nodes := []string{"n1", "n2", "n3"}
	var pods []Pod
	got := ""
	for _, owner := range []string{"", "", "", "Deployment x/a", "Deployment x/a", "Deployment x/b", "Deployment x/a"} {
		n := place(nodes, pods, owner)
		pods = append(pods, Pod{Node: n, Owner: owner})
		got += n + " "
	}
	if want := "n1 n2 n3 n1 n2 n3 n3 "; got != want {
		t.Errorf("nodes: got %s, want %s", got, want)
	}
}

func TestKindsThatTheLabCannotRunAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "x"}}`: "the lab runs Pod, Deployment and DaemonSet",
		`{"apiVersion": "v1", "kind": "Deployment", "metadata": {"name": "x"}}`:       "write apps/v1",
		`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {}}`:  "spec.containers",
	} {
		objects, _ := files.Parse("x.yaml", []byte(text))
		if _, err := decodeWorkload(objects[0]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestNamesThatAnAPIServerRefusesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "My_Pod"}, "spec": {"containers": [{"name": "a"}]}}`:                           `metadata.name: "My_Pod"`,
		`{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web."}}`:                                                          `metadata.name: "web."`,
		`{"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "../x"}}`:                                                           `metadata.name: "../x"`,
		`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "a.b"}}`:                                                     `metadata.namespace: "a.b"`,
		`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "a/b"}]}}`:                              `spec.containers[0].name: "a/b"`,
		`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "../../x"}}`:                                                             `metadata.name: "../../x"`,
		`{"apiVersion": "v1", "kind": "../x", "metadata": {"name": "a"}}`:                                                                        `kind: "../x"`,
		`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "` + strings.Repeat("x", 254) + `"}, "spec": {"containers": [{"name": "a"}]}}`: "no more than 253",
	} {
		objects, _ := files.Parse("x.yaml", []byte(text))
		b := &batch{record: &record{Name: "x"}, report: &Report{}}
		if err := b.apply(objects[0]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	long := decode(t, `{"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "`+strings.Repeat("x", 250)+`"}, "spec": {"template": {"spec": {"containers": [{"name": "a"}]}}}}`)
	if p := long.pods([]string{"n1"}, nil)[0]; checkName("pod name", p.Name, 63) != nil {
		t.Errorf("pod of a long name: got %q, want a label", p.Name)
	}
}

func TestScalingDownTakesPodsThatDoNotRunFirst(t *testing.T) {
	deployment := func(replicas int) *workload {
		return decode(t, fmt.Sprintf(`{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": %d,
		"template": {"spec": {"containers": [{"name": "a", "image": "x"}]}}}}`, replicas))
	}
	have := deployment(9).pods([]string{"n1"}, nil)
	for _, i := range []int{0, 1, 5} {
		have[i].Error = "the pool is full"
	}
	have[2].Containers = []Container{{Name: "a", Error: "no such program"}}
	for replicas, want := range map[int]string{2: "[3 4]", 5: "[3 4 6 7 8]", 6: "[2 3 4 6 7 8]", 7: "[0 2 3 4 6 7 8]", 10: "[0 1 2 3 4 5 6 7 8 9]"} {
		w := deployment(replicas)
		if got := fmt.Sprint(w.numbers(have, w.hash())); got != want {
			t.Errorf("%d of 9: got %s, want %s", replicas, got, want)
		}
	}
	left := deployment(2).pods([]string{"n1"}, have)
	if left[0].Name != have[3].Name || left[1].Name != have[4].Name {
		t.Errorf("names: got %s and %s, want %s and %s", left[0].Name, left[1].Name, have[3].Name, have[4].Name)
	}
	if got := fmt.Sprint(deployment(4).numbers(left, left[0].Hash)); got != "[0 1 3 4]" {
		t.Errorf("scaled up again: got %s, want the lowest free numbers beside 3 and 4", got)
	}
}

func TestMergeKeepsWhatIsNotNamed(t *testing.T) {
	var base, over, want map[string]any
	for text, into := range map[string]*map[string]any{"{a: {b: 1, c: 2}, d: 3}": &base, "{a: {c: 9}, e: 4}": &over, "{a: {b: 1, c: 9}, d: 3, e: 4}": &want} {
		if err := yaml.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, merge(base, over)); diff != "" {
		t.Error(diff)
	}
}
