package lab

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// weirLab runs `weir lab ARGS` and returns its outputs and exit code.
func weirLab(t *testing.T, dir string, args ...string) Result {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "weir"), append([]string{"lab"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func TestCommandsDoWhatTheySay(t *testing.T) {
	dir := bin(t)
	t.Cleanup(func() { wantNothingLeft(t, "t-cmd") })
	file := filepath.Join(t.TempDir(), "pods.yaml")
	if err := os.WriteFile(file, []byte(manifest+"---\nkind: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := weirLab(t, dir, "up", "--bin", dir, "--name", "t-cmd", "--nodes", "2", "--mode", "native"); !r.OK() || !strings.Contains(r.Stderr, "node n2: agent ready") {
		t.Fatalf("up: %+v", r)
	}
	if r := weirLab(t, dir, "apply", "--name", "t-cmd", "-f", file); r.Code != 1 || !strings.Contains(r.Stdout, "DaemonSet default/evescn created") || !strings.Contains(r.Stderr, "pods.yaml:") {
		t.Errorf("apply with a broken document: %+v, want the others applied and code 1", r)
	}
	empty := filepath.Join(t.TempDir(), "empty.yaml")
	for _, text := range []string{"", "# nothing\n---\n", "apiVersion: v1\nkind: List\nitems: []\n"} {
		if err := os.WriteFile(empty, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := weirLab(t, dir, "apply", "--name", "t-cmd", "-f", empty); r.Code != 1 || !strings.Contains(r.Stderr, empty+": no objects") {
			t.Errorf("apply of %q: %+v, want no objects and code 1", text, r)
		}
	}
	r := weirLab(t, dir, "status", "--name", "t-cmd", "-o", "json")
	var s Status
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil || !r.OK() || len(s.Pods) != 5 || !s.Nodes[1].Ready {
		t.Errorf("status: %v %+v", err, r)
	}
	if r := weirLab(t, dir, "exec", "--name", "t-cmd", "evescn@n1", "--", "sh", "-c", "printenv POD_NAME; exit 7"); r.Code != 7 || !strings.HasPrefix(r.Stdout, "evescn-") {
		t.Errorf("exec: %+v, want the name and code 7", r)
	}
	if r := weirLab(t, dir, "exec", "--name", "t-cmd", "n1", "--", "printenv", "WEIR_SOCKET"); r.Stdout != "/run/weir/lab/t-cmd/n1/run/weir.sock\n" {
		t.Errorf("exec on a node: %+v, want the socket of its agent", r)
	}
	if r := weirLab(t, dir, "exec", "--name", "t-cmd", "evescn", "--", "true"); r.Code != 1 || !strings.Contains(r.Stderr, "may mean") {
		t.Errorf("exec on an ambiguous pod: %+v", r)
	}
	if r := weirLab(t, dir, "delete", "--name", "t-cmd", "-f", file); r.Code != 1 || strings.Count(r.Stdout, "deleted") != 3 {
		t.Errorf("delete: %+v", r)
	}
	if r := weirLab(t, dir, "agent", "--name", "t-cmd", "kill", "n1"); !r.OK() {
		t.Errorf("agent kill: %+v", r)
	}
	if r := weirLab(t, dir, "status", "--name", "t-cmd"); r.Code != 1 || !strings.Contains(r.Stdout, "no: the agent does not run") {
		t.Errorf("status without an agent: %+v", r)
	}
	for range 2 {
		if r := weirLab(t, dir, "down", "--name", "t-cmd"); !r.OK() {
			t.Errorf("down: %+v", r)
		}
	}
}

func TestTheFilesNameBeatsTheEnvironments(t *testing.T) {
	dir := bin(t)
	t.Setenv("WEIR_LAB", "t-env")
	file := filepath.Join(t.TempDir(), "lab.yaml")
	for _, tt := range []struct {
		text string
		args []string
		want string
	}{
		{"name: t-file\nnodes: [x]\n", []string{"--name", "t-flag"}, "t-flag"},
		{"name: t-file\nnodes: [x]\n", nil, "t-file"},
		{"nodes: [x]\n", nil, "t-env"},
	} {
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { wantNothingLeft(t, tt.want) })
		r := weirLab(t, dir, append([]string{"up", "--bin", dir, "-f", file}, tt.args...)...)
		if !r.OK() || !strings.Contains(r.Stderr, "lab "+tt.want+":") {
			t.Errorf("up of %q %q: %+v, want lab %s", tt.text, tt.args, r, tt.want)
		}
		if r := weirLab(t, dir, "down", "--name", tt.want); !r.OK() {
			t.Errorf("down: %+v", r)
		}
	}
}
