package policylab

import (
	"os"
	"strings"
	"testing"

	"weir/lab"
)

const onlyX = cnp + "metadata: {name: onlyx}\nspec:\n  endpointSelector: {matchLabels: {role: server}}\n  ingress: [{fromEndpoints: [{matchLabels: {app: x}}]}]\n"

// TestAPodRunsOnAsItselfWhenAnotherHasItsName: the node was lost, the object
// deleted, and a StatefulSet made another pod of the name, with the labels of
// somebody else.
func TestAPodRunsOnAsItselfWhenAnotherHasItsName(t *testing.T) {
	c := on(t, vxlan)
	c.apply(t, onlyX)
	c.settle(t)
	file := c.object("pod_default_a.yaml")
	good := file.read(t)
	defer file.put(t, good)
	other := strings.NewReplacer("app: a", "app: x", "nodeName: n1", "nodeName: n2",
		c.addr(t, "a", true).String(), "10.0.1.250", c.addr(t, "a", false).String(), "fd00::1fa").Replace(good)
	file.put(t, other)
	if !await(patience, func() bool {
		return strings.Contains(c.row(t, "n1", "10.0.1.250/32"), "app=x")
	}) {
		t.Fatalf("n1 does not know the other pod: %q", c.row(t, "n1", "10.0.1.250/32"))
	}
	c.judge(t, `
		a>b tcp/80 never
		a>c tcp/80 never
		x>b tcp/80 arrives`)
	// A policy by a label that is new to identities does not wait for it.
	c.apply(t, cnp+"metadata: {name: new}\nspec:\n  endpointSelector: {matchLabels: {role: server}}\n  ingress: [{fromEndpoints: [{matchLabels: {l0: o}}]}]\n")
	c.judge(t, `
		a>b tcp/80 never`)
}

func (c *cluster) row(t *testing.T, node, prefix string) string {
	t.Helper()
	ip := c.ip(t, node, prefix)
	if ip.Prefix == "" {
		return ""
	}
	return ip.Of + " " + strings.Join(ip.Labels, " ")
}

// TestAnObjectThatLingersHasNoAddress: it sorts first, has the address of
// another pod, and labels that are let in.
func TestAnObjectThatLingersHasNoAddress(t *testing.T) {
	c := on(t, vxlan)
	c.apply(t, onlyX)
	c.settle(t)
	good := c.object("pod_default_c.yaml").read(t)
	old := c.object("pod_default_aaa.yaml")
	old.put(t, strings.NewReplacer("role: server", "app: x", "name: c\n  ", "name: aaa\n  ",
		"metadata:", "metadata:\n  creationTimestamp: \"2020-01-01T00:00:00Z\"\n  deletionTimestamp: \"2020-01-02T00:00:00Z\"").Replace(
		strings.ReplaceAll(good, "  creationTimestamp: null\n", "")))
	defer os.Remove(string(old))
	known := await(patience, func() bool {
		text, _ := c.weir(t, "n1", "table", "pods")
		return strings.Contains(text, "default/aaa")
	})
	if !known {
		t.Fatalf("n1 does not know the pod\n%s", old.read(t))
	}
	c.settle(t)
	if got := c.row(t, "n1", c.addr(t, "c", true).String()+"/32"); !strings.HasPrefix(got, "default/c ") {
		t.Errorf("the address of c is that of %s", got)
	}
	c.judge(t, `
		c>b tcp/80 never
		x>b tcp/80 arrives`)
}

// TestAnAgentStartsWhenIdentitiesHaveChangedMeanwhile: policies wait for the
// endpoints to have the identities that their pods have now, and programs wait
// for policies.
func TestAnAgentStartsWhenIdentitiesHaveChangedMeanwhile(t *testing.T) {
	c := on(t, vxlan)
	c.apply(t, onlyX)
	c.settle(t)
	file := c.object("pod_default_a.yaml")
	good := file.read(t)
	defer file.put(t, good)
	if err := c.Agent(t.Context(), "n1", lab.AgentStop); err != nil {
		t.Fatal(err)
	}
	file.put(t, strings.Replace(good, "app: a", "app: x", 1))
	if err := c.Agent(t.Context(), "n1", lab.AgentStart); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	c.judge(t, `
		a>b tcp/80 arrives`)
}
