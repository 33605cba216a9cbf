package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/strvals"
	corev1 "k8s.io/api/core/v1"

	"weir/agent/config"
	operator "weir/operator/config"
)

func TestValuesOneOfIsWhatTheAgentTakes(t *testing.T) {
	values, err := readValues(filepath.Join(folder, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		for _, s := range config.Shapes() {
			if s.Key == v.path && !s.List && s.Kind == "text" && !slices.Equal(v.oneOf, s.OneOf) {
				t.Errorf("values.yaml says %s is one of %q, the agent takes %q", v.path, v.oneOf, s.OneOf)
			}
		}
	}
}

func TestAValueThatCannotBeIsRefused(t *testing.T) {
	for set, want := range map[string]string{
		// What a schema says.
		"monitorAggregation=non":                     "at '/monitorAggregation': value must be one of 'none', 'low', 'medium', 'maximum'\n",
		"bpf.monitorAggregation=non":                 "at '/bpf/monitorAggregation': value must be one of",
		"tunnel=disable":                             "at '/tunnel': value must be one of 'disabled', 'vxlan'\n",
		"tunnel=geneve":                              "at '/tunnel': value must be one of 'disabled', 'vxlan'\n",
		"tunnelProtocol=geneve":                      "at '/tunnelProtocol': value must be",
		"policyEnforcementMode=alwys":                "at '/policyEnforcementMode': value must be one of 'default', 'always', 'never'",
		"MTU=abc":                                    "at '/MTU': got string, want null or integer",
		"MTU=70000":                                  "at '/MTU': maximum: got 70,000, want 65,535",
		"tunnelPort=99999":                           "at '/tunnelPort': maximum: got 99,999, want 65,535",
		"tunnelPort=0":                               "at '/tunnelPort': minimum",
		"cluster.name=Foo_Bar":                       "at '/cluster/name': 'Foo_Bar' does not match pattern",
		"extraConfig.bpf.ctSize=big":                 "at '/extraConfig/bpf/ctSize': got string, want null or integer",
		"extraConfig.bpf.ctSize=3":                   "at '/extraConfig/bpf/ctSize': minimum: got 3, want 1,024",
		"extraConfig.bpf.ctSze=3":                    "value must be 'extraConfig.bpf.ctSize'",
		"extraConfig.ctSize=3":                       "value must be 'extraConfig.bpf.ctSize'",
		"extraConfig.tunnel=disabled":                "value must be 'extraConfig.routingMode'",
		"cni.customconf=true":                        "value must be 'cni.customConf'",
		"extraConfig.conntrak.tcpNew=3":              "value must be 'extraConfig.conntrack'",
		"extraConfig.magic=3":                        "additional properties 'magic' not allowed",
		"extraConfig.hubble.metrics.enabled={dropp}": "at '/extraConfig/hubble/metrics/enabled/0': value must be one of",
		"bpf.ctSize=4096":                            "value must be 'extraConfig.bpf.ctSize'",
		"conntrack.icmp=3":                           "value must be 'extraConfig.conntrack'",
		"image.tga=3":                                "value must be 'image.tag'",
		"image.digest=sha256:12":                     "does not match pattern",
		"maxUnavailable=0":                           "minimum",
		"maxUnavailable=x":                           "does not match pattern",
		"operator.prometheus.port=70000":             "maximum",
		"ipam.mode=eni":                              "value must be one of 'cluster-pool', 'kubernetes'",
		"ipam.operator.clusterPoolIPv6MaskSize=129":  "maximum",
		"ipam.operator.clusterPoolIPv4MaskSize=99":   "at '/ipam/operator/clusterPoolIPv4MaskSize': maximum: got 99, want 32",
		"nodeSelector.x=1":                           "got number, want string",
		"tolerations[0].operatr=Exists":              "value must be 'tolerations[].operator'",
		"resources.request.cpu=1":                    "value must be 'resources.requests'",
		"resources.requests.cpu=lots":                "does not match pattern",
		"ipMasqAgent.config.masqLinkLocl=true":       "value must be 'ipMasqAgent.config.masqLinkLocal'",
		"bpf.enableTCX=maybe":                        "want null or boolean",
		"bpf.lbMapMax=many":                          "want null or integer",
		"cni.customConf=maybe":                       "want null or boolean",
		"nodePort.range=all":                         "'all' does not match pattern",
		"bpf.vlanBypass={5000}":                      "maximum",
		"hostFirewall.failSafe={TCP/22}":             "does not match pattern",
		"devices={a b}":                              "does not match pattern",
		"hubble.metrics.enabled={dropp}":             "does not match pattern",
		"cni.confDir=etc":                            "does not match pattern",
		// What it cannot say.
		"nodePort.range=32000-31000":                                        "nodePort.range: 32000-31000 is not a range of ports: write the first and the last, such as 30000-32767",
		"extraConfig.nodePort.range=2-1":                                    "nodePort.range: 2-1 is not a range",
		"nodePort.range=1-70000":                                            "nodePort.range: 1-70000 is not a range",
		"mtu=600":                                                           "mtu: 600 is out of range: it is the underlay's MTU and must be 626 to 65535 here, or 0 to have it detected",
		"MTU=600":                                                           "mtu: 600 is out of range",
		"ipv4NativeRoutingCIDR=10.0.0.0/33":                                 `ipv4NativeRoutingCIDR: "10.0.0.0/33" is not a CIDR such as 10.0.0.0/8`,
		"ipv4NativeRoutingCIDR=10.0.0.1/8":                                  "ipv4NativeRoutingCIDR: 10.0.0.1/8 has host bits set: write 10.0.0.0/8",
		"nativeRoutingCIDR=10.0.0.1/8":                                      "ipv4NativeRoutingCIDR: 10.0.0.1/8 has host bits set",
		"ipv4NativeRoutingCIDR=fd00::/64":                                   "ipv4NativeRoutingCIDR: fd00::/64 is IPv6: set one such as 10.0.0.0/8",
		"ipv6NativeRoutingCIDR=fd00::1/64":                                  "ipv6NativeRoutingCIDR: fd00::1/64 has host bits set",
		"ipv6NativeRoutingCIDR=fd00:::/64":                                  "is not a CIDR",
		"nodePort.addresses={10.0.0.0/8,x}":                                 `nodePort.addresses: "x" is not a CIDR`,
		"ipam.operator.clusterPoolIPv4PodCIDRList={10.0.0.0/33}":            `ipam.operator.clusterPoolIPv4PodCIDRList: "10.0.0.0/33" is not a CIDR such as 10.0.0.0/8`,
		"ipam.operator.clusterPoolIPv4PodCIDRList={10.0.0.0/25}":            "ipam.operator.clusterPoolIPv4MaskSize: 24 does not fit the pool 10.0.0.0/25: use 25 to 32",
		"ipam.operator.clusterPoolIPv4PodCIDRList={10.0.0.0/8,10.1.0.0/16}": "ipam.operator.clusterPoolIPv4PodCIDRList: 10.0.0.0/8 and 10.1.0.0/16 overlap: keep one",
		"ipam.operator.clusterPoolIPv4PodCIDRList=":                         "ipam.operator.clusterPoolIPv4PodCIDRList is empty: list CIDRs, or set ipv4.enabled to false",
		"ipam.operator.clusterPoolIPv4PodCIDRList={fd00::/104}":             "fd00::/104 is IPv6",
		"ipMasqAgent.config.nonMasqueradeCIDRs={10.0.0.0/99}":               `ipMasqAgent.config.nonMasqueradeCIDRs: "10.0.0.0/99" is not a CIDR`,
		"k8sServiceHost=a_b":                                                `k8sServiceHost: "a_b" is not an API server: write a name or an address such as 192.0.2.10`,
		"k8sServiceHost=https://u:p@x":                                      "k8sServiceHost: ",
		"extraConfig.bpf.ctLimit=1024":                                      "bpf.ctLimit: 1024 is less than bpf.ctSize (65536): raise it, or set it to 0",
		"extraConfig.bpf.eventsSize=100000":                                 "bpf.eventsSize: 100000 is no power of two: use 1048576, for instance",
		"extraConfig.hubble.tls.certFile=/x":                                "hubble.tls.keyFile: set both, or neither",
		"extraConfig.source.files=/x":                                       "source.files: objects come from the API server here: remove it",
		"devices={eth[}":                                                    `devices: "eth[" is not a glob`,
		"bpf.monitorInterval=2h":                                            "bpf.monitorInterval: 2h is not a time between 1s and 1h0m0s, such as 5s",
	} {
		_, err := render(folder, set)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s: %v, want %q", set, err, want)
		}
	}
}

