package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// MaxNodes is how many nodes a lab may have.
const MaxNodes = 99

// Spec says what a lab shall be.
type Spec struct {
	Name      string
	Nodes     int      // 0: three
	IPv4      bool     // of nodes, pods and services; neither: both
	IPv6      bool     //
	KubeProxy string   // nftables or iptables; empty: none, Weir does services
	Zones     int      // nodes are in zone1, zone2, ... in turn; 0: in none
	Gates     string   // Kubernetes' feature gates: Name=true,...
	Single    bool     // one program for each node, with its files where k3s has them
	Install   *Install // nil: no network, so that nodes stay NotReady
	Keep      bool     // leave a lab that could not be made as it is
	Progress  io.Writer
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
	if s.Zones < 0 || s.Zones > s.Nodes {
		return nil, fmt.Errorf("--zones %d: 0 to %d are possible, the number of nodes", s.Zones, s.Nodes)
	}
	args := []string{"up", "--nodes", strconv.Itoa(s.Nodes), "--family", s.family(), "--kube-proxy", s.KubeProxy}
	if s.Zones > 0 {
		args = append(args, "--zones", strconv.Itoa(s.Zones))
	}
	if s.Gates != "" {
		args = append(args, "--feature-gates", s.Gates)
	}
	if s.Single {
		args = append(args, "--layout", "k3s")
	}
	return args, nil
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
		spec.Install = spec.Install.inFamily(spec.family())
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
