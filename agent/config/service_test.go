package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestServicesAreConfigured(t *testing.T) {
	file := "kubeProxyReplacement: true\nloadBalancer: {algorithm: maglev}\nnodePort:\n  range: 31000-31999\n  addresses: [172.18.0.0/16, \"fc00::/7\"]\ncgroupRoot: /run/weir/cgroup\n"
	c, warnings, err := Parse("weir.yaml", []byte(file))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("err %v, warnings %q", err, warnings)
	}
	first, last, err := c.NodePort.Ports()
	want := []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16"), netip.MustParsePrefix("fc00::/7")}
	if err != nil || first != 31000 || last != 31999 || !slices.Equal(c.NodePort.Addresses, want) {
		t.Errorf("ports %d to %d (%v) at %v", first, last, err, c.NodePort.Addresses)
	}
	if c.LoadBalancer.Algorithm != "maglev" || c.CgroupRoot != "/run/weir/cgroup" {
		t.Errorf("got %+v", c)
	}
	for _, o := range c.Options() {
		if o.Key == "nodePort.addresses" && o.Value != "172.18.0.0/16,fc00::/7" {
			t.Errorf("%s is printed as %s", o.Key, o.Value)
		}
	}
}

func TestTheNodesHealthIsAskedForWhereTheConfigurationSays(t *testing.T) {
	for file, want := range map[string]string{"": ":10256", `kubeProxyReplacementHealthzBindAddr: ""`: "",
		"kubeProxyReplacementHealthzBindAddr: 172.18.0.2:1": "172.18.0.2:1", `kubeProxyReplacementHealthzBindAddr: "[fd18::2]:10256"`: "[fd18::2]:10256"} {
		if c, _, err := Parse("weir.yaml", []byte(file)); err != nil || c.HealthzBindAddr != want {
			t.Errorf("%s: got %q, want %q, err %v", file, c.HealthzBindAddr, want, err)
		}
	}
}

func TestOldSpellingsOfServicesAreTakenWithAWarning(t *testing.T) {
	for setting, want := range map[string]struct {
		on   bool
		says string
	}{
		"kubeProxyReplacement=strict":   {true, "write kubeProxyReplacement: true"},
		"kubeProxyReplacement=disabled": {false, "write kubeProxyReplacement: false"},
		"kubeProxyReplacement=false":    {false, ""},
		"nodePort.range=30000,32767":    {true, "write nodePort.range: 30000-32767"},
		"cgroup.hostRoot=/run/cgroup":   {true, "write cgroupRoot: /run/cgroup"},
	} {
		c, warnings, err := Parse("", nil, setting)
		if err != nil || c.KubeProxyReplacement != want.on || !strings.Contains(strings.Join(warnings, ""), want.says) || (want.says == "") != (len(warnings) == 0) {
			t.Errorf("%s: on %v, warnings %q, err %v", setting, c.KubeProxyReplacement, warnings, err)
		}
	}
	_, warnings, err := Parse("", nil, "kubeProxyReplacement=false", "loadBalancer.algorithm=maglev", "loadBalancer.mode=dsr", "nodePort.addresses=10.0.0.0/8",
		"loadBalancer.acceleration=native", "l2announcements.enabled=true")
	if err != nil || len(warnings) != 5 || !strings.Contains(warnings[0], "has no effect with kubeProxyReplacement false") {
		t.Errorf("settings without an effect: %q, %v", warnings, err)
	}
}

func TestModeOfServicesIsConfigured(t *testing.T) {
	for _, mode := range []string{"snat", "dsr", "hybrid"} {
		c, warnings, err := Parse("", nil, "loadBalancer.mode="+mode, "loadBalancer.dsrDispatch=opt")
		if err != nil || len(warnings) > 0 || c.LoadBalancer.Mode != mode {
			t.Errorf("%s: got %q, warnings %q, err %v", mode, c.LoadBalancer.Mode, warnings, err)
		}
	}
}

func TestAccelerationSaysWhereItGainsNothing(t *testing.T) {
	for routing, want := range map[string]int{"tunnel": 1, "native": 0} {
		c, warnings, err := Parse("", nil, "routingMode="+routing, "loadBalancer.acceleration=best-effort", "ipv4NativeRoutingCIDR=10.0.0.0/8")
		if c.LoadBalancer.Acceleration != "best-effort" || strings.Count(strings.Join(warnings, " "), "loadBalancer.acceleration") != want {
			t.Errorf("%s: %q, warnings %q, err %v; want %d", routing, c.LoadBalancer.Acceleration, warnings, err, want)
		}
	}
}

func TestInvalidServiceValuesNameTheKeyAndTheWayOut(t *testing.T) {
	for setting, says := range map[string]string{
		"kubeProxyReplacement=partial":                 `kubeProxyReplacement: "partial" is neither true nor false`,
		"loadBalancer.algorithm=maglv":                 `loadBalancer.algorithm: "maglv" is not supported, use random or maglev: did you mean "maglev"?`,
		"loadBalancer.mode=DSR":                        `loadBalancer.mode: "DSR" is not supported, use snat or dsr or hybrid: did you mean "dsr"?`,
		"loadBalancer.dsrDispatch=geneve":              `loadBalancer.dsrDispatch: geneve is not supported by this version: use opt`,
		"loadBalancer.dsrDispatch=option":              `loadBalancer.dsrDispatch: "option" is not supported, use opt`,
		"loadBalancer.acceleration=xdp":                `loadBalancer.acceleration: "xdp" is not supported, use disabled or native or best-effort`,
		"nodePort.range=30000":                         `nodePort.range: "30000" is not a range of ports`,
		"nodePort.range=0-10":                          `write the first and the last, such as 30000-32767`,
		"nodePort.range=32767-30000":                   `is not a range of ports`,
		"nodePort.range=30000-70000":                   `is not a range of ports`,
		"nodePort.addresses=10.0.0.1/8":                `nodePort.addresses: 10.0.0.1/8 has host bits set: write 10.0.0.0/8`,
		"nodePort.addresses=10.0.0.1":                  `nodePort.addresses: "10.0.0.1" is not a CIDR`,
		"nodePort.addresses=[10.0.0.0/8,'']":           `an empty CIDR: remove it`,
		"cgroupRoot=sys/fs/cgroup":                     `cgroupRoot: "sys/fs/cgroup" is not an absolute path`,
		"kubeProxyReplacementHealthzBindAddr=10256":    `kubeProxyReplacementHealthzBindAddr: "10256" is not an address to listen at: write :10256 for all addresses`,
		"kubeProxyReplacementHealthzBindAddr=:0":       `":0" is not an address`,
		"kubeProxyReplacementHealthzBindAddr=n1:10256": `"n1:10256" is not an address`,
	} {
		if _, _, err := Parse("", nil, setting); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", setting, err, says)
		}
	}
}
