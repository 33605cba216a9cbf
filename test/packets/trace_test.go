package packets

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

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
					if s.Verdict != "forwarded" || to == "b" && s.Node != "n1" || i == 0 && len(s.Lookups) < 4 {
						t.Errorf("to %s, step %d: %+v", to, i, s)
					}
				}
				if len(w.Missing) > 0 {
					t.Errorf("to %s: missing %v", to, w.Missing)
				}
				if to == "c" && !slices.ContainsFunc(w.Steps, func(s agent.Step) bool { return s.Node == "n2" }) {
					t.Errorf("to %s: no step on n2: %v", to, got)
				}
			}
		})
	})
}

// Where nodes serve each other, one walk has the steps of both.
func TestAWalkGoesOnOnTheOtherNode(t *testing.T) {
	needRoot(t)
	c := temporary(t, lab.Spec{Name: prefix + "trace", Mode: lab.ModeVXLAN, Nodes: lab.Nodes(2),
		Agent: map[string]any{"health": map[string]any{"enabled": false}}}, nil)
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
	if r := c.Exec(t.Context(), "n1", "weir", "trace", "pod/"+there, "pod/net"); !strings.Contains(r.Stderr, "pod/"+there+" is at node n2, which alone can send") {
		t.Errorf("a probe in the place of a pod of n2, asked for at n1: %s%s", r.Stdout, r.Stderr)
	}
	c.eachFamily(t, c.walksBeyondTheNodesAddress)
	c.saysWhyWithTheOtherNode(t, there)
}

// What another node has dropped, and why, is told by the one that is asked.
func (c *cluster) saysWhyWithTheOtherNode(t *testing.T, there string) {
	t.Helper()
	if err := c.ApplyYAML(t.Context(), "closed.yaml", []byte("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\nspec: {podSelector: {matchLabels: {app: web}}}\n")).Err(); err != nil {
		t.Fatal(err)
	}
	q := agent.ExplainRequest{From: "default/net", To: "default/" + there, Port: 80}
	var w agent.Why
	eventually(t, "the other node's policy and drop are told", func() bool {
		w = agent.Why{}
		c.Exec(t.Context(), "net", "curl", "-s", "-m", "0.3", "http://"+c.addr(t, there, true).String())
		c.post(t, "n1", agent.PathWhy, q, &w)
		return w.Policy.Verdict == "denied" && slices.ContainsFunc(w.Drops, func(d agent.WhyDrop) bool { return d.Node == "n2" })
	})
	if !w.Policy.Ingress.Known || w.Policy.Note != "" || w.Missing != "" || !strings.Contains(w.Advice[0], "NetworkPolicy default/closed") {
		t.Errorf("%+v, advice %q", w.Policy, w.Advice)
	}
}

// Whoever asks a NodePort from outside has the node's address beyond it, and is followed
// there all the same; others that have it are not.
func (c *cluster) walksBeyondTheNodesAddress(t *testing.T, is4 bool) {
	t.Helper()
	asked := netip.AddrPortFrom(c.addr(t, "n1", is4), 32000)
	go func() {
		c.Exec(t.Context(), "world", "sh", "-c", fmt.Sprintf("sleep 0.3; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -gs -m 2 --interface %s http://%s/ & done; wait", c.addr(t, "world", is4), asked))
		c.Exec(t.Context(), "n1", "ping", "-c1", "-W1", c.addr(t, "n2", is4).String())
	}()
	var w agent.Walk
	c.post(t, "n1", agent.PathWalk, agent.WalkRequest{From: c.addr(t, "world", is4).String(), To: asked.Addr().String(), Port: asked.Port(), Live: 3 * time.Second}, &w)
	there, known := map[string]int{}, 0
	for _, s := range w.Steps {
		if s.Program == "from_overlay" && s.Node == "n2" && strings.Contains(s.Lookups[0].Found, "holds") {
			known++
		}
		if s.Node == "n2" {
			there[s.Program]++
		}
		if s.Verdict != "forwarded" || s.Node == "n2" && !strings.Contains(s.Packet, ":80 ") && !strings.Contains(s.Packet, ":80,") {
			t.Errorf("a step that is none of the walk's: %+v", s)
		}
	}
	if there["from_overlay"] == 0 || there["from_pod"] == 0 {
		t.Errorf("steps on n2: %v of %v, missing %v, want those of connections that came by the address of n1", there, programs(w), w.Missing)
	}
	if known == 0 {
		t.Errorf("none of %v packets on n2 was of a connection that is known", there)
	}
}

// post is a request that has a body.
func (c *cluster) post(t *testing.T, node, path string, request, into any) {
	t.Helper()
	if err := agent.NewClient(c.node(t, node).Socket()).Post(t.Context(), path, request, into); err != nil {
		t.Fatalf("ask agent of %s: %v", node, err)
	}
}
