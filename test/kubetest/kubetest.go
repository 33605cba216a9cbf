// Package kubetest is what the tests of labs with Kubernetes have in common.
package kubetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/lab/kube"
)

// Eventually wants f to say nothing before the time is over.
func Eventually(t *testing.T, limit time.Duration, what string, f func() string) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; {
		wrong := f()
		if wrong == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v: %s", what, limit, wrong)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, t.Context().Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Kubectl runs it; the output comes without the last newline.
func Kubectl(t *testing.T, l *kube.Lab, args ...string) string {
	t.Helper()
	r := l.Kubectl(t.Context(), args...)
	if !r.OK() {
		t.Fatalf("kubectl %s: %d %s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// On runs a program of the host on a node or in the world, likewise.
func On(t *testing.T, l *kube.Lab, where string, argv ...string) string {
	t.Helper()
	r := l.Exec(t.Context(), where, argv...)
	if !r.OK() {
		t.Fatalf("on %s: %s: %d %s%s", where, strings.Join(argv, " "), r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// FromChart is what Helm makes of the chart with these values, KEY=VALUE each.
func FromChart(t *testing.T, sets ...string) []byte {
	t.Helper()
	args := []string{"run", "-C", "../../tools/chart", "."}
	for _, s := range sets {
		args = append(args, "-set", s)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Stderr = os.Stderr
	objects, err := cmd.Output()
	if err != nil {
		t.Fatalf("the chart: %v", err)
	}
	return objects
}

// Uninstall runs `weir uninstall` on each node, after the objects are deleted, and wants
// nothing of Weir's to be left: no pins, devices, routes, rules and programs, and none of
// these files. A file may be a pattern of the shell's.
func Uninstall(t *testing.T, l *kube.Lab, nodes []string, files ...string) {
	t.Helper()
	program, err := os.ReadFile("../../bin/weir")
	if err != nil {
		t.Fatalf("%v (make build)", err)
	}
	for _, n := range nodes {
		if err := os.WriteFile(filepath.Join(kube.StateDir(), l.Name(), "nodes", n, "var/tmp/weir"), program, 0o755); err != nil {
			t.Fatal(err)
		}
		if r := l.Exec(t.Context(), n, "/var/tmp/weir", "uninstall", "--yes"); !r.OK() {
			t.Errorf("on %s: weir uninstall: %d %s%s", n, r.Code, r.Stdout, r.Stderr)
		}
		r := l.Exec(t.Context(), n, "sh", "-c", remains+"ls -d "+strings.Join(files, " ")+" 2>/dev/null\ntrue")
		if left := strings.TrimSpace(r.Stdout); !r.OK() || left != "" {
			t.Errorf("on %s is left after weir uninstall:\n%s%s", n, left, r.Stderr)
		}
	}
}

const remains = `
find /sys/fs/bpf -name 'weir*' -o -name 'cilium*'
ip -o link | grep -E ': (weir|lxc)'
ip route show table all | grep -E 'weir|lxc'
ip -6 route show table all | grep -E 'weir|lxc'
ip rule | grep -vE 'lookup (local|main|default)'
ip -6 rule | grep -vE 'lookup (local|main|default)'
command -v bpftool >/dev/null || echo programs were not looked for: there is no bpftool
bpftool net show dev eth0 | grep -E 'tcx|clsact|prog'
`
