package packets

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/api/agent"
	"weir/lab"
)

// prefix begins the name of every lab here and keeps them apart from others of
// the machine.
const prefix = "lta-"

// mode is what a lab differs in from others.
type mode struct {
	routing     string // "vxlan" or "native"
	family      string // "ipv4", "ipv6" or "dual"
	hostRouting string // "bpf" or "legacy"
	attach      string // "tcx" or "tc"
}

// The labs. The first two carry most rows; the others complete the matrix.
var (
	vxlan      = mode{"vxlan", "dual", "bpf", "tcx"}
	native     = mode{"native", "dual", "bpf", "tcx"}
	legacy     = mode{"vxlan", "dual", "legacy", "tc"}
	nativeIPv4 = mode{"native", "ipv4", "bpf", "tc"}
	legacyIPv4 = mode{"vxlan", "ipv4", "legacy", "tcx"}
	nativeIPv6 = mode{"native", "ipv6", "legacy", "tcx"}
	vxlanIPv6  = mode{"vxlan", "ipv6", "bpf", "tc"}
	matrix     = []mode{vxlan, native, legacy, nativeIPv4, legacyIPv4, nativeIPv6, vxlanIPv6}
	dualStack  = []mode{vxlan, native, legacy}
	bpfRouted  = []mode{vxlan, native}
	throwaway  = []string{prefix + "up", prefix + "small", prefix + "nics", prefix + "extras", prefix + "serve-vxlan", prefix + "serve-native", prefix + "ending",
		prefix + "kinds-snat-vxlan", prefix + "kinds-snat-native", prefix + "kinds-dsr-vxlan", prefix + "kinds-dsr-native",
		prefix + "dsr-vxlan", prefix + "dsr-native", prefix + "hybrid-vxlan", prefix + "hybrid-native", prefix + "xdp", prefix + "l2", prefix + "events", prefix + "trace",
		prefix + "truth-vxlan", prefix + "truth-native", prefix + "disturb"}
	shortFamily = map[string]string{"ipv4": "4", "ipv6": "6", "dual": "46"}
)

func (m mode) String() string {
	return strings.Join([]string{m.routing, m.family, m.hostRouting, m.attach}, ",")
}

func (m mode) lab() string {
	return prefix + m.routing + shortFamily[m.family] + "-" + m.hostRouting + "-" + m.attach
}

func (m mode) spec() lab.Spec {
	return lab.Spec{
		Name: m.lab(), Mode: m.routing, Nodes: lab.Nodes(3),
		IPv4: new(m.family != "ipv6"), IPv6: new(m.family != "ipv4"),
		// Probes of the health endpoints would be among the packets counted.
		Agent: map[string]any{
			"bpf":    map[string]any{"hostRouting": m.hostRouting, "attachMode": m.attach},
			"health": map[string]any{"enabled": false},
		},
	}
}

func labNames() []string {
	var out []string
	for _, m := range matrix {
		out = append(out, m.lab())
	}
	return out
}

type labs struct {
	bin string
	mu  sync.Mutex
	up  map[string]*cluster // guarded by mu; nil for a lab that could not be made
}

// cluster is a lab with the pods a and b on n1, c on n2 and d on n3, each with
// labels, and so an identity, of its own.
type cluster struct {
	*lab.Lab
	spec lab.Spec
	dir  string
}

// on returns the lab of the mode and makes it when this is its first test.
func on(t *testing.T, m mode) *cluster {
	t.Helper()
	needRoot(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	c, tried := shared.up[m.lab()]
	if !tried {
		shared.up[m.lab()] = nil // for a test that comes after a failure
		c = raise(t, m.spec(), map[string]string{"a": "n1", "b": "n1", "c": "n2", "d": "n3"})
		shared.up[m.lab()] = c
	}
	if c == nil {
		t.Fatalf("lab %s could not be made: see the first test that uses it", m.lab())
	}
	return c
}

// temporary makes a lab for one test.
func temporary(t *testing.T, s lab.Spec, pods map[string]string) *cluster {
	t.Helper()
	needRoot(t)
	if !slices.Contains(throwaway, s.Name) {
		t.Fatalf("lab %s is not in the list of those that are removed", s.Name)
	}
	t.Cleanup(func() {
		if err := lab.Remove(context.Background(), s.Name, nil); err != nil {
			t.Error(err)
		}
	})
	return raise(t, s, pods)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a lab makes network namespaces and loads BPF programs")
	}
}

func raise(t *testing.T, s lab.Spec, pods map[string]string) *cluster {
	t.Helper()
	s.Bin = shared.bin
	l, err := lab.Up(t.Context(), s)
	if err != nil {
		t.Fatalf("lab %s: %v", s.Name, err)
	}
	c := &cluster{Lab: l, spec: s, dir: filepath.Join("/run/weir/lab", s.Name)}
	if err := l.ApplyYAML(t.Context(), "pods.yaml", manifest(pods)).Err(); err != nil {
		t.Fatalf("pods of lab %s: %v", s.Name, err)
	}
	c.settle(t)
	return c
}

