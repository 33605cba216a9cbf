package kube

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/lab/kube"
	"weir/test/kubetest"
)

// podOfAPIServer lets n1's kubelet run the API server, as kubeadm does, with the
// arguments that it had as a process of the node.
func podOfAPIServer(t *testing.T, l *kube.Lab) {
	t.Helper()
	node := filepath.Join(kube.StateDir(), l.Name(), "nodes", "n1")
	command, err := os.ReadFile(filepath.Join(node, "kube-apiserver.command"))
	if err != nil {
		t.Fatal(err)
	}
	argv := strings.Split(strings.TrimSuffix(string(command), "\x00"), "\x00")
	const programs, settings = "/opt/weir-lab/bin", "/etc/kubernetes"
	argv[0] = path.Join(programs, argv[0])
	type object = map[string]any
	mount := func(name, path string) object { return object{"name": name, "mountPath": path, "readOnly": true} }
	volume := func(name, path string) object { return object{"name": name, "hostPath": object{"path": path}} }
	pod, err := json.Marshal(object{"apiVersion": "v1", "kind": "Pod",
		"metadata": object{"name": "kube-apiserver", "namespace": "kube-system", "labels": object{"component": "kube-apiserver", "tier": "control-plane"}},
		"spec": object{"hostNetwork": true, "priorityClassName": "system-node-critical",
			"containers": []object{{"name": "kube-apiserver", "image": "weir.lab/toolbox:lab", "imagePullPolicy": "Never", "command": argv,
				"volumeMounts": []object{mount("programs", programs), mount("settings", settings)}}},
			"volumes": []object{volume("programs", programs), volume("settings", settings)}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Program(t.Context(), "stop", "n1", "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(node, "etc", "kubernetes", "manifests", "kube-apiserver.json"), pod, 0o600); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, 2*time.Minute, "the API server is a pod", func() string {
		r := l.Kubectl(t.Context(), "get", "pod", "-n", "kube-system", "-l", "component=kube-apiserver", "-o", "jsonpath={.items[*].status.phase}")
		if r.Stdout == "Running" {
			return ""
		}
		return r.Stdout + r.Stderr
	})
}
