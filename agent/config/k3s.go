package config

import "strings"

// k3s is where k3s has everything, also what other clusters have at the usual places.
const k3s = "/var/lib/rancher/k3s/"

// K3sCNI are the folders of k3s's container runtime, since October 2024 (1.31.2).
var K3sCNI = CNI{ConfDir: k3s + "agent/etc/cni/net.d", BinDir: k3s + "data/cni"}

// Unseen says that the container runtime does not look into a folder for CNI
// configurations, and what to do about it; empty: nothing is known against it. The
// kubeconfig is the file that the node's kubelet uses.
func Unseen(confDir, kubeconfig string) (message, advice string) {
	if confDir == "" || !strings.HasPrefix(kubeconfig, k3s) || strings.HasPrefix(confDir, k3s) {
		return "", ""
	}
	return "the kubelet is that of k3s (" + kubeconfig + "), whose container runtime does not look into " + confDir,
		"set cni.confDir to " + K3sCNI.ConfDir + " and cni.binDir to " + K3sCNI.BinDir + " (docs/kubernetes.md)"
}
