package cli

import (
	"strings"
	"testing"
)

func TestTargetsAreTakenApart(t *testing.T) {
	cases := map[string]target{
		"default/web":              {"default/web", 0, ""},
		"default/web:80":           {"default/web", 80, ""},
		"default/web-0.a:80/udp":   {"default/web-0.a", 80, "UDP"},
		"host:6443/TCP":            {"host", 6443, "TCP"},
		"world":                    {"world", 0, ""},
		"world:65535/SCTP":         {"world", 65535, "SCTP"},
		"10.0.0.3":                 {"10.0.0.3", 0, ""},
		"10.0.0.3:1":               {"10.0.0.3", 1, ""},
		"::ffff:10.0.0.3":          {"10.0.0.3", 0, ""},
		"fd00::3":                  {"fd00::3", 0, ""},
		"fd00::3:80":               {"fd00::3:80", 0, ""}, // an address, too
		"[fd00::3]":                {"fd00::3", 0, ""},
		"[fd00::3]:80":             {"fd00::3", 80, ""},
		"[fd00::3]:53/UDP":         {"fd00::3", 53, "UDP"},
		"identity:257":             {"identity:257", 0, ""},
		"identity:257:80":          {"identity:257", 80, ""},
		"identity:257:80/TCP":      {"identity:257", 80, "TCP"},
		"default/web:ICMP":         {"default/web", 8, "ICMP"},
		"default/web:icmpv6":       {"default/web", 128, "ICMPv6"},
		"10.0.0.3:icmp":            {"10.0.0.3", 8, "ICMP"},
		"10.0.0.3:0/ICMP":          {"10.0.0.3", 0, "ICMP"},
		"[fd00::3]:icmp":           {"fd00::3", 128, "ICMPv6"},
		"[fd00::3]:129/ICMP":       {"fd00::3", 129, "ICMPv6"},
		"identity:257:3/ICMP":      {"identity:257", 3, "ICMP"},
		"world:GRE":                {"world", 0, "GRE"},
		"world:0/esp":              {"world", 0, "ESP"},
		"identity:6:vrrp":          {"identity:6", 0, "VRRP"},
		"kube-system/coredns-x:53": {"kube-system/coredns-x", 53, ""},
	}
	for in, want := range cases {
		if got, err := parseTarget(in); err != nil || got != want {
			t.Errorf("parseTarget(%q): got %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func TestBadTargetsAreNamed(t *testing.T) {
	cases := map[string]string{
		"":                     `"" is not an end of a connection`,
		"Default/web":          `"Default/web" is not an end`,
		"default/":             `"default/" is not an end`,
		"10.0.0.3/TCP":         `"10.0.0.3/TCP" is not an end`,
		"10.0.0":               `"10.0.0" is not an end`,
		"10.0.0.300:80":        `"10.0.0.300" is not an end`,
		"identity:web":         `"identity:web" is not an end`,
		"identity:":            `"identity:" is not an end`,
		"remote-node":          `"remote-node" is not an end`,
		"[fd00::3":             `"[fd00::3" is not an end`,
		"[default/web":         `"[default/web" is not an end`,
		"[default/web]:80":     `"[default/web]:80" is not an end`,
		"[fd00::3]80":          `"[fd00::3]80" is not an end`,
		"default/web:":         `"" is not a port: use 1 to 65535`,
		"default/web:0":        `"0" is not a port`,
		"default/web:-1":       `"-1" is not a port`,
		"default/web:65536":    `"65536" is not a port`,
		"default/web:80/":      `"" is not a protocol`,
		"default/web:80/TCP/x": `"TCP/X" is not a protocol`,
		"default/web:http":     `"HTTP" is not a protocol`,
		"default/web:256/ICMP": `"256" is not an ICMP type: use 0 to 255`,
		"default/web:80/GRE":   `port "80": GRE has no ports: write :GRE`,
		"default/web:80:81":    `"80:81" is not a port`,
	}
	for in, text := range cases {
		got, err := parseTarget(in)
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("parseTarget(%q): got %+v, error %v; want one with %q", in, got, err, text)
		}
	}
}
