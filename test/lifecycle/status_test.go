package lifecycle

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"weir/api/agent"
	"weir/lab"
)

// statusOf is what `weir status` prints, by label, and its exit code.
func statusOf(t *testing.T, l *lab.Lab, name string, flags ...string) (map[string]string, int) {
	t.Helper()
	r := l.Exec(t.Context(), name, append([]string{"weir", "status"}, flags...)...)
	out := map[string]string{}
	for line := range strings.Lines(r.Stdout) {
		if label, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, " ") {
			out[label] = strings.TrimSpace(value)
		}
	}
	return out, r.Code
}

// wantLines waits until lines of the status are as they should be: patterns by
// label.
func wantLines(t *testing.T, l *lab.Lab, name string, want map[string]string) {
	t.Helper()
	until(t, 30*time.Second, func() string {
		got, _ := statusOf(t, l, name)
		for label, pattern := range want {
			if !regexp.MustCompile("^(" + pattern + ")$").MatchString(got[label]) {
				return fmt.Sprintf("%s: %q, want %s", label, got[label], pattern)
			}
		}
		return ""
	})
}

// with restarts an agent with other values of some keys; nil takes one back.
func with(t *testing.T, l *lab.Lab, name string, keys map[string]any) {
	t.Helper()
	path := filepath.Join(node(t, l, name).Dir, "weir.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{}
	if err := yaml.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for key, value := range keys {
		at, last := all, key
		for group, rest, ok := strings.Cut(key, "."); ok; group, rest, ok = strings.Cut(rest, ".") {
			below, _ := at[group].(map[string]any)
			if below == nil {
				below = map[string]any{}
				at[group] = below
			}
			at, last = below, rest
		}
		if at[last] = value; value == nil {
			delete(at, last)
		}
	}
	if data, err = yaml.Marshal(all); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	agentDo(t, l, name, lab.AgentRestart)
}

// TestRowsHStatusFollowsWhatItSpeaksOf flips what each line is about, and watches
// the line.
func TestRowsHStatusFollowsWhatItSpeaksOf(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-lines", Nodes: lab.Nodes(2)}, pods)
	rings := 0
	for _, m := range get[[]agent.Map](t, l, "n1", agent.PathMaps) {
		if m.Name == "weir_events" || m.Name == "weir_traces" {
			rings += int(m.MaxEntries) / os.Getpagesize()
		}
	}
	// H1, H5, H6, H8, H9, H12, H13, H17 to H22
	wantLines(t, l, "n1", map[string]string{
		"KVStore": "Disabled", "Host firewall": "Disabled", "CNI Chaining": "none", "SRv6": "Disabled", "Encryption": "Disabled",
		"IPv4 BIG TCP": "Disabled", "IPv6 BIG TCP": "Disabled", "BandwidthManager": "Disabled", "Proxy Status": "Disabled", "ClusterMesh": "Disabled",
		"Global Identity Range": "min 256, max 65535", "Attach Mode": "TCX|Legacy TC", "Device Mode": "veth",
		"NodeMonitor":          fmt.Sprintf("Listening for events on %d CPUs? with %dx%d of shared memory", cpus(t), rings, os.Getpagesize()),
		"Clock Source for BPF": `jiffies \[(100|250|300|1000) Hz\]`,
		"Weir health daemon":   "Ok", "Cluster health": `2/2 reachable +\(\d{4}-.*Z\)`, "CNI Config file": "CNI configuration file management disabled",
		"Hubble": `Ok +Current/Max Flows: \d+/\d+ \(.*\), Flows/s: \d+\.\d+ +Metrics: Disabled +\[\[::\]:4244\]`, // H19
		"IPAM":   `IPv4: 4/\d+ allocated from 10.*`,                                                              // two pods, the router and the health endpoint
	})
	if got, _ := statusOf(t, l, "n1"); !strings.Contains(run(t, l, "n1", "weir", "version"), strings.Fields(got["Weir"])[1]) {
		t.Errorf("H8: Weir: %s, and weir version says %s", got["Weir"], run(t, l, "n1", "weir", "version"))
	}
	for _, device := range []string{"weir_host", "weir_vxlan", pod(t, l, "a").HostDevice} { // H12: no larger than the kernel has it
		if text := run(t, l, "n1", "ip", "-d", "link", "show", device); strings.Contains(text, "gso_ipv4_max_size") && !strings.Contains(text, "gso_ipv4_max_size 65536") {
			t.Errorf("H12: %s", text)
		}
	}

	if err := l.ApplyYAML(t.Context(), "more.yaml", []byte(bare("d", "n1"))).Err(); err != nil {
		t.Fatal(err)
	}
	wantLines(t, l, "n1", map[string]string{"IPAM": `IPv4: 5/\d+ allocated from 10.*`, "Endpoints": "4"})

	conf := t.TempDir()
	with(t, l, "n1", map[string]any{"health.enabled": false, "hostFirewall.enabled": true, "bpf.attachMode": "tc", "bpf.hostRouting": "legacy", "cni.confDir": conf,
		"enableIPv4Masquerade": false, "enableIPv6Masquerade": false})
	wantLines(t, l, "n1", map[string]string{
		"Weir health daemon": "Disabled", "Cluster health": "Disabled", "Host firewall": `Enabled +\[eth0\]`, "Attach Mode": "Legacy TC",
		"Host Routing": "Legacy", "Routing": `Network: Tunnel \[vxlan\] +Host: Legacy`, "Masquerading": "Disabled",
		"CNI Config file": "successfully wrote CNI configuration file to " + regexp.QuoteMeta(filepath.Join(conf, "05-weir.conflist")),
	})
	if r := l.Exec(t.Context(), "n1", "weir", "health", "status"); !strings.Contains(r.Stdout, "Disabled") || r.Code != 0 {
		t.Errorf("weir health status without probes: exit code %d %s%s", r.Code, r.Stdout, r.Stderr)
	}
	with(t, l, "n1", map[string]any{"health.enabled": nil, "hostFirewall.enabled": nil, "bpf.attachMode": nil, "bpf.hostRouting": nil, "cni.confDir": nil,
		"enableIPv4Masquerade": nil, "enableIPv6Masquerade": nil, "kubeProxyReplacement": false, "hubble.enabled": false})
	wantLines(t, l, "n1", map[string]string{"Hubble": "Disabled", "KubeProxyReplacement": "False", "Host firewall": "Disabled", "Weir health daemon": "Ok"})
	with(t, l, "n1", map[string]any{"kubeProxyReplacement": nil, "hubble.enabled": nil, "hubble.eventBufferCapacity": 4095, "hubble.listenAddress": "", "prometheus.enabled": true})
	wantLines(t, l, "n1", map[string]string{"Hubble": `Ok +Current/Max Flows: \d+/4095 .*Metrics: Ok +\[node's socket\]`, "KubeProxyReplacement": `True +\[eth0 172\.18\.0\.2.*\(Direct Routing\)\]`, "Cluster health": `2/2 reachable .*`})
	before := flowsNow(t, l)
	for range 8 { // each has an identifier of its own: a connection, and its answer
		run(t, l, "a", "ping", "-c", "1", "-W", "5", pod(t, l, "b").IPs[0].String())
	}
	until(t, 10*time.Second, func() string {
		if now := flowsNow(t, l); now < before+16 {
			return fmt.Sprintf("H19: %d flows before eight echo requests, %d after", before, now)
		}
		return ""
	})
	with(t, l, "n1", map[string]any{"hubble.metrics.enabled": []string{}})
	wantLines(t, l, "n1", map[string]string{"Hubble": `Ok +.*Metrics: Disabled +\[node's socket\]`})
	with(t, l, "n1", map[string]any{"hubble.metrics.enabled": nil, "prometheus.enabled": nil})

	// H4: another device of the underlay
	run(t, l, "n1", "ip", "link", "add", "eth7", "type", "veth", "peer", "name", "wire7")
	run(t, l, "n1", "ip", "addr", "add", "172.19.7.1/24", "dev", "eth7")
	run(t, l, "n1", "ip", "link", "set", "wire7", "up")
	run(t, l, "n1", "ip", "link", "set", "eth7", "up")
	wantLines(t, l, "n1", map[string]string{"KubeProxyReplacement": `True +\[eth0 .*\(Direct Routing\), eth7 .*172\.19\.7\.1.*\]`})
	run(t, l, "n1", "ip", "link", "del", "eth7")
	wantLines(t, l, "n1", map[string]string{"KubeProxyReplacement": `True +\[eth0 [^,]*\]`})
}

// flowsNow is how many flows the line of them says that there are.
func flowsNow(t *testing.T, l *lab.Lab) int {
	t.Helper()
	got, _ := statusOf(t, l, "n1")
	m := regexp.MustCompile(`Current/Max Flows: (\d+)/`).FindStringSubmatch(got["Hubble"])
	if m == nil {
		t.Fatalf("Hubble: %q", got["Hubble"])
	}
	n, _ := strconv.Atoi(m[1]) // digits
	return n
}

// cpus are those that programs may run on.
func cpus(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/sys/devices/system/cpu/possible")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(string(text)), ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		from, _ := strconv.Atoi(first)
		to, _ := strconv.Atoi(last)
		n += to - from + 1
	}
	return n
}

