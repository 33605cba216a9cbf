package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/agent/config"
	"weir/lab/kube"
)

// kubeFlags are the flags of `up` that are for labs with Kubernetes.
type kubeFlags struct {
	on, noCNI bool
	kubeProxy string
	zones     int
	gates     string
	single    bool
	from      kube.Install
}

func (k *kubeFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&k.on, "kubernetes", false, "a real Kubernetes, with Weir as its network; the first time takes minutes")
	f.BoolVar(&k.noCNI, "no-cni", false, "with --kubernetes: without Weir, so that nodes wait for a network")
	f.StringVar(&k.kubeProxy, "kube-proxy", "", "with --kubernetes: run kube-proxy, in mode nftables or iptables")
	f.IntVar(&k.zones, "zones", 0, "with --kubernetes: label the nodes with so many zones, in turn")
	f.StringVar(&k.gates, "feature-gates", "", "with --kubernetes: NAME=true|false,... for Kubernetes' programs")
	f.BoolVar(&k.single, "single-binary", false, "with --kubernetes: one program for each node, with its files where k3s has them")
	installFlags(c, &k.from)
}

func installFlags(c *cobra.Command, from *kube.Install) {
	for _, s := range config.Shapes() {
		from.Keys = append(from.Keys, s.Key)
	}
	f := c.Flags()
	f.StringVar(&from.Image, "image", ownFile("image/weir-"+runtime.GOARCH+".tar"), "with --kubernetes: archive of Weir's image")
	f.StringVar(&from.Manifest, "manifest", ownFile("../deploy/weir.yaml"), "with --kubernetes: manifest that installs Weir")
	f.StringToStringVar(&from.Set, "set", nil, "with --kubernetes: keys of weir.yaml that shall have other values than in the manifest")
}

// ownFile is a file that is found from the folder of this program.
func ownFile(rel string) string {
	exe, err := os.Executable()
	if err != nil {
		return rel
	}
	return filepath.Join(filepath.Dir(exe), rel)
}

func upKube(c *cobra.Command, k kubeFlags, nodes int, v4, v6, keep bool, args []string) error {
	for _, flag := range []string{"file", "mode", "mtu", "bin"} {
		if c.Flags().Changed(flag) {
			return fmt.Errorf("--%s is for labs without Kubernetes: the manifest says how Weir is configured", flag)
		}
	}
	if !v4 && !v6 {
		return errors.New("--ipv4=false --ipv6=false: a lab needs one of the two")
	}
	spec := kube.Spec{Name: chosen(c), Nodes: nodes, IPv4: v4, IPv6: v6, KubeProxy: k.kubeProxy, Zones: k.zones, Gates: k.gates, Single: k.single, Keep: keep, Progress: c.ErrOrStderr()}
	if spec.Name == "" {
		spec.Name = defaultLabName
	}
	if err := checkName("lab name", spec.Name, maxLabName); err != nil {
		return err
	}
	if exists(labDir(spec.Name)) {
		return fmt.Errorf("lab %q is there already, without Kubernetes: remove it with weir lab down --name %s, or take another --name", spec.Name, spec.Name)
	}
	if !k.noCNI {
		spec.Install = &k.from
	}
	l, err := kube.Up(c.Context(), spec)
	if err != nil {
		return err
	}
	for _, manifest := range args {
		if r := l.Kubectl(c.Context(), "apply", "-f", manifest); !r.OK() {
			return fmt.Errorf("apply %s: %s", manifest, strings.TrimSpace(r.Stderr))
		}
	}
	return nil
}

// pickKube opens the chosen lab when it has Kubernetes, and is nil when it has
// not.
func pickKube(c *cobra.Command) (*kube.Lab, error) {
	name, err := pickName(c)
	if err != nil || !kube.Exists(name) {
		return nil, err
	}
	l, err := kube.Open(name)
	if err != nil {
		return nil, err
	}
	l.Report(c.ErrOrStderr())
	return l, nil
}

// needKube is pickKube for commands that make no sense elsewhere.
func needKube(c *cobra.Command) (*kube.Lab, error) {
	name, err := pickName(c)
	if err != nil {
		return nil, err
	}
	l, err := kube.Open(name)
	if err == nil {
		l.Report(c.ErrOrStderr())
	}
	return l, err
}

func orBecome(l *kube.Lab, err error, args ...string) error {
	if err != nil {
		return err
	}
	return l.Become(args...)
}

