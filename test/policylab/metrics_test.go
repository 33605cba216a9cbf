package policylab

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// series are samples by name and labels, as Prometheus writes them.
type series map[string]float64

// scrape asks a node as Prometheus does, from the node itself.
func (c *cluster) scrape(t *testing.T, node string) series {
	t.Helper()
	out := series{}
	for line := range strings.Lines(c.scraped(t, node)) {
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

func (c *cluster) scraped(t *testing.T, node string) string {
	t.Helper()
	r := c.Exec(t.Context(), node, "curl", "-sf", "--max-time", "5", "http://127.0.0.1:9962/metrics")
	if !r.OK() {
		t.Fatalf("scrape %s: exit code %d %s", node, r.Code, r.Stderr)
	}
	return r.Stdout
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

// sum is that of all samples of a name that have these labels.
func (s series) sum(name string, labels ...string) (n float64) {
	for sample, v := range s {
		if strings.HasPrefix(sample, name+"{") && !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(sample, l) }) {
			n += v
		}
	}
	return n
}

// TestFlowsAreCountedAsTheyAreSent: connections by their flags, on both nodes that they
// cross; ports; pings; and denials, one by one.
func TestFlowsAreCountedAsTheyAreSent(t *testing.T) {
	const n = 20
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		eachFamily(t, func(t *testing.T, is4 bool) {
			family, icmp := `family="IPv4"`, `protocol="ICMPv4"`
			if !is4 {
				family, icmp = `family="IPv6"`, `protocol="ICMPv6"`
			}
			before := map[string]series{}
			for _, node := range nodes {
				before[node] = c.scrape(t, node)
			}
			gained := func(node, name string, labels ...string) float64 {
				return c.scrape(t, node).sum(name, labels...) - before[node].sum(name, labels...)
			}
			server := c.echoServer(t, "c", is4, 80)
			for range n {
				if err := c.exchange(t, "a", server, 1000); err != nil {
					t.Fatal(err)
				}
			}
			if r := c.Exec(t.Context(), "a", "ping", "-n", "-c1", "-W2", server.Addr().String()); !r.OK() {
				t.Fatalf("ping: %s%s", r.Stdout, r.Stderr)
			}
			for _, node := range nodes {
				for _, x := range []struct {
					exactly, atLeast float64
					name             string
					labels           []string
				}{
					{n, n, "hubble_tcp_flags_total", []string{family, `flag="SYN"`}},
					{n, n, "hubble_tcp_flags_total", []string{family, `flag="SYN-ACK"`}},
					{0, 2 * n, "hubble_tcp_flags_total", []string{family, `flag="FIN"`}},
					{0, n, "hubble_port_distribution_total", []string{`port="80"`, `protocol="TCP"`}}, // SYN and FIN; but for the first
					{0, 4 * n, "hubble_flows_processed_total", []string{`protocol="TCP"`, `type="Trace"`, `verdict="FORWARDED"`}},
					{0, 1, "hubble_icmp_total", []string{family, `type="EchoRequest"`}},
					{0, 1, "hubble_icmp_total", []string{family, `type="EchoReply"`}},
					{0, 2, "hubble_flows_processed_total", []string{icmp, `type="Trace"`}},
				} {
					await(patience, func() bool { return gained(node, x.name, x.labels...) >= x.atLeast })
					if got := gained(node, x.name, x.labels...); got < x.atLeast || x.exactly > 0 && got != x.exactly {
						t.Errorf("%s: %s%v %v more, want %v", node, x.name, x.labels, got, x.atLeast)
					}
				}
			}
		})
		c.apply(t, allow80)
		c.settle(t)
		before := c.scrape(t, "n1")
		g := newGun(t, c.netns(t, "a"))
		for i := range n {
			if err := g.shoot(shot{src: c.addr(t, "a", true), dst: c.addr(t, "b", true), proto: "udp", sport: uint16(20000 + i), dport: 81, payload: mark}); err != nil {
				t.Fatal(err)
			}
		}
		for name, labels := range map[string][]string{
			"hubble_drop_total":            {`reason="POLICY_DENIED"`, `protocol="UDP"`},
			"hubble_flows_processed_total": {`type="Drop"`, `protocol="UDP"`, `verdict="DROPPED"`},
		} {
			await(patience, func() bool { return c.scrape(t, "n1").sum(name, labels...) >= before.sum(name, labels...)+n })
			if got := c.scrape(t, "n1").sum(name, labels...) - before.sum(name, labels...); got != n {
				t.Errorf("%s%v: %v more, want %d", name, labels, got, n)
			}
		}
		if got := c.scrape(t, "n1").sum("hubble_lost_events_total"); got != 0 {
			t.Errorf("%v flows were lost", got)
		}
	})
}

// apart are series that a lab of files has no reason for.
var apart = regexp.MustCompile(`^(cilium_k8s_client_|cilium_kubernetes_events_|cilium_services_events_|cilium_nodes_all_events_|cilium_policy_change_|weir_bpf_program_run|cilium_mtu_error_message_total|cilium_errors_warnings_total|hubble_dns_)`) // nobody asks DNS there: see TestFlowsAreFoundByTheNameThatWasAskedFor

// doOfEverything gives n1 flows that each metric of flows is about.
func (c *cluster) doOfEverything(t *testing.T) {
	t.Helper()
	if err := c.exchange(t, "a", c.echoServer(t, "b", true, 80), 1000); err != nil {
		t.Fatal(err)
	}
	if r := c.Exec(t.Context(), "a", "ping", "-n", "-c1", "-W2", c.addr(t, "b", true).String()); !r.OK() {
		t.Fatalf("ping: %s%s", r.Stdout, r.Stderr)
	}
	c.apply(t, allow80)
	if err := newGun(t, c.netns(t, "a")).shoot(shot{src: c.addr(t, "a", true), dst: c.addr(t, "b", true), proto: "udp", sport: 20000, dport: 81, payload: mark}); err != nil {
		t.Fatal(err)
	}
	if !await(patience, func() bool { return c.scrape(t, "n1").sum("hubble_drop_total") > 0 }) {
		t.Error("a denial is not counted")
	}
}

// TestAScrapeHasEveryNameThatIsPromised: dashboards are tested against a golden
// file, and this tests the file.
func TestAScrapeHasEveryNameThatIsPromised(t *testing.T) {
	c := on(t, vxlan)
	c.doOfEverything(t)
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
	problems, err := promlint.New(strings.NewReader(c.scraped(t, "n1"))).Lint() // as `promtool check metrics` does
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "weir_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, s := range []string{`weir_metrics_unreadable{part="packets"}`, `weir_metrics_unreadable{part="maps"}`, `weir_metrics_unreadable{part="programs"}`, `weir_metrics_unreadable{part="ports"}`} {
		if v, ok := c.scrape(t, "n1")[s]; !ok || v != 0 {
			t.Errorf("%s is %v (told: %v), want 0", s, v, ok)
		}
	}
}
