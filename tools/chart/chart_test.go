package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"weir/agent/config"
	"weir/internal/goldentest"
	operator "weir/operator/config"
)

const folder = "../../deploy/chart/weir"

// sets are values that the chart is rendered with; each has a golden file.
var sets = map[string][]string{
	"default": nil,
	// Row G1 to G11: the command line of the second seed.
	"seed": {"k8sServiceHost=172.18.0.3", "k8sServicePort=6443", "debug.enabled=true", "debug.verbose=datapath", "monitorAggregation=none",
		"ipam.mode=cluster-pool", "cluster.name=cilium-kubeproxy-replacement-ebpf", "kubeProxyReplacement=strict", "tunnel=disabled",
		"autoDirectNodeRoutes=true", "ipv4NativeRoutingCIDR=10.0.0.0/8", "bpf.masquerade=true"},
	"native-dual": {"routingMode=native", "ipv6.enabled=true", "ipv4NativeRoutingCIDR=10.0.0.0/8", "ipv6NativeRoutingCIDR=fd00::/104",
		"loadBalancer.mode=hybrid", "loadBalancer.acceleration=best-effort", "loadBalancer.algorithm=maglev", "devices={eth0,ens*}",
		"ipam.operator.clusterPoolIPv4PodCIDRList={10.1.0.0/16,10.2.0.0/16}", "ipam.operator.clusterPoolIPv4MaskSize=25"},
	"beside-kube-proxy": {"kubeProxyReplacement=false", "cni.confDir=", "bpf.autoMount.enabled=false", "image.digest=sha256:" + strings.Repeat("0", 64),
		"imagePullSecrets[0].name=registry", "maxUnavailable=10%", "operator.replicas=1", "ipam.mode=kubernetes", "health.enabled=false"},
	"cilium-names": {"tunnel=vxlan", "MTU=1400", "policyEnforcementMode=always", "policyCIDRMatchMode=nodes", "policyDenyResponse=icmp",
		"bpf.hostLegacyRouting=true", "bpf.enableTCX=false", "cni.confPath=/etc/cni", "cni.binPath=/opt/bin", "hubble.enabled=false",
		"hubble.relay.enabled=true", "bpf.lbMapMax=65536", "encryption.enabled=false", "socketLB.enabled=true", "kubeProxyReplacement=disabled", "l7Proxy=false"},
	"metrics": {"prometheus.enabled=true", "operator.prometheus.enabled=true", "prometheus.port=19962", "operator.prometheus.serviceMonitor.enabled=true"},
	"extra": {"extraConfig.bpf.ctSize=1048576", "extraConfig.conntrack.tcpEstablished=21600", "ipMasqAgent.enabled=true",
		"ipMasqAgent.config.nonMasqueradeCIDRs={10.0.0.0/8,172.16.0.0/12}", "bpf.vlanBypass={7,9}", "hostFirewall.enabled=true",
		"l2announcements.enabled=true", "nodePort.range=31000-31999", "nodePort.addresses={172.18.0.0/16}", "hubble.enabled=false", "hubble.relay.enabled=true"},
}

// objects decodes what was rendered as an API server does: unknown fields are errors.
func objects(t *testing.T, text string) []runtime.Object {
	t.Helper()
	all := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(all), apiextensionsv1.AddToScheme(all)); err != nil {
		t.Fatal(err)
	}
	s := json.NewSerializerWithOptions(json.DefaultMetaFactory, all, all, json.SerializerOptions{Yaml: true, Strict: true})
	var out []runtime.Object
	for _, doc := range regexp.MustCompile(`(?m)^---\n`).Split(text, -1) {
		if strings.TrimSpace(regexp.MustCompile(`(?m)^#.*$`).ReplaceAllString(doc, "")) == "" {
			continue
		}
		if strings.Contains(doc, "apiVersion: monitoring.coreos.com/v1\n") {
			out = append(out, monitor(t, doc))
			continue
		}
		o, kind, err := s.Decode([]byte(doc), nil, nil)
		if err != nil {
			t.Errorf("%v: %v\n%s", kind, err, doc)
			continue
		}
		out = append(out, o)
	}
	return out
}