// execKube runs a program of the host on a node or in the world, or a program
// of the container in a pod.
func execKube(c *cobra.Command, l *kube.Lab, err error, container string, args []string) error {
	if err != nil {
		return err
	}
	where := strings.TrimPrefix(args[0], "node/")
	if l.HasNode(where) || where == kube.World {
		return l.Become(append([]string{"exec", where}, args[1:]...)...)
	}
	p, err := podOfKube(c, l, args[0])
	if err != nil {
		return err
	}
	argv := []string{"kubectl", "exec", "-i", "-n", p.Namespace, p.Name}
	if container != "" {
		argv = append(argv, "-c", container)
	}
	return l.Become(append(append(argv, "--"), args[1:]...)...)
}

// podOfKube finds a pod by what names it in labs without Kubernetes, too.
func podOfKube(c *cobra.Command, l *kube.Lab, ref string) (Pod, error) {
	res := l.Kubectl(c.Context(), "get", "pods", "-A", "-o", `jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name} {.spec.nodeName}{"\n"}{end}`)
	if !res.OK() {
		return Pod{}, fmt.Errorf("list pods: %s", strings.TrimSpace(res.Stderr))
	}
	r := record{Name: l.Name()}
	for line := range strings.Lines(res.Stdout) {
		if f := strings.Fields(line); len(f) == 3 {
			r.Pods = append(r.Pods, Pod{Namespace: f[0], Name: f[1], Node: f[2]})
		}
	}
	return r.findPod(ref)
}

// kubeCommands are for labs with Kubernetes alone.
func kubeCommands() []*cobra.Command {
	return []*cobra.Command{kubectlCommand(), loadCommand(), installCommand(), programCommand(), buildCommand(), e2eCommand()}
}

func kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl ARG...",
		Short:              "With Kubernetes: kubectl as the cluster's administrator",
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			// Flags are kubectl's, so that ours is taken by hand.
			name, isOurs := "", false
			if len(args) > 1 && args[0] == "--name" {
				name, isOurs, args = args[1], true, args[2:]
			} else if len(args) > 0 {
				if name, isOurs = strings.CutPrefix(args[0], "--name="); isOurs {
					args = args[1:]
				}
			}
			if isOurs {
				if err := c.Flags().Set("name", name); err != nil {
					return err
				}
			}
			l, err := needKube(c)
			return orBecome(l, err, append([]string{"kubectl"}, args...)...)
		},
	}
}

func loadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "load ARCHIVE [NODE...]",
		Short: "With Kubernetes: import an image archive into the nodes, or into all",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := needKube(c)
			if err != nil {
				return err
			}
			return l.Load(c.Context(), args[0], args[1:]...)
		},
	}
}

func installCommand() *cobra.Command {
	var from kube.Install
	c := &cobra.Command{
		Use:   "install",
		Short: "With Kubernetes: install Weir, or another build of it",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := needKube(c)
			if err != nil {
				return err
			}
			return l.Install(c.Context(), from)
		},
	}
	installFlags(c, &from)
	return c
}

func programCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "program stop|start|restart NODE PROGRAM",
		Short:     "With Kubernetes: stop, start or restart kubelet, containerd, kube-apiserver, ... of a node",
		Args:      cobra.ExactArgs(3),
		ValidArgs: []string{"stop", "start", "restart"},
		RunE: func(c *cobra.Command, args []string) error {
			l, err := needKube(c)
			if err != nil {
				return err
			}
			return l.Program(c.Context(), args[0], args[1], args[2])
		},
	}
}

func buildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build [PROGRAM...]",
		Short: "Build what a lab with Kubernetes needs and the cache does not have",
		RunE: func(c *cobra.Command, args []string) error {
			return kube.Build(c.Context(), c.ErrOrStderr(), args...)
		},
	}
}

func e2eCommand() *cobra.Command {
	t := kube.E2E{}
	c := &cobra.Command{
		Use:   "e2e FOCUS",
		Short: "With Kubernetes: run upstream's end-to-end tests whose names match",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := needKube(c)
			if err != nil {
				return err
			}
			t.Focus = args[0]
			return l.E2E(c.Context(), t)
		},
	}
	c.Flags().StringVar(&t.Skip, "skip", "", "but not those whose names match")
	c.Flags().StringVar(&t.Report, "report", "e2e-report", "folder of report and log")
	c.Flags().IntVar(&t.Procs, "procs", 4, "tests at once")
	c.Flags().DurationVar(&t.Timeout, "timeout", time.Hour, "of the whole")
	return c
}
