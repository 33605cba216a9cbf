package lifecycle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/api/agent"
	"weir/lab"
)

// Eight callers share four attachments, so that an ADD and a DEL of the same
// one overtake each other all the time.
func TestConcurrentAddAndDeleteOfOneAttachmentLeakNothing(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-race", Nodes: lab.Nodes(1)}, bare("stays", "n1"))
	before := nodeState(t, l, "n1")
	keys := count(4, func(i int) attachment { return attach(t, l, "n1", fmt.Sprintf("k%d", i)) })
	var adds, dels, exists atomic.Int64
	var callers sync.WaitGroup
	over := time.Now().Add(4 * time.Second)
	for i := range 8 {
		r := rand.New(rand.NewPCG(uint64(i), 8))
		client := agent.NewClient(node(t, l, "n1").Socket())
		callers.Go(func() {
			for time.Now().Before(over) {
				k := keys[r.IntN(len(keys))]
				if r.IntN(2) == 0 {
					if err := client.Post(t.Context(), agent.PathCNIDel, k.key(), nil); err != nil {
						t.Errorf("DEL %s: %v", k.id, err)
					}
					dels.Add(1)
					continue
				}
				var refused *agent.Error
				err := client.Post(t.Context(), agent.PathCNIAdd, agent.AddRequest{Attachment: k.key()}, nil)
				switch {
				case err == nil:
					adds.Add(1)
				case errors.As(err, &refused) && refused.Code == agent.CodeAlreadyAdded:
					exists.Add(1)
				default:
					t.Errorf("ADD %s: %v", k.id, err)
				}
			}
		})
	}
	callers.Wait()
	t.Logf("%d ADDs worked, %d were refused, %d DELs", adds.Load(), exists.Load(), dels.Load())
	if adds.Load() < 20 || exists.Load() == 0 {
		t.Error("too few calls met for the test to say something")
	}
	for _, k := range keys {
		k.del(t)
	}
	until(t, 5*time.Second, func() string { return cmp.Diff(before, nodeState(t, l, "n1")) })
	for _, k := range keys {
		if text := k.exec(t, "ip", "-o", "link", "show"); strings.Contains(text, "eth0") {
			t.Errorf("the namespace of %s still has a device:\n%s", k.id, text)
		}
	}
	for _, k := range keys {
		k.add(t)
		k.del(t)
	}
}

func (a attachment) key() agent.Attachment {
	return agent.Attachment{ContainerID: a.id, Interface: "eth0", Netns: a.netns}
}

func TestSecondInterfaceOfANetnsIsRefusedAndTheFirstWorksOn(t *testing.T) {
	l := vxlanLab(t)
	first := attach(t, l, "n1", "first")
	ips, result := first.add(t)
	settled(t, l)
	before := nodeState(t, l, "n1")
	for _, second := range []attachment{
		{lab: l, node: "n1", id: "second", netns: first.netns, ifname: "net1"},
		{lab: l, node: "n1", id: "first", netns: first.netns, ifname: "net1"},
		{lab: l, node: "n1", id: "second", netns: first.netns},
	} {
		r := second.call(t, "ADD", nil)
		if r.err == nil || r.err.Code != uint(agent.CodeInvalidEnvironment) && r.err.Code != uint(agent.CodeAlreadyAdded) {
			t.Errorf("ADD of %s %s: %+v %s, want code 4 or 101", second.id, second.ifname, r.err, r.out)
		}
		second.del(t) // what a runtime does after an ADD that failed
		if r := first.call(t, "CHECK", map[string]any{"prevResult": result}); r.err != nil {
			t.Errorf("CHECK of the first: %+v", r.err)
		}
		for _, ip := range pod(t, l, "c").IPs {
			first.exec(t, "ping", "-n", "-c1", "-W2", ip.String())
		}
	}
	until(t, 5*time.Second, func() string { return cmp.Diff(before, nodeState(t, l, "n1")) })
	for _, ip := range ips {
		run(t, l, "c", "ping", "-n", "-c1", "-W2", ip.String())
	}
	first.del(t)
}

func TestSixtyReplicasOnOneNodeGetReady(t *testing.T) {
	const replicas = 60
	l := ownLab(t, lab.Spec{Name: "ltb-sixty", Nodes: lab.Nodes(1)}, fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: %d
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec: {nodeName: n1, containers: [{name: a, command: [sleep, "100000"]}]}
`, replicas))
	until(t, 30*time.Second, func() string {
		states := map[string]int{}
		for _, e := range get[[]agent.Endpoint](t, l, "n1", agent.PathEndpoints) {
			if strings.HasPrefix(e.Pod, "default/many-") {
				states[e.State]++
			}
		}
		if states["ready"] != replicas || len(states) != 1 {
			return fmt.Sprintf("states of the endpoints: %v, want %d ready", states, replicas)
		}
		return ""
	})
	for _, p := range get[agent.Status](t, l, "n1", agent.PathStatus).IPAM {
		if p.Allocated != replicas+2 { // router and health endpoint
			t.Errorf("%s: %d addresses allocated for %d pods, router and health endpoint", p.CIDR, p.Allocated, replicas)
		}
	}
}

func TestDeleteQueuedWhileTheAgentHungIsDoneWhenItGoesOn(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-resume", Nodes: lab.Nodes(1)}, "")
	before := nodeState(t, l, "n1")
	a := attach(t, l, "n1", "gone")
	a.add(t)
	pid := node(t, l, "n1").Agent.PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := func() { syscall.Kill(pid, syscall.SIGCONT) }
	defer resume()
	if r := a.call(t, "DEL", nil); r.err != nil {
		t.Fatalf("DEL: %+v, want it queued", r.err)
	}
	queue := node(t, l, "n1").Dir + "/run/deleteQueue/*.json"
	if got := base(queue); got == "[]" {
		t.Error("no DEL is queued")
	}
	start := time.Now()
	resume()
	until(t, 10*time.Second, func() string { return cmp.Diff(before, nodeState(t, l, "n1")) })
	t.Logf("done %s after the agent went on", time.Since(start).Round(time.Millisecond))
	if node(t, l, "n1").Agent.PID != pid {
		t.Error("the agent was restarted")
	}
}
