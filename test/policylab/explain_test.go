package policylab

import (
	"fmt"
	"strings"
	"testing"

	"weir/api/agent"
)

// TestExplainSaysWhatPacketsGet: the words of weir policy explain, the exit
// code, and the drop's own words agree with the wire.
func TestExplainSaysWhatPacketsGet(t *testing.T) {
	c := on(t, vxlan)
	c.apply(t, allow80)
	drops := c.judge(t, `
		a>b udp/80 arrives
		a>b udp/81 never
		x>b udp/80 never`)
	for _, f := range []struct {
		from, target string
		code         int
		say          []string
	}{
		{"default/a", "default/b:80/UDP", 0, []string{"allowed", "spec.ingress[0]", "80/UDP"}},
		{"default/a", "default/b:81/UDP", 1, []string{"denied", "NetworkPolicy default/seen", "port 81 is not 80"}},
		{"default/x", "default/b:80/UDP", 1, []string{"denied", `"x"`}},
		{"world", "default/b:80/UDP", 1, []string{"denied"}},
		{"default/b", "default/a:80/UDP", 0, []string{"allowed"}},
		{"default/nobody", "default/b:80", 2, []string{"nobody"}},
	} {
		text, code := c.weir(t, "n1", "policy", "explain", f.from, f.target)
		for _, want := range f.say {
			if !strings.Contains(text, want) {
				t.Errorf("explain %s %s: no %q in\n%s", f.from, f.target, want, text)
			}
		}
		if code != f.code {
			t.Errorf("explain %s %s: exit code %d, want %d\n%s", f.from, f.target, code, f.code, text)
		}
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		d := drops["a>b udp/81 never "+family]
		if d.Reason != "Policy denied" || d.Place != "from_pod" || d.Direction != "ingress" || d.SourceName != "default/a" || d.DestName != "default/b" ||
			fmt.Sprint(d.Policies) != "[NetworkPolicy default/seen]" || !strings.Contains(d.Missed, "port 81 is not 80") {
			t.Errorf("drop of port 81, %s: %+v", family, d)
		}
	}
	if text, code := c.weir(t, "n1", "drops", "--last", "5", "--pod", "default/x"); code != 0 || !strings.Contains(text, "Policy denied") || !strings.Contains(text, "NetworkPolicy default/seen") {
		t.Errorf("weir drops: exit code %d\n%s", code, text)
	}
}

// TestTraceForetellsWhatApplyingDoes and changes nothing itself.
func TestTraceForetellsWhatApplyingDoes(t *testing.T) {
	c := on(t, vxlan)
	file := t.TempDir() + "/next.yaml"
	writeFile(t, file, strings.Replace(allow80, "name: seen", "name: next", 1))
	reply := weirJSON[agent.TraceReply](t, c, "n1", "policy", "trace", file)
	found := false
	for _, ch := range reply.Changes {
		found = found || ch.Pod == "default/b" && ch.Direction == "ingress" && ch.Isolates && strings.Contains(strings.Join(ch.Added, ";"), "k8s:app in (a)")
	}
	if !found || len(reply.Problems) > 0 {
		t.Errorf("trace: %+v", reply)
	}
	c.judge(t, "x>b tcp/80 arrives")
	writeFile(t, file, strings.Replace(allow80, "port: 80", "port: 80000", 1))
	if text, code := c.weir(t, "n1", "policy", "trace", file); code != 1 || !strings.Contains(text, "spec.ingress[0].ports[0].port") {
		t.Errorf("trace of a wrong policy: exit code %d\n%s", code, text)
	}
}

func TestIdentitiesAreListedByTheLabelsThatPoliciesSee(t *testing.T) {
	c := on(t, vxlan)
	c.apply(t, allow80)
	p := c.pod(t, "a")
	var own agent.Endpoint
	for _, e := range get[[]agent.Endpoint](t, c, "n1", agent.PathEndpoints) {
		if e.Pod == p.Key() {
			own = e
		}
	}
	text, code := c.weir(t, "n1", "identity", "get", fmt.Sprint(own.Identity))
	if code != 0 || !strings.Contains(text, "k8s:app=a") || !strings.Contains(text, "k8s:io.kubernetes.pod.namespace=default") {
		t.Errorf("identity of a, exit code %d:\n%s", code, text)
	}
	if text, _ := c.weir(t, "n1", "identity", "list"); !strings.Contains(text, fmt.Sprint(own.Identity)) || !strings.Contains(text, "reserved:host") {
		t.Errorf("weir identity list:\n%s", text)
	}
}
