// Package path makes the ways between two pods that the benchmark compares: a
// bare veth pair, the kernel's own routing and VXLAN, the shortest eBPF there
// can be, and Weir.
//
// All have the same shape: a pod is a namespace whose eth0 leads to its node,
// and two nodes are joined by one veth. No rules, no conntrack in any of them.
package path

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"weir/bench/cluster"
	"weir/bench/topo"
)

// Path is a client, a server, and what lies between them.
type Path struct {
	Name   string
	Client topo.Netns
	Server topo.Netns
	Addr   netip.Addr // of the server

	Services []netip.AddrPort // that stand for it: connections go to one after the other
	Cgroup   string           // that the client is in, or none in particular
}

// Targets are the addresses that the client connects to, comma separated; port 0
// is that of the kind.
func (p Path) Targets() string {
	if len(p.Services) == 0 {
		return netip.AddrPortFrom(p.Addr, 0).String()
	}
	var out []string
	for _, s := range p.Services {
		out = append(out, s.String())
	}
	return strings.Join(out, ",")
}

// Names of the paths.
const (
	Direct     = "direct veth"
	Control    = "direct veth again (A/A)"
	Kernel     = "kernel routing, same node"
	Minimal    = "redirect_peer only, same node"
	Weir       = "Weir, same node"
	KernelFar  = "kernel routing, two nodes"
	WeirNative = "Weir native, two nodes"
	KernelVX   = "kernel VXLAN, two nodes"
	WeirVX     = "Weir VXLAN, two nodes"
)

// Set is all paths, with what has to be removed.
type Set struct {
	Paths    []Path
	Clusters []*cluster.Cluster
	Took     map[string]time.Duration // of peers, from their start until services answered
	prefix   string
	dir, bin string
	made     []topo.Netns
	undo     []func() error
}

// Make makes every path. Names of namespaces begin with prefix; dir is for
// files, bin has the programs. Close it in any case.
func Make(ctx context.Context, prefix, dir, bin string) (*Set, error) {
	s := &Set{prefix: prefix, dir: dir, bin: bin}
	return s, s.make(ctx,
		func(context.Context) error { return s.direct(Direct, "dir") },
		func(context.Context) error { return s.direct(Control, "aa") },
		s.kernelSame, s.minimal, s.weirNative, s.kernelFar, s.kernelVXLAN, s.weirVXLAN)
}

