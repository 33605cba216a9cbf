package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"weir/agent/config"
)

func weirText(t *testing.T, r rendered) string {
	t.Helper()
	return find[*corev1.ConfigMap](t, objects(t, r.objects), "weir-config").Data["weir.yaml"]
}

// taken1 renders, and gives the agent's configuration and the notes.
func taken1(t *testing.T, sets ...string) (config.Config, string) {
	t.Helper()
	text, _, r := rendered1(t, sets...)
	c, _, err := config.Parse("weir.yaml", []byte(text), "nodeName=n1")
	if err != nil {
		t.Fatalf("%q: %v", sets, err)
	}
	return c, r.notes
}

// Values that the chart had, and Cilium's names of keys that stand in extraConfig.
func TestKeysOfExtraConfigAreTakenAtTheirOldPlace(t *testing.T) {
	for set, want := range map[string]string{
		"tunnelProtocol=vxlan":                   "tunnelProtocol: vxlan",
		"underlayProtocol=ipv4":                  "underlayProtocol: ipv4",
		"endpointRoutes.enabled=true":            "endpointRoutes.enabled: true",
		"nodePort.addresses={172.18.0.0/16}":     "nodePort.addresses: 172.18.0.0/16",
		"hostFirewall.failSafe={ingress:TCP/22}": "hostFirewall.failSafe: ingress:TCP/22",
		"bpf.root=/run/bpf":                      "bpf.root: /run/bpf",
		"bpf.attachMode=tc":                      "bpf.attachMode: tc",
		"bpf.vlanBypass={7,9}":                   "bpf.vlanBypass: 7,9",
		"bpf.monitorInterval=7s":                 "bpf.monitorInterval: 7s",
		"policy.cidrMatchMode={nodes}":           "policy.cidrMatchMode: nodes",
		"cleanState=true":                        "cleanState: true",
		"cleanBPFState=true":                     "cleanBPFState: true",
		"hubble.eventBufferCapacity=4095":        "hubble.eventBufferCapacity: 4095",
		"hubble.listenAddress=:4245":             "hubble.listenAddress: :4245",
		"loadBalancer.dsrDispatch=opt":           "loadBalancer.dsrDispatch: opt",
	} {
		c, notes := taken1(t, set)
		key, value, _ := strings.Cut(want, ": ")
		for _, o := range c.Options() {
			if o.Key == key && o.Value != value {
				t.Errorf("--set %s: %s is %s", set, key, o.Value)
			}
		}
		if !strings.Contains(notes, key+": not a value of its own, write extraConfig."+want) {
			t.Errorf("--set %s: the notes are\n%s", set, notes)
		}
	}
}

func TestRowG14CustomConfLeavesTheConfigurationToOthers(t *testing.T) {
	for _, sets := range [][]string{{"cni.customConf=true"}, {"cni.customConf=true", "cni.confPath=/etc/cni/net.d"}, {"cni.customConf=true", "cni.confDir=/etc/other", "cni.exclusive=true"}} {
		c, notes := taken1(t, sets...)
		if c.CNI.ConfDir != "" || c.CNI.BinDir != "/opt/cni/bin" || !strings.Contains(notes, `cni.customConf: old spelling, write cni.confDir: ""`) {
			t.Errorf("%q: %+v\n%s", sets, c.CNI, notes)
		}
	}
	c, notes := taken1(t, "cni.exclusive=true", "cni.customConf=false", "cni.chainingMode=none")
	if c.CNI.ConfDir != "/etc/cni/net.d" || !strings.Contains(notes, "cni.exclusive has no effect: files of other plugins stay") {
		t.Errorf("%+v\n%s", c.CNI, notes)
	}
}

func TestMetricsOfFlowsAreTakenByCiliumsName(t *testing.T) {
	c, notes := taken1(t, "hubble.metrics.enabled={dns:query;ignoreAAAA,drop,tcp,flow:sourceContext=pod,icmp,port-distribution,httpV2}")
	want := []string{"drop", "tcp", "flow", "icmp", "port-distribution"}
	if slices.Contains(config.FlowMetrics(), "dns") {
		want = slices.Insert(want, 0, "dns")
	}
	if diff := cmp.Diff(want, c.Hubble.Metrics.Enabled); diff != "" {
		t.Error(diff)
	}
	for _, line := range []string{"hubble.metrics.enabled: httpV2 is not in this version, and left out", "hubble.metrics.enabled: flow has no options here, sourceContext=pod is left out",
		"hubble.metrics.enabled: not a value of its own, write extraConfig.hubble.metrics.enabled: "} {
		if !strings.Contains(notes, line) {
			t.Errorf("the notes do not say %q:\n%s", line, notes)
		}
	}
	if c, _ := taken1(t, "hubble.metrics.enabled=null"); !slices.Equal(c.Hubble.Metrics.Enabled, config.FlowMetrics()) {
		t.Errorf("unset: %q", c.Hubble.Metrics.Enabled)
	}
}

