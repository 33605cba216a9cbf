package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const threeKinds = `
apiVersion: v1
kind: Pod
metadata: {name: app}
spec: {nodeName: n1, containers: [{name: a, command: [sh, -c, "sleep 300 & sleep 300"]}, {name: b}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {nodeName: n2, hostNetwork: true, containers: [{name: a, command: [sh, -c, "setsid sleep 300 & sleep 300"]}]}
`

// groupOf returns the control group of a process, below that of the lab.
func groupOf(t *testing.T, lab string, pid int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Error(err)
	}
	return below(lab, string(data))
}

// below takes a group out of what /proc/PID/cgroup says.
func below(lab, text string) string {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			if _, group, ok := strings.Cut(path, "/"+cgroupFolder+"/"+lab+"/"); ok {
				return group
			}
			return "outside: " + path
		}
	}
	return "none: " + text
}

func TestWhatRunsOnANodeIsInItsControlGroup(t *testing.T) {
	l := fake(t, Spec{Name: "src-group", Nodes: Nodes(2)})
	if rep := l.ApplyYAML(t.Context(), "m.yaml", []byte(threeKinds)); rep.Err() != nil {
		t.Fatal(rep.Err())
	}
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s is in control group %q, want %q", what, got, want)
		}
	}
	for _, restarted := range []bool{false, true} {
		if restarted {
			if err := l.Agent(t.Context(), "n2", AgentRestart); err != nil {
				t.Fatal(err)
			}
		}
		n, err := l.Node("n2")
		if err != nil {
			t.Fatal(err)
		}
		want("the agent", groupOf(t, l.Name(), n.Agent.PID), "n2/agent")
	}
	pods, err := l.Pods()
	if err != nil || len(pods) != 2 {
		t.Fatalf("%d pods, %v", len(pods), err)
	}
	for _, p := range pods {
		for _, c := range p.Containers {
			want("container "+c.Name+" of "+p.Name, groupOf(t, l.Name(), c.Process.PID), p.Node+"/default_"+p.Name)
		}
	}
	dir, err := l.Node("n1")
	if err != nil {
		t.Fatal(err)
	}
	if found := processesBelow(dir.group("default_app")); len(found) != 4 { // what a shell starts is in there, too
		t.Errorf("processes of the pod: %v, want 4", found)
	}
	for ref, group := range map[string]string{"n1": "n1/host", "app": "n1/default_app", "host": "n2/default_host", "world": "world", "underlay": "underlay"} {
		want("exec on "+ref, below(l.Name(), wantExec(t, l, ref, "cat", "/proc/self/cgroup")), group)
		own := weirLab(t, bin(t), "exec", "--name", l.Name(), ref, "--", "cat", "/proc/self/cgroup")
		want("weir lab exec on "+ref, below(l.Name(), own.Stdout), group)
		cmd, err := l.Start(t.Context(), ref, []string{"sleep", "300"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want("a command started on "+ref, groupOf(t, l.Name(), cmd.Process.Pid), group)
		_ = errors.Join(cmd.Process.Kill(), cmd.Wait()) // it was killed, which Wait says
	}
}

func TestAPodsControlGroupGoesWithIt(t *testing.T) {
	l := fake(t, Spec{Name: "src-podgroup", Nodes: Nodes(2)})
	if rep := l.ApplyYAML(t.Context(), "m.yaml", []byte(threeKinds)); rep.Err() != nil {
		t.Fatal(rep.Err())
	}
	n, err := l.Node("n2")
	if err != nil {
		t.Fatal(err)
	}
	// The one that left its session is in the node's namespace, where nothing else tells it from the node's own.
	var pids []int
	for deadline := time.Now().Add(10 * time.Second); len(pids) != 3 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		pids = processesBelow(n.group("default_host"))
	}
	if err := l.DeletePods(t.Context(), "host", "app"); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if _, state, err := procStat(pid); err == nil && state != 'Z' {
			t.Errorf("process %d of the pod is left", pid)
		}
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(n.Cgroup), "*", "default_*"))
	if len(pids) != 3 || len(left) > 0 || !n.Agent.Alive() {
		t.Errorf("%d processes before, groups left %q, agent alive %v", len(pids), left, n.Agent.Alive())
	}
}

