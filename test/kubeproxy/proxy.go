package kubeproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"
)

// Options says how a kube-proxy is to be.
type Options struct {
	Binary   string                    // see Build
	Dir      string                    // for its files
	Node     string                    // whose it is
	Mode     string                    // "iptables" or "nftables"
	Legacy   bool                      // iptables: by the kernel's old interface, not by that of nftables
	Clusters []string                  // CIDRs of pods: what comes from there is not masqueraded
	Inside   func(func() error) error  // runs something in the network namespace
	Start    func(cmd *exec.Cmd) error // starts a command there; nil: by Inside
}

// Proxy is a kube-proxy that runs.
type Proxy struct {
	cmd  *exec.Cmd
	api  *http.Server
	done chan struct{} // closed when it has ended
	log  string
}

// Start starts kube-proxy, with the API at its namespace's 127.0.0.1. Stop it in
// any case.
func Start(a *API, o Options) (*Proxy, error) {
	p := &Proxy{done: make(chan struct{}), log: filepath.Join(o.Dir, "kube-proxy.log")}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return p, fmt.Errorf("make folder: %w", err)
	}
	var l net.Listener
	err := o.Inside(func() (err error) {
		l, err = net.Listen("tcp4", "127.0.0.1:0")
		return err
	})
	if err != nil {
		return p, fmt.Errorf("listen for kube-proxy: %w", err)
	}
	p.api = &http.Server{Handler: a}
	go p.api.Serve(l) //nolint:errcheck // until it is closed
	config, err := o.configure(l.Addr().String())
	if err != nil {
		return p, err
	}
	return p, p.start(o, config)
}

func (p *Proxy) start(o Options, config string) error {
	path, err := o.path()
	if err != nil {
		return err
	}
	log, err := os.Create(p.log)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(o.Binary, "--config", config, "--v", "2")
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "PATH="+path), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	start := o.Start
	if start == nil {
		start = func(cmd *exec.Cmd) error { return o.Inside(cmd.Start) }
	}
	if err := start(cmd); err != nil {
		return fmt.Errorf("start kube-proxy of %s: %w", o.Node, err)
	}
	p.cmd = cmd
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	return nil
}

// path makes iptables be that of the chosen interface, by a folder before all
// others.
func (o Options) path() (string, error) {
	const usual = "/usr/sbin:/usr/bin:/sbin:/bin"
	multi := "xtables-nft-multi"
	if o.Legacy {
		multi = "xtables-legacy-multi"
	}
	found, err := exec.LookPath(filepath.Join("/usr/sbin", multi))
	if err != nil {
		return "", fmt.Errorf("kube-proxy needs iptables: %w (install the package iptables)", err)
	}
	dir := filepath.Join(o.Dir, "bin")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, what := range []string{"", "-save", "-restore"} {
			if err := os.Symlink(found, filepath.Join(dir, family+what)); err != nil && !errors.Is(err, os.ErrExist) {
				return "", err
			}
		}
	}
	return dir + ":" + usual, nil
}

// configure writes kube-proxy's files and returns the name of the first.
func (o Options) configure(api string) (string, error) {
	access := map[string]any{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": []any{map[string]any{"name": "c", "cluster": map[string]any{"server": "http://" + api}}},
		"contexts": []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "c", "user": "u"}}},
		"users":    []any{map[string]any{"name": "u", "user": map[string]any{}}}}
	kubeconfig := filepath.Join(o.Dir, "kubeconfig")
	// The table of connections is the machine's: its size and timeouts stay.
	conf := map[string]any{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": o.Mode, "hostnameOverride": o.Node, "clusterCIDR": strings.Join(o.Clusters, ","), "detectLocalMode": "ClusterCIDR",
		"clientConnection":   map[string]any{"kubeconfig": kubeconfig, "contentType": "application/json", "acceptContentTypes": "application/json"},
		"healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": "127.0.0.1:10249",
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}}
	config := filepath.Join(o.Dir, "kube-proxy.yaml")
	for file, content := range map[string]any{kubeconfig: access, config: conf} {
		text, err := yaml.Marshal(content)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return "", fmt.Errorf("write %s: %w", file, err)
		}
	}
	return config, nil
}

// Stop ends kube-proxy and its API. What it wrote into the kernel stays.
func (p *Proxy) Stop() error {
	if p.api != nil {
		_ = p.api.Close() // its clients are gone anyway
	}
	if p.cmd == nil {
		return nil
	}
	_ = p.cmd.Process.Kill() // one that has ended is what we want
	<-p.done
	return nil
}

// Await asks until done says yes, kube-proxy ends or ctx does.
func (p *Proxy) Await(ctx context.Context, what string, done func() bool) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for !done() {
		select {
		case <-t.C:
		case <-p.done:
			return fmt.Errorf("kube-proxy ended before %s:\n%s", what, p.Log())
		case <-ctx.Done():
			return fmt.Errorf("kube-proxy: %s: %w; it says:\n%s", what, ctx.Err(), p.Log())
		}
	}
	return nil
}

// Log is the end of what kube-proxy says.
func (p *Proxy) Log() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
