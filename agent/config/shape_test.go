package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// refused reports whether the configuration with this setting has a problem of this key.
func refused(key, value string) bool {
	_, _, err := Parse("", nil, key+"="+value)
	return err != nil && strings.Contains(err.Error(), key+":")
}

func TestShapesAreWhatTheChecksSay(t *testing.T) {
	all := Shapes()
	if len(all) != len(Defaults().Options()) {
		t.Fatalf("%d shapes, %d keys", len(all), len(Defaults().Options()))
	}
	for _, s := range all {
		for _, word := range s.OneOf {
			if refused(s.Key, word) {
				t.Errorf("%s: %q is offered and refused", s.Key, word)
			}
		}
		if len(s.OneOf) > 0 && !refused(s.Key, "nonsense") {
			t.Errorf("%s: nonsense is taken", s.Key)
		}
		if s.Kind == "int" && s.Least == s.Most {
			t.Errorf("%s: nobody says from where to where it goes", s.Key)
		}
		if s.Least != s.Most {
			for _, n := range []int{s.Least - 1, s.Most + 1} {
				if !refused(s.Key, strconv.Itoa(n)) {
					t.Errorf("%s: %d is taken, and out of %d to %d", s.Key, n, s.Least, s.Most)
				}
			}
		}
	}
}

func TestDefaultsHaveTheirShape(t *testing.T) {
	for i, o := range Defaults().Options() {
		s := Shapes()[i]
		if s.Key != o.Key || s.Means == "" {
			t.Fatalf("%+v is the shape of %s", s, o.Key)
		}
		texts := []string{o.Value}
		if s.List {
			texts = slices.DeleteFunc(strings.Split(o.Value, ","), func(text string) bool { return text == "" })
		}
		for _, text := range texts {
			if len(s.OneOf) > 0 && !slices.Contains(s.OneOf, text) || s.Pattern != "" && text != "" && !regexp.MustCompile(s.Pattern).MatchString(text) {
				t.Errorf("%s: its default %q is none that it may have", s.Key, text)
			}
		}
	}
}

func TestPatternsRefuseNothingThatTheChecksTake(t *testing.T) {
	good := map[string][]string{
		"nodePort.range":                      {"30000-32767", "1-1"},
		"cluster.name":                        {"a", "a-1"},
		"nodeName":                            {"n1", "n1.example.org"},
		"bpf.monitorInterval":                 {"5s", "1m30s", "1.5s"},
		"hubble.listenAddress":                {"", ":4244", "10.0.0.1:4244"},
		"devices":                             {"eth0", "eth*", "ens[0-9]", "br-1.7"},
		"hostFirewall.failSafe":               {"ingress:TCP/22", "egress:sctp/1"},
		"kubeProxyReplacementHealthzBindAddr": {"", ":10256", "172.18.0.2:1"},
	}
	bad := map[string]string{"nodePort.range": "x", "cluster.name": "Foo_Bar", "bpf.monitorInterval": "5", "hubble.listenAddress": "4244", "devices": "a b",
		"hostFirewall.failSafe": "TCP/22", "bpf.root": "sys", "cni.confDir": "etc", "kubeProxyReplacementHealthzBindAddr": "here"}
	for _, s := range Shapes() {
		for _, text := range good[s.Key] {
			if refused(s.Key, text) || text != "" && !regexp.MustCompile(s.Pattern).MatchString(text) {
				t.Errorf("%s: %q: refused %v, pattern %s", s.Key, text, refused(s.Key, text), s.Pattern)
			}
		}
		if text := bad[s.Key]; text != "" && (!refused(s.Key, text) || s.Pattern == "" || regexp.MustCompile(s.Pattern).MatchString(text)) {
			t.Errorf("%s: %q is taken: refused %v, pattern %q", s.Key, text, refused(s.Key, text), s.Pattern)
		}
	}
}

func TestOtherSpellingsTakeWhatTheyCanBe(t *testing.T) {
	for _, tt := range []struct{ setting, says string }{
		{"tunnel=disable", `tunnel: "disable" is not supported, use disabled or vxlan: did you mean "disabled"?`},
		{"tunnel=geneve", `tunnel: "geneve" is not supported, use disabled or vxlan`},
		{"monitorAggregation=non", `bpf.monitorAggregation: "non" is not supported`},
		{"bpf.enableTCX=maybe", `bpf.enableTCX: "maybe" is not supported, use true or false`},
		{"cni.customConf=maybe", `cni.customConf: "maybe" is not supported, use true or false`},
		{"bpf.masquerade=maybe", `bpf.masquerade: "maybe" is not supported, use true or false`},
		{"cni.chainingMode=portmap", "cni.chainingMode is not in this version"},
	} {
		if _, _, err := Parse("", nil, tt.setting); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want %q", tt.setting, err, tt.says)
		}
	}
}

func TestRowG14CustomConfWritesNoConfiguration(t *testing.T) {
	for text, want := range map[string]string{"cni: {confDir: /etc/cni/net.d, binDir: /b, customConf: true}": "", "cni: {confDir: /c, binDir: /b, customConf: false}": "/c"} {
		c, warnings, err := Parse("weir.yaml", []byte(text))
		if err != nil || c.CNI.ConfDir != want || c.CNI.BinDir != "/b" || !strings.Contains(fmt.Sprint(warnings), "cni.c") {
			t.Errorf("%s: %+v, warnings %q, %v", text, c.CNI, warnings, err)
		}
	}
	if _, warnings, err := Parse("", nil, "cni.exclusive=true"); err != nil || !strings.Contains(fmt.Sprint(warnings), "05-weir.conflist") {
		t.Errorf("cni.exclusive: %q, %v", warnings, err)
	}
}

func TestSettingsOfOldMeanings(t *testing.T) {
	c, _, err := Parse("", nil, "routingMode=native", "ipv4NativeRoutingCIDR=10.0.0.0/8", "tunnel=vxlan")
	if err != nil || c.RoutingMode != "tunnel" {
		t.Errorf("tunnel=vxlan: %s, %v", c.RoutingMode, err)
	}
}

func TestTwoSpellingsThatDifferAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"tunnel: disabled\nroutingMode: tunnel\n":                     "weir.yaml:2: routingMode is tunnel and tunnel makes routingMode native: keep routingMode alone",
		"mtu: 1400\nMTU: 1450\n":                                      "weir.yaml:2: MTU makes mtu 1450 and mtu is 1400: keep mtu alone",
		"MTU: 1400\nmtu: 1400\n":                                      "",
		"cni: {customConf: true, confPath: /etc/cni, binPath: /b}\n":  "",
		"cni: {confPath: /etc/cni, customConf: true, binPath: /b}\n":  "",
		"cni: {confPath: /etc/cni, customConf: false, binPath: /b}\n": "",
		"policyDenyResponse: icmp\npolicy: {denyResponse: reject}\n":  "",
		"policyDenyResponse: none\npolicy: {denyResponse: reject}\n":  "policy.denyResponse is reject and policyDenyResponse makes policy.denyResponse drop",
	} {
		c, _, err := Parse("weir.yaml", []byte(text+"ipv4NativeRoutingCIDR: 10.0.0.0/8\n"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
		if strings.Contains(text, "customConf") && (c.CNI.ConfDir == "") != strings.Contains(text, "true") {
			t.Errorf("%s: confDir %q", text, c.CNI.ConfDir)
		}
	}
	if c, _, err := Parse("weir.yaml", []byte("MTU: 1400"), "mtu=1450"); err != nil || c.MTU != 1450 {
		t.Errorf("a setting counts more than the file: %d, %v", c.MTU, err)
	}
}