// settle waits until every program is attached in its lasting way: while a link
// takes the place of a filter, packets that pass are counted by both.
func (c *cluster) settle(t *testing.T) {
	t.Helper()
	nodes, err := c.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		client := agent.NewClient(n.Socket())
		for limit := time.Now().Add(10 * time.Second); ; {
			var s agent.Status
			if err := client.Get(t.Context(), agent.PathStatus, &s); err != nil {
				t.Fatal(err)
			}
			filter := slices.IndexFunc(s.Programs, func(p agent.ProgramStatus) bool { return p.Kind == "tc" })
			if s.Routing.AttachMode != "TCX" || filter < 0 {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("%s: %s stays a filter", n.Name, s.Programs[filter].Device)
			}
			select {
			case <-t.Context().Done():
				t.Fatal(t.Context().Err())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// seen is a policy that selects nobody and sees the label by which the pods
// differ, so that each has an identity of its own.
const seen = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sees-app, namespace: default}
spec:
  podSelector: {matchLabels: {app: none-of-them}}
`

// manifest is YAML of pods that do nothing: traffic is made by the tests.
func manifest(pods map[string]string) []byte {
	var b strings.Builder
	b.WriteString(seen)
	for _, name := range slices.Sorted(maps.Keys(pods)) {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {app: %s}}\n"+
			"spec: {nodeName: %s, containers: [{name: c, image: sleep, command: [sleep, infinity]}]}\n", name, name, pods[name])
	}
	return []byte(b.String())
}

func (c *cluster) pod(t *testing.T, name string) lab.Pod {
	t.Helper()
	p, err := c.Pod(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (c *cluster) node(t *testing.T, name string) lab.Node {
	t.Helper()
	n, err := c.Node(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// netns returns the path of the namespace of a pod, a node or the world.
func (c *cluster) netns(t *testing.T, ref string) string {
	t.Helper()
	if ref == "world" || ref == "underlay" {
		return "/run/netns/weir-" + c.spec.Name + "-" + ref
	}
	if n, err := c.Node(ref); err == nil {
		return "/run/netns/" + n.Netns
	}
	return "/run/netns/" + c.pod(t, ref).Netns
}

// addr returns an address of a pod, a node or the world.
func (c *cluster) addr(t *testing.T, ref string, is4 bool) netip.Addr {
	t.Helper()
	if ref == "world" { // the address that only a default route leads to
		return pick([]netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")}, is4)
	}
	if n, err := c.Node(ref); err == nil {
		return pick(n.Addresses, is4)
	}
	return pick(c.pod(t, ref).IPs, is4)
}

func pick(from []netip.Addr, is4 bool) netip.Addr {
	for _, a := range from {
		if a.Is4() == is4 {
			return a
		}
	}
	return netip.Addr{}
}

// cidr returns the node's pod CIDR of the family.
func (c *cluster) cidr(t *testing.T, node string, is4 bool) netip.Prefix {
	t.Helper()
	for _, p := range c.node(t, node).PodCIDRs {
		if p.Addr().Is4() == is4 {
			return p
		}
	}
	t.Fatalf("node %s has no pod CIDR of the family", node)
	return netip.Prefix{}
}

// router returns the node's address on weir_host, as its own agent says.
func (c *cluster) router(t *testing.T, node string, is4 bool) netip.Addr {
	t.Helper()
	var nodes []agent.Node
	c.get(t, node, agent.PathNodes, &nodes)
	for _, n := range nodes {
		for _, r := range n.Routers {
			if a := netip.MustParseAddr(r); n.Name == node && a.Is4() == is4 {
				return a
			}
		}
	}
	t.Fatalf("node %s has no router address of the family", node)
	return netip.Addr{}
}

// get asks the agent of a node.
func (c *cluster) get(t *testing.T, node, path string, into any) {
	t.Helper()
	if err := agent.NewClient(c.node(t, node).Socket()).Get(t.Context(), path, into); err != nil {
		t.Fatalf("ask agent of %s: %v", node, err)
	}
}

// endpoint is the pod as its node's agent knows it.
func (c *cluster) endpoint(t *testing.T, pod string) agent.Endpoint {
	t.Helper()
	p := c.pod(t, pod)
	var all []agent.Endpoint
	c.get(t, p.Node, agent.PathEndpoints, &all)
	for _, e := range all {
		if e.Pod == p.Key() {
			return e
		}
	}
	t.Fatalf("the agent of %s does not know pod %s", p.Node, p.Key())
	return agent.Endpoint{}
}

// status is what the agent of a node says of itself.
func (c *cluster) status(t *testing.T, node string) agent.Status {
	t.Helper()
	var s agent.Status
	c.get(t, node, agent.PathStatus, &s)
	return s
}

// run runs a command in a pod or node and returns its output.
func (c *cluster) run(t *testing.T, ref string, argv ...string) string {
	t.Helper()
	r := c.Exec(t.Context(), ref, argv...)
	if !r.OK() {
		t.Fatalf("%s: %s: exit code %d\n%s%s", ref, strings.Join(argv, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// eachMode runs f as a subtest for each mode.
func eachMode(t *testing.T, modes []mode, f func(t *testing.T, c *cluster)) {
	t.Helper()
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) { f(t, on(t, m)) })
	}
}

// eachFamily runs f as a subtest for each address family of the lab.
func (c *cluster) eachFamily(t *testing.T, f func(t *testing.T, is4 bool)) {
	t.Helper()
	if c.spec.IPv4 == nil || *c.spec.IPv4 {
		t.Run("ipv4", func(t *testing.T) { f(t, true) })
	}
	if c.spec.IPv6 == nil || *c.spec.IPv6 {
		t.Run("ipv6", func(t *testing.T) { f(t, false) })
	}
}
