package files

import (
	"fmt"
	"strings"
	"testing"

	"weir/source/convert"
)

func TestParseNamesFileLineAndObject(t *testing.T) {
	data := "# two pods\n" + pod("a") + "---\n# comment only\n---\napiVersion: v1\nkind: List\nitems:\n" +
		"- {apiVersion: v1, kind: Pod, metadata: {name: b, namespace: x}}\n- apiVersion: v1\n  kind: Node\n  metadata: {name: n1, namespace: ignored}\n"
	objects, problems := Parse("f.yaml", []byte(data))
	var got []string
	for _, o := range objects {
		got = append(got, fmt.Sprintf("%s@%d", o, o.Line))
	}
	if want := "[Pod default/a@2 Pod x/b@25 Node n1@26]"; fmt.Sprint(got) != want || len(problems) != 0 {
		t.Errorf("got %v %+v, want %s and no problems", got, problems, want)
	}
}

func TestProblemsSayWhatAndWhere(t *testing.T) {
	head := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  namespace: x\n"
	tests := []struct {
		name, yaml, object string
		line               int
		says               string
	}{
		{"misspelt field", head + "spec:\n  containers:\n  - name: c\n    imgae: nettool\n", "Pod x/p", 9, `unknown field "spec.containers[0].imgae"`},
		{"wrong type", head + "spec:\n  hostNetwork: maybe\n", "Pod x/p", 7, "spec.hostNetwork: got a string, want true or false"},
		{"bad address", head + "status:\n  podIP: 10.0.0.999\n", "Pod x/p", 7, `Pod x/p: status.podIP: "10.0.0.999"`},
		{"tab", head + "spec:\n\tnodeName: n1\n", "Pod x/p", 7, "cannot start any token"},
		{"key twice", head + "spec:\n  nodeName: a\n  nodeName: b\n", "Pod x/p", 8, `"nodeName" already set`},
		{"no kind", "---\n\napiVersion: v1\n", "document at line 3", 3, "no kind"},
		{"no kind but a name", "apiVersion: v1\nmetadata: {name: web, namespace: x}\n", "document at line 1", 1, `the object "x/web" has no kind`},
		{"no apiVersion", "kind: Pod\nmetadata: {name: web}\n", "document at line 1", 1, "Pod web has no apiVersion"},
		{"no name", "apiVersion: v1\nkind: Pod\n", "document at line 1", 1, "the Pod has no metadata.name"},
		{"item without a kind", "apiVersion: v1\nkind: List\nitems:\n- {metadata: {name: a}}\n", "document at line 1", 1, `items[0]: the object "a" has no kind`},
		{"a list", "- a\n- b\n", "document at line 1", 1, "not a Kubernetes object"},
		{"wrong version", strings.Replace(head, "v1", "v2", 1), "Pod x/p", 1, `"v2" has no kind Pod: write v1`},
		{"name that YAML takes for a bool", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: on\n", "Pod default/on", 1, "metadata.name: got a bool, want a string (put it in quotes)"},
		{"item of a list", "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n- metadata: {name: p, namespace: x}\n  spec:\n    nodNam: n1\n", "Pod x/p", 7, `unknown field "spec.nodNam"`},
		{"bad CIDR", "apiVersion: cilium.io/v2\nkind: CiliumNode\nmetadata: {name: n9}\nspec: {ipam: {podCIDRs: [10.0.1.1/24]}}\n", "CiliumNode n9", 4, "write 10.0.1.0/24"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := load("f.yaml", []byte(tt.yaml), convert.Scope{})
			object, line, text := "", 0, ""
			for _, p := range f.problems {
				object, line, text = p.Key.Object, p.Line, p.Error
			}
			for _, e := range f.entries {
				if e.err != "" {
					object, line, text = e.key.String(), e.at, e.err
				}
			}
			if object != tt.object || line != tt.line || !strings.Contains(text, tt.says) {
				t.Errorf("got %q line %d %q\nwant %q line %d %q", object, line, text, tt.object, tt.line, tt.says)
			}
		})
	}
}

func FuzzParseNeverPanics(f *testing.F) {
	f.Add([]byte(pod("a") + "---\n" + nodeYAML))
	f.Add([]byte("kind: List\napiVersion: v1\nitems: [1, {kind: Pod}]\n---\n\tx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		load("f.yaml", data, convert.Scope{})
	})
}