// outOfSight starts a process on a node that is in none of the lab's namespaces.
func outOfSight(t *testing.T, l *Lab) Process {
	t.Helper()
	out := wantExec(t, l, "n1", "sh", "-c", "setsid nsenter --net=/proc/1/ns/net sleep 300 >/dev/null 2>&1 & echo $!")
	var p Process
	if _, err := fmt.Sscan(out, &p.PID); err != nil {
		t.Fatal(err)
	}
	p.Start, _, _ = procStat(p.PID)
	hosts := inode("/proc/1/ns/net")
	for began := time.Now(); inode(fmt.Sprintf("/proc/%d/ns/net", p.PID)) != hosts; {
		if time.Since(began) > 5*time.Second {
			t.Fatalf("process %d is still in the node's namespace", p.PID)
		}
		<-time.After(time.Millisecond)
	}
	return p
}

func TestDownEndsWhatIsInControlGroupsOnly(t *testing.T) {
	for _, lost := range []bool{false, true} {
		l := fake(t, Spec{Name: "src-leave", Nodes: Nodes(1)})
		p := outOfSight(t, l)
		n, err := l.Node("n1")
		if err != nil {
			t.Fatal(err)
		}
		deeper := filepath.Join(n.group(hostGroup), "made", "by", "somebody")
		if err := os.MkdirAll(deeper, 0o755); err != nil {
			t.Fatal(err)
		}
		if lost {
			if err := loseFolder(labDir(l.Name())); err != nil {
				t.Fatal(err)
			}
			if _, err := Up(t.Context(), Spec{Name: l.Name(), Bin: bin(t), Nodes: Nodes(1)}); err == nil || !strings.Contains(err.Error(), "weir lab down --name src-leave") {
				t.Errorf("up: got %v, want the way out", err)
			}
		}
		if err := l.Down(t.Context()); err != nil {
			t.Errorf("down: %v", err)
		}
		if p.Alive() {
			t.Errorf("lost %v: process %d is left", lost, p.PID)
		}
		wantNothingLeft(t, l.Name())
	}
}

func TestDownFromWithinTheLab(t *testing.T) {
	l := fake(t, Spec{Name: "src-within", Nodes: Nodes(1)})
	dir := bin(t)
	if r := l.Exec(t.Context(), "n1", filepath.Join(dir, "weir"), "lab", "down", "--name", l.Name()); !r.OK() {
		t.Errorf("down: %+v", r)
	}
	wantNothingLeft(t, l.Name())
}

// On a host that has cgroup2 mounted nowhere the lab mounts it, and leaves
// nothing of it.
func TestLabMountsCgroup2WhenNobodyHas(t *testing.T) {
	dir := bin(t)
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	script := "set -e\n"
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, " - cgroup2 ") {
			script += "umount " + strings.Fields(line)[4] + "\n"
		}
	}
	script += `weir lab up --bin "$1" --name src-mount --nodes 1 2>&1
weir lab exec --name src-mount n1 -- cat /proc/self/cgroup
weir lab list
test -d ` + ownCgroupMount + `/weir-lab/src-mount/n1/agent
weir lab down --name src-mount
[ -z "$(weir lab list)" ] || exit 0 # other labs have groups in the same hierarchy
test ! -e ` + ownCgroupMount + `
! grep -q lab-cgroup2 /proc/self/mountinfo`
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", dir)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "/weir-lab/src-mount/n1/host\n") || !strings.Contains(string(out), "\nsrc-mount\n") {
		t.Errorf("%v\n%s", err, out)
	}
	wantNothingLeft(t, "src-mount")
}
