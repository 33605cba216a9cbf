package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// World is the name of the namespace outside of the cluster.
const World = "world"

// Lab is a lab with Kubernetes. It holds nothing but the name: what is up is
// on disk.
type Lab struct {
	name     string
	script   string
	progress io.Writer
}

// Open returns the lab of that name, which has to be there.
func Open(name string) (*Lab, error) {
	if !Exists(name) {
		return nil, fmt.Errorf("lab %q: there is none with Kubernetes; make it with: weir lab up --kubernetes --name %s", name, name)
	}
	return open(name, nil)
}

func open(name string, progress io.Writer) (*Lab, error) {
	script, err := unpack()
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = io.Discard
	}
	return &Lab{name: name, script: script, progress: progress}, nil
}

// Report sends a line for each step to w from here on.
func (l *Lab) Report(w io.Writer) { l.progress = w }

// Name returns the lab's name.
func (l *Lab) Name() string { return l.name }

// Kubeconfig is the file of the cluster's administrator. The address in it is
// reached from the world (Exec).
func (l *Lab) Kubeconfig() string { return filepath.Join(StateDir(), l.name, "kubeconfig") }

// Names returns the names of all labs with Kubernetes.
func Names() ([]string, error) {
	entries, err := os.ReadDir(StateDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list labs with Kubernetes: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Exists reports whether there is, or is something left of, a lab with
// Kubernetes of that name.
func Exists(name string) bool {
	return name != "" && !strings.Contains(name, "/") && isDir(filepath.Join(StateDir(), name))
}

// HasNode reports whether the lab has a node of that name.
func (l *Lab) HasNode(name string) bool {
	return name != "" && !strings.Contains(name, "/") && isDir(filepath.Join(StateDir(), l.name, "nodes", name))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// argv is the command line of one of the script's commands.
func (l *Lab) argv(args ...string) []string {
	return append([]string{"bash", l.script, l.name}, args...)
}

// Command prepares one of the script's commands. When ctx ends, the script and
// what it has started, but for the nodes, are asked to end by SIGTERM first.
func (l *Lab) Command(ctx context.Context, args ...string) *exec.Cmd {
	argv := l.argv(args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// run runs one of the script's commands and shows its steps.
func (l *Lab) run(ctx context.Context, args ...string) error {
	cmd := l.Command(ctx, args...)
	cmd.Stdout, cmd.Stderr = l.progress, l.progress
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("lab %s: %s: %w", l.name, args[0], err)
	}
	return nil
}

// Become replaces this process by one of the script's commands, so that
// terminal, signals and exit code are the command's own.
func (l *Lab) Become(args ...string) error {
	path, err := exec.LookPath("bash")
	if err != nil {
		return fmt.Errorf("run the lab's scripts: %w", err)
	}
	return syscall.Exec(path, l.argv(args...), os.Environ())
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// OK reports whether the command ended with 0.
func (r Result) OK() bool { return r.Code == 0 }

// Kubectl runs kubectl as the cluster's administrator.
func (l *Lab) Kubectl(ctx context.Context, args ...string) Result {
	return result(l.Command(ctx, append([]string{"kubectl"}, args...)...))
}

// Apply applies a manifest.
func (l *Lab) Apply(ctx context.Context, manifest string) error {
	cmd := l.Command(ctx, "kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	if r := result(cmd); !r.OK() {
		return fmt.Errorf("apply: %s", r.Stderr)
	}
	return nil
}

// Exec runs a program of the host on a node, or in the world.
func (l *Lab) Exec(ctx context.Context, where string, argv ...string) Result {
	return result(l.Command(ctx, append([]string{"exec", where}, argv...)...))
}

func result(cmd *exec.Cmd) Result {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: -1}
	if cmd.ProcessState != nil {
		r.Code = cmd.ProcessState.ExitCode()
	}
	if r.Code < 0 {
		r.Stderr += err.Error()
	}
	return r
}

// Program stops, starts or restarts one of the programs of a node, such as
// kubelet or kube-apiserver. Pods go on meanwhile.
func (l *Lab) Program(ctx context.Context, action, node, program string) error {
	return l.run(ctx, "daemon", action, node, program)
}

// SaveLogs copies the logs of all nodes and pods into a folder.
func (l *Lab) SaveLogs(ctx context.Context, dir string) error { return l.run(ctx, "save_logs", dir) }

// Down removes the lab with everything in it. One that is half made or half
// gone, or not there, is no error.
func (l *Lab) Down(ctx context.Context) error { return l.run(ctx, "down") }

// Remove is Down for a lab of which nothing but the name is known.
func Remove(ctx context.Context, name string, w io.Writer) error {
	l, err := open(name, w)
	if err != nil {
		return err
	}
	return l.Down(ctx)
}

// Build builds or fetches what the cache does not have: the named programs, or
// all that a lab needs.
func Build(ctx context.Context, w io.Writer, programs ...string) error {
	l, err := open("-", w)
	if err != nil {
		return err
	}
	return l.run(ctx, append([]string{"build"}, programs...)...)
}