// TestRowH16AFailingLoopIsCountedAndNamed, and the health daemon says why it fails
// (H10), while everything else goes on.
func TestRowH16AFailingLoopIsCountedAndNamed(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-loop", Nodes: lab.Nodes(1)}, "")
	before, _ := statusOf(t, l, "n1")
	m := regexp.MustCompile(`^(\d+)/(\d+) healthy$`).FindStringSubmatch(before["Controller Status"])
	if m == nil || m[1] != m[2] {
		t.Fatalf("Controller Status: %q, want all of them", before["Controller Status"])
	}
	all, _ := strconv.Atoi(m[2])
	with(t, l, "n1", map[string]any{"health.port": 10256}) // which the agent has for load balancers
	wantLines(t, l, "n1", map[string]string{"Controller Status": fmt.Sprintf("%d/%d healthy", all-1, all),
		"Weir health daemon": "Failure .*10256.*address already in use.*"})
	if _, code := statusOf(t, l, "n1"); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	text := l.Exec(t.Context(), "n1", "weir", "status", "--verbose").Stdout
	if !regexp.MustCompile(`(?m)^  health +\S.*address already in use`).MatchString(text) {
		t.Errorf("the loop is not named:\n%s", text)
	}
	with(t, l, "n1", map[string]any{"health.port": nil})
	wantLines(t, l, "n1", map[string]string{"Controller Status": fmt.Sprintf("%d/%d healthy", all, all), "Weir health daemon": "Ok"})
}

