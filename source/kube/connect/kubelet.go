package connect

import (
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// KubeletServer is where the kubelet of the host has its API server: its URL, the name
// that its certificate has, if another, and the file that says so. Without a kubelet all
// are empty. Root stands before the paths.
func KubeletServer(root string) (url, name, file string, err error) {
	c := Conn{opts: Options{Root: root}}
	cfg, file, err := c.kubelet()
	if err != nil || cfg == nil {
		return "", "", "", err
	}
	return cfg.Host, cfg.TLSClientConfig.ServerName, file, nil
}

// PodKubeconfig is a kubeconfig for pods: a server, and the credentials that each pod
// has of its own account. There is nothing secret in it.
func PodKubeconfig(url, name string) ([]byte, error) {
	account := Options{}.filled().Account
	out := clientcmdapi.NewConfig()
	out.Clusters["server"] = &clientcmdapi.Cluster{Server: url, TLSServerName: name, CertificateAuthority: account + "/ca.crt"}
	out.AuthInfos["account"] = &clientcmdapi.AuthInfo{TokenFile: account + "/token"}
	out.Contexts["pod"] = &clientcmdapi.Context{Cluster: "server", AuthInfo: "account"}
	out.CurrentContext = "pod"
	return clientcmd.Write(*out)
}
