package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/api/agent"
)

// process is a program that this one started.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop ends it, gently at first.
func (p *process) stop(sig syscall.Signal) error {
	_ = p.cmd.Process.Signal(sig) // one that has ended is what we want
	select {
	case <-p.done:
		return nil
	case <-time.After(10 * time.Second):
	}
	_ = p.cmd.Process.Kill()
	select {
	case <-p.done:
		return fmt.Errorf("%s had to be killed", p.cmd.Path)
	case <-time.After(10 * time.Second):
		return fmt.Errorf("%s does not end", p.cmd.Path)
	}
}

func (n *Node) config() string { return filepath.Join(n.Dir, "weir.yaml") }
func (n *Node) log() string    { return filepath.Join(n.Dir, "agent.log") }

// Socket is where the agent listens.
func (n *Node) Socket() string { return filepath.Join(n.Dir, "run", "weir.sock") }

// BPFRoot is the node's own bpffs.
func (n *Node) BPFRoot() string { return filepath.Join(n.Dir, "bpf") }

// PID of the agent.
func (n *Node) PID() int { return n.agent.cmd.Process.Pid }

// Start starts the agent and returns how long it took from exec until it would
// serve a CNI ADD.
func (n *Node) Start(ctx context.Context) (time.Duration, error) {
	log, err := os.OpenFile(n.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(n.bin, "weir-agent"), "-config", n.config())
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	began := time.Now()
	if err := n.Netns.Inside(cmd.Start); err != nil {
		return 0, fmt.Errorf("start agent of %s: %w", n.Name, err)
	}
	n.agent = &process{cmd: cmd, done: make(chan struct{})}
	go func(p *process) {
		_ = cmd.Wait() // how it ended is in its log
		close(p.done)
	}(n.agent)
	err = n.poll(ctx, func(ctx context.Context) bool { return n.client.Get(ctx, agent.PathCNIStatus, nil) == nil })
	return time.Since(began), err
}

// Stop ends the agent if one runs; the node's programs stay in force.
func (n *Node) Stop() error {
	if n.agent == nil {
		return nil
	}
	defer func() { n.agent = nil }()
	return n.agent.stop(syscall.SIGTERM)
}

// EndpointsReady waits until the agent shows count endpoints, all of them ready.
func (n *Node) EndpointsReady(ctx context.Context, count int) error {
	states := map[string]int{}
	err := n.poll(ctx, func(ctx context.Context) bool {
		var list []agent.Endpoint
		if n.client.Get(ctx, agent.PathEndpoints, &list) != nil {
			return false
		}
		clear(states)
		for _, e := range list {
			if e.Pod != "" {
				states[e.State]++
			}
		}
		return states["ready"] == count
	})
	if err != nil {
		return fmt.Errorf("wait for %d endpoints, have %v: %w", count, states, err)
	}
	return nil
}

// poll asks every millisecond until the answer is yes.
func (n *Node) poll(ctx context.Context, done func(context.Context) bool) error {
	return n.pollEvery(ctx, time.Millisecond, readyLimit, done)
}

func (n *Node) pollEvery(ctx context.Context, pause, limit time.Duration, done func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t := time.NewTicker(pause)
	defer t.Stop()
	for !done(ctx) {
		if n.agent.ended() {
			return fmt.Errorf("the agent of %s ended; its log ends with:\n%s", n.Name, n.tail())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the agent of %s is not ready: %w; its log ends with:\n%s", n.Name, ctx.Err(), n.tail())
		case <-t.C:
		}
	}
	return nil
}

func (n *Node) tail() string {
	data, err := os.ReadFile(n.log())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// RSS is the agent's VmRSS in bytes.
func (n *Node) RSS() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmRSS in the agent's status")
}
