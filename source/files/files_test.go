package files

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weir/source/convert"
	"weir/state"
)

const podYAML = `apiVersion: v1
kind: Pod
metadata:
  name: NAME
  labels: {app: web}
spec:
  nodeName: n1
  containers:
  - name: main
    image: nettool
    ports:
    - containerPort: 80
    resources: {limits: {cpu: 500m, memory: 64Mi}}
status:
  podIPs:
  - ip: 10.0.1.7
  - ip: fd00::107
`

const nodeYAML = `apiVersion: cilium.io/v2
kind: CiliumNode
metadata: {name: n1}
spec:
  addresses:
  - {type: InternalIP, ip: 192.168.1.1}
  - {type: CiliumInternalIP, ip: 10.0.1.1}
  - {type: CiliumInternalIP, ip: "fd00::101"}
  ipam: {podCIDRs: [10.0.1.0/24, "fd00::100/120"]}
  health: {ipv4: 10.0.1.2, ipv6: "fd00::102"}
---
apiVersion: cilium.io/v2
kind: CiliumIdentity
metadata: {name: "256"}
security-labels: {k8s:app: web}
---
apiVersion: v1
kind: Service
metadata: {name: web}
`

var scope = convert.Scope{Cluster: "lab", LocalNode: "n1"}

func pod(name string) string { return strings.ReplaceAll(podYAML, "NAME", name) }

func name(n string) state.PodName { return state.PodName{Namespace: "default", Name: n} }

func write(t *testing.T, dir, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start runs a source over a directory of these files until the test ends.
func start(t *testing.T, files map[string]string) (string, *state.Tables) {
	t.Helper()
	dir := t.TempDir()
	for file, text := range files {
		write(t, dir, file, text)
		rest(t, dir, file)
	}
	tables, _ := run(t, dir, "")
	return dir, tables
}

// rest makes a file one that was written long ago.
func rest(t *testing.T, dir, file string) {
	t.Helper()
	if err := os.Chtimes(filepath.Join(dir, file), time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
}

// run runs a source until the test ends, or stop is called. It keeps last good
// versions in a folder, if there is one.
func run(t *testing.T, dir, keep string) (tables *state.Tables, stop func()) {
	t.Helper()
	tables = state.New()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := New(slog.New(slog.DiscardHandler), dir, scope, tables)
	s.Keep(keep)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	eventually(t, "tables are synced", func() bool {
		return tables.Nodes.Synced() && tables.Pods.Synced() && tables.ClusterIdentities.Synced() && tables.Problems.Synced() &&
			tables.Namespaces.Synced() && tables.Policies.Synced() && tables.CIDRGroups.Synced() && tables.Services.Synced() && tables.Slices.Synced()
	})
	return tables, stop
}

func eventually(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > 5*time.Second {
			t.Fatalf("never: %s", what)
		}
		<-time.After(time.Millisecond)
	}
	return time.Since(began)
}

func problems(tables *state.Tables) []state.Problem {
	return tables.Problems.Rows(func(a, b state.Problem) int {
		return strings.Compare(a.Key.File+a.Key.Object, b.Key.File+b.Key.Object)
	})
}

func has(tables *state.Tables, pod string) func() bool {
	return func() bool { _, ok := tables.Pods.Get(name(pod)); return ok }
}

func TestObjectsOfADirectoryBecomeRows(t *testing.T) {
	_, tables := start(t, map[string]string{
		"pods.yml": pod("web"), "nodes.yaml": nodeYAML,
		"more.json": `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"j","namespace":"kube-system"},"spec":{"hostNetwork":true}}`,
		".pods.yml": pod("hidden"), "notes.txt": "not YAML: [",
	})
	addrs := []netip.Addr{netip.MustParseAddr("10.0.1.7"), netip.MustParseAddr("fd00::107")}
	got, _ := tables.Pods.Get(name("web"))
	want := state.Pod{Name: name("web"), Labels: map[string]string{"app": "web"}, ServiceAccount: "default", Node: "n1", IPs: addrs}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
	if n, _ := tables.Nodes.Get("n1"); !n.Local || n.Cluster != "lab" || len(n.PodCIDRs) != 2 || len(n.Routers) != 2 || len(n.Health) != 2 {
		t.Errorf("node = %+v", n)
	}
	if id, ok := tables.ClusterIdentities.Get(256); !ok || id.Labels.Key() != "k8s:app=web" {
		t.Errorf("identity 256 = %+v", id)
	}
	if got := tables.Pods.Len(); got != 2 {
		t.Errorf("got %d pods, want 2", got)
	}
	if got := problems(tables); len(got) != 0 {
		t.Errorf("problems = %+v, want none", got)
	}
}

func TestAnEmptyDirectoryIsSynced(t *testing.T) {
	if _, tables := start(t, nil); tables.Pods.Len() != 0 {
		t.Error("rows out of nothing")
	}
}

func TestAMissingDirectoryIsAnError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	err := New(slog.New(slog.DiscardHandler), dir, scope, state.New()).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "source.files") {
		t.Errorf("err = %v, want one that names %s and source.files", err, dir)
	}
}

