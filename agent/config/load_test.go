package config

import (
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const sample = `# a comment
nodeName: n1
cluster:
  name: lab
bpf:
  root: /sys/fs/bpf
  vlanBypass: [7, 9]
devices: [eth*, ens1]
ipv6: {enabled: true}
routingMode: native
ipv4NativeRoutingCIDR: 10.0.0.0/8
ipv6NativeRoutingCIDR: fd00::/104
health:
`

func TestFlagWinsOverFileOverDefault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load([]string{"--config", file, "--set", "cluster.name=flag", "--node-name=n2", "--clean-state", "--set", "devices=eth1,eth2", "--run-dir", "/run/x"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.NodeName, want.Cluster.Name, want.CleanState = "n2", "flag", true
	want.BPF.VLANBypass, want.Devices = []int{7, 9}, []string{"eth1", "eth2"}
	want.IPv6.Enabled, want.RoutingMode = true, "native"
	want.IPv4NativeRoutingCIDR = netip.MustParsePrefix("10.0.0.0/8")
	want.IPv6NativeRoutingCIDR = netip.MustParsePrefix("fd00::/104")
	want.RunDir, want.StateDir, want.Socket = "/run/x", "/run/x/state", "/run/x/weir.sock"
	if diff := cmp.Diff(want, got.Config, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if got.File != file || len(got.Warnings) != 0 {
		t.Errorf("file %q, warnings %q; want %q and none", got.File, got.Warnings, file)
	}
}

func TestDefaultsAreValidAndComplete(t *testing.T) {
	c, warnings, err := Parse("", nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("err %v, warnings %q", err, warnings)
	}
	host, _ := os.Hostname()
	if c.NodeName != strings.ToLower(host) || c.StateDir != "/var/run/weir/state" || c.Socket != "/var/run/weir/weir.sock" {
		t.Errorf("derived %q %q %q", c.NodeName, c.StateDir, c.Socket)
	}
	for _, o := range c.Options() {
		if !o.Default {
			t.Errorf("%s=%s is not a default", o.Key, o.Value)
		}
	}
}

func TestEveryProblemIsReportedWithItsPlace(t *testing.T) {
	data := "clusterr: {name: x}\nbpf:\n  hostRuting: bpf\n  atachMode: tc\nvlanBypass: [1]\nmtu: big\nipv4: yes please\ntunnelport: 1\nmtu: 1500\nenable-magic: 1\ndevices: {a: b}\nhealth: {port: 70000}\n"
	_, _, err := Parse("weir.yaml", []byte(data), "bpf.attachMode=xdp", "tunnel-port=1", "novalue")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`weir.yaml:1: unknown key "clusterr": did you mean "cluster"?`,
		`weir.yaml:3: unknown key "bpf.hostRuting": did you mean "bpf.hostRouting"?`,
		`weir.yaml:4: unknown key "bpf.atachMode": did you mean "bpf.attachMode"?`,
		`weir.yaml:5: unknown key "vlanBypass": did you mean "bpf.vlanBypass"?`,
		`weir.yaml:6: mtu: "big" is not a whole number`,
		`weir.yaml:7: ipv4: want keys and values, got a single value`,
		`weir.yaml:8: unknown key "tunnelport": did you mean "tunnelPort"?`,
		`weir.yaml:9: key "mtu" stands twice`,
		`weir.yaml:10: unknown key "enable-magic": the keys are`,
		`weir.yaml:11: devices: want a list, got a mapping`,
		`weir.yaml:12: health.port: 70000 is out of range: use 1 to 65535`,
		`--set bpf.attachMode: bpf.attachMode: "xdp" is not supported, use auto or tcx or tc`,
		`--set tunnel-port: unknown key "tunnel-port": did you mean "tunnelPort"?`,
		`--set novalue: want KEY=VALUE`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %s", want)
		}
	}
	if t.Failed() {
		t.Logf("got:\n%v", err)
	}
}

func TestInvalidYAMLIsReportedWithItsLine(t *testing.T) {
	_, _, err := Parse("weir.yaml", []byte("a: b\nc: d: e\n"))
	if err == nil || !strings.Contains(err.Error(), "weir.yaml: line 2") {
		t.Errorf("err = %v, want weir.yaml: line 2", err)
	}
}

func TestOldSpellingsWorkWithAWarning(t *testing.T) {
	tests := []struct{ yaml, key, value string }{
		{"tunnel: disabled\nipv4NativeRoutingCIDR: 10.0.0.0/8", "routingMode", "native"},
		{"tunnel: vxlan", "routingMode", "tunnel"},
		{"cleanBpfState: true", "cleanBPFState", "true"},
		{"bpf: {hostLegacyRouting: true}", "bpf.hostRouting", "legacy"},
	}
	for _, tt := range tests {
		c, warnings, err := Parse("weir.yaml", []byte(tt.yaml))
		if err != nil {
			t.Errorf("%s: %v", tt.yaml, err)
			continue
		}
		i := slices.IndexFunc(c.Options(), func(o Option) bool { return o.Key == tt.key })
		if got := c.Options()[i].Value; got != tt.value {
			t.Errorf("%s: %s = %s, want %s", tt.yaml, tt.key, got, tt.value)
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], tt.key+": "+tt.value) {
			t.Errorf("%s: warnings = %q, want one with %s", tt.yaml, warnings, tt.key)
		}
	}
}

func TestOptionsRoundTrip(t *testing.T) {
	c, _, err := Parse("weir.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	var settings, changed []string
	for _, o := range c.Options() {
		settings = append(settings, o.Key+"="+o.Value)
		if !o.Default {
			changed = append(changed, o.Key)
		}
	}
	back, _, err := Parse("", nil, settings...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, back, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := []string{"nodeName", "cluster.name", "bpf.vlanBypass", "devices", "ipv6.enabled", "routingMode", "ipv4NativeRoutingCIDR", "ipv6NativeRoutingCIDR"}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("keys that are not default (-want +got):\n%s", diff)
	}
}

func TestLoadRefusesWhatIsNoFlag(t *testing.T) {
	for _, args := range [][]string{{"--confg", "x"}, {"weir.yaml"}, {"--config", "/nonexistent/weir.yaml"}} {
		if _, err := Load(args, io.Discard); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	if _, err := Load([]string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}

func FuzzParseNeverPanics(f *testing.F) {
	f.Add([]byte(sample), "bpf.root=/x")
	f.Add([]byte("a: &x [1]\ndevices: *x\n<<: *x"), "devices=[a")
	f.Fuzz(func(t *testing.T, data []byte, setting string) {
		c, _, err := Parse("f", data, setting)
		if err == nil && c.Validate() != nil {
			t.Errorf("accepted, and invalid: %v", c.Validate())
		}
	})
}
