package policylab

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/api/agent"
	"weir/lab"
)

// TestARestartLeavesPolicyAndConnectionsAsTheyAre: the maps are the same
// objects with the same content, epochs and all, so that no connection is
// judged again, and those that run lose nothing.
func TestARestartLeavesPolicyAndConnectionsAsTheyAre(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		c.apply(t, allow80+"---\n"+strings.Replace(strings.Replace(allow80, "name: seen", "name: seen2", 1), "port: 80, protocol: UDP", "port: 7300", 1))
		c.settle(t)
		var streams []*stream
		for _, is4 := range []bool{true, false} {
			streams = append(streams, c.startStream(t, "tcp", "a", "c", is4, 7300), c.startStream(t, "tcp", "a", "b", is4, 7300))
		}
		if !await(patience, func() bool { return streams[0].echoed.Load() > 5 }) {
			t.Fatal("no stream")
		}
		for _, node := range nodes {
			c.restart(t, node, lab.AgentStop) // forgets identities that linger: nothing changes after that
		}
		for _, do := range []lab.AgentAction{lab.AgentStop, lab.AgentKill} {
			for _, node := range nodes {
				before := c.policyMaps(t, node)
				c.restart(t, node, do)
				if diff := cmp.Diff(before, c.policyMaps(t, node)); diff != "" {
					t.Errorf("%s after %s and start (-before +after):\n%s", node, do, diff)
				}
			}
		}
		for i, s := range streams {
			if err := s.finish(); err != nil {
				t.Errorf("stream %d: %v", i, err)
			}
		}
		for _, e := range c.transfers(t, "n1", c.addr(t, "a", true).String(), c.addr(t, "c", true).String()+":7300") {
			if e.Sent.Packets < 10 || e.Stale {
				t.Errorf("the connection's entry began anew: %+v", e)
			}
		}
	})
}

// restart ends an agent in some way, starts another, and waits until its
// policies are in force.
func (c *cluster) restart(t *testing.T, node string, end lab.AgentAction) {
	t.Helper()
	for _, do := range []lab.AgentAction{end, lab.AgentStart} {
		if err := c.Agent(t.Context(), node, do); err != nil {
			t.Fatal(err)
		}
	}
	ok := await(patience, func() bool {
		p := c.policies(t, node)["NetworkPolicy default/seen"]
		return p.State == "in force" && len(p.Endpoints) > 0 && p.Message == ""
	})
	if !ok {
		t.Fatalf("%s: not in force: %+v", node, c.policies(t, node))
	}
	c.settle(t)
}

type mapState struct {
	ID   uint32
	Rows []agent.MapRow // nil for connections, which change all the time
}

// policyMaps returns the maps of policy and connections of a node.
func (c *cluster) policyMaps(t *testing.T, node string) map[string]mapState {
	t.Helper()
	out := map[string]mapState{}
	for _, m := range get[[]agent.Map](t, c, node, agent.PathMaps) {
		state := mapState{ID: uint32(m.ID)}
		if strings.HasPrefix(m.Name, "weir_policy") && m.Name != "weir_policy_counters" {
			state.Rows = get[agent.MapDump](t, c, node, agent.PathMaps+"/"+m.Name).Rows
		} else if !slices.Contains([]string{"weir_ct", "weir_generations", "weir_policy_counters", "weir_nodes"}, m.Name) {
			continue
		}
		out[m.Name] = state
	}
	return out
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
