package packets

import (
	"slices"
	"strings"
	"testing"

	"weir/api/agent"
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
				nodes := map[string]bool{}
				for i, s := range w.Steps {
					nodes[s.Node] = true
					if s.Verdict != "forwarded" || i == 0 && len(s.Lookups) < 4 {
						t.Errorf("to %s, step %d: %+v", to, i, s)
					}
				}
				if beside := to == "b"; !nodes["n1"] || beside != (len(nodes) == 1) || len(w.Missing) > 0 {
					t.Errorf("to %s: steps on %v, missing %v", to, nodes, w.Missing)
				}
			}
		})
	})
}

// post is a request that has a body.
func (c *cluster) post(t *testing.T, node, path string, request, into any) {
	t.Helper()
	if err := agent.NewClient(c.node(t, node).Socket()).Post(t.Context(), path, request, into); err != nil {
		t.Fatalf("ask agent of %s: %v", node, err)
	}
}