// TestRowH9EventsThatWereLostAreShown: an agent that does not read loses events,
// and says exactly how many.
func TestRowH9EventsThatWereLostAreShown(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-ring", Nodes: lab.Nodes(1), Agent: map[string]any{"bpf": map[string]any{"eventsSize": 1 << 20}}}, bare("a", "n1")) // room for 7,700
	pid := node(t, l, "n1").Agent.PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGCONT)
	l.Exec(t.Context(), "a", "ping", "-q", "-f", "-l", "20000", "-c", "20000", "-W", "1", unusedAddress(t, l))
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	wantLines(t, l, "n1", map[string]string{"NodeMonitor": `Listening for events on .* [1-9]\d* events lost, 0 unknown notifications`})
	s, lost := get[agent.Status](t, l, "n1", agent.PathStatus), uint64(0)
	for _, m := range get[[]agent.Metric](t, l, "n1", agent.PathMetrics) {
		if m.Reason == "Event lost" || m.Reason == "Trace lost" {
			lost += m.Packets
		}
	}
	if s.Monitor.Lost != lost {
		t.Errorf("%d events lost, and the programs counted %d", s.Monitor.Lost, lost)
	}
}

// unusedAddress is one of n1's pod CIDR that nobody has.
func unusedAddress(t *testing.T, l *lab.Lab) string {
	t.Helper()
	for _, p := range node(t, l, "n1").PodCIDRs {
		if p.Addr().Is4() {
			a := p.Addr().As4()
			a[3] = 250
			return netip.AddrFrom4(a).String()
		}
	}
	t.Fatal("n1 has no IPv4 pod CIDR")
	return ""
}

// TestRowH21ANodeThatIsCutOffIsMissing within a round of probes, and is back after.
func TestRowH21ANodeThatIsCutOffIsMissing(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-cut", Nodes: lab.Nodes(3)}, "")
	wantLines(t, l, "n1", map[string]string{"Cluster health": `3/3 reachable .*`})
	cut := time.Now()
	// A device that goes down would take its IPv6 address along.
	run(t, l, "n2", "nft", "add", "table", "inet", "cut")
	for _, hook := range []string{"input", "output"} {
		run(t, l, "n2", "nft", "add", "chain", "inet", "cut", hook, fmt.Sprintf("{ type filter hook %s priority 0; policy drop; }", hook))
	}
	wantLines(t, l, "n1", map[string]string{"Cluster health": `2/3 reachable .*`})
	t.Logf("missed after %s", time.Since(cut).Round(100*time.Millisecond))
	// A round is the interval and a tenth, and the limit of one probe.
	if took := time.Since(cut); took > 17*time.Second {
		t.Errorf("missed after %s, want a round of probes", took)
	}
	r := l.Exec(t.Context(), "n1", "weir", "health", "status")
	if r.Code != 1 || !slices.ContainsFunc(strings.Split(r.Stdout, "\n"), func(line string) bool { return strings.HasPrefix(line, "n2 ") && strings.Contains(line, "unreachable") }) {
		t.Errorf("weir health status: exit code %d\n%s", r.Code, r.Stdout)
	}
	run(t, l, "n2", "nft", "delete", "table", "inet", "cut")
	wantLines(t, l, "n1", map[string]string{"Cluster health": `3/3 reachable .*`})
}