// monitor decodes an object of Prometheus' operator, whose types are not ours.
func monitor(t *testing.T, doc string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
		t.Errorf("%v\n%s", err, doc)
	}
	return o
}

func find[T runtime.Object](t *testing.T, all []runtime.Object, name string) T {
	t.Helper()
	for _, o := range all {
		if got, ok := o.(T); ok && o.(interface{ GetName() string }).GetName() == name {
			return got
		}
	}
	t.Fatalf("no %T %s", *new(T), name)
	panic("unreachable")
}

func rendered1(t *testing.T, sets ...string) (string, []runtime.Object, rendered) {
	t.Helper()
	r, err := render(folder, sets...)
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, r.objects)
	return find[*corev1.ConfigMap](t, all, "weir-config").Data["weir.yaml"], all, r
}

func TestEverySetOfValuesGivesValidObjects(t *testing.T) {
	for name, set := range sets {
		t.Run(name, func(t *testing.T) {
			weir, all, r := rendered1(t, set...)
			if _, warnings, err := config.Parse("weir.yaml", []byte(weir), "nodeName=n1", "source.kubernetes.enabled=true"); err != nil {
				t.Errorf("the agent refuses its weir.yaml: %v\n%s", err, weir)
			} else if text := strings.Join(warnings, "\n"); strings.Contains(text, "old spelling") || strings.Contains(text, "no effect: ") {
				t.Errorf("the agent finds old spellings in its weir.yaml: %s", text)
			}
			forOperator := find[*corev1.ConfigMap](t, all, "weir-config").Data["operator.yaml"]
			if _, err := operator.Parse("operator.yaml", []byte(forOperator)); err != nil {
				t.Errorf("the operator refuses its operator.yaml: %v\n%s", err, forOperator)
			}
			golden(t, name, weir+"---\n"+forOperator+"---\n"+r.notes+"\n")
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	goldentest.Compare(t, name+".golden", got)
}

func TestRowsG1ToG11TheSeedsInstallGivesWhatItAsksFor(t *testing.T) {
	weir, _, r := rendered1(t, sets["seed"]...)
	c, _, err := config.Parse("weir.yaml", []byte(weir))
	if err != nil {
		t.Fatal(err)
	}
	if !c.KubeProxyReplacement || c.RoutingMode != "native" || !c.AutoDirectNodeRoutes || c.IPv4NativeRoutingCIDR.String() != "10.0.0.0/8" ||
		!c.Debug.Enabled || c.Cluster.Name != "cilium-kubeproxy-replacement-ebpf" || !c.EnableIPv4Masquerade || c.BPF.MonitorAggregation != "none" || !slices.Equal(c.Servers(), []string{"https://172.18.0.3:6443"}) {
		t.Errorf("got %+v", c)
	}
	for _, want := range []string{"tunnel: old spelling, write routingMode: native", "kubeProxyReplacement: old spelling, write kubeProxyReplacement: true",
		"monitorAggregation: old spelling, write bpf.monitorAggregation: none", "bpf.masquerade has no effect", "debug.verbose has no effect"} {
		if !strings.Contains(r.notes, want) {
			t.Errorf("the notes do not say %q:\n%s", want, r.notes)
		}
	}
}

func TestUnsetValuesAreTheAgentsDefaults(t *testing.T) {
	weir, _, _ := rendered1(t)
	c, _, err := config.Parse("weir.yaml", []byte(weir), "cni.confDir=", "cni.binDir=")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range c.Options() {
		if !o.Default {
			t.Errorf("%s is %s, not the agent's default", o.Key, o.Value)
		}
	}
}

// TestMetricsAreOfferedAsPrometheusFindsThem: closed unless asked for; then by
// annotations or by a ServiceMonitor, whose service is of the agent's pods.
func TestMetricsAreOfferedAsPrometheusFindsThem(t *testing.T) {
	ports := func(all []runtime.Object) string {
		out := ""
		for _, name := range []string{"agent", "operator"} {
			for _, p := range containers(t, all)[name].Ports {
				if p.Name == "metrics" {
					out += fmt.Sprintf("%s %d ", name, p.HostPort)
				}
			}
		}
		return out
	}
	annotations := func(all []runtime.Object) string {
		return find[*appsv1.DaemonSet](t, all, "weir").Spec.Template.Annotations["prometheus.io/port"] + " " +
			find[*appsv1.Deployment](t, all, "weir-operator").Spec.Template.Annotations["prometheus.io/port"]
	}
	monitors := func(all []runtime.Object) (n int) {
		for _, o := range all {
			if m, ok := o.(*unstructured.Unstructured); ok && m.GetKind() == "ServiceMonitor" {
				n++
				service := find[*corev1.Service](t, all, m.GetName()+"-metrics")
				want, _, _ := unstructured.NestedStringMap(m.Object, "spec", "selector", "matchLabels")
				if service.Spec.Selector["app.kubernetes.io/name"] != m.GetName() || service.Labels["app.kubernetes.io/name"] != want["app.kubernetes.io/name"] {
					t.Errorf("%s selects %v; its service has %v and selects %v", m.GetName(), want, service.Labels, service.Spec.Selector)
				}
			}
		}
		return n
	}
	for _, x := range []struct {
		sets               []string
		ports, annotations string
		monitors           int
	}{
		{nil, "", " ", 0},
		{[]string{"prometheus.enabled=true", "operator.prometheus.enabled=true"}, "agent 9962 operator 9963 ", "9962 9963", 0},
		{[]string{"prometheus.enabled=true", "prometheus.port=1", "prometheus.serviceMonitor.enabled=true"}, "agent 1 ", " ", 1},
		{[]string{"operator.prometheus.serviceMonitor.enabled=true"}, "", " ", 0},
	} {
		weir, all, _ := rendered1(t, x.sets...)
		c, _, err := config.Parse("weir.yaml", []byte(weir))
		if err != nil {
			t.Fatal(err)
		}
		if ports(all) != x.ports || annotations(all) != x.annotations || monitors(all) != x.monitors || c.Prometheus.Enabled != strings.HasPrefix(x.ports, "agent") {
			t.Errorf("%q: ports %q, annotations %q, %d monitors, agent %v", x.sets, ports(all), annotations(all), monitors(all), c.Prometheus)
		}
	}
}

func TestValuesAreFewAndSayWhatTheyAre(t *testing.T) {
	values, err := readValues(filepath.Join(folder, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(values) > 60 || len(values) < 40 {
		t.Errorf("%d values, want 40 to 60", len(values))
	}
}

func TestUnknownValuesAreRefusedWithTheOneThatWasMeant(t *testing.T) {
	for set, want := range map[string]string{
		"kubeProxyReplacment=true":     "'kubeProxyReplacement'",
		"tunel=disabled":               "'tunnel'",
		"routing-mode=native":          "'routingMode'",
		"Devices={eth0}":               "'devices'",
		"bpf.hostRuting=bpf":           "'bpf.hostRouting'",
		"hostRouting=bpf":              "'bpf.hostRouting'",
		"loadBalancer.algoritm=maglev": "'loadBalancer.algorithm'",
		"enableIPv4Masqurade=false":    "'enableIPv4Masquerade'",
		"ipam.operator.clusterPoolIPv4PodCIDRLists={10.0.0.0/8}": "'ipam.operator.clusterPoolIPv4PodCIDRList'",
		"magic=true":                   "additional properties 'magic' not allowed",
		"loadBalancer.mode=dsrr":       "value must be one of 'snat', 'dsr', 'hybrid'",
		"mtu=big":                      "want integer",
		"kubeProxyReplacement=partial": "value must be one of true, false, 'strict', 'disabled'",
	} {
		_, err := render(folder, set)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s: %v, want %q", set, err, want)
		}
	}
}

func TestNeighboursOfKnownNamesAreKnown(t *testing.T) {
	for _, set := range []string{"ipv6.enabled=true", "ipv4.enabled=true", "enableIPv6Masquerade=false", "global.x=1", "cni.exclusive=true", "cni.exclusive=false", "cni.chainingMode=none", "cni.customConf=false"} {
		if _, err := render(folder, set); err != nil {
			t.Errorf("--set %s: %v", set, err)
		}
	}
}

func TestWhatTheAgentWouldRefuseIsRefusedBefore(t *testing.T) {
	for want, set := range map[string][]string{
		"ipv4NativeRoutingCIDR is empty, and routingMode is native":                {"routingMode=native"},
		"ipv6NativeRoutingCIDR is empty":                                           {"tunnel=disabled", "ipv6.enabled=true", "ipv4NativeRoutingCIDR=10.0.0.0/8"},
		"ipv4.enabled and ipv6.enabled are both false":                             {"ipv4.enabled=false"},
		"encryption.enabled is not in this version: remove it, or set it to false": {"encryption.enabled=true"},
		"cni.chainingMode is not in this version":                                  {"cni.chainingMode=portmap"},
		"MTU is 1400 and mtu is 1450: keep mtu alone":                              {"MTU=1400", "mtu=1450"},
	} {
		if _, err := render(folder, set...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %q: %v, want %q", set, err, want)
		}
	}
}

// containers are those of the agent and the operator, with the pod's own settings.
func containers(t *testing.T, all []runtime.Object) map[string]corev1.Container {
	t.Helper()
	out := map[string]corev1.Container{}
	specs := []corev1.PodSpec{find[*appsv1.DaemonSet](t, all, "weir").Spec.Template.Spec}
	for _, o := range all {
		if d, ok := o.(*appsv1.Deployment); ok {
			specs = append(specs, d.Spec.Template.Spec)
		}
	}
	for _, spec := range specs {
		if spec.SecurityContext.SeccompProfile == nil || spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("seccomp profile %v, want RuntimeDefault", spec.SecurityContext.SeccompProfile)
		}
		if spec.HostPID || spec.HostIPC {
			t.Error("a pod sees the node's processes")
		}
		for _, c := range append(spec.InitContainers, spec.Containers...) {
			out[c.Name] = c
		}
	}
	return out
}

func TestNoContainerIsPrivileged(t *testing.T) {
	want := map[string][]corev1.Capability{"prepare": {"SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"}, "agent": {"NET_ADMIN", "SYS_ADMIN"}, "operator": nil, "relay": nil}
	for name, set := range sets {
		_, all, _ := rendered1(t, set...)
		for at, c := range containers(t, all) {
			s := c.SecurityContext
			if s.Privileged != nil && *s.Privileged || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s: container %s: %+v", name, at, s)
			}
			if !slices.Equal(s.Capabilities.Add, want[at]) {
				t.Errorf("%s: container %s may %v, want %v", name, at, s.Capabilities.Add, want[at])
			}
			for _, v := range c.VolumeMounts {
				if v.MountPropagation != nil && *v.MountPropagation == corev1.MountPropagationBidirectional {
					t.Errorf("%s: %s is mounted in both directions, which takes a privileged container", name, v.Name)
				}
			}
		}
	}
}

func TestNobodyMayReadSecretsOrDoEverything(t *testing.T) {
	_, all, _ := rendered1(t)
	for _, o := range all {
		var rules []rbacv1.PolicyRule
		switch r := o.(type) {
		case *rbacv1.ClusterRole:
			rules = r.Rules
		case *rbacv1.Role:
			rules = r.Rules
		}
		for _, r := range rules {
			for _, word := range slices.Concat(r.APIGroups, r.Resources, r.Verbs) {
				if word == "*" || word == "secrets" || word == "escalate" || word == "impersonate" {
					t.Errorf("%s: %v", o.GetObjectKind(), r)
				}
			}
		}
	}
	agent := find[*rbacv1.ClusterRole](t, all, "weir")
	for _, r := range agent.Rules {
		for _, v := range r.Verbs {
			if !slices.Contains([]string{"get", "list", "watch"}, v) && !slices.Equal(r.Resources, []string{"ciliumendpoints"}) {
				t.Errorf("the agent may %s %v", v, r.Resources)
			}
		}
	}
}

// The operator may write leases beside its own only where it has to.
func TestLeasesMayBeWrittenWithL2AnnouncementsOnly(t *testing.T) {
	for _, set := range []string{"l2announcements.enabled=true", "extraConfig.l2announcements.enabled=true", "l2announcements.enabled=false"} {
		_, all, _ := rendered1(t, set)
		got := map[string][]string{}
		for _, o := range all {
			if r, ok := o.(*rbacv1.Role); ok && strings.HasPrefix(r.Name, "weir-operator") {
				for _, rule := range r.Rules {
					got[r.Namespace+"/"+r.Name] = append(got[r.Namespace+"/"+r.Name], fmt.Sprint(rule.Resources, rule.ResourceNames, rule.Verbs))
				}
			}
		}
		want := map[string][]string{"kube-system/weir-operator": {"[leases] [] [create]", "[leases] [weir-operator] [get update patch]"}}
		kinds := 0
		if strings.HasSuffix(set, "=true") {
			want["kube-system/weir-operator-l2announcements"] = []string{"[leases] [] [list watch create update delete]"}
			kinds = 2
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: roles (-want +got):\n%s", set, diff)
		}
		for _, r := range find[*rbacv1.ClusterRole](t, all, "weir-operator").Rules {
			if slices.Contains(r.Resources, "endpointslices") || slices.Contains(r.Resources, "ciliuml2announcementpolicies") {
				kinds--
			}
		}
		if kinds != 0 {
			t.Errorf("%s: the operator's rules differ by %d kinds", set, kinds)
		}
	}
}

func TestRowG15SelectorsThatPeopleKnowFindPods(t *testing.T) {
	_, all, _ := rendered1(t)
	agent, operator := find[*appsv1.DaemonSet](t, all, "weir"), find[*appsv1.Deployment](t, all, "weir-operator")
	for key, value := range map[string]string{"k8s-app": "cilium", "app.kubernetes.io/name": "weir-agent"} {
		if agent.Spec.Template.Labels[key] != value {
			t.Errorf("the agent's pods have not %s=%s", key, value)
		}
	}
	if operator.Spec.Template.Labels["io.cilium/app"] != "operator" || *operator.Spec.Replicas != 2 {
		t.Errorf("operator: labels %v, %d replicas", operator.Spec.Template.Labels, *operator.Spec.Replicas)
	}
	if !slices.Equal(agent.Spec.Template.Spec.Tolerations, []corev1.Toleration{{Operator: corev1.TolerationOpExists}}) || agent.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.String() != "2" {
		t.Errorf("the agent is not everywhere, or not updated by and by: %v", agent.Spec)
	}
}

func TestThePlainManifestIsOneThatAnAPIServerTakes(t *testing.T) {
	text, err := os.ReadFile("../../deploy/weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, o := range objects(t, string(text)) {
		kinds[o.GetObjectKind().GroupVersionKind().Kind]++
	}
	want := map[string]int{"ConfigMap": 1, "DaemonSet": 1, "Deployment": 1, "ServiceAccount": 2, "ClusterRole": 2, "ClusterRoleBinding": 2,
		"Role": 2, "RoleBinding": 2, "CustomResourceDefinition": 7}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
}

func TestTheImageIsTheOneThatTheMakefileBuilds(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^VERSION *\?= *(\S+)$`).FindSubmatch(makefile)
	_, all, _ := rendered1(t)
	if got, want := containers(t, all)["agent"].Image, fmt.Sprintf("weir/weir:%s", version[1]); got != want {
		t.Errorf("image %s, want %s", got, want)
	}
}
