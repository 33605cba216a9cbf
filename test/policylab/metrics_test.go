package policylab

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// series are samples by name and labels, as Prometheus writes them.
type series map[string]float64

// scrape asks a node as Prometheus does, from the node itself.
func (c *cluster) scrape(t *testing.T, node string) series {
	t.Helper()
	r := c.Exec(t.Context(), node, "curl", "-sf", "--max-time", "5", "http://127.0.0.1:9962/metrics")
	if !r.OK() {
		t.Fatalf("scrape %s: exit code %d %s", node, r.Code, r.Stderr)
	}
	out := series{}
	for line := range strings.Lines(r.Stdout) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if name += "}"; !ok {
			name, value, _ = strings.Cut(strings.TrimSpace(line), " ")
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil && !strings.HasPrefix(line, "#") {
			out[name] = v
		}
	}
	return out
}

// denied sums packets or bytes that policy has dropped on all nodes.
func (c *cluster) denied(t *testing.T, what string) (n float64) {
	t.Helper()
	for _, node := range nodes {
		for name, v := range c.scrape(t, node) {
			if strings.HasPrefix(name, "cilium_drop_"+what+"_total{") && strings.Contains(name, `reason="Policy denied"`) {
				n += v
			}
		}
	}
	return n
}

// TestRowB19ADenialIsTold in drop_count_total, packet for packet and byte for byte.
func TestRowB19ADenialIsTold(t *testing.T) {
	const n = 37
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		c.apply(t, allow80)
		c.settle(t)
		for _, to := range []string{"b", "c"} {
			eachFamily(t, func(t *testing.T, is4 bool) {
				packets, bytes := c.denied(t, "count"), c.denied(t, "bytes")
				g, size := newGun(t, c.netns(t, "a")), 0
				for i := range n {
					payload := fmt.Sprintf("%s%08x", mark, serial.Add(1))
					size = 14 + 20 + 8 + len(payload)
					if err := g.shoot(shot{src: c.addr(t, "a", is4), dst: c.addr(t, to, is4), proto: "udp", sport: uint16(20000 + i), dport: 81, payload: payload}); err != nil {
						t.Fatal(err)
					}
				}
				if !is4 {
					size += 20
				}
				await(patience, func() bool { return c.denied(t, "count") >= packets+n })
				if got, octets := c.denied(t, "count")-packets, c.denied(t, "bytes")-bytes; got != n || octets != float64(n*size) {
					t.Errorf("%s: %v packets of %v bytes told, want %d of %d", to, got, octets, n, n*size)
				}
			})
		}
	})
}

// apart are series that a lab of files has no reason for.
var apart = regexp.MustCompile(`^(cilium_k8s_client_|cilium_kubernetes_events_|cilium_services_events_|cilium_nodes_all_events_|cilium_policy_change_|weir_bpf_program_run|cilium_mtu_error_message_total|cilium_errors_warnings_total)`)

// TestAScrapeHasEveryNameThatIsPromised: dashboards are tested against a golden
// file, and this tests the file.
func TestAScrapeHasEveryNameThatIsPromised(t *testing.T) {
	c := on(t, vxlan)
	golden, err := os.ReadFile(filepath.Join("../../observe/metrics/testdata/node.txt"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for s := range c.scrape(t, "n1") {
		name, _, _ := strings.Cut(s, "{")
		found[name] = true
	}
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^([a-z]\w+)`).FindAllStringSubmatch(string(golden), -1) {
		if n++; !found[m[1]] && !apart.MatchString(m[1]) {
			t.Errorf("%s is in the golden file, and nobody tells it", m[1])
		}
	}
	if n < 60 {
		t.Errorf("%d names in the golden file", n)
	}
	for _, s := range []string{`weir_metrics_unreadable{part="packets"}`, `weir_metrics_unreadable{part="maps"}`, `weir_metrics_unreadable{part="programs"}`, `weir_metrics_unreadable{part="ports"}`} {
		if v, ok := c.scrape(t, "n1")[s]; !ok || v != 0 {
			t.Errorf("%s is %v (told: %v), want 0", s, v, ok)
		}
	}
}
