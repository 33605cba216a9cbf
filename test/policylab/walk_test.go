package policylab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/api/agent"
)

// found is what a walk's programs found in a map at a node, in their order.
func found(w agent.Walk, node, in string) (out []string) {
	for _, s := range w.Steps {
		for _, l := range s.Lookups {
			if s.Node == node && l.Map == in {
				out = append(out, l.Found)
			}
		}
	}
	return out
}

// TestAWalkNamesTheRuleBehindItsVerdict and the entries that it met: who both ends
// are, the other node, the policy and its rule, or that there is none.
func TestAWalkNamesTheRuleBehindItsVerdict(t *testing.T) {
	inBoth(t, probeLabs, func(t *testing.T, c *cluster) {
		c.apply(t, walls[0])
		for _, server := range []string{"b", "c"} {
			at := c.echoServer(t, server, true, 7001)
			w := weirJSON[agent.Walk](t, c, "n1", "trace", "pod/a", "pod/"+server, "--port", "7001")
			if !strings.HasPrefix(w.Answer, "connected") {
				t.Errorf("a to %s: %s, %s", at, w.Probe, w.Answer)
			}
			there := map[string]string{"b": "n1", "c": "n2"}[server]
			rules := found(w, there, "weir_policy_rules")
			if len(rules) == 0 && there == "n2" { // the walk goes on where nodes serve each other
				w = c.walkAt(t, there, server)
				rules = found(w, there, "weir_policy_rules")
			}
			if !slices.ContainsFunc(rules, func(f string) bool {
				return strings.Contains(f, "allowed by rule ") && strings.Contains(f, "NetworkPolicy default/wall") && strings.Contains(f, "k8s:app in (a)")
			}) {
				t.Errorf("a to %s: rules %q, want the wall's in them; steps %+v", server, rules, w.Steps)
			}
		}
		ips := found(weirJSON[agent.Walk](t, c, "n1", "trace", "pod/a", "pod/c", "--port", "7001"), "n1", "weir_ipcache")
		there := map[string]string{"vxlan": "tunnel endpoint 172.18.0.3", "native": "at node 172.18.0.3"}[c.kind.mode]
		if !slices.ContainsFunc(ips, func(f string) bool { return strings.Contains(f, there) }) || !slices.ContainsFunc(ips, func(f string) bool { return strings.Contains(f, "default/c") }) {
			t.Errorf("weir_ipcache says %q", ips)
		}
		w := weirJSON[agent.Walk](t, c, "n1", "trace", "pod/x", "pod/b", "--port", "7001")
		last := w.Steps[len(w.Steps)-1]
		if last.Verdict != "dropped" || last.Reason != "Policy denied" {
			t.Errorf("x to b: %+v", last)
		}
		if got := found(w, "n1", "weir_policy"); !slices.ContainsFunc(got, func(f string) bool {
			return strings.Contains(f, "isolated by NetworkPolicy default/wall") && strings.Contains(f, "no rule allows it")
		}) {
			t.Errorf("x to b: weir_policy says %q", got)
		}
	})
}

// walkAt follows, at a server's own node, a connection that a opens meanwhile.
func (c *cluster) walkAt(t *testing.T, node, server string) agent.Walk {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	go func() {
		for at := c.addr(t, server, true); ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			c.Exec(ctx, "a", "curl", "-s", "-m", "0.2", fmt.Sprintf("telnet://%s:7001", at))
		}
	}()
	return weirJSON[agent.Walk](t, c, node, "trace", "pod/a", "pod/"+server, "--port", "7001", "--live", "--for", "1s")
}

// TestRowG3TheMonitorShowsWhoIsConcerned: with -v names and rules in lines of their
// own, and with --related-to nobody else.
func TestRowG3TheMonitorShowsWhoIsConcerned(t *testing.T) {
	c := on(t, vxlan)
	c.apply(t, walls[0])
	ctx, end := context.WithTimeout(t.Context(), patience)
	defer end()
	said := make(chan string, 1) // 1: it need not wait
	go func() {
		for3s, end := context.WithTimeout(ctx, 3*time.Second)
		defer end()
		r := c.Exec(for3s, "n1", "weir", "monitor", "-v", "--related-to", fmt.Sprint(c.own(t, "b").Endpoint))
		said <- r.Stdout + r.Stderr
	}()
	for ctx.Err() == nil {
		c.Exec(ctx, "x", "ping", "-c", "1", "-W", "0.1", c.addr(t, "b", true).String()) // denied
		c.Exec(ctx, "a", "ping", "-c", "1", "-W", "0.1", c.addr(t, "b", true).String())
		c.Exec(ctx, "a", "ping", "-c", "1", "-W", "0.1", c.addr(t, "x", true).String()) // not b's business
		select {
		case text := <-said:
			for _, want := range []string{"default/x", "default/b", "Policy denied", "NetworkPolicy default/wall", "from_pod"} {
				if !strings.Contains(text, want) {
					t.Errorf("lacks %q:\n%s", want, text)
				}
			}
			if x := c.addr(t, "x", true).String(); strings.Contains(text, c.addr(t, "a", true).String()+" -> "+x) {
				t.Errorf("a to x, which is not related:\n%s", text)
			}
			return
		default:
		}
	}
	t.Error("weir monitor says nothing in time")
}
