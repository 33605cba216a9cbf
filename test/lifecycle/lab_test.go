package lifecycle

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"weir/api/agent"
	"weir/lab"
)

// shared are labs that many tests look at and none changes for good.
var shared = []*sharedLab{{name: "ltb-vxlan", mode: lab.ModeVXLAN}, {name: "ltb-native", mode: lab.ModeNative},
	{name: "ltb-tc", mode: lab.ModeVXLAN, agent: map[string]any{"bpf": map[string]any{"attachMode": "tc"}}}}

type sharedLab struct {
	name, mode string
	agent      map[string]any
	once       sync.Once
	lab        *lab.Lab
	err        error
}

// pods are a and b on n1, c on n2.
const pods = `
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: a}}
spec: {nodeName: n1, containers: [{name: a, command: [sleep, "100000"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {app: b}}
spec: {nodeName: n1, containers: [{name: a, command: [sleep, "100000"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: c, labels: {app: c}}
spec: {nodeName: n2, containers: [{name: a, command: [sleep, "100000"]}]}
`

func needRoot(t *testing.T) {
	t.Helper()
	if bin == "" {
		t.Skip("needs root: makes network namespaces and loads BPF programs")
	}
}

// vxlanLab returns the shared lab with tunnels and the pods a, b and c.
func vxlanLab(t *testing.T) *lab.Lab { t.Helper(); return shared[0].get(t) }

// nativeLab is its twin with native routing.
func nativeLab(t *testing.T) *lab.Lab { t.Helper(); return shared[1].get(t) }

// tcLab is one whose programs are clsact filters instead of tcx links.
func tcLab(t *testing.T) *lab.Lab { t.Helper(); return shared[2].get(t) }

func (s *sharedLab) get(t *testing.T) *lab.Lab {
	t.Helper()
	needRoot(t)
	s.once.Do(func() {
		s.lab, s.err = lab.Up(context.Background(), lab.Spec{Name: s.name, Mode: s.mode, Nodes: lab.Nodes(2), Agent: s.agent, Bin: bin})
		if s.err == nil {
			s.err = s.lab.ApplyYAML(context.Background(), "pods.yaml", []byte(pods)).Err()
		}
	})
	if s.err != nil {
		t.Fatalf("lab %s: %v", s.name, s.err)
	}
	settled(t, s.lab)
	return s.lab
}

// ownLab makes a lab for one test, and takes it down at its end.
func ownLab(t *testing.T, spec lab.Spec, manifest string) *lab.Lab {
	t.Helper()
	needRoot(t)
	spec.Bin = bin
	var log bytes.Buffer
	spec.Progress = &log
	l, err := lab.Up(t.Context(), spec)
	if err != nil {
		t.Fatalf("lab %s: %v\n%s", spec.Name, err, log.String())
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range nodesOf(t, l) {
				t.Logf("agent log of %s ends with:\n%s", n.Name, lastLines(agentLog(n), 15))
			}
		}
		if err := l.Down(context.Background()); err != nil {
			t.Errorf("down: %v", err)
		}
	})
	if manifest != "" {
		if err := l.ApplyYAML(t.Context(), "pods.yaml", []byte(manifest)).Err(); err != nil {
			t.Fatalf("apply: %v", err)
		}
	}
	settled(t, l)
	return l
}

func nodesOf(t *testing.T, l *lab.Lab) []lab.Node {
	t.Helper()
	nodes, err := l.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func node(t *testing.T, l *lab.Lab, name string) lab.Node {
	t.Helper()
	n, err := l.Node(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func pod(t *testing.T, l *lab.Lab, name string) lab.Pod {
	t.Helper()
	p, err := l.Pod(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func agentDo(t *testing.T, l *lab.Lab, name string, do lab.AgentAction) {
	t.Helper()
	if err := l.Agent(t.Context(), name, do); err != nil {
		t.Fatalf("%s the agent of %s: %v", do, name, err)
	}
}

// get asks the agent of a node.
func get[T any](t *testing.T, l *lab.Lab, name, path string) T {
	t.Helper()
	var out T
	if err := agent.NewClient(node(t, l, name).Socket()).Get(t.Context(), path, &out); err != nil {
		t.Fatalf("ask %s for %s: %v", name, path, err)
	}
	return out
}

// run runs a command in a pod or node, which must succeed.
func run(t *testing.T, l *lab.Lab, where string, argv ...string) string {
	t.Helper()
	r := l.Exec(t.Context(), where, argv...)
	if !r.OK() {
		t.Fatalf("%s: %q ended with %d: %s%s", where, argv, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// wantPing lets one pod ping every address of another.
func wantPing(t *testing.T, l *lab.Lab, from, to string) {
	t.Helper()
	for _, ip := range pod(t, l, to).IPs {
		run(t, l, from, "ping", "-n", "-c2", "-i0.05", "-W2", ip.String())
	}
}

// until asks every 20 ms until the answer is empty, and fails with the last
// answer when that takes longer than limit.
func until(t *testing.T, limit time.Duration, ask func() string) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		why := ask()
		if why == "" {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("after %s: %s", limit, why)
		case <-tick.C:
		}
	}
}

// inNode runs f in the network namespace of a node.
func inNode(t *testing.T, n lab.Node, f func() error) {
	t.Helper()
	if err := inNetns("/run/netns/"+n.Netns, f); err != nil {
		t.Fatalf("in %s: %v", n.Name, err)
	}
}

func inNetns(path string, f func() error) error {
	done := make(chan error, 1) // 1: the thread need not wait for its reader
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		lockThread()
		ns, err := netns.GetFromPath(path)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func agentLog(n lab.Node) string { return filepath.Join(n.Dir, "agent.log") }

// lastStart is the part of the agent's log since its last start.
func lastStart(t *testing.T, n lab.Node) string {
	t.Helper()
	text := read(t, agentLog(n))
	return text[max(0, strings.LastIndex(text, "agent starting")):]
}

func lastLines(file string, n int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantText fails unless text holds all of the parts.
func wantText(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s: got\n%s\nwant %q in it", what, strings.TrimSpace(text), p)
		}
	}
}

func count[T any](n int, f func(int) T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = f(i)
	}
	return out
}

// bare is the manifest of one pod.
func bare(name, node string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {nodeName: %s, containers: [{name: a, command: [sleep, \"100000\"]}]}\n---\n", name, node)
}
