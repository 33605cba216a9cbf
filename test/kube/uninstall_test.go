package kube

import (
	"testing"

	"weir/test/kubetest"
)

// Last, since it takes Weir away from the lab.
func TestRowN4UninstallLeavesNothingButWhatIsOfOthers(t *testing.T) {
	need(t)
	kubectl(t, "delete", "-f", install.Manifest, "--ignore-not-found", "--timeout=120s")
	kubetest.Uninstall(t, k, nodes(), "/etc/cni/net.d/05-weir.conflist", "/var/run/weir", "/opt/cni/bin/weir-cni")
	if got := on(t, "n2", "ls", otherPins); got != "calico_failsafe_ports_v1" {
		t.Errorf("another's pins are %q after uninstall", got)
	}
	on(t, "n2", "test", "-f", otherConf)
}
