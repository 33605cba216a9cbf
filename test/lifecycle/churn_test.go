package lifecycle

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/api/agent"
	"weir/lab"
)

const (
	churnWorkers = 4
	churnKills   = 50
)

// churn adds and deletes attachments while somebody kills.
type churn struct {
	lab        *lab.Lab
	over       atomic.Bool
	adds, dels atomic.Int64 // that worked

	mu      sync.Mutex
	running map[*exec.Cmd]bool // plugins, guarded by mu
}

func TestRandomKillsLeaveNothingBehind(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-churn", Nodes: lab.Nodes(1)}, bare("stays", "n1"))
	before := nodeState(t, l, "n1")
	c := &churn{lab: l, running: map[*exec.Cmd]bool{}}
	var workers sync.WaitGroup
	for i := range churnWorkers {
		a := attach(t, l, "n1", fmt.Sprintf("w%d", i))
		workers.Go(func() { c.work(t, a) })
	}
	defer workers.Wait()
	defer c.over.Store(true)
	agents, plugins := c.killAll(t, rand.New(rand.NewPCG(1, 2)))
	c.over.Store(true)
	workers.Wait()
	t.Logf("%d agents and %d plugins killed; %d ADDs and %d DELs worked", agents, plugins, c.adds.Load(), c.dels.Load())
	if c.adds.Load() < 20 {
		t.Errorf("%d ADDs worked, want at least 20 for the test to say something", c.adds.Load())
	}
	until(t, 5*time.Second, func() string { return cmp.Diff(before, nodeState(t, l, "n1")) })
	agentDo(t, l, "n1", lab.AgentRestart)
	until(t, 5*time.Second, func() string { return cmp.Diff(before, nodeState(t, l, "n1")) })
	for _, ip := range pod(t, l, "stays").IPs {
		run(t, l, "n1", "ping", "-n", "-c1", "-W2", ip.String())
	}
}

// work does as a runtime: what ADD left, however it ended, DEL takes away.
func (c *churn) work(t *testing.T, a attachment) {
	name := a.id
	for n := 0; !c.over.Load(); n++ {
		a.id = fmt.Sprintf("%s-%d", name, n)
		if c.once(t, a, "ADD") == nil {
			c.adds.Add(1)
		}
		deadline := time.Now().Add(30 * time.Second)
		for c.once(t, a, "DEL") != nil {
			if time.Now().After(deadline) {
				t.Errorf("DEL of %s did not work in 30s", a.id)
				return
			}
		}
		c.dels.Add(1)
	}
}

func (c *churn) once(t *testing.T, a attachment, verb string) error {
	p := a.prepare(t, verb, nil)
	cmd, err := c.lab.Start(t.Context(), a.node, p.argv, func(cmd *exec.Cmd) {
		cmd.Env, cmd.Stdin = append(cmd.Env, p.env...), bytes.NewReader(p.stdin)
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.running[cmd] = true
	c.mu.Unlock()
	err = cmd.Wait()
	c.mu.Lock()
	delete(c.running, cmd)
	c.mu.Unlock()
	return err
}

// killAll kills one agent for each three plugins, at moments that the progress
// of the workers sets.
func (c *churn) killAll(t *testing.T, r *rand.Rand) (agents, plugins int) {
	for agents+plugins < churnKills {
		target := c.dels.Load() + r.Int64N(3)
		until(t, 30*time.Second, func() string {
			if c.dels.Load() < target {
				return "the workers do not get on"
			}
			return ""
		})
		if r.IntN(4) == 0 {
			if err := c.lab.Agent(t.Context(), "n1", lab.AgentKill); err != nil {
				t.Fatal(err)
			}
			if err := c.lab.Agent(t.Context(), "n1", lab.AgentStart); err != nil {
				t.Fatal(err)
			}
			agents++
			continue
		}
		if c.killPlugin(r) {
			plugins++
		}
	}
	return agents, plugins
}

func (c *churn) killPlugin(r *rand.Rand) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.running) == 0 {
		return false
	}
	skip := r.IntN(len(c.running))
	for cmd := range c.running {
		if skip--; skip < 0 {
			return cmd.Process.Kill() == nil // not yet waited for: the process is ours
		}
	}
	return false
}

var podDevices = regexp.MustCompile(`weir[0-9a-f]{11}\b`)

// nodeState is everything of which an endpoint has a part.
func nodeState(t *testing.T, l *lab.Lab, name string) map[string]string {
	t.Helper()
	n := node(t, l, name)
	out := map[string]string{
		"devices":     fmt.Sprint(podDevices.FindAllString(run(t, l, name, "ip", "-o", "link"), -1)),
		"endpoints":   fmt.Sprint(endpoints(t, l, name)),
		"ipam":        fmt.Sprintf("%+v", get[agent.Status](t, l, name, agent.PathStatus).IPAM),
		"state files": base(filepath.Join(n.Dir, "run/state/endpoints/*")),
		"queue":       base(filepath.Join(n.Dir, "run/deleteQueue/*")),
		"links":       base(filepath.Join(tree(n), "links/endpoints/*")),
	}
	for _, m := range []string{"weir_ipcache", "weir_endpoints"} {
		var rows []string
		for _, r := range get[agent.MapDump](t, l, name, agent.PathMaps+"/"+m).Rows {
			rows = append(rows, r.Key+" "+r.Value+" "+r.State)
		}
		slices.Sort(rows)
		out[m] = strings.Join(rows, "\n")
	}
	return out
}

func base(pattern string) string {
	files, _ := filepath.Glob(pattern)
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	return fmt.Sprint(files)
}
