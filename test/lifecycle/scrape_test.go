package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/api/agent"
	"weir/lab"
)

// TestAScrapeOfAFullNodeIsQuick: 250 endpoints, each with its program, are told in
// 50 ms. The best of some counts, since others use this machine, too.
func TestAScrapeOfAFullNodeIsQuick(t *testing.T) {
	const endpoints, limit = 250, 50 * time.Millisecond
	n := lab.Nodes(1)
	l := ownLab(t, lab.Spec{Name: "ltb-full", Nodes: n, IPv6: new(false), Agent: map[string]any{"health": map[string]any{"enabled": false}}}, "")
	client := agent.NewClient(node(t, l, "n1").Socket())
	for i := range endpoints { // without a process for each
		if err := client.Post(t.Context(), agent.PathCNIAdd, agent.AddRequest{Attachment: attach(t, l, "n1", fmt.Sprintf("e%d", i)).key()}, nil); err != nil {
			t.Fatalf("ADD %d: %v", i, err)
		}
	}
	settled(t, l)
	best, text := time.Hour, ""
	for range 30 {
		began := time.Now()
		text = get[agent.Export](t, l, "n1", agent.PathExport).Text
		best = min(best, time.Since(began))
	}
	t.Logf("%d endpoints: %s, %d bytes", endpoints, best.Round(100*time.Microsecond), len(text))
	for _, want := range []string{fmt.Sprintf("cilium_endpoint %d\n", endpoints), fmt.Sprintf(`weir_bpf_program_attachments{program="from_pod",state="attached"} %d`, endpoints)} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if best > limit {
		t.Errorf("a scrape takes %s, want %s", best, limit)
	}
}
