package policylab

import (
	"fmt"
	"syscall"
	"testing"
)

// stands stops the agent of a node where it is until resume is called: it hears of
// nothing meanwhile.
func (c *cluster) stands(t *testing.T, node string) (resume func()) {
	t.Helper()
	n, err := c.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	pid := n.Agent.PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(resume)
	return resume
}

// TestANodeThatIsLateLosesNothing of what is established: pods get numbers that it has
// not heard of, and what it judged goes on to count.
func TestANodeThatIsLateLosesNothing(t *testing.T) {
	inBoth(t, probeLabs, func(t *testing.T, c *cluster) {
		const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: a, l0: %s, l1: a, l2: a, l3: a, l4: a, l5: a}}\n" +
			"spec: {nodeName: n1, containers: [{name: c, command: [sleep, infinity]}]}\n"
		c.apply(t, walls[0])
		c.enforce(t, fmt.Sprintf(looks, 0, 0))
		c.settle(t)
		was := c.own(t, "a").Identity
		c.siege(t, func() {
			resume := c.stands(t, "n2")
			c.put(t, fmt.Sprintf(pod, "late"))
			if !await(patience, func() bool { return c.own(t, "a").Identity != was }) {
				t.Error("a keeps its identity, whatever its labels are")
			}
			await(patience/20, func() bool { return false }) // packets with the new number
			now := c.own(t, "a").Identity
			resume()
			c.put(t, fmt.Sprintf(pod, "a"))
			if !await(patience, func() bool { return c.own(t, "a").Identity != now }) {
				t.Errorf("a keeps identity %d, with its labels of before", now)
			}
		})
		c.remove(t, fmt.Sprintf(looks, 0, 0))
	})
}
