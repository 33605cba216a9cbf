package agent

import (
	"flag"
	"fmt"
	"io"
	"log/slog"

	"weir/datapath"
)

// Mounts is `weir-agent mounts`: an init container's part, which has rights that the
// agent needs not have.
func Mounts(log *slog.Logger, args []string, usage io.Writer) error {
	fs := flag.NewFlagSet("weir-agent mounts", flag.ContinueOnError)
	fs.SetOutput(usage)
	proc := fs.String("proc", "/host/proc", "the node's proc file system")
	root := fs.String("bpf-root", "/sys/fs/bpf", "where on the node bpffs is, or gets, mounted")
	cgroup := fs.String("cgroup", "/var/run/weir/cgroup", "where on the node a cgroup v2 is, or gets, mounted")
	if err := fs.Parse(args); err != nil {
		return err
	}
	mounted, err := datapath.MountOnNode(*proc, *root, *cgroup)
	if err != nil {
		return fmt.Errorf("mount on the node: %w", err)
	}
	log.Info("file systems are mounted on the node", "new", mounted)
	return nil
}
