package kube

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestScriptsAreUnpackedOnceAndParse(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	script, err := unpack()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := unpack(); err != nil || again != script {
		t.Errorf("the second time: %q %v, want %q", again, err, script)
	}
	libs, err := filepath.Glob(filepath.Join(filepath.Dir(script), "lib", "*.sh"))
	if err != nil || len(libs) < 5 {
		t.Fatalf("parts of the script: %q %v", libs, err)
	}
	for _, f := range append(libs, script) {
		if out, err := exec.Command("bash", "-n", f).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", f, err, out)
		}
	}
	left, err := filepath.Glob(filepath.Join(CacheDir(), "scripts", ".tmp-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
}

// Go and the scripts have to mean the same folders and the same version.
func TestScriptsAndGoAgree(t *testing.T) {
	for _, xdg := range []bool{true, false} {
		if xdg {
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			t.Setenv("XDG_STATE_HOME", t.TempDir())
		} else {
			t.Setenv("HOME", t.TempDir())
			t.Setenv("XDG_CACHE_HOME", "")
			t.Setenv("XDG_STATE_HOME", "")
		}
		script, err := unpack()
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("bash", "-c", `HERE=$1; . $HERE/lib/common.sh; set_lab x; echo "$BIN/etcd" "$KUBECONFIG_FILE"`, "-", filepath.Dir(script)).Output()
		if err != nil {
			t.Fatal(err)
		}
		want := Program("etcd") + " " + (&Lab{name: "x"}).Kubeconfig() + "\n"
		if string(out) != want {
			t.Errorf("scripts say %q, want %q", out, want)
		}
	}
	if !strings.HasPrefix(Version(), "v1.") {
		t.Errorf("version %q", Version())
	}
}

func TestSpecs(t *testing.T) {
	for _, tt := range []struct {
		spec Spec
		want string // of the arguments, or the error's beginning
	}{
		{Spec{}, "up --nodes 3 --family dual --kube-proxy none"},
		{Spec{Nodes: 1, IPv4: true}, "up --nodes 1 --family ipv4 --kube-proxy none"},
		{Spec{IPv6: true, KubeProxy: "nftables"}, "up --nodes 3 --family ipv6 --kube-proxy nftables"},
		{Spec{IPv4: true, IPv6: true}, "up --nodes 3 --family dual --kube-proxy none"},
		{Spec{Nodes: 7, Zones: 3, Gates: "A=true,B=false"}, "up --nodes 7 --family dual --kube-proxy none --zones 3 --feature-gates A=true,B=false"},
		{Spec{Nodes: 2, Single: true}, "up --nodes 2 --family dual --kube-proxy none --layout k3s"},
		{Spec{Zones: 4}, "--zones 4: 0 to 3 are possible"},
		{Spec{Nodes: 100}, "--nodes 100: 1 to 99 are possible"},
		{Spec{Nodes: -1}, "--nodes -1: 1 to 99"},
		{Spec{KubeProxy: "ipvs"}, `--kube-proxy "ipvs": want nftables or iptables`},
	} {
		args, err := tt.spec.args()
		got := strings.Join(args, " ")
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.spec, got, tt.want)
		}
	}
}

func TestWhatIsInstalledIsCheckedBeforeAnythingIsMade(t *testing.T) {
	dir := t.TempDir()
	i := Install{Image: filepath.Join(dir, "weir.tar"), Manifest: filepath.Join(dir, "weir.yaml")}
	if err := i.check(); err == nil || !strings.Contains(err.Error(), "weir.tar") || !strings.Contains(err.Error(), "--image") {
		t.Errorf("without an image: %v, want the file and --image", err)
	}
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(i.Image, "one")
	if err := i.check(); err == nil || !strings.Contains(err.Error(), "weir.yaml") || !strings.Contains(err.Error(), "--manifest") {
		t.Errorf("without a manifest: %v, want the file and --manifest", err)
	}
	write(i.Manifest, "data:\n  weir.yaml: |\n    ipv4.enabled: true\n    ipv6.enabled: false\n  operator.yaml: |\n    ipv6: {enabled: false}\n---\n      weir.dev/config: 0123\n")
	dual := *i.inFamily("dual")
	first, err := dual.text()
	if err != nil || !strings.Contains(first, "    ipv6.enabled: true\n  operator.yaml: |\n    ipv6: {enabled: true}\n") || strings.Contains(first, "0123") {
		t.Errorf("dual stack: %v\n%s", err, first)
	}
	write(i.Image, "two")
	if second, err := dual.text(); err != nil || second == first {
		t.Errorf("another image does not change the pods: %v\n%s", err, second)
	}
	dual.Set["bpf.attachMode"], dual.Keys = "tc", []string{"bpf.attachMode"}
	if text, err := dual.text(); err != nil || !strings.Contains(text, "  weir.yaml: |\n    bpf.attachMode: tc\n    ipv4.enabled: true\n") {
		t.Errorf("a key that the manifest does not name: %v\n%s", err, text)
	}
	dual.Set["ipv7.enabled"] = "true"
	if err := dual.check(); err == nil || !strings.Contains(err.Error(), "--set ipv7.enabled") {
		t.Errorf("an unknown key: %v", err)
	}
}

