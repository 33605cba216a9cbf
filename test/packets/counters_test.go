package packets

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"weir/api/agent"
	"weir/bpf"
)

// ending is where and how the way of a packet ended.
type ending struct{ place, reason string }

func at(p bpf.Place, r bpf.Reason) ending { return ending{p.String(), r.String()} }

// counters are those of one node.
type counters map[ending]uint64

func (c *cluster) counters(t *testing.T, node string) counters {
	t.Helper()
	var all []agent.Metric
	c.get(t, node, agent.PathMetrics, &all)
	out := counters{}
	for _, m := range all {
		out[ending{m.Place, m.Reason}] = m.Packets
	}
	return out
}

// drops returns what was dropped since before, chatter of the link aside.
func (c *cluster) drops(t *testing.T, node string, before counters) counters {
	t.Helper()
	var all []agent.Metric
	c.get(t, node, agent.PathMetrics, &all)
	out := counters{}
	for _, m := range all {
		e := ending{m.Place, m.Reason}
		if n := m.Packets - before[e]; m.Drop && n > 0 {
			out[e] = n
		}
	}
	return out
}

func (c counters) String() string {
	var out []string
	for e, n := range c {
		out = append(out, fmt.Sprintf("%s %q %d", e.place, e.reason, n))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// wantCount waits until an ending was counted n times since before, and fails
// when it is another number.
func (c *cluster) wantCount(t *testing.T, node string, before counters, e ending, n uint64) {
	t.Helper()
	got := uint64(0)
	await(patience, func() bool {
		got = c.counters(t, node)[e] - before[e]
		return got >= n
	})
	if got != n {
		t.Errorf("%s: %s %q: counted %d packets, want %d; dropped: %s", node, e.place, e.reason, got, n, c.drops(t, node, before))
	}
}

// wantDropped is wantCount for a drop that is the only one.
func (c *cluster) wantDropped(t *testing.T, node string, before counters, e ending, n uint64) {
	t.Helper()
	c.wantCount(t, node, before, e, n)
	if got, want := c.drops(t, node, before), (counters{e: n}); !maps.Equal(got, want) {
		t.Errorf("%s: dropped %s, want %s and nothing else", node, got, want)
	}
}

// dump reads a map of a node from the kernel.
func (c *cluster) dump(t *testing.T, node, name string) agent.MapDump {
	t.Helper()
	var d agent.MapDump
	c.get(t, node, agent.PathMaps+"/"+name, &d)
	return d
}
