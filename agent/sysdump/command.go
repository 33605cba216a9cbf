package sysdump

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	api "weir/api/agent"
)

// Command is `weir sysdump`.
func Command() *cobra.Command {
	o := options{now: time.Now}
	var pods clusterOptions
	c := &cobra.Command{
		Use:   "sysdump",
		Short: "Pack what somebody needs who helps from afar into one file",
		Long: "Asks the agent and the kernel, and writes a tar.gz that only you can read: status, configuration,\n" +
			"tables, maps, connections, drops, policies, metrics, the agent's last messages, links, routes,\n" +
			"programs. Only what is named leaves the node, docs/sysdump.md says what: no Secret, token,\n" +
			"annotation or environment does. SUMMARY.txt in it says what could not be had.\n\n" +
			"With --kubernetes it asks the agents' pods, by kubectl, and packs all nodes into one file.",
		Example: "  weir sysdump\n  weir sysdump --file /tmp/n1.tar.gz --limit-time 30s\n" +
			"  weir sysdump --kubernetes --namespace kube-system",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.socket, _ = c.Flags().GetString("socket")
			if o.socket == "" {
				o.socket = api.DefaultSocket
			}
			o.said = c.ErrOrStderr()
			if pods.on {
				return pods.run(c.Context(), o, c.OutOrStdout())
			}
			return local(c.Context(), o, c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVar(&o.file, "file", "", "where to write it; - is standard output; default: weir-sysdump-NODE-TIME.tar.gz")
	f.StringVar(&o.confDir, "cni-conf-dir", "/etc/cni/net.d", "folder of the runtime's CNI configurations, whose file names are listed")
	f.StringVar(&o.logFile, "log", "", "a file with the agent's log, for when the agent does not run")
	f.IntVar(&o.size, "limit-size", 128, "MiB of all files, before they are packed")
	f.DurationVar(&o.limit, "limit-time", 2*time.Minute, "time for all of it")
	f.BoolVar(&pods.on, "kubernetes", false, "ask the agents of all nodes, by kubectl exec")
	f.StringVar(&pods.namespace, "namespace", "kube-system", "with --kubernetes: where the agents are")
	f.StringVar(&pods.node, "node", "", "with --kubernetes: only that node")
	return c
}

// local makes the archive of this node.
func local(ctx context.Context, o options, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	node := nodeName(ctx, o.socket)
	var made *archive
	fill := func(w io.Writer) (err error) {
		made, err = write(ctx, o, node, w)
		return err
	}
	if o.file == "-" {
		return fill(stdout)
	}
	path := o.file
	if path == "" {
		path = "weir-sysdump-" + node + "-" + stamp(o.now()) + ".tar.gz"
	}
	if err := toFile(path, fill); err != nil {
		return err
	}
	return done(stdout, path, made.entries)
}

// done says what came of it.
func done(stdout io.Writer, path string, entries []Entry) error {
	missing := 0
	for _, e := range entries {
		if e.Missing != "" || e.Cut {
			missing++
		}
	}
	size := int64(0)
	if s, err := os.Stat(path); err == nil {
		size = s.Size()
	}
	full, err := filepath.Abs(path)
	if err != nil {
		full = path
	}
	_, err = fmt.Fprintf(stdout, "%s: %d bytes, %d files; %d could not be had whole (SUMMARY.txt says why)\n", full, size, len(entries)-missing, missing)
	return err
}