func TestAManifestHasTheFoldersOfTheLabsRuntime(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	const (
		usual = "cni.confDir: /etc/cni/net.d\ncni.binDir: \"/opt/cni/bin\"\n"
		k3s   = "cni.confDir: /var/lib/rancher/k3s/agent/etc/cni/net.d\ncni.binDir: \"/var/lib/rancher/k3s/data/cni\"\n"
	)
	for settings, want := range map[string]string{
		"NODES=2\nLAYOUT=kubeadm\n": usual,
		"NODES=2\n":                 usual,
		"NODES=2\nLAYOUT=k3s\n":     k3s,
	} {
		if err := os.MkdirAll(filepath.Join(StateDir(), "a"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(StateDir(), "a", "settings"), []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := (&Lab{name: "a"}).withFolders(usual); got != want {
			t.Errorf("settings %q: %q, want %q", settings, got, want)
		}
		if got := (&Lab{name: "a"}).withFolders(k3s); got != k3s {
			t.Errorf("settings %q: a manifest for k3s becomes %q", settings, got)
		}
	}
}

func TestALabOfThatNameIsNotMistakenForAFile(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	if names, err := Names(); err != nil || names != nil {
		t.Errorf("without any: %q %v", names, err)
	}
	if err := os.MkdirAll(filepath.Join(StateDir(), "a", "nodes", "n1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(StateDir(), ".sysctl.a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if names, err := Names(); err != nil || !slices.Equal(names, []string{"a"}) {
		t.Errorf("Names: %q %v, want a", names, err)
	}
	l := &Lab{name: "a"}
	for name, want := range map[string]bool{"n1": true, "n2": false, "": false, "../nodes/n1": false} {
		if l.HasNode(name) != want {
			t.Errorf("HasNode(%q) is not %v", name, want)
		}
	}
	for name, want := range map[string]bool{"a": true, "b": false, "": false, "a/nodes": false, ".sysctl.a": false} {
		if Exists(name) != want {
			t.Errorf("Exists(%q) is not %v", name, want)
		}
	}
}

func TestReports(t *testing.T) {
	got, err := parseReport([]byte(`<?xml version="1.0"?><testsuites><testsuite name="Kubernetes e2e suite">
<testcase name="[SynchronizedBeforeSuite]" status="passed" time="1.2"></testcase>
<testcase name="[It] [sig-network] b" status="failed" time="3.21"><failure message="it did not" type="failed">at x.go:3</failure></testcase>
<testcase name="[It] [sig-network] a" status="passed" time="12.34"></testcase>
<testcase name="[It] [sig-network] c" status="skipped" time="0.5"><skipped message="skipped - Only supported for providers [gce]"></skipped></testcase>
<testcase name="[It] [sig-node] other" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
<testcase name="[ReportAfterSuite] x" status="passed" time="0"></testcase>
<testcase name="[It] [sig-network] d SCTP" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
</testsuite></testsuites>`), regexp.MustCompile(`sig-network`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Outcome{
		{Name: "[sig-network] a", Took: 12300 * time.Millisecond},
		{Name: "[sig-network] b", Took: 3200 * time.Millisecond, Failed: "it did not\nat x.go:3"},
		{Name: "[sig-network] c", Took: 500 * time.Millisecond, NotRun: "Only supported for providers [gce]"},
		{Name: "[sig-network] d SCTP", NotRun: NotAsked},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
