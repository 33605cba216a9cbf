package config

import (
	"strings"
	"testing"
)

func TestK3sDoesNotLookIntoTheUsualFolders(t *testing.T) {
	for _, tt := range []struct {
		confDir, kubeconfig string
		unseen              bool
	}{
		{"/etc/cni/net.d", "/var/lib/rancher/k3s/agent/kubelet.kubeconfig", true},
		{K3sCNI.ConfDir, "/var/lib/rancher/k3s/agent/kubelet.kubeconfig", false},
		{"", "/var/lib/rancher/k3s/agent/kubelet.kubeconfig", false}, // others write it
		{"/etc/cni/net.d", "/etc/kubernetes/kubelet.conf", false},
		{"/etc/cni/net.d", "/var/lib/rancher/rke2/agent/kubelet.kubeconfig", false},
		{"/etc/cni/net.d", "", false},
	} {
		message, advice := Unseen(tt.confDir, tt.kubeconfig)
		if (message != "") != tt.unseen || tt.unseen && (!strings.Contains(message, tt.confDir) || !strings.Contains(advice, K3sCNI.ConfDir)) {
			t.Errorf("%q with %q: %q, %q", tt.confDir, tt.kubeconfig, message, advice)
		}
	}
}
