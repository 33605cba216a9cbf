package config

import (
	"strings"
	"testing"
)

func TestK3sDoesNotLookIntoTheUsualFolders(t *testing.T) {
	const k3sKubelet = "/var/lib/rancher/k3s/agent/kubelet.kubeconfig"
	usual := CNI{ConfDir: "/etc/cni/net.d", BinDir: "/opt/cni/bin"}
	for _, tt := range []struct {
		cni        CNI
		kubeconfig string
		unseen     string
	}{
		{usual, k3sKubelet, "look into /etc/cni/net.d and /opt/cni/bin,"},
		{CNI{ConfDir: K3sCNI.ConfDir, BinDir: usual.BinDir}, k3sKubelet, "look into /opt/cni/bin,"},
		{K3sCNI, k3sKubelet, ""},
		{CNI{}, k3sKubelet, ""}, // others write there
		{usual, "/etc/kubernetes/kubelet.conf", ""},
		{usual, "/var/lib/rancher/rke2/agent/kubelet.kubeconfig", ""},
		{usual, "", ""},
	} {
		message, advice := tt.cni.Unseen(tt.kubeconfig)
		if (message == "") != (tt.unseen == "") || !strings.Contains(message, tt.unseen) || message != "" && !strings.Contains(advice, K3sCNI.ConfDir) {
			t.Errorf("%+v with %q: %q, %q, want %q", tt.cni, tt.kubeconfig, message, advice, tt.unseen)
		}
	}
}
