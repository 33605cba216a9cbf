package connect

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheKubeletsServerIsKnownWithoutItsCredentials(t *testing.T) {
	root := t.TempDir()
	if url, _, _, err := KubeletServer(root); url != "" || err != nil {
		t.Errorf("without a kubelet: %q, %v", url, err)
	}
	ca := filepath.Join(root, "ca.crt")
	conf := filepath.Join(root, "var/lib/kubelet/kubeconfig")
	if err := os.MkdirAll(filepath.Dir(conf), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{ca: "a certificate", conf: `apiVersion: v1
kind: Config
current-context: b
contexts: [{name: a, context: {cluster: x, user: u}}, {name: b, context: {cluster: y, user: u}}]
clusters: [{name: x, cluster: {server: "https://x:6443"}}, {name: y, cluster: {server: "https://y:6443", certificate-authority: ` + ca + `}}]
users: [{name: u, user: {token: secret}}]
`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	url, file, kubeconfig, err := KubeletServer(root)
	if err != nil || url != "https://y:6443" || file != "/var/lib/kubelet/kubeconfig" {
		t.Fatalf("got %s of %s, %v", url, file, err)
	}
	// What it says is taken as a kubelet's own, elsewhere.
	copied := filepath.Join(t.TempDir(), "etc/kubernetes/kubelet.conf")
	if err := os.MkdirAll(filepath.Dir(copied), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(kubeconfig), "secret") {
		t.Errorf("the kubelet's token is in\n%s", kubeconfig)
	}
	again, _, same, err := KubeletServer(strings.TrimSuffix(copied, "/etc/kubernetes/kubelet.conf"))
	if err != nil || again != url || string(same) != string(kubeconfig) {
		t.Errorf("read again: %s, %v\n%s", again, err, same)
	}
}
