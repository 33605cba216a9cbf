// Package cluster starts real agents in two namespaces that one veth joins,
// and attaches pods to them with the real CNI plugin.
//
// Package lab does the same for users; it joins nodes by a bridge, whose cost
// would be in every figure, and it hides the processes that are timed here.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"weir/api/agent"
	"weir/api/v1"
	"weir/bench/topo"
	"weir/operator"
)

// Spec says what a cluster is like.
type Spec struct {
	Name   string // prefix of its namespaces
	Dir    string // for its files
	Bin    string // folder of weir-agent and weir-cni
	Native bool   // routing mode; otherwise VXLAN
	Attach string // bpf.attachMode; empty: the agent's default
	Nodes  int    // 1 or 2
	Second byte   // of the pod addresses: 10.Second.NODE.0/24
	Rules  int    // of the policies in force; see package rules

	Quiet        bool         // hubble.enabled is false: events of drops only
	Acceleration string       // loadBalancer.acceleration; empty: the agent's default
	Elsewhere    netip.Prefix // pods of another node, which is whoever is outside; none: there is no such node
}

// Other is the node that has the pods Elsewhere.
const Other = "other"

// Cluster is a running cluster.
type Cluster struct {
	Spec
	Nodes []*Node

	identity    sync.Once
	identityErr error
}

// Node is one node with its agent.
type Node struct {
	Name   string
	Netns  topo.Netns
	Dir    string
	CIDRs  []netip.Prefix
	Addrs  []netip.Addr
	Cgroup string        // whose sockets find services; empty: none do
	Ready  time.Duration // from the first exec of the agent until it served
	bin    string
	agent  *process
	client *agent.Client // one: each has connections of its own
}

// Up makes the nodes, joins them and starts their agents.
func Up(ctx context.Context, s Spec) (*Cluster, error) {
	c := &Cluster{Spec: s}
	if err := c.build(ctx); err != nil {
		return nil, errors.Join(err, c.Down())
	}
	return c, nil
}

func (c *Cluster) build(ctx context.Context) error {
	if err := os.MkdirAll(c.objects(), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	var ends []topo.End
	for i := range c.Spec.Nodes {
		n, end, err := c.makeNode(i)
		if err != nil {
			return err
		}
		ends = append(ends, end)
		if err := c.writeNode(n); err != nil {
			return err
		}
	}
	if c.Elsewhere.IsValid() {
		if err := c.writeNodeObject(Other, []netip.Addr{c.Far()}, []netip.Prefix{c.Elsewhere}); err != nil {
			return err
		}
	}
	if err := c.writePolicies(); err != nil {
		return err
	}
	if len(ends) == 1 { // an underlay with nobody of the cluster on it
		far, err := topo.Make(c.Outside().Name)
		if err != nil {
			return err
		}
		ends = append(ends, topo.End{In: far, Name: "eth0", Addrs: []string{c.Far().String() + "/24"}})
	}
	if err := topo.Veth(ends[0], ends[1], 1500); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		took, err := n.Start(ctx)
		if err != nil {
			return err
		}
		n.Ready = took
	}
	return nil
}

func (c *Cluster) makeNode(i int) (*Node, topo.End, error) {
	n := &Node{Name: fmt.Sprintf("n%d", i+1), bin: c.Bin,
		CIDRs: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.0/24", c.Second, i+1)),
			netip.MustParsePrefix(fmt.Sprintf("fd00:%d:%d::/112", c.Second, i+1))},
		Addrs: []netip.Addr{
			netip.MustParseAddr(fmt.Sprintf("172.30.%d.%d", c.Second, i+1)),
			netip.MustParseAddr(fmt.Sprintf("fd30:%d::%d", c.Second, i+1))},
	}
	n.Dir = filepath.Join(c.Dir, n.Name)
	n.client = agent.NewClient(n.Socket())
	var err error
	if n.Netns, err = topo.Make(c.Name + "-" + n.Name); err != nil {
		return nil, topo.End{}, err
	}
	c.Nodes = append(c.Nodes, n)
	if n.Cgroup, err = topo.Cgroup(n.Netns.Name); err != nil {
		return n, topo.End{}, err
	}
	end := topo.End{In: n.Netns, Name: "eth0", Addrs: []string{n.Addrs[0].String() + "/24", n.Addrs[1].String() + "/64"}}
	return n, end, n.Netns.Forward()
}

// Outside is who is on the underlay of a cluster of one node, and Far its address.
func (c *Cluster) Outside() topo.Netns { return topo.Netns{Name: c.Name + "-far"} }

// Far is the address of Outside.
func (c *Cluster) Far() netip.Addr {
	return netip.AddrFrom4([4]byte{172, 30, c.Second, 254})
}

