package connect

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Options says where API servers and credentials may be found.
type Options struct {
	Servers    []string      // URLs that the configuration names
	Kubeconfig string        // a file that the configuration names
	StateDir   string        // where the servers of the cluster are remembered; empty: nowhere
	Root       string        // what stands before the paths of the host's files; for tests
	Account    string        // folder of the service account; default: Kubernetes's
	Probe      time.Duration // how often a silent server is asked; default 5 s
	Getenv     func(string) string

	// What the configuration calls the first two; default: as the agent's does. One that
	// has no key for Servers has "".
	ServersKey, KubeconfigKey string
}

func (o Options) filled() Options {
	if o.Account == "" {
		o.Account = "/var/run/secrets/kubernetes.io/serviceaccount"
	}
	if o.KubeconfigKey == "" {
		o.ServersKey, o.KubeconfigKey = "k8sServiceHost", "source.kubernetes.kubeconfig"
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Probe == 0 {
		o.Probe = probeEvery
	}
	return o
}

// kubelets are where kubelets have their kubeconfig: kubeadm and most others,
// then distributions that have everything in one program.
var kubelets = []string{
	"/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/kubeconfig", "/var/lib/rancher/k3s/agent/kubelet.kubeconfig",
	"/var/lib/rancher/rke2/agent/kubelet.kubeconfig", "/var/lib/k8e/agent/kubelet.kubeconfig", "/var/lib/k0s/kubelet.conf",
}

// candidates returns the servers to ask, the best first. Files are read anew each
// time, and a server whose files are as they were is the one it was. The error
// says what could not be read.
func (c *Conn) candidates() ([]*server, error) {
	var out []*server
	var errs []error
	add := func(from string, cfg *rest.Config) {
		s, err := c.server(from, cfg)
		if err != nil {
			errs = append(errs, err)
		} else if !slices.ContainsFunc(out, func(o *server) bool { return o.url.Host == s.url.Host }) {
			out = append(out, s)
		}
	}
	kubelet, kubeletFrom, err := c.kubelet()
	errs = append(errs, err)
	base, err := c.credentials(kubelet)
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	at := func(host string) *rest.Config {
		cfg := rest.CopyConfig(base)
		cfg.Host, cfg.APIPath = host, ""
		return cfg
	}
	for _, u := range c.opts.Servers {
		add(c.opts.ServersKey, at(u))
	}
	if c.opts.Kubeconfig != "" && base.Host != "" {
		add(c.opts.KubeconfigKey, base)
	}
	if kubelet != nil {
		cfg := at(kubelet.Host)
		if c.opts.Kubeconfig == "" {
			cfg.ServerName = kubelet.ServerName
		}
		add(kubeletFrom, cfg)
	}
	for _, u := range c.remembered() {
		add("last known", at(u))
	}
	if host, port := c.opts.Getenv("KUBERNETES_SERVICE_HOST"), c.opts.Getenv("KUBERNETES_SERVICE_PORT"); host != "" && port != "" {
		add("in-cluster variables", at("https://"+net.JoinHostPort(host, port)))
	}
	if len(out) == 0 {
		errs = append(errs, fmt.Errorf("no API server is known: neither a kubelet's kubeconfig nor KUBERNETES_SERVICE_HOST is there; set %s", cmp.Or(c.opts.ServersKey, c.opts.KubeconfigKey)))
	}
	return out, errors.Join(errs...)
}

// kubelet returns the first kubeconfig of a kubelet that is there, or nil.
func (c *Conn) kubelet() (*rest.Config, string, error) {
	for _, path := range kubelets {
		file := filepath.Join(c.opts.Root, path)
		if _, err := os.Stat(file); err != nil {
			continue // another one may be there
		}
		cfg, err := clientcmd.BuildConfigFromFlags("", file)
		if err != nil {
			return nil, "", fmt.Errorf("read kubeconfig %s: %w", file, err)
		}
		return cfg, path, nil
	}
	return nil, "", nil
}

// credentials are those of the kubeconfig that the configuration names, else the
// service account's, else the kubelet's. Tokens in files are read anew as they
// are renewed.
func (c *Conn) credentials(kubelet *rest.Config) (*rest.Config, error) {
	if c.opts.Kubeconfig != "" {
		cfg, err := clientcmd.BuildConfigFromFlags("", c.opts.Kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", c.opts.KubeconfigKey, err)
		}
		return cfg, nil
	}
	token := filepath.Join(c.opts.Account, "token")
	if _, err := os.Stat(token); err == nil {
		cfg := &rest.Config{BearerTokenFile: token}
		if ca := filepath.Join(c.opts.Account, "ca.crt"); exists(ca) {
			cfg.CAFile = ca
		}
		return cfg, nil
	}
	if kubelet != nil {
		return kubelet, nil
	}
	if len(c.opts.Servers) > 0 {
		return &rest.Config{}, nil // one that asks for none
	}
	return nil, fmt.Errorf("no credentials: neither %s nor a kubelet's kubeconfig is there; set %s", token, c.opts.KubeconfigKey)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// server returns the server that this configuration made before, or makes it.
func (c *Conn) server(from string, cfg *rest.Config) (*server, error) {
	ca := cfg.CAData
	if cfg.CAFile != "" {
		ca, _ = os.ReadFile(cfg.CAFile) // newServer says what is wrong with it
	}
	sum := sha256.Sum256(fmt.Append(nil, from, "\x00", cfg.Host, "\x00", ca, cfg.CertData, cfg.KeyData, cfg.CertFile, cfg.KeyFile,
		cfg.BearerToken, cfg.BearerTokenFile, cfg.Insecure, cfg.ServerName))
	if s := c.known[string(sum[:])]; s != nil {
		return s, nil
	}
	s, err := newServer(from, cfg)
	if err == nil {
		c.known[string(sum[:])] = s
	}
	return s, err
}

// file is where the servers of the cluster are remembered.
func (c *Conn) file() string { return filepath.Join(c.opts.StateDir, "servers.json") }

func (c *Conn) remembered() []string {
	if c.opts.StateDir == "" {
		return nil
	}
	data, err := os.ReadFile(c.file())
	var out []string
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("the last known API servers are of no use", "file", c.file(), "err", err)
	}
	return out
}

// Remember keeps the URLs of the cluster's servers for the next start, and for
// when the one in use does not answer.
func (c *Conn) Remember(servers []string) {
	if c.opts.StateDir == "" || len(servers) == 0 || slices.Equal(servers, c.remembered()) {
		return
	}
	data, err := json.Marshal(servers)
	if err == nil {
		err = os.MkdirAll(c.opts.StateDir, 0o700)
	}
	tmp := c.file() + ".tmp"
	if err == nil {
		err = os.WriteFile(tmp, data, 0o600)
	}
	if err == nil {
		err = os.Rename(tmp, c.file())
	}
	if err != nil {
		c.log.Warn("the cluster's API servers are not remembered", "err", err)
	}
}