func TestSpellingsThatDifferAreRefused(t *testing.T) {
	for want, set := range map[string][]string{
		"MTU is 1400 and mtu is 1450: keep mtu alone":                                      {"MTU=1400", "mtu=1450"},
		"tunnel is vxlan and routingMode is native: keep routingMode alone":                {"tunnel=vxlan", "routingMode=native", "ipv4NativeRoutingCIDR=10.0.0.0/8"},
		"extraConfig.mtu is 1400 and mtu is 1450: keep mtu alone":                          {"extraConfig.mtu=1400", "mtu=1450"},
		"extraConfig.routingMode is tunnel and tunnel is disabled: keep routingMode alone": {"tunnel=disabled", "extraConfig.routingMode=tunnel", "ipv4NativeRoutingCIDR=10.0.0.0/8"},
		"extraConfig.bpf.root is /b and bpf.root is /a: keep extraConfig.bpf.root alone":   {"bpf.root=/a", "extraConfig.bpf.root=/b"},
		"policyCIDRMatchMode is pods and policy.cidrMatchMode is nodes":                    {"policyCIDRMatchMode=pods", "policy.cidrMatchMode={nodes}"},
		"kubeProxyReplacement is strict: keep kubeProxyReplacement alone":                  {"kubeProxyReplacement=strict", "extraConfig.kubeProxyReplacement=false"},
	} {
		if _, err := render(folder, set...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %q: %v, want %q", set, err, want)
		}
	}
	for _, set := range [][]string{{"MTU=1400", "mtu=1400"}, {"policyCIDRMatchMode=nodes", "policy.cidrMatchMode={nodes}"}, {"kubeProxyReplacement=strict", "extraConfig.kubeProxyReplacement=true"}} {
		if _, err := render(folder, set...); err != nil {
			t.Errorf("--set %q: %v", set, err)
		}
	}
}

