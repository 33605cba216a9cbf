package policylab

import (
	"context"
	"encoding/json"
	"fmt"
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

// kind is what a lab differs in from others.
type kind struct {
	name, mode string
	firewall   bool

	once sync.Once
	c    *cluster // nil when it could not be made
}

// The labs. Those of the prober are shaken too much to be shared.
var (
	vxlan       = &kind{name: "ltc-vxlan", mode: lab.ModeVXLAN}
	native      = &kind{name: "ltc-native", mode: lab.ModeNative}
	fireVXLAN   = &kind{name: "ltc-fire-vxlan", mode: lab.ModeVXLAN, firewall: true}
	fireNative  = &kind{name: "ltc-fire-native", mode: lab.ModeNative, firewall: true}
	probeVXLAN  = &kind{name: "ltc-probe-vxlan", mode: lab.ModeVXLAN}
	probeNative = &kind{name: "ltc-probe-native", mode: lab.ModeNative}
	labs        = []*kind{vxlan, native, fireVXLAN, fireNative, probeVXLAN, probeNative}
	nodes       = []string{"n1", "n2"}
)

// patience is how long anything that should happen at once may take on a busy
// machine.
const patience = 10 * time.Second

// cluster is a lab with the pods that clients and servers are: a and x on n1, o
// on n2 in another namespace with a's label; the servers b on n1, c on n2.
type cluster struct {
	*lab.Lab
	kind *kind
	taps map[string]*tap // by pod or host; opened when first asked for
}

const pods = `
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {team: red}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: a, l0: a, l1: a, l2: a, l3: a, l4: a, l5: a}}
spec: {nodeName: n1, containers: [{name: c, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: x, labels: {app: x, l0: x, l1: x, l2: x, l3: x, l4: x, l5: x}}
spec: {nodeName: n1, containers: [{name: c, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: o, namespace: other, labels: {app: a, l0: a, l1: a, l2: a, l3: a, l4: a, l5: a}}
spec: {nodeName: n2, containers: [{name: c, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {role: server, name: b}}
spec: {nodeName: n1, containers: [{name: c, command: [sleep, infinity], ports: [{name: http, containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: c, labels: {role: server, name: c}}
spec: {nodeName: n2, containers: [{name: c, command: [sleep, infinity], ports: [{name: http, containerPort: 8080}]}]}
`

// on returns the lab and makes it when this is its first test.
func on(t *testing.T, k *kind) *cluster {
	t.Helper()
	if bin == "" {
		t.Skip("needs root: makes network namespaces and loads BPF programs")
	}
	k.once.Do(func() { k.c = k.raise(t) })
	if k.c == nil {
		t.Fatalf("lab %s could not be made: see the first test that uses it", k.name)
	}
	return k.c
}

func (k *kind) raise(t *testing.T) *cluster {
	t.Helper()
	l, err := lab.Up(context.Background(), lab.Spec{
		Name: k.name, Mode: k.mode, Nodes: lab.Nodes(len(nodes)), Bin: bin,
		// Probes of the health endpoints would be among the packets counted.
		Agent: map[string]any{"health": map[string]any{"enabled": false}, "hostFirewall": map[string]any{"enabled": k.firewall},
			"prometheus": map[string]any{"enabled": true}},
	})
	if err != nil {
		t.Fatalf("lab %s: %v", k.name, err)
	}
	if err := l.ApplyYAML(context.Background(), "pods.yaml", []byte(pods)).Err(); err != nil {
		t.Fatalf("pods of lab %s: %v", k.name, err)
	}
	return &cluster{Lab: l, kind: k, taps: map[string]*tap{}}
}

// inBoth runs f as a subtest in each of the labs.
func inBoth(t *testing.T, kinds []*kind, f func(t *testing.T, c *cluster)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.mode, func(t *testing.T) { f(t, on(t, k)) })
	}
}

func eachFamily(t *testing.T, f func(t *testing.T, is4 bool)) {
	t.Helper()
	t.Run("ipv4", func(t *testing.T) { f(t, true) })
	t.Run("ipv6", func(t *testing.T) { f(t, false) })
}

// netns returns the path of the namespace of a pod, a node or the world.
func (c *cluster) netns(t *testing.T, ref string) string {
	t.Helper()
	if ref == "world" {
		return "/run/netns/weir-" + c.kind.name + "-world"
	}
	if n, err := c.Node(ref); err == nil {
		return "/run/netns/" + n.Netns
	}
	return "/run/netns/" + c.pod(t, ref).Netns
}

