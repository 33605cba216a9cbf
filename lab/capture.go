package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// hostSide names, for a pod, its device in the node.
const hostSide = "host"

// packages says which Debian package has a program that the lab calls.
var packages = map[string]string{"tcpdump": "tcpdump"}

// tool says how to get a program of the host that is missing.
func tool(name string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("%s is not installed: apt-get install %s", name, packages[name])
	}
	return nil
}

// tap returns where and on which device to listen. The device "host" of a pod
// is its end of the link in the node.
func (r *record) tap(ref, dev string) (target, string, error) {
	t, err := r.target(ref)
	if err != nil || dev != hostSide || t.pod == nil {
		return t, dev, err
	}
	if t.pod.HostDevice == "" {
		return t, "", fmt.Errorf("pod %s has no device in its node", t.pod.Key())
	}
	return target{netns: netnsPath(t.node.Netns), group: t.node.group(hostGroup), node: t.node}, t.pod.HostDevice, nil
}

func tcpdump(dev string, args []string) []string {
	return append([]string{"tcpdump", "-pne", "-l", "-i", dev}, args...)
}

// Capture is a running tcpdump.
type Capture struct {
	cmd  *exec.Cmd
	done chan struct{}

	mu    sync.Mutex
	lines []string // guarded by mu
	notes []string // stderr, likewise
}

// Capture starts tcpdump on a device of a pod, node, "world" or "underlay",
// and returns when it listens. The device "host" of a pod is its end of the
// link in the node.
func (l *Lab) Capture(ctx context.Context, ref, dev string, args ...string) (*Capture, error) {
	if err := tool("tcpdump"); err != nil {
		return nil, err
	}
	r, err := readRecord(l.name)
	if err != nil {
		return nil, err
	}
	t, dev, err := r.tap(ref, dev)
	if err != nil {
		return nil, err
	}
	argv := tcpdump(dev, append([]string{"--immediate-mode", "-U"}, args...))
	c := &Capture{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), done: make(chan struct{})}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	if err := startIn(t.netns, t.group, c.cmd); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	listening := make(chan struct{})
	go c.follow(stdout, stderr, listening)
	select {
	case <-listening:
		return c, nil
	case <-c.done:
		return nil, fmt.Errorf("capture %s %s: tcpdump ended: %s", ref, dev, strings.Join(c.notes, "; "))
	}
}

func (c *Capture) follow(stdout, stderr io.Reader, listening chan struct{}) {
	var wg sync.WaitGroup
	wg.Go(func() {
		c.scan(stderr, &c.notes, func(line string) {
			if listening != nil && strings.Contains(line, "istening on") {
				close(listening)
				listening = nil
			}
		})
	})
	wg.Go(func() { c.scan(stdout, &c.lines, func(string) {}) })
	wg.Wait()
	_ = c.cmd.Wait() // tcpdump that is told to stop, or killed, says no more than its output
	close(c.done)
}

func (c *Capture) scan(from io.Reader, into *[]string, each func(string)) {
	for s := bufio.NewScanner(from); s.Scan(); {
		c.mu.Lock()
		*into = append(*into, s.Text())
		c.mu.Unlock()
		each(s.Text())
	}
}

// Lines returns what was captured so far, a line for each packet.
func (c *Capture) Lines() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines...)
}

// Await waits until done is content with what was captured.
func (c *Capture) Await(ctx context.Context, done func(lines []string) bool) error {
	err := poll(ctx, 10*time.Millisecond, func() bool { return done(c.Lines()) })
	if err != nil {
		return fmt.Errorf("captured %d packets, not those waited for: %w", len(c.Lines()), err)
	}
	return nil
}

// Stop ends the capture and returns all of it.
func (c *Capture) Stop() ([]string, error) {
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) && !errors.Is(err, os.ErrProcessDone) {
		return nil, fmt.Errorf("stop tcpdump: %w", err)
	}
	<-c.done
	return c.Lines(), nil
}
