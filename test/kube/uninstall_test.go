package kube

import (
	"strings"
	"testing"
	"time"
)

// Last, since it takes Weir away from the lab.
func TestRowN4UninstallLeavesNothing(t *testing.T) {
	need(t)
	t.Skip("not yet: weir uninstall")
	for _, n := range nodes() {
		eventually(t, 60*time.Second, "nothing is left on "+n, func() string { return leftOn(t, n) })
	}
	if got := on(t, "n2", "ls", otherPins); got != "calico_failsafe_ports_v1" {
		t.Errorf("another's pins are %q after uninstall", got)
	}
}

// leftOn lists pins, devices, routes and rules of Weir's, and programs on devices.
func leftOn(t *testing.T, node string) string {
	t.Helper()
	out := on(t, node, "sh", "-c", `
find /sys/fs/bpf -name 'weir*' -o -name 'cilium*'
ip -o link | grep -E ': (weir|lxc)'
ip route show table all | grep -E 'weir|lxc'; ip -6 route show table all | grep -E 'weir|lxc'
ip rule | grep -vE 'lookup (local|main|default)'
bpftool net show dev eth0 | grep -i weir
ls /etc/cni/net.d | grep 05-cilium
ls -d /var/run/weir /opt/cni/bin/weir-cni /opt/cni/bin/cilium-cni 2>/dev/null
true`)
	return strings.TrimSpace(out)
}
