package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// What is on n2 before Weir: the network of another plugin, with a pod, and what
// another's BPF programs have pinned.
const (
	otherConf  = "/etc/cni/net.d/10-other.conflist"
	otherPins  = "/sys/fs/bpf/calico"
	otherTaint = "weir.io/other-network=:NoSchedule"
	oldPod     = `
apiVersion: v1
kind: Pod
metadata: {name: old, labels: {run: old}}
spec:
  nodeName: n2
  tolerations: [{operator: Exists}]
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: nettool:0.9}]
`
)

func otherNetwork(ctx context.Context) error {
	conflist := `{"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "ptp", "mtu": 1500, "ipMasq": false,
		"ipam": {"type": "host-local", "dataDir": "/run/other", "ranges": [[{"subnet": "10.99.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`
	script := fmt.Sprintf(`set -e
mkdir -p %[1]s
bpftool map create %[1]s/calico_failsafe_ports_v1 type hash key 4 value 4 entries 8 name calico_failsafe
printf '%%s' '%[2]s' >/tmp/other && mv /tmp/other %[3]s`, otherPins, conflist, otherConf)
	// CoreDNS shall not start on that network.
	if r := k.Kubectl(ctx, "taint", "node", "n2", otherTaint); !r.OK() {
		return fmt.Errorf("taint n2: %s", r.Stderr)
	}
	if r := k.Exec(ctx, "n2", "sh", "-c", script); !r.OK() {
		return fmt.Errorf("on n2: %s%s", r.Stdout, r.Stderr)
	}
	// The account that pods run as is made by a controller, a moment after the namespace.
	if r := k.Kubectl(ctx, "wait", "--for=create", "serviceaccount/default", "--timeout=30s"); !r.OK() {
		return fmt.Errorf("account of pods: %s", r.Stderr)
	}
	if err := k.Apply(ctx, oldPod); err != nil {
		return err
	}
	if r := k.Kubectl(ctx, "wait", "--for=condition=Ready", "pod/old", "--timeout=60s"); !r.OK() {
		return fmt.Errorf("pod of the other plugin: %s", r.Stderr)
	}
	return nil
}

func TestRowN3APodOfAnotherPluginGoesOn(t *testing.T) {
	need(t)
	ip := kubectl(t, "get", "pod", "old", "-o", "jsonpath={.status.podIP}")
	if !strings.HasPrefix(ip, "10.99.0.") {
		t.Fatalf("pod old has address %q, want the other plugin's", ip)
	}
	if got := on(t, "n2", "curl", "-sS", "--max-time", "3", ip); !strings.Contains(got, "PodName: old") {
		t.Errorf("old answers %q", got)
	}
	if got := weir(t, "n2", "status"); !strings.Contains(got, "default/old") {
		t.Errorf("weir status does not name the unmanaged pod default/old:\n%s", got)
	}
}

func TestRowN1PinsOfOthersStay(t *testing.T) {
	need(t)
	before := on(t, "n2", "sh", "-c", "bpftool map show pinned "+otherPins+"/calico_failsafe_ports_v1")
	restartAgents(t)
	if after := on(t, "n2", "sh", "-c", "bpftool map show pinned "+otherPins+"/calico_failsafe_ports_v1"); after != before {
		t.Errorf("another's map was %q, is %q", before, after)
	}
}

func restartAgents(t *testing.T) {
	t.Helper()
	for _, ds := range words(t, "get", "daemonset", "-n", "kube-system", "-l", agentLabel, "-o", "name") {
		kubectl(t, "rollout", "restart", "-n", "kube-system", ds)
		kubectl(t, "rollout", "status", "-n", "kube-system", ds, "--timeout=120s")
	}
}
