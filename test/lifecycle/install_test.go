package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/agent/preflight"
	"weir/api/agent"
	"weir/lab"
)

// capabilities are those that the manifest gives the container of the agent.
func capabilities(t *testing.T) []string {
	t.Helper()
	manifest := read(t, filepath.Join("..", "..", "deploy", "weir.yaml"))
	_, text, ok := strings.Cut(manifest, "- name: agent\n")
	m := regexp.MustCompile(`add: \[(.*)\]`).FindStringSubmatch(text)
	if !ok || m == nil {
		t.Fatal("deploy/weir.yaml gives the agent no capabilities")
	}
	var out []string
	for name := range strings.SplitSeq(m[1], ", ") {
		out = append(out, strings.ToLower(name))
	}
	return out
}

// startWith starts the agent of n1 with these capabilities and no others, and without a
// way to others. It ends with the test, or when stop is called.
func startWith(t *testing.T, l *lab.Lab, caps []string) (stop func()) {
	t.Helper()
	set := "-all"
	for _, c := range caps {
		set += ",+" + c
	}
	n := node(t, l, "n1")
	ctx, cancel := context.WithCancel(t.Context())
	cmd, err := l.Start(ctx, "n1", []string{"setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=" + set,
		filepath.Join(bin, "weir-agent"), "-config", filepath.Join(n.Dir, "weir.yaml")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		cancel() // kills it
		cmd.Wait()
	}
}

// wrong says what does not work with the agent of n1: it has to say that all is well, and
// make a pod that gets to others, services included.
func wrong(t *testing.T, l *lab.Lab, id string, limit time.Duration) string {
	t.Helper()
	n := node(t, l, "n1")
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	last := "it does not answer"
	for ctx.Err() == nil {
		var s agent.Status
		err := agent.NewClient(n.Socket()).Get(ctx, agent.PathStatus, &s)
		switch {
		case err != nil && ctx.Err() == nil:
			last = err.Error()
		case err == nil && s.OK && len(s.Warnings) == 0:
			return wrongPod(t, l, id)
		case err == nil:
			last = fmt.Sprintf("status: %v, warnings %q, datapath %q, controllers %+v", s.OK, s.Warnings, s.Datapath.Message, s.Controllers.All)
		}
		time.Sleep(100 * time.Millisecond) // a poll, until the limit
	}
	return last
}

func wrongPod(t *testing.T, l *lab.Lab, id string) string {
	t.Helper()
	at := attach(t, l, "n1", id)
	r := at.call(t, "ADD", nil)
	if r.err != nil {
		return fmt.Sprintf("ADD: %v", r.err)
	}
	defer at.call(t, "DEL", nil)
	to := pod(t, l, "c").IPs[0]
	ping := l.Exec(t.Context(), "underlay", "ip", "netns", "exec", filepath.Base(at.netns), "ping", "-n", "-c1", "-W2", to.String())
	if !ping.OK() {
		return "ping to another node: " + ping.Stdout + ping.Stderr
	}
	return ""
}

// What the chart gives the agent is enough, and each of it is needed.
func TestTheAgentNeedsEveryCapabilityThatItHasAndNoOther(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-caps", Nodes: lab.Nodes(2)}, bare("c", "n2"))
	agentDo(t, l, "n1", lab.AgentStop)
	n, caps := node(t, l, "n1"), capabilities(t)
	cleanup(t, l, n) // so that everything has to be made
	stop := startWith(t, l, caps)
	if what := wrong(t, l, "all", 30*time.Second); what != "" {
		t.Errorf("with %v: %s", caps, what)
	}
	stop()
	less := map[string][]string{
		// What a program that only loads programs would need; entering namespaces takes more.
		"bpf": {"net_admin", "net_raw", "bpf", "perfmon", "sys_ptrace", "dac_override"},
	}
	for _, without := range caps {
		less[strings.ReplaceAll(without, "_", "-")] = slices.DeleteFunc(slices.Clone(caps), func(c string) bool { return c == without })
	}
	for name, some := range less {
		cleanup(t, l, n)
		stop := startWith(t, l, some)
		what := wrong(t, l, name, 6*time.Second)
		stop()
		if what == "" {
			t.Errorf("all works with %v", some)
		}
		t.Logf("with %v alone: %s", some, what)
	}
}

// uninstall is `weir uninstall` with the agent's configuration.
func uninstall(t *testing.T, l *lab.Lab, n lab.Node, args ...string) lab.Result {
	t.Helper()
	return l.Exec(t.Context(), n.Name, append([]string{"weir", "uninstall", "--config", filepath.Join(n.Dir, "weir.yaml")}, args...)...)
}

func TestRowN4UninstallShowsAsksAndLeavesNothing(t *testing.T) {
	for _, mode := range []string{"tcx", "tc"} {
		t.Run(mode, func(t *testing.T) {
			l := ownLab(t, lab.Spec{Name: "ltb-uninst-" + mode, Nodes: lab.Nodes(2), Agent: map[string]any{"bpf": map[string]any{"attachMode": mode}}}, pods)
			n := node(t, l, "n1")
			conf, plugins := filepath.Join(n.Dir, "net.d"), filepath.Join(n.Dir, "cni-bin")
			for _, dir := range []string{conf, plugins} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			write(t, filepath.Join(n.Dir, "weir.yaml"), read(t, filepath.Join(n.Dir, "weir.yaml"))+"cni: {confDir: "+conf+", binDir: "+plugins+"}\n")
			write(t, filepath.Join(conf, "10-other.conflist"), "{}")
			agentDo(t, l, "n1", lab.AgentRestart)
			var s strangers
			if mode == "tcx" { // by filters the qdisc that a stranger needs is ours
				s = plantStrangers(t, n)
			}

			r := uninstall(t, l, n, "--yes")
			wantText(t, "uninstall under a running agent", r.Stderr, "another agent", "stop it")
			agentDo(t, l, "n1", lab.AgentStop)

			before := pins(t, n)
			r = uninstall(t, l, n, "--dry-run")
			wantText(t, "dry run", r.Stdout, "weir_host", "weir_vxlan", "10.0.1.0/24", filepath.Join(conf, "05-weir.conflist"), filepath.Join(plugins, "weir-cni"), "pins")
			if mode == "tc" {
				wantText(t, "dry run", r.Stdout, "from_netdev-eth0")
			}
			if r := uninstall(t, l, n); r.Code != 1 || !strings.Contains(r.Stderr, "say --yes") {
				t.Errorf("uninstall without an answer: exit code %d, %s", r.Code, r.Stderr)
			}
			if diff := cmp.Diff(before, pins(t, n)); diff != "" {
				t.Errorf("pins after nothing was to be removed (-before +after):\n%s", diff)
			}

			r = uninstall(t, l, n, "--yes")
			if r.Code != 0 {
				t.Fatalf("uninstall: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
			}
			wantText(t, "uninstall", r.Stdout, "nothing of Weir is left")
			if r := uninstall(t, l, n); r.Code != 0 || !strings.Contains(r.Stdout, "Nothing of Weir") {
				t.Errorf("uninstall again: exit code %d, %s%s", r.Code, r.Stdout, r.Stderr)
			}
			if mode == "tcx" {
				s.wantUntouched(t, n, "uninstall")
			}
			for file, there := range map[string]bool{filepath.Join(conf, "10-other.conflist"): true, filepath.Join(conf, "05-weir.conflist"): false, filepath.Join(plugins, "weir-cni"): false} {
				if _, err := os.Stat(file); (err == nil) != there {
					t.Errorf("%s: %v, want there %v", file, err, there)
				}
			}
			for what, text := range hostState(t, l, n) {
				if line := peerNetns.ReplaceAllString(text, ""); strings.Contains(line, "weir_") || strings.Contains(line, "10.0.1.0/24") {
					t.Errorf("%s still says\n%s", what, text)
				}
			}
		})
	}
}

func TestRowN2PreflightNamesWhatOthersHaveLeft(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-preflight", Nodes: lab.Nodes(1)}, "")
	n := node(t, l, "n1")
	conf := filepath.Join(n.Dir, "net.d")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	look := func() map[string]preflight.State {
		t.Helper()
		r := l.Exec(t.Context(), "n1", "weir", "preflight", "--config", filepath.Join(n.Dir, "weir.yaml"), "--cni-conf-dir", conf, "-o", "json")
		var checks []preflight.Check
		if err := json.Unmarshal([]byte(r.Stdout), &checks); err != nil {
			t.Fatalf("%v: %s%s", err, r.Stdout, r.Stderr)
		}
		states := map[string]preflight.State{}
		bad := false
		for _, c := range checks {
			if states[c.Name] == "" || c.State == preflight.Failure {
				states[c.Name] = c.State
			}
			bad = bad || c.State == preflight.Failure
		}
		if bad != (r.Code == 1) {
			t.Errorf("exit code %d, states %v", r.Code, states)
		}
		return states
	}
	if got := look(); got["kernel"] != preflight.OK || got["bpf"] != preflight.OK || got["leftovers"] != preflight.OK || got["ports"] != preflight.OK || got["cni config"] != preflight.OK {
		t.Errorf("a node with a running agent: %v", got)
	}
	agentDo(t, l, "n1", lab.AgentStop)
	run(t, l, "n1", "ip", "link", "add", "tunl0", "type", "veth", "peer", "name", "tunl0-peer")
	run(t, l, "n1", "iptables", "-t", "nat", "-N", "KUBE-SVC-ABC")
	write(t, filepath.Join(conf, "05-cilium.conflist"), "{}")
	got := look()
	want := map[string]preflight.State{"leftovers": preflight.Warning, "cni config": preflight.Failure}
	for name, state := range want {
		if got[name] != state {
			t.Errorf("%s: %s, want %s", name, got[name], state)
		}
	}
	text := l.Exec(t.Context(), "n1", "weir", "preflight", "--config", filepath.Join(n.Dir, "weir.yaml"), "--cni-conf-dir", conf).Stdout
	wantText(t, "preflight", text, "of Calico: device tunl0", "of kube-proxy: 1 chains KUBE-SVC-*", "05-cilium.conflist comes before")
}
