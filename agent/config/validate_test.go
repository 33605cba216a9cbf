package config

import (
	"net/netip"
	"strings"
	"testing"
)

func TestInvalidValuesNameTheKeyAndTheWayOut(t *testing.T) {
	tests := []struct{ setting, says string }{
		{"nodeName=Node_1", "nodeName: \"Node_1\" is not a node name"},
		{"cluster.name=" + strings.Repeat("a", 64), "has 64 characters: use at most 63"},
		{"cluster.name=-a", "cluster.name: \"-a\""},
		{"routingMode=nativ", `did you mean "native"?`},
		{"tunnelProtocol=geneve", "geneve is not supported by this version: use vxlan"},
		{"tunnelPort=0", "use 1 to 65535"},
		{"underlayProtocol=ipv5", "use auto or ipv4 or ipv6"},
		{"devices=eth[", "is not a glob"},
		{"devices=eth+", "write eth*"},
		{"ipv4NativeRoutingCIDR=10.0.0.1/8", "host bits set: write 10.0.0.0/8"},
		{"ipv4NativeRoutingCIDR=10.0.0.0", "is not a CIDR"},
		{"ipv6NativeRoutingCIDR=10.0.0.0/8", "is not an IPv6 CIDR"},
		{"ipv4NativeRoutingCIDR=fd00::/64", "is not an IPv4 CIDR"},
		{"ipv4.enabled=false", "both families are off"},
		{"mtu=600", "must be 626 to 65535"},
		{"mtu=70000", "or 0 to have it detected"},
		{"bpf.hostRouting=fast", "use auto or bpf or legacy"},
		{"bpf.ipcacheSize=1", "use 1024 to"},
		{"bpf.monitorAggregation=mediun", `did you mean "medium"?`},
		{"bpf.monitorInterval=5", `"5" is not a time between 1s and 1h0m0s, such as 5s`},
		{"bpf.monitorInterval=500ms", "such as 5s"},
		{"bpf.eventsSize=1000000", "is no power of two"},
		{"bpf.tracesSize=4096", "use 65536 to"},
		{"bpf.endpoints=16385", "use 1 to 16384"},
		{"bpf.vlanBypass=4095", "4095 is not a VLAN id"},
		{"bpf.vlanBypass=5,5", "5 stands twice"},
		{"bpf.vlanBypass=1,2,3,4,5,6,7,8,9", "9 ids, and there is room for 8"},
		{"bpf.root=sys/fs/bpf", "begin it with /"},
		{"ipam.mode=eni", "use cluster-pool"},
		{"routingMode=native", "ipv4NativeRoutingCIDR: is empty, and routingMode is native"},
		{"hubble.listenAddress=4244", "is not an address with a port: write :4244"},
		{"hubble.listenAddress=:0", "is not an address with a port"},
		{"hubble.bufferBytes=1", "use 65536 to"},
		{"hubble.eventBufferCapacity=-1", "use 0 to"},
		{"hubble.metrics.enabled=[drop, httpV2]", `hubble.metrics.enabled: "httpV2" is not supported, use drop or flow or tcp or icmp or port-distribution or dns`},
		{"hubble.metrics.enabled=[port-distributon]", `did you mean "port-distribution"?`},
		{"hubble.metrics.enabled=[drop:sourceContext=pod]", `"drop:sourceContext=pod": metrics of flows have no options here, such as "sourceContext=pod": write drop`},
		{"hubble.tls.certFile=/x", "hubble.tls.keyFile is \"\": set both, or neither"},
		{"hubble.tls.clientCAFile=/x", "there is no certificate of this node"},
		{"runDir=/" + strings.Repeat("d", 90), "the path of hubble.sock in it has"},
		{"runDir=/" + strings.Repeat("d", 110), "choose a shorter runDir"},
	}
	for _, tt := range tests {
		_, _, err := Parse("", nil, tt.setting)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want %q", tt.setting, err, tt.says)
		}
	}
}

func TestIPv6NeedsItsMinimumMTUInsideTheTunnel(t *testing.T) {
	for _, tt := range []struct {
		settings []string
		ok       bool
	}{
		{[]string{"ipv6.enabled=true", "mtu=1329"}, false},
		{[]string{"ipv6.enabled=true", "mtu=1330"}, true},
		{[]string{"ipv6.enabled=true", "underlayProtocol=ipv6", "mtu=1349"}, false},
		{[]string{"ipv6.enabled=true", "underlayProtocol=ipv6", "mtu=1350"}, true},
	} {
		if _, _, err := Parse("", nil, tt.settings...); (err == nil) != tt.ok {
			t.Errorf("%v: err = %v, want ok %v", tt.settings, err, tt.ok)
		}
	}
}

func TestSettingsWithoutEffectAreWarnedOf(t *testing.T) {
	_, warnings, err := Parse("", nil, "autoDirectNodeRoutes=true")
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "autoDirectNodeRoutes") {
		t.Errorf("warnings %q, err %v", warnings, err)
	}
}

func TestFlowsInTheClearAreWarnedOf(t *testing.T) {
	_, warnings, err := Parse("", nil, "hubble.tls.enabled=false")
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "whoever reaches :4244 can read all flows") {
		t.Errorf("warnings %q, err %v", warnings, err)
	}
}

func TestCheckNode(t *testing.T) {
	tests := []struct {
		name           string
		pods, underlay []string
		says           string // empty: no error
	}{
		{"good", []string{"10.0.1.0/24", "fd00::100/120", "10.0.2.0/24"}, []string{"192.168.1.1/24", "2001:db8::1/64"}, ""},
		{"overlap", []string{"10.0.1.0/24", "10.0.0.0/16", "fd00::/120"}, nil, "10.0.1.0/24 and 10.0.0.0/16 of node n1 overlap"},
		{"collision", []string{"10.0.1.0/24", "fd00::/120"}, []string{"10.0.1.5/16"}, "pod CIDR 10.0.1.0/24 of node n1 collides with the underlay network 10.0.0.0/16"},
		{"IPv6 collision", []string{"10.0.1.0/24", "fd00::/120"}, []string{"fd00::1/64"}, "pod CIDR fd00::/120 of node n1 collides with the underlay network fd00::/64"},
		{"IPv6 missing", []string{"10.0.1.0/24"}, nil, "node n1 has no IPv6 pod CIDR"},
		{"IPv4 missing", []string{"fd00::/120"}, nil, "or set ipv4.enabled to false"},
		{"host bits", []string{"10.0.1.1/24", "fd00::/120"}, nil, "host bits set: write 10.0.1.0/24"},
	}
	c := Defaults()
	c.NodeName, c.IPv6.Enabled = "n1", true
	for _, tt := range tests {
		err := CheckNode(c, prefixes(tt.pods), prefixes(tt.underlay))
		if (err == nil) != (tt.says == "") || (err != nil && !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.says)
		}
	}
	if err := CheckNode(c, []netip.Prefix{{}}, nil); err == nil || !strings.Contains(err.Error(), "is invalid") {
		t.Errorf("invalid prefix: %v", err)
	}
}

func prefixes(texts []string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}
