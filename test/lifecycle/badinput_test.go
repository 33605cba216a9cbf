package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/api/agent"
	"weir/lab"
)

func TestUnknownConfigurationKeyIsRefusedWithTheOneThatWasMeant(t *testing.T) {
	needRoot(t)
	l := vxlanLab(t)
	file := filepath.Join(t.TempDir(), "weir.yaml")
	for text, want := range map[string][]string{
		"nodeName: n1\nbpf:\n  hostRoutin: bpf\n": {file + ":3", `unknown key "bpf.hostRoutin"`, `did you mean "bpf.hostRouting"?`},
		"routingmode: native\n":                   {file + ":1", `unknown key "routingmode"`, `did you mean "routingMode"?`},
		"xyzzy: 1\n":                              {file + ":1", `unknown key "xyzzy"`},
		"routingMode: nativ\n":                    {file + ":1", `"nativ" is not supported`, `did you mean "native"?`},
		"mtu: many\n":                             {file + ":1", `"many" is not a whole number`},
		"bpf: [a\n":                               {file, "line"},
	} {
		write(t, file, text)
		r := l.Exec(t.Context(), "n1", "weir-agent", "-config", file)
		if r.Code != 2 {
			t.Errorf("%q: exit code %d, want 2", text, r.Code)
		}
		wantText(t, text, r.Stderr, want...)
	}
}

func TestInvalidCIDRsOfTheConfigurationAreRefused(t *testing.T) {
	l := vxlanLab(t)
	for setting, want := range map[string]string{
		"ipv4NativeRoutingCIDR=10.0.0.0/33": `"10.0.0.0/33" is not a CIDR`,
		"ipv4NativeRoutingCIDR=10.0.0.1/8":  "write 10.0.0.0/8",
		"ipv4NativeRoutingCIDR=fd00::/64":   "is not an IPv4 CIDR",
		"ipv6NativeRoutingCIDR=10.0.0.0/8":  "is not an IPv6 CIDR",
	} {
		r := agentWith(t, l, setting)
		if r.Code != 2 {
			t.Errorf("%s: exit code %d, want 2", setting, r.Code)
		}
		wantText(t, setting, r.Stderr, want)
	}
}

// objectsOf is the folder that all agents of a lab read.
func objectsOf(t *testing.T, l *lab.Lab) string {
	t.Helper()
	return filepath.Join(filepath.Dir(node(t, l, "n1").Dir), "objects")
}

func TestBadPodCIDRsOfANodeAreNamedAndTheLastGoodOnesStay(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-badcidr", Nodes: lab.Nodes(2)}, pods)
	file := filepath.Join(objectsOf(t, l), "ciliumnode_n1.yaml")
	good := read(t, file)
	for cidr, want := range map[string]string{
		"10.0.0.0/33": `"10.0.0.0/33" is not a CIDR`,
		"10.0.0.9/24": `write 10.0.0.0/24`,
		"fd00::/112":  "overlaps", // the CIDR of the other family stands beside it
	} {
		text := strings.Replace(good, "10.0.0.0/24", cidr, 1)
		write(t, file, text)
		var s agent.Status
		until(t, 10*time.Second, func() string {
			s = get[agent.Status](t, l, "n1", agent.PathStatus)
			if len(s.Problems) == 0 || !strings.Contains(s.Problems[0].Error, want) {
				return fmt.Sprintf("%s: problems %+v, want %q", cidr, s.Problems, want)
			}
			return ""
		})
		if p := s.Problems[0]; p.File != "ciliumnode_n1.yaml" || p.Object != "CiliumNode n1" || p.Line == 0 {
			t.Errorf("%s: problem %+v, want file, line and object", cidr, p)
		}
		attach(t, l, "n1", "x"+strings.Map(hex, cidr)).add(t)
		wantPing(t, l, "a", "c")
	}
	write(t, file, good)
	until(t, 10*time.Second, func() string {
		if s := get[agent.Status](t, l, "n1", agent.PathStatus); len(s.Problems) > 0 || !s.OK {
			return fmt.Sprintf("status: ok %v, problems %+v", s.OK, s.Problems)
		}
		return ""
	})
}

func hex(r rune) rune {
	if r >= '0' && r <= '9' || r >= 'a' && r <= 'f' {
		return r
	}
	return -1
}