// What the pods get of the node is what the agent is told, however it was spelled.
func TestMountsAndPortsFollowWeirYAML(t *testing.T) {
	for _, sets := range [][]string{
		{"cni.confPath=/c", "cni.binPath=/b", "bpf.root=/f", "prometheus.enabled=true", "prometheus.port=9000", "ipMasqAgent.enabled=true"},
		{"extraConfig.cni.confDir=/c", "extraConfig.cni.binDir=/b", "extraConfig.bpf.root=/f", "extraConfig.prometheus.enabled=true", "extraConfig.prometheus.port=9000", "extraConfig.ipMasqAgent.enabled=true"},
	} {
		_, all, _ := rendered1(t, sets...)
		pod := find[*appsv1.DaemonSet](t, all, "weir").Spec.Template
		agent := pod.Spec.Containers[0]
		mounted, of := map[string]string{}, map[string]string{}
		for _, m := range agent.VolumeMounts {
			mounted[m.Name] = m.MountPath
		}
		for _, v := range pod.Spec.Volumes {
			if v.HostPath != nil {
				of[v.Name] = v.HostPath.Path
			}
		}
		for name, path := range map[string]string{"cni-conf": "/c", "cni-bin": "/b", "bpffs": "/f"} {
			if mounted[name] != path || of[name] != path {
				t.Errorf("%q: %s is %s at %s", sets, name, of[name], mounted[name])
			}
		}
		if mounted["ip-masq-agent"] == "" || len(agent.Ports) != 1 || agent.Ports[0].HostPort != 9000 || pod.Annotations["prometheus.io/port"] != "9000" {
			t.Errorf("%q: mounts %v, ports %v, annotations %v", sets, mounted, agent.Ports, pod.Annotations)
		}
		if data := find[*corev1.ConfigMap](t, all, "weir-config").Data; data["ip-masq-agent"] == "" {
			t.Errorf("%q: no rules for ip-masq-agent", sets)
		}
	}
	if _, all, _ := rendered1(t, "extraConfig.ipam.mode=kubernetes"); !strings.Contains(find[*corev1.ConfigMap](t, all, "weir-config").Data["operator.yaml"], "mode: kubernetes") {
		t.Error("the operator has another ipam.mode than agents")
	}
}

// What stands in Cilium's own values.yaml of what Weir knows is taken as it stands there.
func TestCiliumsDefaultsAreTaken(t *testing.T) {
	sets := []string{"kubeProxyReplacement=false", "bpf.masquerade=null", "enableIPv4Masquerade=true", "bpf.hostLegacyRouting=null", "bpf.monitorAggregation=medium", "bpf.monitorInterval=5s",
		"bpf.lbMapMax=65536", "bpf.policyMapMax=16384", "bpf.ctTcpMax=null", "bpf.mapDynamicSizeRatio=0.0025", "bpf.preallocateMaps=false", "bpf.tproxy=null", "bpf.vlanBypass=null",
		"bpf.enableTCX=true", "bpf.root=/sys/fs/bpf", "bpf.autoMount.enabled=true", "nodePort.range=30000\\,32767", "nodePort.enabled=false", "socketLB.enabled=false", "policyEnforcementMode=default",
		"policyCIDRMatchMode=", "encryption.enabled=false", "l7Proxy=true", "hubble.enabled=true", "hubble.listenAddress=:4244", "hubble.metrics.enabled=null", "hubble.tls.enabled=true",
		"hubble.relay.enabled=false", "hubble.ui.enabled=false", "cni.exclusive=true", "cni.customConf=false", "cni.confPath=/etc/cni/net.d", "cni.binPath=/opt/cni/bin", "cni.chainingMode=null",
		"MTU=0", "devices=", "endpointRoutes.enabled=false", "sctp.enabled=false", "cleanState=false", "cleanBpfState=false", "healthChecking=true", "identityAllocationMode=crd",
		"debug.verbose=null", "tunnelProtocol=", "routingMode=tunnel", "prometheus.serviceMonitor.enabled=false", "operator.prometheus.enabled=true"}
	if _, notes := taken1(t, sets...); strings.Contains(notes, "is not in this version") {
		t.Error(notes)
	}
	if c, _ := taken1(t, "kubeProxyReplacement=strict"); !c.KubeProxyReplacement {
		t.Error("strict is not true")
	}
	r, err := renderValues(folder, map[string]any{"kubeProxyReplacement": "true"})
	if err != nil || !strings.Contains(weirText(t, r), `kubeProxyReplacement: "true"`) {
		t.Errorf("Cilium writes it as a string: %v", err)
	}
}
