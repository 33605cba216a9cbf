package lab

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// lose makes lab.json of a lab unusable in one of several ways.
var lose = map[string]func(file string) error{
	"lost":             os.Remove,
	"cut":              func(file string) error { return os.Truncate(file, 100) },
	"empty":            func(file string) error { return os.Truncate(file, 0) },
	"an empty object":  func(file string) error { return os.WriteFile(file, []byte("{}"), 0o600) },
	"of another lab":   func(file string) error { return os.WriteFile(file, []byte(`{"name": "t-other"}`), 0o600) },
	"its whole folder": func(file string) error { return loseFolder(filepath.Dir(file)) },
}

func loseFolder(dir string) error {
	return errors.Join((&record{Name: filepath.Base(dir)}).unmount(), os.RemoveAll(dir))
}

func TestDownWithoutLabJSONRemovesWhatIsOfTheLab(t *testing.T) {
	beside := fake(t, Spec{Name: "t-orphan-b", Nodes: Nodes(1)}) // its namespaces have names of lab t-orphan, too
	for how, f := range lose {
		t.Run(how, func(t *testing.T) {
			l := fake(t, Spec{Name: "t-orphan", Nodes: Nodes(2)})
			if rep := l.ApplyYAML(t.Context(), "m.yaml", []byte(manifest)); rep.Err() != nil {
				t.Fatal(rep.Err())
			}
			r, err := readRecord("t-orphan")
			if err != nil {
				t.Fatal(err)
			}
			if err := f(recordFile("t-orphan")); err != nil {
				t.Fatal(err)
			}
			if _, err := Open("t-orphan"); err == nil || (how != "its whole folder" && !strings.Contains(err.Error(), "weir lab down --name t-orphan")) {
				t.Errorf("open: got %v, want the way out", err)
			}
			if err := l.Down(t.Context()); err != nil {
				t.Errorf("down: %v", err)
			}
			for _, p := range processes(r) {
				if p.Alive() {
					t.Errorf("process %d is left", p.PID)
				}
			}
			wantNothingLeft(t, "t-orphan")
			if err := l.Down(t.Context()); err != nil {
				t.Errorf("down again: %v", err)
			}
			if s, err := beside.Status(t.Context()); err != nil || !s.Healthy() {
				t.Errorf("the lab beside: %+v, %v", s, err)
			}
		})
	}
}

func processes(r *record) []Process {
	var out []Process
	for _, n := range r.Nodes {
		out = append(out, n.Agent)
	}
	for _, p := range r.Pods {
		for _, c := range p.Containers {
			out = append(out, c.Process)
		}
	}
	return out
}

func TestAgentIsFoundWhenItsNamespaceHasNoNameAnyMore(t *testing.T) {
	l := fake(t, Spec{Name: "t-noname", Nodes: Nodes(1)})
	n, err := l.Node("n1")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(removeNetns(n.Netns, 0), os.Remove(recordFile("t-noname"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Up(t.Context(), Spec{Name: "t-noname", Bin: bin(t), Nodes: Nodes(1)}); err == nil || !strings.Contains(err.Error(), "weir lab down --name t-noname") {
		t.Errorf("up: got %v, want the way out", err)
	}
	if err := l.Down(t.Context()); err != nil || n.Agent.Alive() {
		t.Errorf("down: %v, agent alive %v", err, n.Agent.Alive())
	}
}

func TestDownWithoutLabJSONLeavesStrangersAlone(t *testing.T) {
	l := fake(t, Spec{Name: "t-strange", Nodes: Nodes(1)})
	const ns = "weir-t-strange-foreign"
	id, err := makeNetns(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeNetns(ns, id); err != nil {
			t.Error(err)
		}
	})
	notes := filepath.Join(labDir("t-strange"), "notes.txt")
	if err := errors.Join(os.WriteFile(notes, nil, 0o600), os.Remove(recordFile("t-strange"))); err != nil {
		t.Fatal(err)
	}
	// Both name files of the lab; one is in a namespace of a name like its own.
	reader := stranger(t, netnsPath(ns), "tail", "-f", filepath.Join(labDir("t-strange"), "n1", "agent.log"))
	outside := stranger(t, "/proc/self/ns/net", "sh", "-c", "exec sleep 300 # -config "+filepath.Join(labDir("t-strange"), "n1", "weir.yaml"))
	err = l.Down(t.Context())
	for _, want := range []string{ns, "notes.txt", errForeign.Error()} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("down: got %v, want %q", err, want)
		}
	}
	if _, err := os.Stat(notes); err != nil || inode(netnsPath(ns)) != id {
		t.Errorf("strangers were touched: %v, inode %d, want %d", err, inode(netnsPath(ns)), id)
	}
	if !reader.Alive() || !outside.Alive() {
		t.Errorf("processes of strangers: alive %v and %v, want both", reader.Alive(), outside.Alive())
	}
	left, _ := filepath.Glob(labDir("t-strange") + "/*")
	if len(left) != 1 || owner("weir-t-strange-n1") != "" {
		t.Errorf("left: %q, want notes.txt only", left)
	}
	if err := os.Remove(notes); err != nil {
		t.Fatal(err)
	}
}

// stranger starts a process that no lab made.
func stranger(t *testing.T, ns string, argv ...string) Process {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := inside(ns, cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	p := Process{PID: cmd.Process.Pid}
	p.Start, _, _ = procStat(p.PID)
	return p
}