func TestPodCIDRThatCollidesWithTheUnderlay(t *testing.T) {
	needRoot(t)
	_, err := lab.Up(t.Context(), smallPool("ltb-collide", "172.18.0.0/24", "fd09::/120"))
	wantText(t, "lab up", fmt.Sprint(err), "172.18.0.0/24", "collides with the underlay network 172.18.0.0/16")

	l := ownLab(t, lab.Spec{Name: "ltb-collide", Nodes: lab.Nodes(2)}, pods)
	file := filepath.Join(objectsOf(t, l), "ciliumnode_n1.yaml")
	good := read(t, file)
	write(t, file, strings.Replace(good, "10.0.0.0/24", "172.18.0.0/24", 1))
	until(t, 10*time.Second, func() string {
		s := get[agent.Status](t, l, "n1", agent.PathStatus)
		if text := fmt.Sprintf("%+v", s); s.OK || !strings.Contains(text, "collides with the underlay network 172.18.0.0/16") {
			return text
		}
		return ""
	})
	// What the underlay has stays reachable, and so do the pods there are.
	run(t, l, "n1", "ping", "-n", "-c1", "-W2", "172.18.0.3")
	wantPing(t, l, "a", "b")
	write(t, file, good)
	until(t, 20*time.Second, func() string {
		if s := get[agent.Status](t, l, "n1", agent.PathStatus); !s.OK {
			return fmt.Sprintf("status: %+v", s)
		}
		return ""
	})
	wantPing(t, l, "a", "c")
}

func TestMalformedObjectsAreReportedAndTheOthersApply(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-yaml", Nodes: lab.Nodes(1)}, "")
	write(t, filepath.Join(objectsOf(t, l), "mixed.yaml"), `apiVersion: v1
kind: Pod
metadata: {name: first, labels: {app: x}}
spec: {nodeName: n9}
---
apiVersion: v1
kind: Pod
metadata:
  name: broken
spec: {nodeName: n9
---
apiVersion: v1
kind: Pod
metadata: {name: wrong}
spec:
  nodeName: n9
status:
  podIPs: [{ip: 10.0.0.999}]
---
apiVersion: v1
kind: Pod
metadata: {name: last}
spec: {nodeName: n9}
`)
	want := map[string]string{"Pod default/broken": "", "Pod default/wrong": `"10.0.0.999" is not an IP address`}
	var text string
	until(t, 10*time.Second, func() string {
		s := get[agent.Status](t, l, "n1", agent.PathStatus)
		for _, p := range s.Problems {
			if part, ok := want[p.Object]; !ok || !strings.Contains(p.Error, part) || p.File != "mixed.yaml" || p.Line == 0 {
				t.Fatalf("problem %+v, want those of %v", p, want)
			}
		}
		text = run(t, l, "n1", "weir", "status")
		if len(s.Problems) != len(want) {
			return fmt.Sprintf("problems: %+v, want %v", s.Problems, want)
		}
		return ""
	})
	wantText(t, "weir status", text, "Problems:", "mixed.yaml:1", "Pod default/broken", "Pod default/wrong")
	rows := fmt.Sprint(get[agent.Table](t, l, "n1", agent.PathTables+"/pods").Rows)
	wantText(t, "table pods", rows, "default/first", "default/last")
}

func TestLabsLiveSideBySideAndLeaveNothing(t *testing.T) {
	needRoot(t)
	shared[0].get(t) // others' labs are up before and after
	before := worldState(t, "ltb-one", "ltb-other")
	t.Run("labs", func(t *testing.T) {
		one := ownLab(t, lab.Spec{Name: "ltb-one", Nodes: lab.Nodes(2)}, pods)
		other := ownLab(t, lab.Spec{Name: "ltb-other", Nodes: lab.Nodes(2), Mode: lab.ModeNative}, pods)
		for _, l := range []*lab.Lab{one, other} {
			wantPing(t, l, "a", "b")
			wantPing(t, l, "a", "c")
		}
		if err := one.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantPing(t, other, "a", "c")
		if got := worldState(t, "ltb-one"); len(got) != 0 {
			t.Errorf("the lab that is down left %q", got)
		}
	})
	if after := worldState(t, "ltb-one", "ltb-other"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("before the labs: %q, after them: %q", before, after)
	}
}

// worldState is what of the named labs there is on this host: namespaces,
// links, mounts, processes and folders.
func worldState(t *testing.T, names ...string) []string {
	t.Helper()
	var out []string
	has := func(text string) bool {
		for _, n := range names {
			if strings.Contains(text, n) {
				return true
			}
		}
		return false
	}
	for _, pattern := range []string{"/run/netns/*", "/run/weir/lab/*", "/sys/class/net/*"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			if has(f) {
				out = append(out, f)
			}
		}
	}
	for line := range strings.Lines(read(t, "/proc/self/mountinfo")) {
		if has(line) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, c := range commands {
		b, _ := os.ReadFile(c) // the process may be gone
		if has(string(b)) {
			out = append(out, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return out
}
