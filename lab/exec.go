package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// target is a namespace of the lab that commands can run in.
type target struct {
	netns string // path
	group string // control group; empty in labs without
	env   []string
	pod   *Pod  // or nil
	node  *Node // that it is, or that the pod is on; nil for world and underlay
}

// target finds what a user names: a node, "world", "underlay" or a pod.
// "node/" and "pod/" in front say which is meant when both exist.
func (r *record) target(ref string) (target, error) {
	name, isNode := strings.CutPrefix(ref, "node/")
	if n := r.node(name); n != nil {
		return target{netns: netnsPath(n.Netns), group: n.group(hostGroup), env: []string{"NODE_NAME=" + n.Name, "WEIR_SOCKET=" + n.Socket()}, node: n}, nil
	}
	if isNode {
		return target{}, fmt.Errorf("lab %q has no node %q; it has %s", r.Name, name, strings.Join(r.nodeNames(), ", "))
	}
	if ref == worldName || ref == underlayNS {
		t := target{netns: netnsPath(netnsName(r.Name, ref))}
		if dir := r.cgroup(); dir != "" {
			t.group = filepath.Join(dir, ref)
		}
		return t, nil
	}
	p, err := r.findPod(ref)
	if err != nil {
		return target{}, err
	}
	t := target{netns: netnsPath(p.Netns), pod: &p, node: r.node(p.Node)}
	t.group = t.node.group(podGroup(p))
	if len(p.Object.Spec.Containers) > 0 {
		t.env = environment(&p, p.Object.Spec.Containers[0])
	}
	if inode(t.netns) == 0 {
		return target{}, fmt.Errorf("pod %s has no network namespace: %s", p.Key(), p.Error)
	}
	return t, nil
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int // 127 when it could not be started, with the reason in Stderr
}

// OK reports whether the command ended with 0.
func (r Result) OK() bool { return r.Code == 0 }

// Exec runs a command of the host in the namespace of a pod, a node, "world"
// or "underlay".
func (l *Lab) Exec(ctx context.Context, ref string, argv ...string) Result {
	cmd, t, err := l.command(ctx, ref, argv)
	if err != nil {
		return Result{Stderr: err.Error(), Code: 127}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := startIn(t.netns, t.group, cmd); err != nil {
		return Result{Stderr: err.Error(), Code: 127}
	}
	err = cmd.Wait()
	out := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		out.Stderr += err.Error()
		out.Code = 127
	}
	if out.Code < 0 { // a signal, as shells say it
		out.Code = 128 + int(cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	}
	return out
}

// Start starts a command as Exec does and leaves it to the caller, who sets
// its streams with prepare and has to wait for it.
func (l *Lab) Start(ctx context.Context, ref string, argv []string, prepare func(*exec.Cmd)) (*exec.Cmd, error) {
	cmd, t, err := l.command(ctx, ref, argv)
	if err != nil {
		return nil, err
	}
	if prepare != nil {
		prepare(cmd)
	}
	if err := startIn(t.netns, t.group, cmd); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", argv[0], ref, err)
	}
	return cmd, nil
}

func (l *Lab) command(ctx context.Context, ref string, argv []string) (*exec.Cmd, target, error) {
	if len(argv) == 0 {
		return nil, target{}, errors.New("no command given")
	}
	r, err := readRecord(l.name)
	if err != nil {
		return nil, target{}, err
	}
	t, err := r.target(ref)
	if err != nil {
		return nil, target{}, err
	}
	cmd := exec.CommandContext(ctx, r.program(argv[0]), argv[1:]...)
	cmd.Env = append(os.Environ(), t.env...)
	return cmd, t, nil
}

// program returns our own program of that name, or the name.
func (r *record) program(name string) string {
	own := filepath.Join(r.Bin, name)
	if _, err := exec.LookPath(own); err == nil && !strings.Contains(name, "/") {
		return own
	}
	return name
}

// become replaces this process by a command in the target's namespace and
// control group, so that terminal, signals and exit code are the command's own.
func (t target) become(argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("run %q: %w", argv[0], err)
	}
	if err := enterCgroup(t.group); err != nil {
		return err
	}
	return inside(t.netns, func() error {
		err := syscall.Exec(path, argv, append(os.Environ(), t.env...))
		return fmt.Errorf("run %s: %w", path, err)
	})
}
