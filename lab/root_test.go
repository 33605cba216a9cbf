package lab

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// bin is a folder in which this test binary has the names of our programs.
func bin(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"weir", "weir-agent", "weir-cni"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// fake makes a lab whose agents and plugin are this test binary.
func fake(t *testing.T, spec Spec) *Lab {
	t.Helper()
	spec.Bin = bin(t)
	var log bytes.Buffer
	spec.Progress = &log
	l, err := Up(t.Context(), spec)
	if err != nil {
		t.Fatalf("up: %v\n%s", err, log.String())
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Errorf("down: %v", err)
		}
		wantNothingLeft(t, l.Name())
	})
	return l
}

func wantNothingLeft(t *testing.T, name string) {
	t.Helper()
	own, left, err := marked(name)
	if left = append(left, slices.Sorted(maps.Keys(own))...); err != nil || len(left) > 0 {
		t.Errorf("namespaces left: %q", left)
	}
	if _, err := os.Stat(labDir(name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("folder %s left: %v", labDir(name), err)
	}
	if _, err := os.Stat(labCgroup(name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("control group %s left: %v", labCgroup(name), err)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), labDir(name)+"/") {
		t.Errorf("mounts left in %s", labDir(name))
	}
}

func wantExec(t *testing.T, l *Lab, ref string, argv ...string) string {
	t.Helper()
	r := l.Exec(t.Context(), ref, argv...)
	if !r.OK() {
		t.Fatalf("%s: %q ended with %d: %s%s", ref, argv, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

func TestNodesAndWorldReachEachOtherOverTheUnderlay(t *testing.T) {
	l := fake(t, Spec{Name: "t-topo", Nodes: NodeSpecs{{Name: "a", NICs: 1}, {Name: "b", NICs: 1}}, MTU: 1400})
	for _, to := range []string{"172.18.0.3", "172.18.0.254", "198.51.100.1", "172.19.0.3", "fc00:f853:ccd:e793::3", "2001:db8::1", "fc00:f853:ccd:e794::3"} {
		wantExec(t, l, "a", "ping", "-c1", "-W2", to)
	}
	if got := wantExec(t, l, "b", "cat", "/sys/class/net/eth0/mtu"); strings.TrimSpace(got) == "" {
		t.Error("eth0 of b has no MTU")
	}
	if got := wantExec(t, l, "world", "ip", "route", "get", "10.0.1.9"); !strings.Contains(got, "via 172.18.0.3") {
		t.Errorf("world's route to the pods of b: got %q, want one via 172.18.0.3", got)
	}
	if got := wantExec(t, l, "a", "ip", "link", "show", "eth0"); !strings.Contains(got, "mtu 1400") {
		t.Errorf("eth0 of a: got %q, want mtu 1400", got)
	}
	if r := l.Exec(t.Context(), "a", "sh", "-c", "echo out; echo err >&2; exit 7"); r != (Result{"out\n", "err\n", 7}) {
		t.Errorf("exec: got %+v, want both outputs and code 7", r)
	}
}

func TestSingleStackHasNoAddressOfTheOther(t *testing.T) {
	l := fake(t, Spec{Name: "t-six", Nodes: Nodes(2), IPv4: new(false), Mode: ModeNative})
	wantExec(t, l, "n1", "ping", "-c1", "-W2", "fc00:f853:ccd:e793::3")
	if got := wantExec(t, l, "n1", "ip", "-4", "addr", "show", "eth0"); got != "" {
		t.Errorf("IPv4 addresses of eth0: got %q, want none", got)
	}
}

func TestSeveralLabsSideBySide(t *testing.T) {
	fake(t, Spec{Name: "t-one", Nodes: Nodes(2)})
	l := fake(t, Spec{Name: "t-two", Nodes: Nodes(2)})
	wantExec(t, l, "n1", "ping", "-c1", "-W2", "172.18.0.3")
}

const manifest = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: evescn}
spec:
  selector: {matchLabels: {app: evescn}}
  template:
    metadata: {labels: {app: evescn}}
    spec:
      containers:
      - {name: nettoolbox, image: nettool:0.9}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: idle}
spec:
  replicas: 3
  selector: {matchLabels: {app: idle}}
  template:
    metadata: {labels: {app: idle}}
    spec:
      containers:
      - {name: one, image: x, command: [sleep, "300"]}
      - {name: two, image: x, command: [sh, -c, "echo $POD_NAME $POD_IP $NODE_NAME; exec sleep 300"]}
---
apiVersion: v1
kind: Service
metadata: {name: serversvc}
spec: {ports: [{port: 8080}]}
`

func TestPodsAreMadeServeAndFollowTheirManifest(t *testing.T) {
	l := fake(t, Spec{Name: "t-pods", Nodes: Nodes(2)})
	rep := l.ApplyYAML(t.Context(), "m.yaml", []byte(manifest))
	if rep.Err() != nil || strings.Join(rep.Lines, ",") != "DaemonSet default/evescn created,Deployment default/idle created,Service default/serversvc created" {
		t.Fatalf("apply: %v %q", rep.Err(), rep.Lines)
	}
	s, err := l.Status(t.Context())
	if err != nil || !s.Healthy() || len(s.Pods) != 5 {
		t.Fatalf("status: %+v, %v; want 5 pods, healthy", s, err)
	}
	p, err := l.Pod("evescn@n2")
	if err != nil {
		t.Fatal(err)
	}
	want := "PodName: " + p.Name + " | PodIP: eth0 " + p.IPs[0].String() + "/32\n"
	if got := wantExec(t, l, p.Name, "curl", "-s", "http://"+p.IPs[0].String()); got != want {
		t.Errorf("answer: got %q, want %q", got, want)
	}
	// The port answers on both families from the first moment, on loopback too.
	wantExec(t, l, p.Name, "curl", "-s", "http://[::1]")
	object, err := os.ReadFile(filepath.Join(labDir("t-pods"), "objects", objectFile("Pod", "default", p.Name)))
	if err != nil || !strings.Contains(string(object), "podIP: "+p.IPs[0].String()) || !strings.Contains(string(object), "nodeName: n2") {
		t.Errorf("Pod object: %v\n%s", err, object)
	}
	if rep := l.ApplyYAML(t.Context(), "m.yaml", []byte(manifest)); rep.Err() != nil || strings.Count(strings.Join(rep.Lines, ","), "unchanged") != 3 {
		t.Errorf("apply again: %v %q, want all unchanged", rep.Err(), rep.Lines)
	}
	down := strings.Replace(manifest, "replicas: 3", "replicas: 1", 1)
	if rep := l.ApplyYAML(t.Context(), "m.yaml", []byte(down)); rep.Err() != nil {
		t.Errorf("scale down: %v", rep.Err())
	}
	if pods, _ := l.Pods(); len(pods) != 3 {
		t.Errorf("pods after scaling down: got %d, want 3", len(pods))
	}
	if err := l.DeletePods(t.Context(), "idle"); err != nil {
		t.Errorf("delete pod: %v", err)
	}
	ids, _ := filepath.Glob(filepath.Join(labDir("t-pods"), "objects", "ciliumidentity_*"))
	if len(ids) != 1 {
		t.Errorf("identities: got %q, want that of evescn only", ids)
	}
}

func TestBadObjectsAreNamedAndTheOthersApply(t *testing.T) {
	l := fake(t, Spec{Name: "t-bad", Nodes: Nodes(1)})
	rep := l.ApplyYAML(t.Context(), "m.yaml", []byte(`apiVersion: v1
kind: Pod
metadata: {name: wrong}
spec:
  conatiners: []
---
apiVersion: v1
kind: Pod
metadata: {name: lost}
spec: {nodeName: n9, containers: [{name: a, command: [sleep, "9"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: nocommand}
spec: {containers: [{name: a, command: [no-such-command]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: good}
spec: {containers: [{name: a, command: [sleep, "300"]}]}
`))
	got := rep.Err().Error()
	for _, want := range []string{"m.yaml:5: Pod default/wrong", "conatiners", `no node "n9": use n1`, `container a: command "no-such-command" is not on this host`} {
		if !strings.Contains(got, want) {
			t.Errorf("errors: got\n%s\nwant %q", got, want)
		}
	}
	pods, _ := l.Pods()
	if len(pods) != 2 {
		t.Fatalf("pods: got %+v, want good and nocommand", pods)
	}
	// A pod whose command is missing has its network all the same.
	wantExec(t, l, "nocommand", "ip", "addr", "show", "eth0")
}

func TestAgentIsStoppedKilledAndStarted(t *testing.T) {
	l := fake(t, Spec{Name: "t-agent", Nodes: Nodes(1)})
	before, _ := l.Node("n1")
	for _, do := range []AgentAction{AgentKill, AgentStart, AgentStop, AgentStop, AgentStart, AgentRestart} {
		if err := l.Agent(t.Context(), "n1", do); err != nil {
			t.Fatalf("%s: %v", do, err)
		}
	}
	if err := l.Agent(t.Context(), "n1", AgentStart); err == nil {
		t.Error("a second agent was started on the node")
	}
	after, _ := l.Node("n1")
	if before.Agent.Alive() || !after.Agent.Alive() {
		t.Errorf("agents: %+v alive %v, %+v alive %v", before.Agent, before.Agent.Alive(), after.Agent, after.Agent.Alive())
	}
}

func TestDownWorksWhenAgentsAndNamespacesAreGone(t *testing.T) {
	l := fake(t, Spec{Name: "t-gone", Nodes: Nodes(2)})
	if rep := l.ApplyYAML(t.Context(), "m.yaml", []byte(manifest)); rep.Err() != nil {
		t.Fatal(rep.Err())
	}
	if err := l.Agent(t.Context(), "n1", AgentKill); err != nil {
		t.Fatal(err)
	}
	r, err := readRecord("t-gone")
	if err != nil {
		t.Fatal(err)
	}
	if err := removeNetns(netnsName("t-gone", "n2"), 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Errorf("down: %v", err)
	}
	for _, p := range r.Pods {
		for _, c := range p.Containers {
			if c.Process.Alive() {
				t.Errorf("process %d of pod %s is left", c.Process.PID, p.Key())
			}
		}
	}
	if err := l.Down(t.Context()); err != nil {
		t.Errorf("down again: %v", err)
	}
}

func TestLabThatCannotStartIsRemovedAndSaysWhy(t *testing.T) {
	_, err := Up(t.Context(), Spec{Name: "t-broken", Bin: bin(t), Nodes: NodeSpecs{{Name: "n1"}, {Name: "broken"}}})
	if err == nil || !strings.Contains(err.Error(), "this agent cannot start") {
		t.Errorf("up: got %v, want the agent's last words", err)
	}
	wantNothingLeft(t, "t-broken")
}

func TestForeignThingsAreNamedAndLeftAlone(t *testing.T) {
	spec := Spec{Name: "t-foreign", Bin: bin(t), Nodes: Nodes(1)}
	id, err := makeNetns("weir-t-foreign-n1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Up(t.Context(), spec); !errors.Is(err, errForeign) || !strings.Contains(err.Error(), "weir-t-foreign-n1") {
		t.Errorf("up over a foreign namespace: got %v", err)
	}
	if inode(netnsPath("weir-t-foreign-n1")) != id {
		t.Error("the foreign namespace was touched")
	}
	if err := removeNetns("weir-t-foreign-n1", id+1); !errors.Is(err, errForeign) {
		t.Errorf("removal of a namespace with another inode: got %v", err)
	}
	if err := removeNetns("weir-t-foreign-n1", id); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(labDir("t-foreign"), "notes.txt")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Up(t.Context(), spec); !errors.Is(err, errForeign) || !strings.Contains(err.Error(), "notes.txt") {
		t.Errorf("up over a foreign folder: got %v", err)
	}
	if err := Remove(t.Context(), "t-foreign", nil); !errors.Is(err, errForeign) {
		t.Errorf("down of a foreign folder: got %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the foreign file was touched: %v", err)
	}
	if err := removeFolder(labDir("t-foreign")); err != nil {
		t.Fatal(err)
	}
}

func TestSecondUpIsRefused(t *testing.T) {
	l := fake(t, Spec{Name: "t-twice", Nodes: Nodes(1)})
	if _, err := Up(t.Context(), Spec{Name: "t-twice", Bin: bin(t), Nodes: Nodes(1)}); err == nil || !strings.Contains(err.Error(), "weir lab down --name t-twice") {
		t.Errorf("up: got %v, want the way out", err)
	}
	wantExec(t, l, "n1", "true")
}

func TestCommandsWaitForEachOther(t *testing.T) {
	l := fake(t, Spec{Name: "t-lock", Nodes: Nodes(1)})
	unlock, err := lock(t.Context(), "t-lock")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := l.Agent(ctx, "n1", AgentStop); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command beside another: got %v, want a wait", err)
	}
	unlock()
	if err := l.Agent(t.Context(), "n1", AgentStop); err != nil {
		t.Errorf("a command after another: %v", err)
	}
}

func TestCaptureSeesPackets(t *testing.T) {
	l := fake(t, Spec{Name: "t-cap", Nodes: Nodes(2)})
	if err := tool("tcpdump"); err != nil {
		t.Skip(err)
	}
	c, err := l.Capture(t.Context(), "n2", "eth0", "icmp")
	if err != nil {
		t.Fatal(err)
	}
	wantExec(t, l, "n1", "ping", "-c2", "-i0.05", "-W2", "172.18.0.3")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := c.Await(ctx, func(lines []string) bool { return len(lines) >= 4 }); err != nil {
		t.Error(err)
	}
	if lines, err := c.Stop(); err != nil || !strings.Contains(strings.Join(lines, "\n"), "172.18.0.2 > 172.18.0.3: ICMP echo request") {
		t.Errorf("capture: %v %q", err, lines)
	}
}

func TestNodeObjectSaysWhereItIs(t *testing.T) {
	nodes, err := (Spec{Name: "x"}).withDefaults().layout()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := nodes[2].PodCIDRs, []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24"), netip.MustParsePrefix("fd00::200/120")}; got[0] != want[0] || got[1] != want[1] {
		t.Errorf("pod CIDRs of n3: got %v, want %v", got, want)
	}
	o := ciliumNode(nodes[2])
	if o.Spec.Addresses[0].IP != "172.18.0.4" || o.Spec.Addresses[2].IP != "10.0.2.1" || o.Spec.Health.IPv6 != "fd00::202" {
		t.Errorf("CiliumNode: %+v", o.Spec)
	}
}