func (c *cluster) pod(t *testing.T, name string) lab.Pod {
	t.Helper()
	p, err := c.Pod(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ip is what a node knows of a prefix; without Prefix it knows nothing.
func (c *cluster) ip(t *testing.T, node, prefix string) agent.IP {
	t.Helper()
	for _, ip := range get[[]agent.IP](t, c, node, agent.PathIPs) {
		if ip.Prefix == prefix {
			return ip
		}
	}
	return agent.IP{}
}

// own is what a pod's own node knows of its IPv4 address.
func (c *cluster) own(t *testing.T, pod string) agent.IP {
	t.Helper()
	ip := c.ip(t, c.pod(t, pod).Node, c.addr(t, pod, true).String()+"/32")
	if ip.Prefix == "" {
		t.Fatalf("the node of pod %s does not know its address", pod)
	}
	return ip
}

// addr returns an address of a pod, a node or the world.
func (c *cluster) addr(t *testing.T, ref string, is4 bool) netip.Addr {
	t.Helper()
	from := []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")}
	if n, err := c.Node(ref); err == nil {
		from = n.Addresses
	} else if ref != "world" {
		from = c.pod(t, ref).IPs
	}
	i := slices.IndexFunc(from, func(a netip.Addr) bool { return a.Is4() == is4 })
	if i < 0 {
		t.Fatalf("%s has no address of the family: %v", ref, from)
	}
	return from[i]
}

// get asks the agent of a node.
func get[T any](t *testing.T, c *cluster, node, path string) T {
	t.Helper()
	var out T
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := c.Node(node)
	if err == nil {
		err = agent.NewClient(n.Socket()).Get(ctx, path, &out)
	}
	if err != nil {
		t.Fatalf("ask the agent of %s for %s: %v", node, path, err)
	}
	return out
}

// weir runs our command on a node, and returns what it says and its exit code.
func (c *cluster) weir(t *testing.T, node string, args ...string) (string, int) {
	t.Helper()
	r := c.Exec(t.Context(), node, append([]string{"weir"}, args...)...)
	return r.Stdout + r.Stderr, r.Code
}

// weirJSON runs our command with -o json.
func weirJSON[T any](t *testing.T, c *cluster, node string, args ...string) T {
	t.Helper()
	var out T
	text, code := c.weir(t, node, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("weir %s on %s: exit code %d, %v\n%s", strings.Join(args, " "), node, code, err, text)
	}
	return out
}

// await polls until done says yes, and reports whether that came in time.
func await(limit time.Duration, done func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(limit)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			return done()
		}
	}
	return true
}

// policies returns how the policies of a node are doing, by "Kind namespace/name".
func (c *cluster) policies(t *testing.T, node string) map[string]agent.Policy {
	t.Helper()
	out := map[string]agent.Policy{}
	for _, p := range get[[]agent.Policy](t, c, node, agent.PathPolicies) {
		key := p.Kind + " " + p.Name
		if p.Namespace != "" {
			key = p.Kind + " " + p.Namespace + "/" + p.Name
		}
		out[key] = p
	}
	return out
}

// apply applies objects and returns when every node has their policies, all of
// them, in force. They go at the test's end.
func (c *cluster) apply(t *testing.T, text string) {
	t.Helper()
	t.Cleanup(func() { c.remove(t, text) })
	c.enforce(t, text)
}

// enforce is apply, of what the test removes itself.
func (c *cluster) enforce(t *testing.T, text string) {
	t.Helper()
	names := c.put(t, text)
	for _, node := range nodes {
		said := ""
		ok := await(patience, func() bool {
			have := c.policies(t, node)
			i := slices.IndexFunc(names, func(name string) bool {
				return strings.Contains(name, "Policy ") && (have[name].State != "in force" || strings.Contains(have[name].Message, "version before"))
			})
			if i >= 0 {
				said = fmt.Sprintf("%s: %+v", names[i], have[names[i]])
			}
			return i < 0
		})
		if !ok {
			t.Fatalf("%s: not in force after %s: %s", node, patience, said)
		}
	}
}

// calm is for how many polls in a row nothing must change.
const calm = 15

// forgotten is after how long a label that no policy sees any more surely counts
// no more: a node that has started meanwhile has forgotten it at once, and the
// two have different numbers until then.
const forgotten = 45 * time.Second

// settle waits until each node knows the same numbers of pods, and these have
// been the same for a while: what changes from then on, the test has changed.
func (c *cluster) settle(t *testing.T) {
	t.Helper()
	last, same := "", 0
	ok := await(forgotten, func() bool {
		var said []string
		for _, node := range nodes {
			text := ""
			for _, ip := range get[[]agent.IP](t, c, node, agent.PathIPs) {
				if ip.Source == "endpoint" || ip.Source == "pod" {
					text += fmt.Sprintf("%s has %d. ", ip.Prefix, ip.Identity)
				}
			}
			said = append(said, text)
		}
		now := strings.Join(said, "; ")
		if same++; now != last || said[0] != said[1] {
			same = 0
		}
		last = now
		return same >= calm
	})
	if !ok {
		t.Fatalf("identities do not settle: %s", last)
	}
}

// put applies objects, waits for nothing, and returns their names.
func (c *cluster) put(t *testing.T, text string) []string {
	t.Helper()
	rep := c.ApplyYAML(context.Background(), "policy.yaml", []byte(text))
	if err := rep.Err(); err != nil {
		t.Fatalf("apply: %v\n%s", err, text)
	}
	var names []string
	for _, line := range rep.Lines {
		names = append(names, line[:strings.LastIndexByte(line, ' ')])
	}
	return names
}

// remove deletes objects and returns when no node lists their policies.
func (c *cluster) remove(t *testing.T, text string) {
	t.Helper()
	names := c.unput(t, text)
	for _, node := range nodes {
		client := agent.NewClient(c.socket(t, node))
		gone := await(patience, func() bool {
			var list []agent.Policy
			if client.Get(context.Background(), agent.PathPolicies, &list) != nil {
				return false
			}
			return !slices.ContainsFunc(list, func(p agent.Policy) bool {
				return slices.Contains(names, p.Kind+" "+p.Namespace+"/"+p.Name) || slices.Contains(names, p.Kind+" "+p.Name)
			})
		})
		if !gone {
			t.Errorf("%s: still lists one of %q", node, names)
		}
	}
}

func (c *cluster) unput(t *testing.T, text string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	rep := c.Delete(context.Background(), file)
	if err := rep.Err(); err != nil {
		t.Errorf("delete: %v", err)
	}
	var names []string
	for _, line := range rep.Lines {
		names = append(names, line[:strings.LastIndexByte(line, ' ')])
	}
	return names
}

func (c *cluster) socket(t *testing.T, node string) string {
	t.Helper()
	n, err := c.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	return n.Socket()
}
