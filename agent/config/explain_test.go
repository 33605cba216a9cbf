package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func explained(t *testing.T, name, file string, settings ...string) []Key {
	t.Helper()
	l, err := parse("weir.yaml", []byte(file), settings...)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := l.Explain(name)
	if err != nil {
		t.Fatalf("explain %s: %v", name, err)
	}
	return keys
}

func TestEveryKeyIsExplained(t *testing.T) {
	for _, k := range explained(t, "", "") {
		if k.Means == "" {
			t.Errorf("%s: meanings.go does not say what it means", k.Key)
		}
		if k.Value != k.Unset || k.From != "" {
			t.Errorf("%s: %q, unset %q, from %q: nobody has set it", k.Key, k.Value, k.Unset, k.From)
		}
	}
	for key := range meanings {
		if _, err := (Loaded{}).Explain(key); err != nil {
			t.Errorf("meanings.go explains %s: %v", key, err)
		}
	}
}

func TestExplainSaysWhereAValueIsFrom(t *testing.T) {
	file := "bpf:\n  root: /run/bpf\nmtu: 9000\ntunnel: disabled\nipv4NativeRoutingCIDR: 10.0.0.0/8\n"
	for _, tt := range []struct{ name, key, value, unset, from string }{
		{"bpf.root", "bpf.root", "/run/bpf", "/sys/fs/bpf", "weir.yaml:2"},
		{"mtu", "mtu", "9100", "0", "--set mtu"},
		{"MTU", "mtu", "9100", "0", "--set mtu"},
		{"routingMode", "routingMode", "native", "tunnel", "weir.yaml:4"},
		{"bpf.attachMode", "bpf.attachMode", "auto", "auto", ""},
	} {
		k := explained(t, tt.name, file, "mtu=9100")
		if len(k) != 1 || k[0].Key != tt.key || k[0].Value != tt.value || k[0].Unset != tt.unset || k[0].From != tt.from {
			t.Errorf("explain %s: got %+v, want %+v", tt.name, k, tt)
		}
	}
}

// A file with which no agent starts is explained all the same, and what is wrong is named.
func TestAFileIsExplainedThoughItIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte("mtu: 9000\nfoo: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := ExplainFile(file, "mtu")
	if err == nil || !strings.Contains(err.Error(), file+`:2: unknown key "foo"`) {
		t.Errorf("error %v, want the key foo of line 2 named", err)
	}
	if len(keys) != 1 || keys[0].Value != "9000" || keys[0].From != file+":1" {
		t.Errorf("mtu: %+v", keys)
	}
	if keys, err := ExplainFile(file, "mtuu"); len(keys) != 0 || err == nil || !strings.Contains(err.Error(), `did you mean "mtu"`) {
		t.Errorf("mtuu: %+v, %v", keys, err)
	}
	broken := file + ".broken"
	if err := os.WriteFile(broken, []byte("mtu: 9000\n\tfoo: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if keys, err := ExplainFile(broken, "mtu"); len(keys) != 0 || err == nil {
		t.Errorf("no YAML: %+v, %v; want no keys", keys, err)
	}
	if keys, err := ExplainFile(file+".none", ""); len(keys) != 0 || err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is not there: %+v, %v", keys, err)
	}
}

func TestExplainTakesGroupsAndOtherSpellings(t *testing.T) {
	names := func(name string) (out []string) {
		for _, k := range explained(t, name, "") {
			out = append(out, k.Key)
		}
		return out
	}
	if got := names("ipMasqAgent"); !slices.Equal(got, []string{"ipMasqAgent.enabled", "ipMasqAgent.configFile"}) {
		t.Errorf("group ipMasqAgent: %q", got)
	}
	if got := names("tunnel"); !slices.Equal(got, []string{"routingMode"}) {
		t.Errorf("tunnel stands for %q", got)
	}
	for name, says := range map[string]string{
		"bpf.hostRuting":     `did you mean "bpf.hostRouting"?`,
		"bpf.masquerade":     "has no effect",
		"encryption.enabled": "is not in this version",
		"colour":             "`weir config explain` lists all",
	} {
		if _, err := (Loaded{}).Explain(name); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("explain %s: %v, want %q", name, err, says)
		}
	}
}

func TestNamesOfCiliumsChartAreTaken(t *testing.T) {
	for _, tt := range []struct{ yaml, key, value, warning string }{
		{"policyEnforcementMode: always", "policy.enforcementMode", "always", "weir.yaml:1: old spelling, write policy.enforcementMode: always"},
		{"policyCIDRMatchMode: [nodes]", "policy.cidrMatchMode", "nodes", "write policy.cidrMatchMode: [nodes]"},
		{"policyDenyResponse: icmp", "policy.denyResponse", "reject", "write policy.denyResponse: reject"},
		{"bpf: {enableTCX: false}", "bpf.attachMode", "tc", "write bpf.attachMode: tc"},
		{"cni: {binPath: /opt/bin}", "cni.binDir", "/opt/bin", "write cni.binDir: /opt/bin"},
		{"monitorAggregation: none", "bpf.monitorAggregation", "none", "write bpf.monitorAggregation: none"},
		{"debug: {verbose: datapath}", "debug.enabled", "false", "debug.verbose has no effect"},
		{"hubble: {ui: {enabled: true}}", "debug.enabled", "false", "hubble.ui.enabled has no effect"},
		{"encryption: {enabled: false}", "debug.enabled", "false", ""},
	} {
		l, err := parse("weir.yaml", []byte(tt.yaml))
		if err != nil {
			t.Errorf("%s: %v", tt.yaml, err)
			continue
		}
		i := slices.IndexFunc(l.Options(), func(o Option) bool { return o.Key == tt.key })
		warnings := strings.Join(l.Warnings, "; ")
		if got := l.Options()[i].Value; got != tt.value || !strings.Contains(warnings, tt.warning) || tt.warning == "" && warnings != "" {
			t.Errorf("%s: %s is %q, warnings %q; want %q and %q", tt.yaml, tt.key, got, warnings, tt.value, tt.warning)
		}
	}
	if _, err := parse("weir.yaml", []byte("encryption: {enabled: true}")); err == nil || !strings.Contains(err.Error(), "weir.yaml:1: encryption.enabled is not in this version: remove it, or set it to false") {
		t.Errorf("encryption.enabled: true: %v", err)
	}
}

func TestAClustersNameMayBeLongerThanCiliumsMeshTakes(t *testing.T) {
	l, err := parse("", nil, "cluster.name=cilium-kubeproxy-replacement-ebpf")
	if err != nil || len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "has 33 characters") {
		t.Errorf("warnings %q, err %v", l.Warnings, err)
	}
}

// `weir config` and `weir config explain` name one source of a key, also of a value
// that is what nobody would have had to set.
func TestAListOfAllKeysNamesTheSourcesThatExplainNames(t *testing.T) {
	host, _ := os.Hostname()
	l, err := parse("weir.yaml", []byte("\nmtu: 1400\n"), "nodeName="+strings.ToLower(host), "routingMode=tunnel")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := l.Explain("")
	if err != nil {
		t.Fatal(err)
	}
	from := map[string]string{}
	for i, o := range l.Options() {
		if o.Key != keys[i].Key || o.From != keys[i].From || o.Default != (o.From == "") {
			t.Errorf("the list has %+v, explain %+v", o, keys[i])
		}
		from[o.Key] = o.From
	}
	if from["nodeName"] != "--set nodeName" || from["mtu"] != "weir.yaml:2" || from["routingMode"] != "--set routingMode" || from["cluster.name"] != "" {
		t.Errorf("sources %q", from)
	}
}
