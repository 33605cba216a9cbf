package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weir/api/agent"
)

// readyLimit is how long an agent may take until it serves.
const readyLimit = 30 * time.Second

// startAgent starts the node's agent and waits until it would serve a CNI ADD.
func (r *record) startAgent(ctx context.Context, n *Node) error {
	if n.Agent.Alive() {
		return fmt.Errorf("the agent of node %s runs already, as process %d", n.Name, n.Agent.PID)
	}
	log := filepath.Join(n.Dir, "agent.log")
	p, err := launch{
		netns: netnsPath(n.Netns),
		group: n.group(agentGroup),
		argv:  []string{filepath.Join(r.Bin, "weir-agent"), "-config", filepath.Join(n.Dir, "weir.yaml")},
		log:   log,
	}.start()
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	n.Agent = p
	limit, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	err = poll(limit, 20*time.Millisecond, func() bool { return ready(limit, *n) == nil || !p.Alive() })
	if ctx.Err() != nil {
		return fmt.Errorf("node %s: wait for the agent: %w", n.Name, context.Cause(ctx))
	}
	if err == nil && p.Alive() {
		return nil
	}
	what := "ended"
	if p.Alive() {
		what = fmt.Sprintf("was not ready in %s (%v)", readyLimit, ready(ctx, *n))
	}
	return fmt.Errorf("node %s: the agent %s; %s ends with:\n%s", n.Name, what, log, tail(log, 10))
}

// ready asks the agent whether it would serve a CNI ADD.
func ready(ctx context.Context, n Node) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return agent.NewClient(n.Socket()).Get(ctx, agent.PathCNIStatus, nil)
}

// tail returns the last lines of a file, indented.
func tail(file string, lines int) string {
	f, err := os.Open(file)
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	defer f.Close()
	const most = 16 << 10
	if st, err := f.Stat(); err == nil && st.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd) // else it is read from its start, which is right, too
	}
	data, _ := io.ReadAll(f)
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// AgentAction is what can be done to the agent of a node.
type AgentAction string

// The actions. A stopped or killed agent leaves its programs in force.
const (
	AgentStop    AgentAction = "stop" // SIGTERM
	AgentKill    AgentAction = "kill" // SIGKILL
	AgentStart   AgentAction = "start"
	AgentRestart AgentAction = "restart" // stop, then start
)

// Agent does something to the agent of a node, and waits until it is done.
func (l *Lab) Agent(ctx context.Context, node string, do AgentAction) error {
	return l.change(ctx, func(r *record) error {
		n := r.node(node)
		if n == nil {
			return fmt.Errorf("lab %q has no node %q; it has %s", r.Name, node, strings.Join(r.nodeNames(), ", "))
		}
		switch do {
		case AgentStart:
			return r.startAgent(ctx, n)
		case AgentStop:
			return n.Agent.stop(10 * time.Second)
		case AgentKill:
			return n.Agent.kill()
		case AgentRestart:
			if err := n.Agent.stop(10 * time.Second); err != nil {
				return err
			}
			return r.startAgent(ctx, n)
		}
		return errors.New("agent actions are stop, start, kill and restart")
	})
}

func (r *record) nodeNames() []string {
	var out []string
	for _, n := range r.Nodes {
		out = append(out, n.Name)
	}
	return out
}