func (s *Set) make(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close removes everything.
func (s *Set) Close() error {
	var errs []error
	for i := len(s.undo) - 1; i >= 0; i-- {
		errs = append(errs, s.undo[i]())
	}
	for _, n := range s.made {
		errs = append(errs, n.Remove())
	}
	return errors.Join(errs...)
}

func (s *Set) netns(name string) (topo.Netns, error) {
	n, err := topo.Make(s.prefix + "-" + name)
	if err == nil {
		s.made = append(s.made, n)
	}
	return n, err
}

func (s *Set) add(name string, client, server topo.Netns, addr string) {
	s.Paths = append(s.Paths, Path{Name: name, Client: client, Server: server, Addr: netip.MustParseAddr(addr)})
}

// direct joins two pods by one veth and nothing else.
func (s *Set) direct(name, short string) error {
	a, err := s.netns(short + "-a")
	if err != nil {
		return err
	}
	b, err := s.netns(short + "-b")
	if err != nil {
		return err
	}
	s.add(name, a, b, "10.9.0.2")
	return topo.Veth(topo.End{In: a, Name: "eth0", Addrs: []string{"10.9.0.1/24"}},
		topo.End{In: b, Name: "eth0", Addrs: []string{"10.9.0.2/24"}}, 1500)
}

// pod is a namespace whose eth0 leads to the device dev of a node, routed as
// every CNI with routes does it: a link-local gateway, a host route back.
func (s *Set) pod(node topo.Netns, name, dev, addr string, mtu int) (topo.Netns, error) {
	p, err := s.netns(name)
	if err != nil {
		return p, err
	}
	err = topo.Veth(topo.End{In: node, Name: dev, Addrs: []string{"169.254.1.1/32"}},
		topo.End{In: p, Name: "eth0", Addrs: []string{addr + "/32"}}, mtu)
	return p, errors.Join(err,
		p.Route("169.254.1.1/32", "", "eth0"), p.Route("0.0.0.0/0", "169.254.1.1", "eth0"),
		node.Route(addr+"/32", "", dev))
}

func (s *Set) node(name string) (topo.Netns, error) {
	n, err := s.netns(name)
	if err != nil {
		return n, err
	}
	return n, n.Forward()
}

func (s *Set) kernelSame(context.Context) error {
	n, err := s.node("k-n1")
	if err != nil {
		return err
	}
	a, err := s.pod(n, "k-a", "pod1", "10.40.1.1", 1500)
	if err != nil {
		return err
	}
	b, err := s.pod(n, "k-b", "pod2", "10.40.1.2", 1500)
	s.add(Kernel, a, b, "10.40.1.2")
	return err
}

// nodes are two routers joined by one veth, as those of Weir are.
func (s *Set) nodes(short string) (a, b topo.Netns, err error) {
	if a, err = s.node(short + "-n1"); err != nil {
		return
	}
	if b, err = s.node(short + "-n2"); err != nil {
		return
	}
	err = topo.Veth(topo.End{In: a, Name: "eth0", Addrs: []string{"172.31.0.1/24"}},
		topo.End{In: b, Name: "eth0", Addrs: []string{"172.31.0.2/24"}}, 1500)
	return
}

func (s *Set) kernelFar(context.Context) error {
	n1, n2, err := s.nodes("kf")
	if err != nil {
		return err
	}
	a, err1 := s.pod(n1, "kf-a", "pod1", "10.41.1.1", 1500)
	b, err2 := s.pod(n2, "kf-b", "pod1", "10.41.2.1", 1500)
	s.add(KernelFar, a, b, "10.41.2.1")
	return errors.Join(err1, err2, n1.Route("10.41.2.0/24", "172.31.0.2", "eth0"), n2.Route("10.41.1.0/24", "172.31.0.1", "eth0"))
}

// kernelVXLAN is laid out as overlays without eBPF are: a device with a
// forwarding and a neighbour entry for each node.
func (s *Set) kernelVXLAN(context.Context) error {
	n1, n2, err := s.nodes("kv")
	if err != nil {
		return err
	}
	a, err1 := s.pod(n1, "kv-a", "pod1", "10.42.1.1", 1450)
	b, err2 := s.pod(n2, "kv-b", "pod1", "10.42.2.1", 1450)
	s.add(KernelVX, a, b, "10.42.2.1")
	if err := errors.Join(err1, err2, n1.VXLAN("vx0", "172.31.0.1", 1450), n2.VXLAN("vx0", "172.31.0.2", 1450)); err != nil {
		return err
	}
	e1 := topo.End{In: n1, Name: "vx0", Addrs: []string{"10.42.1.0/32"}}
	e2 := topo.End{In: n2, Name: "vx0", Addrs: []string{"10.42.2.0/32"}}
	if err := errors.Join(e1.Up(), e2.Up()); err != nil {
		return err
	}
	_, mac1, err1 := n1.Index("vx0")
	_, mac2, err2 := n2.Index("vx0")
	return errors.Join(err1, err2,
		n1.VXLANPeer("vx0", "10.42.2.0", "172.31.0.2", mac2), n2.VXLANPeer("vx0", "10.42.1.0", "172.31.0.1", mac1),
		n1.Route("10.42.2.0/24", "10.42.2.0", "vx0"), n2.Route("10.42.1.0/24", "10.42.1.0", "vx0"))
}

func (s *Set) weir(ctx context.Context, short string, native bool, second byte, rules int) (*cluster.Cluster, error) {
	return s.weirOf(ctx, short, 2, native, second, rules)
}

func (s *Set) weirOf(ctx context.Context, short string, nodes int, native bool, second byte, rules int) (*cluster.Cluster, error) {
	return s.up(ctx, short, cluster.Spec{Native: native, Nodes: nodes, Second: second, Rules: rules})
}

// up makes a cluster whose name and folders are those of the set.
func (s *Set) up(ctx context.Context, short string, spec cluster.Spec) (*cluster.Cluster, error) {
	spec.Name, spec.Dir, spec.Bin = s.prefix+"-"+short, filepath.Join(s.dir, short), s.bin
	c, err := cluster.Up(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", short, err)
	}
	s.undo = append(s.undo, c.Down)
	s.Clusters = append(s.Clusters, c)
	return c, nil
}

func (s *Set) weirPod(c *cluster.Cluster, node int, name string) (cluster.Pod, error) {
	p, err := c.Add(c.Nodes[node], name)
	if p.Netns.Name != "" {
		s.made = append(s.made, p.Netns)
	}
	return p, err
}

func (s *Set) weirNative(ctx context.Context) error {
	c, err := s.weir(ctx, "wn", true, 50, 0)
	if err != nil {
		return err
	}
	a, err1 := s.weirPod(c, 0, "a")
	b, err2 := s.weirPod(c, 0, "b")
	far, err3 := s.weirPod(c, 1, "c")
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	s.add(Weir, a.Netns, b.Netns, b.IPs[0].String())
	s.add(WeirNative, a.Netns, far.Netns, far.IPs[0].String())
	return nil
}

func (s *Set) weirVXLAN(ctx context.Context) error {
	c, err := s.weir(ctx, "wv", false, 51, 0)
	if err != nil {
		return err
	}
	a, err1 := s.weirPod(c, 0, "a")
	far, err2 := s.weirPod(c, 1, "b")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	s.add(WeirVX, a.Netns, far.Netns, far.IPs[0].String())
	return nil
}
