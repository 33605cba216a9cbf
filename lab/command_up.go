package lab

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"weir/lab/kube"
)

func upCommand() *cobra.Command {
	var file, mode, bin string
	var nodes, mtu int
	var v4, v6, keep bool
	var k kubeFlags
	c := &cobra.Command{
		Use:   "up [MANIFEST...]",
		Short: "Make a lab: three nodes unless lab.yaml says otherwise, then apply the manifests",
		RunE: func(c *cobra.Command, args []string) error {
			if k.on {
				return upKube(c, k, nodes, v4, v6, keep, args)
			}
			spec := Spec{}
			if file != "" {
				var err error
				if spec, err = ReadSpec(file); err != nil {
					return err
				}
			}
			set := c.Flags().Changed
			if name := chosen(c); set("name") || spec.Name == "" {
				spec.Name = name
			}
			if set("nodes") {
				if nodes < 1 || nodes > maxNodes {
					return fmt.Errorf("--nodes %d: 1 to %d are possible", nodes, maxNodes)
				}
				spec.Nodes = Nodes(nodes)
			}
			if set("mode") {
				spec.Mode = mode
			}
			if set("mtu") {
				spec.MTU = mtu
			}
			if set("ipv4") {
				spec.IPv4 = &v4
			}
			if set("ipv6") {
				spec.IPv6 = &v6
			}
			spec.Bin, spec.Keep, spec.Progress = bin, keep, c.ErrOrStderr()
			spec.Manifests = append(spec.Manifests, args...)
			_, err := Up(c.Context(), spec)
			return err
		},
	}
	f := c.Flags()
	f.StringVarP(&file, "file", "f", "", "lab.yaml")
	f.IntVar(&nodes, "nodes", 3, "number of nodes n1, n2, ...")
	f.StringVar(&mode, "mode", ModeVXLAN, "routing between nodes: vxlan or native")
	f.BoolVar(&v4, "ipv4", true, "IPv4 on nodes and pods")
	f.BoolVar(&v6, "ipv6", true, "IPv6 on nodes and pods")
	f.IntVar(&mtu, "mtu", defaultMTU, "MTU of the underlay")
	f.StringVar(&bin, "bin", "", "folder of weir, weir-agent and weir-cni; default: that of this program")
	f.BoolVar(&keep, "keep", false, "leave a lab that could not be made as it is")
	k.register(c)
	return c
}

func downCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "down",
		Short: "Remove a lab with all its processes, mounts, namespaces and files",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			names, err := everyName()
			if err != nil {
				return err
			}
			name := chosen(c)
			if name != "" && all {
				return errors.New("--name and --all exclude each other")
			}
			if name != "" {
				names = []string{name}
			} else if len(names) > 1 && !all {
				_, err := pick(c)
				return err
			}
			if len(names) == 0 {
				fmt.Fprintln(c.ErrOrStderr(), "no lab is up")
			}
			return each(1, names, func(name string) error {
				if kube.Exists(name) {
					return kube.Remove(c.Context(), name, c.ErrOrStderr())
				}
				return Remove(c.Context(), name, c.ErrOrStderr())
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "remove all labs")
	return c
}

func applyCommand() *cobra.Command {
	return manifestCommand("apply -f FILE|FOLDER", "Make what Kubernetes manifests say: pods become processes, the rest goes to the agents",
		func(c *cobra.Command, l *Lab, paths, _ []string) error {
			if len(paths) == 0 {
				return errors.New("weir lab apply needs -f FILE or -f FOLDER")
			}
			return tell(c, l.Apply(c.Context(), paths...))
		})
}

func deleteCommand() *cobra.Command {
	return manifestCommand("delete POD... | -f FILE|FOLDER", "Remove pods, or what manifests name",
		func(c *cobra.Command, l *Lab, paths, pods []string) error {
			if len(paths)+len(pods) == 0 {
				return errors.New("weir lab delete needs the name of a pod, or -f FILE")
			}
			var err error
			if len(pods) > 0 {
				err = l.DeletePods(c.Context(), pods...)
			}
			if len(paths) > 0 {
				err = errors.Join(err, tell(c, l.Delete(c.Context(), paths...)))
			}
			return err
		})
}

func manifestCommand(use, short string, do func(c *cobra.Command, l *Lab, paths, args []string) error) *cobra.Command {
	var paths []string
	c := &cobra.Command{Use: use, Short: short, RunE: func(c *cobra.Command, args []string) error {
		l, err := pick(c)
		if err != nil {
			return err
		}
		return do(c, l, paths, args)
	}}
	c.Flags().StringSliceVarP(&paths, "file", "f", nil, "manifest, or folder of manifests; may be repeated")
	return c
}

func tell(c *cobra.Command, r Report) error {
	for _, line := range r.Lines {
		fmt.Fprintln(c.OutOrStdout(), line)
	}
	return r.Err()
}
