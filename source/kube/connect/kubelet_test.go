package connect

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPodsAreToldTheKubeletsServerWithoutItsCredentials(t *testing.T) {
	root := t.TempDir()
	if url, _, _, err := KubeletServer(root); url != "" || err != nil {
		t.Errorf("without a kubelet: %q, %v", url, err)
	}
	put := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(root, "var/lib/kubelet/kubeconfig"), `apiVersion: v1
kind: Config
current-context: b
contexts: [{name: a, context: {cluster: one, user: u}}, {name: b, context: {cluster: two, user: u}}]
clusters: [{name: one, cluster: {server: "https://one:6443"}}, {name: two, cluster: {server: "https://two:6443", tls-server-name: z}}]
users: [{name: u, user: {token: secret}}]
`)
	url, name, file, err := KubeletServer(root)
	if err != nil || url != "https://two:6443" || name != "z" || file != "/var/lib/kubelet/kubeconfig" {
		t.Fatalf("got %s, %s of %s, %v", url, name, file, err)
	}
	kubeconfig, err := PodKubeconfig(url, name)
	if err != nil || strings.Contains(string(kubeconfig), "secret") {
		t.Errorf("%v, kubeconfig for pods:\n%s", err, kubeconfig)
	}
	// The agent finds it where kubelets have theirs.
	pod := t.TempDir()
	put(filepath.Join(pod, "etc/kubernetes/kubelet.conf"), string(kubeconfig))
	if again, name, _, err := KubeletServer(pod); again != url || name != "z" || err != nil {
		t.Errorf("read again: %s, %s, %v", again, name, err)
	}
}
