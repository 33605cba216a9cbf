package agent

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"weir/datapath"
	"weir/source/kube/connect"
)

// Prepare is `weir-agent prepare`, the init container's part. It needs rights that the
// agent need not have: it mounts on the node what is missing there, and takes from the
// kubelet's kubeconfig where the API server is, without its credentials.
func Prepare(log *slog.Logger, args []string, usage io.Writer) error {
	fs := flag.NewFlagSet("weir-agent prepare", flag.ContinueOnError)
	fs.SetOutput(usage)
	proc := fs.String("proc", "/host/proc", "the node's proc file system")
	root := fs.String("bpf-root", "/sys/fs/bpf", "where on the node bpffs is, or gets, mounted")
	runDir := fs.String("run-dir", "/var/run/weir", "folder on the node for a cgroup v2 (cgroup) and the kubeconfig (kubernetes/kubelet.conf)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	err := datapath.OnNode(*proc, func() error {
		if err := mountMissing(log, *root, filepath.Join(*runDir, "cgroup")); err != nil {
			return err
		}
		return keepServer(log, filepath.Join(*runDir, "kubernetes"))
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

// keepServer writes where the kubelet's API server is. A kubelet that is set up in
// another way is no reason not to start: there are other ways to find the server.
func keepServer(log *slog.Logger, dir string) error {
	url, file, kubeconfig, err := connect.KubeletServer("/")
	if err != nil || url == "" {
		log.Warn("no API server of a kubelet is known", "err", err)
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder of the kubeconfig: %w", err)
	}
	log.Info("API server of the kubelet", "url", url, "from", file)
	return replaceFile(filepath.Join(dir, "kubelet.conf"), kubeconfig, 0o644)
}