// candidates are values of which a key takes some.
var candidates = []string{"", "0", "-1", "1", "5", "1.5", "3000", "65536", "99999999999", "true", "nonsense", "/x", "x/y", "10.0.0.0/8", "10.0.0.1/8", "fd00::/64", "1s", "2-1", ":80", "{a,b}", "{1,1}"}

// special are more of them for some keys, with commas as --set wants them.
var special = map[string][]string{
	"k8sServiceHost":                      {"a:99999", "a:65535", "{a,b:1}", "fd00::1", "[fd00::1]:6443", "http://a", "http://u@a", "10.0.0.1:0", "a_b", "-a", "a.b.c"},
	"kubeProxyReplacementHealthzBindAddr": {"x:80", ":70000", "300.1.1.1:80", "10.0.0.1:10256"},
	"hubble.listenAddress":                {"4244", ":0", ":70000", "a:1", "a:b:1"},
	"hostFirewall.failSafe":               {"{ingress:TCP/22}", `ingress:TCP/22\,egress:udp/53`, "{ingress:TCP/70000}", strings.TrimSuffix(strings.Repeat(`ingress:TCP/22\,`, 17), `\,`)},
	"bpf.vlanBypass":                      {`7\,9`, `7\,7`, `1\,2\,3\,4\,5\,6\,7\,8\,9`, `4095\,1`, "{7,9}", "{4095}"},
	"bpf.monitorInterval":                 {"1.5s", "1.2.3s", "1m30s", "1h1s", "500ms", "1500ms"},
	"nodePort.range":                      {"1-65535", "1-65536", `30000\,32767`, "5 - 6", "0-5"},
	"bpf.eventsSize":                      {"131072", "131073", "268435456"},
	"bpf.ctLimit":                         {"65536", "65535"},
	"bpf.ctSize":                          {"16777216"},
	"mtu":                                 {"626", "625"},
	"devices":                             {"eth*", "eth[", "ens[0-9]", "eth+", "{eth0,eth1}", `eth0\,eth1`, "a]"},
	"hubble.metrics.enabled":              {"{drop,tcp}", `drop\,tcp`, "{dropp}", "dropp"},
	"policy.cidrMatchMode":                {"{pods,nodes}", `pods\,nodes`, "{world}"},
	"nodePort.addresses":                  {"{10.0.0.0/8,fd00::/8}", `10.0.0.0/8\,fd00::/8`, "{10.0.0.1/8}"},
}

