package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MaxNodes is how many nodes a lab may have.
const MaxNodes = 99

// Spec says what a lab shall be.
type Spec struct {
	Name      string
	Nodes     int    // 0: three
	IPv4      bool   // of nodes, pods and services; neither: both
	IPv6      bool   //
	KubeProxy string // nftables or iptables; empty: none, Weir does services
	Install   *Install
	Keep      bool // leave a lab that could not be made as it is
	Progress  io.Writer
}

// Install says what to install Weir from. A lab without it has no network:
// its nodes stay NotReady.
type Install struct {
	Image    string // archive of Weir's image
	Manifest string // what kubectl applies
}

// check names what is missing before minutes are spent.
func (i *Install) check() error {
	for _, f := range []struct{ what, file, make string }{
		{"image", i.Image, "make image"}, {"manifest", i.Manifest, "make manifest"},
	} {
		if _, err := os.Stat(f.file); err != nil {
			return fmt.Errorf("Weir's %s: %w; make it with %q, name another with --%s, or use --no-cni", f.what, err, f.make, f.what)
		}
	}
	return nil
}

func (s Spec) family() string {
	switch {
	case s.IPv4 && !s.IPv6:
		return "ipv4"
	case s.IPv6 && !s.IPv4:
		return "ipv6"
	}
	return "dual"
}

func (s Spec) args() ([]string, error) {
	if s.Nodes == 0 {
		s.Nodes = 3
	}
	if s.Nodes < 0 || s.Nodes > MaxNodes {
		return nil, fmt.Errorf("--nodes %d: 1 to %d are possible", s.Nodes, MaxNodes)
	}
	switch s.KubeProxy {
	case "":
		s.KubeProxy = "none"
	case "none", "nftables", "iptables":
	default:
		return nil, fmt.Errorf("--kube-proxy %q: want nftables or iptables", s.KubeProxy)
	}
	return []string{"up", "--nodes", strconv.Itoa(s.Nodes), "--family", s.family(), "--kube-proxy", s.KubeProxy}, nil
}

// Up makes a lab and, where the Spec says so, installs Weir in it; then it ends
// when all nodes are Ready and CoreDNS answers.
func Up(ctx context.Context, spec Spec) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab needs root: run this with sudo")
	}
	args, err := spec.args()
	if err != nil {
		return nil, err
	}
	if spec.Install != nil {
		if err := spec.Install.check(); err != nil {
			return nil, err
		}
	}
	l, err := open(spec.Name, spec.Progress)
	if err != nil {
		return nil, err
	}
	running := l.Running(ctx)
	err = l.run(ctx, args...)
	if err == nil && spec.Install != nil {
		err = l.Install(ctx, *spec.Install)
	}
	if err == nil {
		return l, nil
	}
	if running { // it is another's
		return nil, err
	}
	if spec.Keep {
		return nil, fmt.Errorf("%w; everything stays for a look: logs are below %s, and weir lab down --name %s removes it", err, filepath.Join(StateDir(), spec.Name), spec.Name)
	}
	return nil, errors.Join(err, l.Down(context.WithoutCancel(ctx)))
}

// Running reports whether the lab's API server answers.
func (l *Lab) Running(ctx context.Context) bool {
	return Exists(l.name) && l.Kubectl(ctx, "get", "--raw", "/readyz", "--request-timeout=3s").OK()
}

// Load imports an image archive into the nodes, or into all.
func (l *Lab) Load(ctx context.Context, archive string, nodes ...string) error {
	return l.run(ctx, append([]string{"load", archive}, nodes...)...)
}

// Install loads Weir's image, applies its manifest and waits until it carries
// the cluster.
func (l *Lab) Install(ctx context.Context, from Install) error {
	if err := from.check(); err != nil {
		return err
	}
	fmt.Fprintf(l.progress, "loading %s\n", from.Image)
	if err := l.Load(ctx, from.Image); err != nil {
		return err
	}
	fmt.Fprintf(l.progress, "applying %s\n", from.Manifest)
	if r := l.Kubectl(ctx, "apply", "--server-side", "-f", from.Manifest); !r.OK() {
		return fmt.Errorf("apply %s: %s", from.Manifest, r.Stderr)
	}
	for _, step := range [][]string{
		{"rollout", "status", "-n", "kube-system", "daemonset", "-l", "k8s-app=cilium", "--timeout=120s"},
		{"wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"},
		{"rollout", "status", "-n", "kube-system", "deployment/coredns", "--timeout=120s"},
	} {
		r := l.Kubectl(ctx, step...)
		fmt.Fprint(l.progress, r.Stdout)
		if !r.OK() {
			return fmt.Errorf("kubectl %s: %s\n%s", strings.Join(step, " "), strings.TrimSpace(r.Stderr), l.Describe(ctx))
		}
	}
	return nil
}

// Describe tells the state of Weir's pods and of all that is not well.
func (l *Lab) Describe(ctx context.Context) string {
	var b strings.Builder
	for _, args := range [][]string{
		{"get", "nodes,pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--field-selector=type!=Normal", "--sort-by=.lastTimestamp"},
		{"logs", "-n", "kube-system", "-l", "k8s-app=cilium", "--all-containers", "--prefix", "--tail=15", "--ignore-errors"},
		{"logs", "-n", "kube-system", "-l", "io.cilium/app=operator", "--prefix", "--tail=15", "--ignore-errors"},
	} {
		r := l.Kubectl(ctx, args...)
		fmt.Fprintf(&b, "# kubectl %s\n%s%s", strings.Join(args, " "), r.Stdout, r.Stderr)
	}
	return b.String()
}
