// Package coexist proves that Weir leaves services to kube-proxy when it is told
// to: packets find kube-proxy's rules on their way and back, and nobody but
// kube-proxy touches them. Part of it is a set of rules of the same kind, so that
// it always runs; the real kube-proxy needs to be built (make test-kube-proxy).
package coexist

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/bench/topo"
	"weir/lab"
)

const (
	prefix     = "ltx-" // of the names of labs
	moduleRoot = "../.."
	nodePort   = 32000
	port       = 8000
)

// bin has the programs that labs start.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // every test skips and says why
	}
	dir, err := os.MkdirTemp("", "weir-coexist-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-o", dir, "./cmd/weir-agent", "./cmd/weir-cni", "./cmd/weir")
	cmd.Dir = moduleRoot
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	bin = dir
	return m.Run()
}

// cluster is a lab of two nodes without services of Weir's: a server and a client
// on each, and a service of both servers.
type cluster struct {
	*lab.Lab
	name string
}

const objects = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {run: client}}
spec: {nodeName: n1, containers: [{name: c, image: sleep, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports: [{port: 8000, targetPort: 80, nodePort: 32000}]
`

func raise(t *testing.T, name, mode string) *cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a lab makes network namespaces and loads BPF programs")
	}
	c := &cluster{name: prefix + name + "-" + mode}
	remove := func() {
		if err := lab.Remove(context.Background(), c.name, nil); err != nil {
			t.Error(err)
		}
	}
	remove() // what a run that was killed has left
	t.Cleanup(remove)
	var err error
	c.Lab, err = lab.Up(t.Context(), lab.Spec{Name: c.name, Mode: mode, Nodes: lab.Nodes(2), Bin: bin,
		Agent: map[string]any{"kubeProxyReplacement": false, "health": map[string]any{"enabled": false}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ApplyYAML(t.Context(), "web.yaml", []byte(objects)).Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) folder() string { return filepath.Join("/run/weir/lab", c.name) }

func (c *cluster) netns(t *testing.T, node string) topo.Netns {
	t.Helper()
	n, err := c.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	return topo.Netns{Name: n.Netns}
}

func (c *cluster) nodes(t *testing.T) []lab.Node {
	t.Helper()
	nodes, err := c.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func (c *cluster) run(t *testing.T, ref string, argv ...string) string {
	t.Helper()
	r := c.Exec(t.Context(), ref, argv...)
	if !r.OK() {
		t.Fatalf("%s: %s: exit code %d\n%s%s", ref, strings.Join(argv, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

func pick(t *testing.T, from []netip.Addr, is4 bool) netip.Addr {
	t.Helper()
	i := slices.IndexFunc(from, func(a netip.Addr) bool { return a.Is4() == is4 })
	if i < 0 {
		t.Fatalf("%v has no address of the family", from)
	}
	return from[i]
}

func (c *cluster) clusterIP(t *testing.T, is4 bool) netip.Addr {
	t.Helper()
	s, err := c.Service("default/web")
	if err != nil {
		t.Fatal(err)
	}
	var all []netip.Addr
	for _, a := range s.Spec.ClusterIPs {
		all = append(all, netip.MustParseAddr(a))
	}
	return pick(t, all, is4)
}

// servers are the addresses of the service's pods.
func (c *cluster) servers(t *testing.T, is4 bool) (out []netip.Addr) {
	t.Helper()
	pods, err := c.Pods()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if strings.HasPrefix(p.Name, "web-") {
			out = append(out, pick(t, p.IPs, is4))
		}
	}
	return out
}

// ask asks many times, and returns how often each pod answered.
func (c *cluster) ask(t *testing.T, from string, to netip.AddrPort, times int) map[string]int {
	t.Helper()
	script := fmt.Sprintf("for i in $(seq %d); do curl -sS -m 3 http://%s/ 2>&1 || echo; done", times, to)
	out := map[string]int{}
	for line := range strings.Lines(c.run(t, from, "sh", "-c", script)) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "PodName: ")
		if name, _, _ = strings.Cut(name, " "); !ok {
			why, _, _ := strings.Cut(line, " after ") // so many milliseconds, which never are the same
			name = "FAILED: " + strings.TrimSpace(why)
		}
		if name != "FAILED: " {
			out[name]++
		}
	}
	return out
}

// serves asks the service from everywhere, by each of its addresses, in both
// families, until every server has answered; whatever fails is an error.
func (c *cluster) serves(t *testing.T) {
	t.Helper()
	for _, is4 := range []bool{true, false} {
		at := netip.AddrPortFrom(c.clusterIP(t, is4), port)
		n1 := netip.AddrPortFrom(pick(t, c.nodes(t)[0].Addresses, is4), nodePort)
		n2 := netip.AddrPortFrom(pick(t, c.nodes(t)[1].Addresses, is4), nodePort)
		for _, a := range []struct {
			from string
			to   []netip.AddrPort
		}{{"client", []netip.AddrPort{at, n1}}, {"n1", []netip.AddrPort{at, n1, n2}}, {"world", []netip.AddrPort{n1, n2}}} {
			for _, to := range a.to {
				got := c.ask(t, a.from, to, 4)
				for more := 0; len(got) == 1 && !hasFailed(got) && more < 10; more++ { // the same one again, by chance
					maps.Copy(got, c.ask(t, a.from, to, 4))
				}
				if len(got) != 2 || hasFailed(got) {
					t.Errorf("%s asks %s: %v, want answers of both servers", a.from, to, got)
				}
			}
		}
		for _, s := range c.servers(t, is4) { // the pods themselves, past all services
			if got := c.ask(t, "client", netip.AddrPortFrom(s, 80), 2); len(got) != 1 || hasFailed(got) {
				t.Errorf("client asks pod %s: %v", s, got)
			}
		}
	}
}

func hasFailed(answers map[string]int) bool {
	for name := range answers {
		if strings.HasPrefix(name, "FAILED") {
			return true
		}
	}
	return false
}

// ruleset is everything netfilter has on a node, without counters.
func (c *cluster) ruleset(t *testing.T, node string) string {
	t.Helper()
	const script = "iptables-save; ip6tables-save; iptables-legacy-save 2>/dev/null; ip6tables-legacy-save 2>/dev/null; if command -v nft >/dev/null; then nft -s list ruleset; fi"
	var out strings.Builder
	for line := range strings.Lines(c.run(t, node, "sh", "-c", script)) {
		if chain, _, ok := strings.Cut(line, "["); ok && strings.HasPrefix(line, ":") {
			line = chain + "\n" // the counters of a chain
		}
		if !strings.HasPrefix(line, "#") { // when it was written
			out.WriteString(line)
		}
	}
	return out.String()
}

// leavesServices looks at what the agents say that they do.
func (c *cluster) leavesServices(t *testing.T) {
	t.Helper()
	for _, n := range c.nodes(t) {
		status := c.run(t, n.Name, filepath.Join(bin, "weir"), "status")
		status = strings.Join(strings.Fields(status), " ")
		if !strings.Contains(status, "KubeProxyReplacement: False") || !strings.Contains(status, "Host: Legacy") {
			t.Errorf("weir status on %s:\n%s", n.Name, status)
		}
	}
}

func eventually(t *testing.T, what string, limit time.Duration, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}
