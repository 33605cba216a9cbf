package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/lab/kube"
)

// Last, since it takes Weir away from the lab.
func TestRowN4UninstallLeavesNothingButWhatIsOfOthers(t *testing.T) {
	need(t)
	program, err := os.ReadFile("../../bin/weir")
	if err != nil {
		t.Fatalf("%v (make build)", err)
	}
	kubectl(t, "delete", "-f", install.Manifest, "--ignore-not-found", "--timeout=120s")
	for _, n := range nodes() {
		if err := os.WriteFile(filepath.Join(kube.StateDir(), labName, "nodes", n, "var/tmp/weir"), program, 0o755); err != nil {
			t.Fatal(err)
		}
		out := on(t, n, "/var/tmp/weir", "uninstall", "--yes")
		if left := leftOn(t, n); left != "" {
			t.Errorf("on %s is left:\n%s\nweir uninstall said:\n%s", n, left, out)
		}
	}
	if got := on(t, "n2", "ls", otherPins); got != "calico_failsafe_ports_v1" {
		t.Errorf("another's pins are %q after uninstall", got)
	}
	on(t, "n2", "test", "-f", otherConf)
}

// leftOn lists pins, devices, routes, rules, programs and files of Weir's.
func leftOn(t *testing.T, node string) string {
	t.Helper()
	return strings.TrimSpace(on(t, node, "sh", "-c", `
find /sys/fs/bpf -name 'weir*' -o -name 'cilium*'
ip -o link | grep -E ': (weir|lxc)'
ip route show table all | grep -E 'weir|lxc'
ip -6 route show table all | grep -E 'weir|lxc'
ip rule | grep -vE 'lookup (local|main|default)'
ip -6 rule | grep -vE 'lookup (local|main|default)'
command -v bpftool >/dev/null || echo programs were not looked for: there is no bpftool
bpftool net show dev eth0 | grep -E 'tcx|clsact|prog'
ls -d /etc/cni/net.d/05-weir.conflist /var/run/weir /opt/cni/bin/weir-cni 2>/dev/null
true`))
}