func (c *Cluster) objects() string { return filepath.Join(c.Dir, "objects") }

// writeNodeObject writes what operator and agent together would write of a node.
func (c *Cluster) writeNodeObject(name string, addrs []netip.Addr, pods []netip.Prefix) error {
	o := v1.CiliumNode{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindCiliumNode},
		ObjectMeta: metav1.ObjectMeta{Name: name},
	}
	for _, a := range addrs {
		o.Spec.Addresses = append(o.Spec.Addresses, v1.NodeAddress{Type: v1.InternalIP, IP: a.String()})
	}
	for _, a := range operator.RouterIP(pods) {
		o.Spec.Addresses = append(o.Spec.Addresses, v1.NodeAddress{Type: v1.CiliumInternalIP, IP: a.String()})
	}
	for _, a := range operator.HealthIP(pods) {
		if a.Is4() {
			o.Spec.Health.IPv4 = a.String()
		} else {
			o.Spec.Health.IPv6 = a.String()
		}
	}
	for _, p := range pods {
		o.Spec.IPAM.PodCIDRs = append(o.Spec.IPAM.PodCIDRs, p.String())
	}
	return c.write(filepath.Join(c.objects(), "node-"+name+".yaml"), o)
}

// writeNode writes the node's object and configuration.
func (c *Cluster) writeNode(n *Node) error {
	pins := map[string]any{"root": n.BPFRoot()}
	if c.Attach != "" {
		pins["attachMode"] = c.Attach
	}
	conf := map[string]any{
		"nodeName": n.Name, "runDir": filepath.Join(n.Dir, "run"),
		"cluster": map[string]any{"name": "bench"}, "bpf": pins,
		"source": map[string]any{"files": c.objects()},
		"ipv4":   map[string]any{"enabled": true}, "ipv6": map[string]any{"enabled": true},
	}
	if n.Cgroup != "" {
		conf["cgroupRoot"] = n.Cgroup
	}
	if c.Native {
		conf["routingMode"], conf["autoDirectNodeRoutes"] = "native", true
		conf["ipv4NativeRoutingCIDR"] = fmt.Sprintf("10.%d.0.0/16", c.Second)
		conf["ipv6NativeRoutingCIDR"] = fmt.Sprintf("fd00:%d::/32", c.Second)
	}
	if c.Acceleration != "" {
		conf["loadBalancer"] = map[string]any{"acceleration": c.Acceleration}
	}
	if c.Quiet {
		conf["hubble"] = map[string]any{"enabled": false}
	}
	for _, dir := range []string{"run", "bpf"} {
		if err := os.MkdirAll(filepath.Join(n.Dir, dir), 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	return errors.Join(c.writeNodeObject(n.Name, n.Addrs, n.CIDRs), c.write(n.config(), conf))
}

// write puts a YAML file in place in one step.
func (c *Cluster) write(file string, object any) error {
	swap, err := c.prepare(file, object)
	if err != nil {
		return err
	}
	return swap()
}

// prepare writes a YAML file of one or more objects beside its place. What it
// returns is the step that puts it there.
func (c *Cluster) prepare(file string, objects ...any) (swap func() error, err error) {
	var data []byte
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", file, err)
		}
		data = append(append(data, "---\n"...), text...)
	}
	tmp := filepath.Join(c.Dir, ".tmp-"+filepath.Base(file))
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return nil, fmt.Errorf("write %s: %w", file, err)
	}
	return func() error { return os.Rename(tmp, file) }, nil
}

// Down ends the agents and removes everything that Up and Add made.
func (c *Cluster) Down() error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.Stop())
		bpf := filepath.Join(n.Dir, "bpf")
		if err := os.RemoveAll(filepath.Join(bpf, "weir")); err != nil {
			errs = append(errs, fmt.Errorf("remove pins: %w", err))
		}
		// The agent keeps the health endpoint's namespace beside its socket.
		mounts, _ := filepath.Glob(filepath.Join(n.Dir, "run", "netns", "*")) // the pattern is right
		for _, m := range append(mounts, bpf) {
			for unix.Unmount(m, unix.MNT_DETACH) == nil { // as often as it is mounted
			}
		}
		errs = append(errs, n.Netns.Remove(), topo.RemoveCgroup(n.Cgroup))
	}
	if len(c.Nodes) == 1 {
		errs = append(errs, c.Outside().Remove())
	}
	if strings.HasPrefix(c.Dir, os.TempDir()) {
		errs = append(errs, os.RemoveAll(c.Dir))
	}
	return errors.Join(errs...)
}

// readyLimit is how long an agent may take until it serves.
const readyLimit = 30 * time.Second
