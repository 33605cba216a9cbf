package preflight

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"time"

	"sigs.k8s.io/yaml"
)

// kubeconfigs are those of kubelets, of kubeadm, k3s, RKE2 and others.
var kubeconfigs = []string{"/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/kubeconfig", "/var/lib/rancher/k3s/agent/kubelet.kubeconfig",
	"/var/lib/rancher/rke2/agent/kubelet.kubeconfig", "/etc/kubernetes/kubelet/kubeconfig"}

const serverLimit = 5 * time.Second

// askServer asks the API server that the user names, or the kubelet's. Any answer will
// do: who may ask what is not the question.
func askServer(ctx context.Context, url string) Server {
	s := Server{URL: url, From: "--api-server"}
	for _, path := range kubeconfigs {
		if s.URL == "" {
			if b, err := os.ReadFile(path); err == nil {
				s = Server{URL: serverOf(b), From: path}
			}
		}
	}
	if s.URL == "" {
		return Server{}
	}
	ctx, cancel := context.WithTimeout(ctx, serverLimit)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/livez", nil)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	// Nothing is told to the server, and nothing it says is believed.
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := client.Do(q)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	answer.Body.Close()
	if answer.StatusCode >= http.StatusInternalServerError {
		s.Error = fmt.Sprintf("it says %s", answer.Status)
	}
	return s
}

// serverOf is the server of a kubeconfig's current context, or of its only cluster.
func serverOf(kubeconfig []byte) string {
	var k struct {
		CurrentContext string `json:"current-context"`
		Contexts       []struct {
			Name    string
			Context struct{ Cluster string }
		}
		Clusters []struct {
			Name    string
			Cluster struct{ Server string }
		}
	}
	if yaml.Unmarshal(kubeconfig, &k) != nil {
		return ""
	}
	cluster := ""
	for _, c := range k.Contexts {
		if c.Name == k.CurrentContext {
			cluster = c.Context.Cluster
		}
	}
	for _, c := range k.Clusters {
		if c.Name == cluster || len(k.Clusters) == 1 {
			return c.Cluster.Server
		}
	}
	return ""
}
