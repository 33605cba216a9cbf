package lifecycle

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weir/lab"
)

// TestASysdumpHasWhatHelpsAndNoSecret: a real agent, and a secret wherever a user may
// have one.
func TestASysdumpHasWhatHelpsAndNoSecret(t *testing.T) {
	const planted = "PLANTED-51c9e0"
	l := ownLab(t, lab.Spec{Name: "ltb-dump", Nodes: lab.Nodes(1)}, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: a}, annotations: {example.com/key: %[1]s}}
spec: {nodeName: n1, containers: [{name: c, command: [sleep, "100000"], env: [{name: KEY, value: %[1]s}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {example.com/key: %[1]s}}
spec: {clusterIP: 10.96.0.9, selector: {app: a}, ports: [{port: 80}]}
`, planted))
	run(t, l, "n1", "ip", "link", "set", "weir_host", "alias", planted)
	run(t, l, "n1", "nft", "add", "table", "ip", "mine")
	run(t, l, "n1", "nft", "add", "chain", "ip", "mine", "c")
	run(t, l, "n1", "nft", "add", "rule", "ip", "mine", "c", "counter", "comment", `"`+planted+`"`)
	dir := t.TempDir()
	file := filepath.Join(dir, "n1.tar.gz")
	out := run(t, l, "n1", "env", "SECRET="+planted, filepath.Join(bin, "weir"), "--socket", node(t, l, "n1").Socket(), "sysdump", "--file", file)
	if !strings.Contains(out, file) {
		t.Errorf("it said %q", out)
	}
	if s, err := os.Stat(file); err != nil || s.Mode().Perm() != 0o600 || s.Size() > 1<<20 {
		t.Fatalf("%v, %v: want less than 1 MiB with mode 0600", s, err)
	}
	if text, err := exec.Command("tar", "xzf", file, "-C", dir, "--strip-components", "1").CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v %s", err, text)
	}
	for name, want := range map[string]string{
		"agent/status.json": `"node": "n1"`, "agent/endpoints.json": "default/a", "agent/endpoint-policies.json": `"endpoint"`, "agent/services.json": "10.96.0.9:80/TCP",
		"agent/log.json": "devices detected", "agent/metrics.txt": "cilium_endpoint 2", "agent/config.json": "routingMode", "maps/weir_ipcache.json": "identity=",
		"tables/pods.json": "default/a", "host/links.json": "weir_host", "host/routes.json": "dst", "host/nft-counts.json": "ip mine",
		"host/bpf-programs.json": "from_pod", "host/kernel.json": "release", "manifest.json": "agent/status.json",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %q: %v\n%.600s", name, want, err, text)
		}
	}
	if text, err := exec.Command("grep", "-r", planted, dir).CombinedOutput(); err == nil {
		t.Errorf("the secret left:\n%.2000s", text)
	}
}
