package policylab

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/api/agent"
	"weir/lab"
)

// object is the file of an object in the folder that the agents read. Tests
// write it past the lab, which would refuse what is wrong.
type object string

func (c *cluster) object(file string) object {
	return object(filepath.Join("/run/weir/lab", c.kind.name, "objects", file))
}

func (o object) read(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(string(o))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (o object) put(t *testing.T, text string) {
	t.Helper()
	next := string(o) + ".next"
	writeFile(t, next, text)
	if err := os.Rename(next, string(o)); err != nil {
		t.Fatal(err)
	}
}

// TestARefusedVersionStaysOutOverARestart: what nobody allowed must not be open
// because the object that closed it was misspelt when an agent started.
func TestARefusedVersionStaysOutOverARestart(t *testing.T) {
	c := on(t, vxlan)
	t.Cleanup(func() { // labels linger where an agent ran through, and the next test compares the nodes
		for _, node := range nodes {
			if err := c.Agent(context.Background(), node, lab.AgentRestart); err != nil {
				t.Error(err)
			}
		}
	})
	c.apply(t, cnp+"metadata: {name: kept}\nspec:\n  endpointSelector: {matchLabels: {role: server}}\n  ingress: [{fromEndpoints: [{matchLabels: {app: nobody}}]}]\n---\n"+
		cnp+"metadata: {name: red}\nspec:\n  endpointSelector: {matchLabels: {app: x}}\n  ingress: [{fromEndpoints: [{matchLabels: {k8s:io.cilium.k8s.namespace.labels.team: red}}]}]\n")
	policy, namespace := c.object("ciliumnetworkpolicy_default_kept.yaml"), c.object("namespace__other.yaml")
	goodPolicy, goodNamespace := policy.read(t), namespace.read(t)
	defer policy.put(t, goodPolicy)
	defer namespace.put(t, goodNamespace)
	badPolicy := strings.Replace(goodPolicy, "fromEndpoints", "fromEndpointz", 1)
	badNamespace := strings.Replace(goodNamespace, "metadata:", "metadata:\n  annotations: {policy.weir.io/deny-response: nope}", 1)

	for name, broken := range map[string]bool{"while an agent runs": true, "while none runs": false} {
		t.Run(name, func(t *testing.T) {
			policy.put(t, goodPolicy)
			namespace.put(t, goodNamespace)
			c.awaitPolicy(t, "n1", "in force")
			if broken {
				policy.put(t, badPolicy)
				namespace.put(t, badNamespace)
				c.awaitPolicy(t, "n1", "refused")
			}
			if err := c.Agent(t.Context(), "n1", lab.AgentKill); err != nil {
				t.Fatal(err)
			}
			policy.put(t, badPolicy)
			namespace.put(t, badNamespace)
			if err := c.Agent(t.Context(), "n1", lab.AgentStart); err != nil {
				t.Fatal(err)
			}
			p := c.awaitPolicy(t, "n1", "refused")
			if !strings.Contains(p.Message, "fromEndpointz") || !strings.Contains(p.Message, "last good version stays") || len(p.Endpoints) == 0 {
				t.Errorf("listed as %+v", p)
			}
			c.judge(t, `
				a>b tcp/80 never
				x>b icmp never
				o>x tcp/80 arrives
				a>x tcp/80 never`)
		})
	}
}

// awaitPolicy waits until a node says of the policy that it is in this state.
func (c *cluster) awaitPolicy(t *testing.T, node, state string) agent.Policy {
	t.Helper()
	var p agent.Policy
	if !await(patience, func() bool {
		p = c.policies(t, node)["CiliumNetworkPolicy default/kept"]
		return p.State == state
	}) {
		t.Errorf("%s: listed as %+v, want %q", node, p, state)
	}
	return p
}
