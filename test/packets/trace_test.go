package packets

import (
	"slices"
	"strings"
	"testing"

	"weir/api/agent"
	"weir/lab"
)

// programs are those of a walk, in their order; answers have an arrow.
func programs(w agent.Walk) (out []string) {
	for _, s := range w.Steps {
		name := s.Program
		if s.Reply {
			name = "<" + name
		}
		out = append(out, name)
	}
	return out
}

// The walk of an echo request is that of docs, in every mode and family: here, into
// the pod beside; to another node, out of this one, through that one and back.
func TestAPacketIsWalkedThroughThePrograms(t *testing.T) {
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			for to, want := range map[string][]string{"b": {"from_pod", "<from_pod"}, "c": nil} {
				var w agent.Walk
				c.post(t, "n1", agent.PathWalk, agent.WalkRequest{From: c.addr(t, "a", is4).String(), To: c.addr(t, to, is4).String()}, &w)
				if !strings.HasPrefix(w.Answer, "answered") {
					t.Errorf("to %s: %s, %s", to, w.Probe, w.Answer)
				}
				got := programs(w)
				if want != nil && !slices.Equal(got, want) {
					t.Errorf("to %s: programs %v, want %v", to, got, want)
				}
				if len(got) == 0 || got[0] != "from_pod" || !strings.HasPrefix(got[len(got)-1], "<") {
					t.Errorf("to %s: programs %v, want from_pod first and an answer last", to, got)
				}
				for i, s := range w.Steps {
					if s.Verdict != "forwarded" || s.Node != "n1" || i == 0 && len(s.Lookups) < 4 {
						t.Errorf("to %s, step %d: %+v", to, i, s)
					}
				}
				if len(w.Missing) != 2 { // without certificates nodes do not serve each other
					t.Errorf("to %s: missing %v, want both other nodes", to, w.Missing)
				}
			}
		})
	})
}

// Where nodes serve each other, one walk has the steps of both.
func TestAWalkGoesOnOnTheOtherNode(t *testing.T) {
	needRoot(t)
	c := temporary(t, lab.Spec{Name: prefix + "trace", Mode: lab.ModeVXLAN, Nodes: lab.Nodes(2),
		Agent: map[string]any{"health": map[string]any{"enabled": false}, "hubble": map[string]any{"tls": map[string]any{"enabled": false}}}}, nil)
	if err := c.ApplyYAML(t.Context(), "web.yaml", []byte(webs)).Err(); err != nil {
		t.Fatal(err)
	}
	there := ""
	pods, err := c.Pods()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if p.Node == "n2" {
			there = p.Name
		}
	}
	var w agent.Walk
	c.post(t, "n1", agent.PathWalk, agent.WalkRequest{From: "pod/net", To: "pod/" + there}, &w)
	want := []string{"from_pod", "to_overlay", "from_overlay", "<from_pod", "<to_overlay", "<from_overlay"}
	if got := programs(w); !slices.Equal(got, want) || len(w.Missing) > 0 {
		t.Fatalf("programs %v, missing %v, want %v", got, w.Missing, want)
	}
	for i, node := range []string{"n1", "n1", "n2", "n2", "n2", "n1"} {
		if w.Steps[i].Node != node {
			t.Errorf("step %d is on %s, want %s", i, w.Steps[i].Node, node)
		}
	}
}

// post is a request that has a body.
func (c *cluster) post(t *testing.T, node, path string, request, into any) {
	t.Helper()
	if err := agent.NewClient(c.node(t, node).Socket()).Post(t.Context(), path, request, into); err != nil {
		t.Fatalf("ask agent of %s: %v", node, err)
	}
}
