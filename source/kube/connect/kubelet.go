package connect

import (
	"fmt"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// KubeletServer is where the kubelet of the host has its API server: its URL, the file
// that says so, and a kubeconfig that has the server and how to know it, but nobody's
// credentials. Without a kubelet all of it is empty. Root stands before the paths.
func KubeletServer(root string) (url, file string, kubeconfig []byte, err error) {
	c := Conn{opts: Options{Root: root}}
	cfg, file, err := c.kubelet()
	if err != nil || cfg == nil {
		return "", "", nil, err
	}
	ca := cfg.TLSClientConfig.CAData
	if name := cfg.TLSClientConfig.CAFile; len(ca) == 0 && name != "" {
		if ca, err = os.ReadFile(name); err != nil {
			return "", "", nil, fmt.Errorf("read what %s names: %w", file, err)
		}
	}
	out := clientcmdapi.NewConfig()
	out.Clusters["kubelet"] = &clientcmdapi.Cluster{Server: cfg.Host, CertificateAuthorityData: ca,
		TLSServerName: cfg.TLSClientConfig.ServerName, InsecureSkipTLSVerify: cfg.TLSClientConfig.Insecure}
	out.Contexts["kubelet"] = &clientcmdapi.Context{Cluster: "kubelet"}
	out.CurrentContext = "kubelet"
	kubeconfig, err = clientcmd.Write(*out)
	return cfg.Host, file, kubeconfig, err
}
