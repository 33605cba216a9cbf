package config

import "strings"

// k3s is where k3s has everything, also what other clusters have at the usual places.
const k3s = "/var/lib/rancher/k3s/"

// K3sCNI are the folders of k3s's container runtime, since October 2024 (1.31.2).
var K3sCNI = CNI{ConfDir: k3s + "agent/etc/cni/net.d", BinDir: k3s + "data/cni"}

// Unseen says of folders that the container runtime may not look into them, and what to
// do about it; empty: nothing is known against them. The kubeconfig is the file that the
// node's kubelet uses.
func (c CNI) Unseen(kubeconfig string) (message, advice string) {
	if !strings.HasPrefix(kubeconfig, k3s) {
		return "", ""
	}
	var usual []string
	for _, dir := range []string{c.ConfDir, c.BinDir} {
		if dir != "" && !strings.HasPrefix(dir, k3s) {
			usual = append(usual, dir)
		}
	}
	if len(usual) == 0 {
		return "", ""
	}
	return "the kubelet is that of k3s (" + kubeconfig + "), whose container runtime does not look into " + strings.Join(usual, " and ") + ", unless it was told to",
		"set cni.confDir to " + K3sCNI.ConfDir + " and cni.binDir to " + K3sCNI.BinDir + " (docs/kubernetes.md)"
}