func TestRowsFollowTheFiles(t *testing.T) {
	dir, tables := start(t, nil)
	write(t, dir, "a.yaml", pod("one"))
	took := eventually(t, "a new file applies", has(tables, "one"))
	write(t, dir, "tmp", pod("two"))
	if err := os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	took = max(took, eventually(t, "a renamed file applies", has(tables, "two")))
	write(t, dir, "a.yaml", pod("three"))
	took = max(took, eventually(t, "a changed file applies", has(tables, "three")))
	took = max(took, eventually(t, "its old object goes", func() bool { return !has(tables, "one")() }))
	os.Remove(filepath.Join(dir, "b.yaml"))
	took = max(took, eventually(t, "a removed file's objects go", func() bool { return !has(tables, "two")() }))
	t.Logf("slowest reaction: %v", took)
	if took > time.Second {
		t.Errorf("slowest reaction %v: the rescan found it, not the event", took)
	}
}

func TestAHalfWrittenFileIsNotRead(t *testing.T) {
	dir, tables := start(t, map[string]string{"a.yaml": pod("one") + "---\n" + pod("two")})
	f, err := os.Create(filepath.Join(dir, "a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(pod("one"))
	write(t, dir, "b.yaml", pod("three"))
	eventually(t, "another file applies meanwhile", has(tables, "three"))
	if !has(tables, "two")() {
		t.Error("an object went while its file was being written")
	}
	f.Close()
	eventually(t, "the closed file applies", func() bool { return !has(tables, "two")() })
}

func TestAMalformedDocumentCostsOnlyItself(t *testing.T) {
	dir, tables := start(t, map[string]string{"a.yaml": pod("one") + "---\n" + pod("two") + "---\n" + pod("three")})
	bad := strings.Replace(pod("two"), "nodeName: n1", "nodeName: n1: n2", 1)
	four := strings.Replace(pod("three"), "nodeName: n1", "nodeName: n4", 1)
	write(t, dir, "a.yaml", pod("one")+"---\n"+bad+"---\n"+four)
	eventually(t, "the other documents apply", func() bool {
		p, _ := tables.Pods.Get(name("three"))
		return p.Node == "n4"
	})
	if p, ok := tables.Pods.Get(name("two")); !ok || p.Node != "n1" {
		t.Errorf("pod two = %+v, want its last good version", p)
	}
	got := problems(tables)
	if len(got) != 1 || got[0].Key != (state.ProblemKey{File: "a.yaml", Object: "Pod default/two"}) || got[0].Line != 25 {
		t.Errorf("problems = %+v, want one for Pod default/two at a.yaml:25", got)
	}
	write(t, dir, "a.yaml", pod("one")+"---\n"+pod("two"))
	eventually(t, "the problem goes with its cause", func() bool { return tables.Problems.Len() == 0 })
}

func TestObjectsOfAnUnreadableDocumentStay(t *testing.T) {
	dir, tables := start(t, map[string]string{"a.yaml": pod("one") + "---\n" + pod("two")})
	write(t, dir, "a.yaml", pod("one")+"---\n{{ garbage\n")
	eventually(t, "the problem is reported", func() bool { return tables.Problems.Len() == 1 })
	if !has(tables, "two")() {
		t.Error("pod two went, though the broken document may be it")
	}
	if got := problems(tables)[0]; got.Key.Object != "document at line 19" || got.Line < 19 {
		t.Errorf("problem = %+v, want the document and a line", got)
	}
}

func TestACiliumNodeCountsBeforeANode(t *testing.T) {
	core := "apiVersion: v1\nkind: Node\nmetadata: {name: N}\nspec: {podCIDRs: [10.0.9.0/24]}\nstatus: {addresses: [{type: InternalIP, address: 192.168.1.9}]}\n"
	_, tables := start(t, map[string]string{
		"a.yaml": strings.Replace(core, "N}", "n1}", 1) + "---\n" + strings.Replace(core, "N}", "n2}", 1), "b.yaml": nodeYAML,
	})
	if n, _ := tables.Nodes.Get("n1"); n.Address(true) != netip.MustParseAddr("192.168.1.1") {
		t.Errorf("n1 = %+v, want the CiliumNode's", n)
	}
	if n, _ := tables.Nodes.Get("n2"); n.Address(true) != netip.MustParseAddr("192.168.1.9") {
		t.Errorf("n2 = %+v, want the Node's", n)
	}
}

func TestANodesLabelsAndWhetherItLeavesComeFromItsNodeObject(t *testing.T) {
	core := "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {zone: a}}\nspec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}\n---\n"
	cilium := strings.Replace(nodeYAML, "{name: n1}", "{name: n1, labels: {zone: b}}", 1)
	dir, tables := start(t, map[string]string{"a.yaml": core + cilium})
	if n, _ := tables.Nodes.Get("n1"); n.Labels["zone"] != "a" || len(n.Routers) != 2 || n.Leaves == "" {
		t.Errorf("n1 = %+v, want the Node's labels and the CiliumNode's addresses", n)
	}
	write(t, dir, "a.yaml", cilium)
	eventually(t, "without a Node the CiliumNode's labels count", func() bool {
		n, _ := tables.Nodes.Get("n1")
		return n.Labels["zone"] == "b" && n.Leaves == ""
	})
}

func TestRowsStayWhenTheDirectoryGoes(t *testing.T) {
	dir, tables := start(t, map[string]string{"a.yaml": pod("one")})
	s := New(slog.New(slog.DiscardHandler), dir, scope, tables)
	s.scan(true)
	s.dir = filepath.Join(dir, "gone")
	s.scan(true)
	s.publish()
	if !has(tables, "one")() || tables.Problems.Len() != 1 {
		t.Errorf("pods %d, problems %+v: want the pod and a problem", tables.Pods.Len(), problems(tables))
	}
}
