package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
)

func execCommand() *cobra.Command {
	var container string
	c := &cobra.Command{
		Use:   "exec POD|NODE|world -- COMMAND [ARG...]",
		Short: "Run a program of this host in a pod, a node or the world",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if k, err := pickKube(c); err != nil || k != nil {
				return execKube(c, k, err, container, args)
			}
			l, err := pick(c)
			if err != nil {
				return err
			}
			r, err := readRecord(l.name)
			if err != nil {
				return err
			}
			t, err := r.target(args[0])
			if err != nil {
				return err
			}
			if container != "" && !t.has(container) {
				return fmt.Errorf("%s has no container %q", args[0], container)
			}
			return t.become(append([]string{r.program(args[1])}, args[2:]...))
		},
	}
	// The containers of a pod differ in nothing that a command could see.
	c.Flags().StringVarP(&container, "container", "c", "", "container of the pod")
	return c
}

func (t target) has(container string) bool {
	return t.pod != nil && slices.ContainsFunc(t.pod.Containers, func(c Container) bool { return c.Name == container })
}

func captureCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "capture POD|NODE|world DEVICE [-- TCPDUMP-ARG...]",
		Short: `Show packets on a device; "host" is a pod's end of the link in its node`,
		Args:  cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if err := tool("tcpdump"); err != nil {
				return err
			}
			l, err := pick(c)
			if err != nil {
				return err
			}
			r, err := readRecord(l.name)
			if err != nil {
				return err
			}
			t, dev, err := r.tap(args[0], args[1])
			if err != nil {
				return err
			}
			return t.become(tcpdump(dev, args[2:]))
		},
	}
}

func logsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "logs NODE|POD",
		Short: "Print the log of a node's agent, or of a pod's containers",
		Long:  "Print the log of a node's agent, or of a pod's containers. With Kubernetes: NODE and a program of it,\nsuch as kubelet; see weir lab kubectl logs for pods.",
		Args:  cobra.RangeArgs(0, 2),
		RunE: func(c *cobra.Command, args []string) error {
			if k, err := pickKube(c); err != nil || k != nil {
				return orBecome(k, err, append([]string{"logs"}, args...)...)
			}
			if len(args) != 1 {
				return fmt.Errorf("weir lab logs needs one node or pod, not %d names", len(args))
			}
			l, err := pick(c)
			if err != nil {
				return err
			}
			r, err := readRecord(l.name)
			if err != nil {
				return err
			}
			files, err := r.logs(args[0])
			if err != nil {
				return err
			}
			var errs []error
			for _, file := range files {
				errs = append(errs, cat(c.OutOrStdout(), file))
			}
			return errors.Join(errs...)
		},
	}
}

func (r *record) logs(ref string) ([]string, error) {
	if n := r.node(ref); n != nil {
		return []string{filepath.Join(n.Dir, "agent.log")}, nil
	}
	p, err := r.findPod(ref)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range p.Containers {
		if c.Error == "" {
			out = append(out, c.Log)
		}
	}
	return out, nil
}

func cat(w io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	defer f.Close()
	if _, err := io.Copy(w, f); err != nil {
		return fmt.Errorf("read log %s: %w", file, err)
	}
	return nil
}
