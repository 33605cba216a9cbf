package agent

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"weir/agent/config"
	"weir/datapath"
	"weir/source/kube/connect"
)

// Prepare is `weir-agent prepare`, the init container's part. It needs rights that the
// agent need not have: it mounts on the node what is missing there, and finds where the
// kubelet has its API server, whose credentials it leaves alone.
func Prepare(log *slog.Logger, args []string, usage io.Writer) error {
	fs := flag.NewFlagSet("weir-agent prepare", flag.ContinueOnError)
	fs.SetOutput(usage)
	proc := fs.String("proc", "/host/proc", "the node's proc file system, a `DIR`")
	file := fs.String("config", "", "the agent's configuration `FILE`")
	if err := fs.Parse(args); err != nil {
		return err
	}
	cfg, err := config.Load([]string{"--config", *file}, usage)
	if err != nil {
		return err
	}
	err = datapath.OnNode(*proc, func() error {
		if err := mountMissing(log, cfg.BPF.Root, filepath.Join(cfg.RunDir, "cgroup")); err != nil {
			return err
		}
		return tellServer(log, cfg.Config, filepath.Join(cfg.RunDir, "kubernetes"))
	})
	if err != nil {
		return fmt.Errorf("prepare the node: %w", err)
	}
	return nil
}

func mountMissing(log *slog.Logger, bpffs, cgroup string) error {
	for path, mount := range map[string]func(string) (bool, error){bpffs: datapath.MountBPFFS, cgroup: datapath.MountCgroup} {
		made, err := mount(path)
		if err != nil {
			return err
		}
		log.Info("file system is there", "path", path, "new", made)
	}
	return nil
}

// tellServer writes a kubeconfig for pods of this node: the server that the configuration
// names, else the kubelet's, else that of the pod's environment, which without kube-proxy
// answers only once the agent is at work.
func tellServer(log *slog.Logger, cfg config.Config, dir string) error {
	configured := cfg.Servers()
	url, name, from, err := connect.KubeletServer("/")
	if err != nil {
		log.Warn("kubeconfig of the kubelet cannot be read", "err", err)
	}
	if message, advice := cfg.CNI.Unseen(from); message != "" {
		log.Warn("pods may get no network: "+message, "advice", advice)
	}
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	switch {
	case len(configured) > 0:
		url, name, from = configured[0], "", "k8sServiceHost"
	case url == "" && host != "":
		url, from = "https://"+net.JoinHostPort(host, port), "in-cluster variables"
	case url == "":
		log.Warn("no API server is known: set k8sServiceHost")
		return nil
	}
	kubeconfig, err := connect.PodKubeconfig(url, name)
	if err != nil {
		return fmt.Errorf("make kubeconfig: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder of the kubeconfig: %w", err)
	}
	log.Info("API server for pods of this node", "url", url, "from", from)
	return replaceFile(filepath.Join(dir, "kubelet.conf"), kubeconfig, 0o644)
}