// quick renders the ConfigMap alone, with what of the chart that takes, and a
// schema that is compiled once.
func quick(t *testing.T) func(set string) (*corev1.ConfigMap, error) {
	t.Helper()
	c, err := loader.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(c.Schema))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("file:///values.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("file:///values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	c.Schema = nil
	c.Templates = slices.DeleteFunc(c.Templates, func(f *chart.File) bool {
		name := filepath.Base(f.Name)
		return name != "configmap.yaml" && !strings.HasPrefix(name, "_")
	})
	return func(set string) (*corev1.ConfigMap, error) {
		values := map[string]any{}
		if err := strvals.ParseInto(set, values); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(values); err != nil {
			return nil, err
		}
		r, err := renderWith(c, values)
		if err != nil {
			return nil, err
		}
		return find[*corev1.ConfigMap](t, objects(t, r.objects), "weir-config"), nil
	}
}

// TestWhatTheChartTakesTheAgentTakes: no value of extraConfig gets as far as a node, and
// is refused there. The other way round, what the agent takes of these the chart refuses
// for its type alone, or for a reason of its own.
func TestWhatTheChartTakesTheAgentTakes(t *testing.T) {
	own := map[string]bool{"source.files": true, "source.kubernetes.enabled": true}
	otherType := regexp.MustCompile(`: got \w+, want`)
	try, took := quick(t), 0
	for _, s := range config.Shapes() {
		for _, value := range slices.Concat(candidates, special[s.Key]) {
			made, err := try(fmt.Sprintf("extraConfig.%s=%s", s.Key, value))
			if err != nil {
				list := strings.NewReplacer("{", "[", "}", "]", `\,`, ",").Replace(value)
				if _, _, refusal := config.Parse("", nil, "nodeName=n1", s.Key+"="+list); refusal == nil && !own[s.Key] && !otherType.MatchString(err.Error()) {
					t.Errorf("%s=%s: the agent takes it: %v", s.Key, value, err)
				}
				continue
			}
			took++
			if _, _, err := config.Parse("weir.yaml", []byte(made.Data["weir.yaml"]), "nodeName=n1", "source.kubernetes.enabled=true"); err != nil {
				t.Errorf("%s=%s: the chart takes it, the agent does not: %v", s.Key, value, err)
			}
		}
	}
	if took < len(config.Shapes()) {
		t.Errorf("it took %d values in all", took)
	}
}

// TestPoolsThatTheChartTakesTheOperatorTakes, and the other way round.
func TestPoolsThatTheChartTakesTheOperatorTakes(t *testing.T) {
	try := quick(t)
	pools := []string{"10.0.0.0/8", "10.0.0.0/8,10.255.0.0/16", "10.0.0.0/9,10.128.0.0/9", "10.1.2.128/25", "10.1.2.129/25", "0.0.0.0/0", "10.0.0.256/8", "1.2.3.4/32", "010.0.0.0/8",
		"fd00::/104", "fd00:1::/64,fd00:2::/64", "fd00::/64,fd00::1:0:0:0:0/64", "fd00::1/64", "fd00:0:0:0:0:0:0:0/8", "::/0", "::1/128", "1:2:3:4:5:6:7::/112", "1:2:3:4:5:6:7:8::/128", "12345::/16",
		"fd00::/64,fd00:0:0:0:8000::/65", "a::b::c/128", "fe80::/9", "", "x", "10.0.0.0", "10.0.0.0/", "/8"}
	for _, pool := range pools {
		for _, mask := range []int{8, 24, 32, 64, 112, 128} {
			for _, family := range []string{"4", "6"} {
				list := fmt.Sprintf("ipv6.enabled=true,ipam.operator.clusterPoolIPv%sPodCIDRList={%s},ipam.operator.clusterPoolIPv%sMaskSize=%d", family, pool, family, mask)
				made, err := try(list)
				if err == nil {
					if _, err := operator.Parse("operator.yaml", []byte(made.Data["operator.yaml"])); err != nil {
						t.Errorf("%s: the chart takes it, the operator does not: %v", list, err)
					}
					continue
				}
				text := fmt.Sprintf("ipv6: {enabled: true}\nipam: {operator: {clusterPoolIPv%sPodCIDRList: [%s], clusterPoolIPv%sMaskSize: %d}}", family, quotedList(pool), family, mask)
				if _, refusal := operator.Parse("operator.yaml", []byte(text)); refusal == nil {
					t.Errorf("%s: the operator takes it: %v", list, err)
				}
			}
		}
	}
}

func quotedList(text string) string { return `"` + strings.ReplaceAll(text, ",", `","`) + `"` }
