package connect

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
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
users: [{name: u, user: {token: hush}}]
`)
	url, name, file, err := KubeletServer(root)
	if err != nil || url != "https://two:6443" || name != "z" || file != "/var/lib/kubelet/kubeconfig" {
		t.Fatalf("got %s, %s of %s, %v", url, name, file, err)
	}
	kubeconfig, err := PodKubeconfig(url, name)
	if err != nil || strings.Contains(string(kubeconfig), "hush") {
		t.Errorf("%v, kubeconfig for pods:\n%s", err, kubeconfig)
	}
	cfg, err := clientcmd.Load(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if c := cfg.Clusters[cfg.Contexts[cfg.CurrentContext].Cluster]; c.Server != url || c.TLSServerName != "z" {
		t.Errorf("pods are told %s, %s", c.Server, c.TLSServerName)
	}
	if a := cfg.AuthInfos[cfg.Contexts[cfg.CurrentContext].AuthInfo]; a.TokenFile != "/var/run/secrets/kubernetes.io/serviceaccount/token" {
		t.Errorf("pods have %+v", a)
	}
}
