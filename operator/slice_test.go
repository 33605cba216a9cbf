package operator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// backend is a pod x/NAME of a node, labelled app: web, with these addresses.
func backend(t *testing.T, name, node, ips, rest string) *corev1.Pod {
	t.Helper()
	var p corev1.Pod
	if err := yaml.UnmarshalStrict([]byte("{metadata: {name: "+name+", namespace: x, labels: {app: web}}, spec: {nodeName: "+node+", containers: [{name: a, "+rest+"}]}}"), &p); err != nil {
		t.Fatal(err)
	}
	for _, ip := range strings.Fields(ips) {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return &p
}

func zoned(zones ...string) (nodes []*corev1.Node) {
	for i, z := range zones {
		nodes = append(nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i+1), Labels: map[string]string{corev1.LabelTopologyZone: z}}})
	}
	return nodes
}

// render prints slices without their names, in a stable order.
func render(list []*discoveryv1.EndpointSlice) string {
	var out []string
	for _, s := range list {
		text := string(s.AddressType)
		for _, p := range s.Ports {
			text += fmt.Sprintf(" %s:%d/%s", *p.Name, *p.Port, *p.Protocol)
		}
		for _, e := range s.Endpoints {
			text += "\n  " + strings.Join(e.Addresses, " ")
			if *e.Conditions.Ready {
				text += " ready"
			}
			if *e.Conditions.Serving {
				text += " serving"
			}
			if *e.Conditions.Terminating {
				text += " terminating"
			}
			if e.NodeName != nil {
				text += " on " + *e.NodeName
			}
			if e.Zone != nil {
				text += " in " + *e.Zone
			}
			if e.Hints != nil {
				text += fmt.Sprintf(" for %v %v", e.Hints.ForZones, e.Hints.ForNodes)
			}
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func TestSlicesOfAService(t *testing.T) {
	going, unready, ended, other := backend(t, "going", "n1", "10.0.0.3", ""), backend(t, "unready", "n3", "10.0.0.4", ""), backend(t, "ended", "n1", "10.0.0.5", ""), backend(t, "other", "n1", "10.0.0.6", "")
	going.DeletionTimestamp = new(metav1.Now())
	unready.Status.Conditions[0].Status = corev1.ConditionFalse
	ended.Status.Phase = corev1.PodSucceeded
	other.Namespace = "y"
	unlabelled := backend(t, "unlabelled", "n1", "10.0.0.7", "")
	unlabelled.Labels = nil
	pods := []*corev1.Pod{
		unready, going, ended, other, unlabelled, backend(t, "pending", "n1", "", ""),
		backend(t, "a", "n2", "10.0.1.9 fd00::109", `ports: [{name: web, containerPort: 8080}, {name: web, containerPort: 53, protocol: UDP}]`),
		backend(t, "b", "n1", "10.0.0.8 fd00::8", `ports: [{name: web, containerPort: 9090}]`),
	}
	for _, tt := range []struct{ spec, want string }{
		{`ipFamilies: [IPv4]`, ""},
		{`type: ExternalName, selector: {app: web}, ipFamilies: [IPv4]`, ""},
		{`selector: {app: web, tier: x}, ipFamilies: [IPv4]`, ""},
		{`selector: {app: web}, ipFamilies: [IPv6, IPv4], ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP, targetPort: 5353}]`,
			"IPv4 http:80/TCP dns:5353/UDP\n" +
				"  10.0.0.3 serving terminating on n1 in z1\n" +
				"  10.0.0.4 on n3\n" +
				"  10.0.0.8 ready serving on n1 in z1\n" +
				"  10.0.1.9 ready serving on n2 in z2\n" +
				"IPv6 http:80/TCP dns:5353/UDP\n" +
				"  fd00::8 ready serving on n1 in z1\n" +
				"  fd00::109 ready serving on n2 in z2"},
		{`selector: {app: web}, ipFamilies: [IPv4], publishNotReadyAddresses: true, clusterIP: None`,
			"IPv4\n" +
				"  10.0.0.3 ready serving terminating on n1 in z1\n" +
				"  10.0.0.4 ready on n3\n" +
				"  10.0.0.8 ready serving on n1 in z1\n" +
				"  10.0.1.9 ready serving on n2 in z2"},
		// By name each pod has its own port, or none.
		{`selector: {app: web}, ipFamilies: [IPv6], ports: [{port: 80, targetPort: web}]`,
			"IPv6 :8080/TCP\n  fd00::109 ready serving on n2 in z2\nIPv6 :9090/TCP\n  fd00::8 ready serving on n1 in z1"},
		{`selector: {app: web}, ipFamilies: [IPv6], ports: [{name: u, port: 53, protocol: UDP, targetPort: web}, {name: t, port: 80}]`,
			"IPv6 t:80/TCP\n  fd00::8 ready serving on n1 in z1\nIPv6 u:53/UDP t:80/TCP\n  fd00::109 ready serving on n2 in z2"},
		{`selector: {app: web}, ipFamilies: [IPv6], trafficDistribution: PreferClose`,
			"IPv6\n  fd00::8 ready serving on n1 in z1 for [{z1}] []\n  fd00::109 ready serving on n2 in z2 for [{z2}] []"},
		{`selector: {app: web}, ipFamilies: [IPv6], trafficDistribution: PreferSameNode`,
			"IPv6\n  fd00::8 ready serving on n1 in z1 for [{z1}] [{n1}]\n  fd00::109 ready serving on n2 in z2 for [{z2}] [{n2}]"},
	} {
		if got := render(EndpointSlices(svc(t, "web", tt.spec), pods, zoned("z1", "z2", ""))); got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.spec, got, tt.want)
		}
	}
}

func TestHintsOfTheAnnotationNeedAllZones(t *testing.T) {
	o := svc(t, "web", `selector: {app: web}, ipFamilies: [IPv4]`)
	o.Annotations = map[string]string{corev1.AnnotationTopologyMode: "Auto"}
	pods := []*corev1.Pod{backend(t, "a", "n1", "10.0.0.3", ""), backend(t, "b", "n2", "10.0.1.3", "")}
	hinted := func(zones ...string) bool {
		return EndpointSlices(o, pods, zoned(zones...))[0].Endpoints[0].Hints != nil
	}
	if !hinted("z1", "z2") || !hinted("z1", "z2", "z2") || hinted("z1", "z2", "z3") || hinted("z1", "z1") || hinted("z1", "z2", "") {
		t.Error("hints are for where each zone has an endpoint, and there are several")
	}
	pods[1].Status.Conditions = nil
	if hinted("z1", "z2") {
		t.Error("an endpoint that is not ready serves no zone")
	}
}

func TestSidecarsHaveNamedPortsToo(t *testing.T) {
	p := backend(t, "a", "n1", "10.0.0.3", "")
	port := []corev1.ContainerPort{{Name: "metrics", ContainerPort: 9090}}
	p.Spec.InitContainers = []corev1.Container{{Name: "once", Ports: port}}
	o := svc(t, "web", `selector: {app: web}, ipFamilies: [IPv4], ports: [{port: 80, targetPort: metrics}]`)
	if got := render(EndpointSlices(o, []*corev1.Pod{p}, nil)); got != "IPv4\n  10.0.0.3 ready serving on n1" {
		t.Errorf("of a container that has ended: %s", got)
	}
	p.Spec.InitContainers[0].RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	if got := render(EndpointSlices(o, []*corev1.Pod{p}, nil)); got != "IPv4 :9090/TCP\n  10.0.0.3 ready serving on n1" {
		t.Errorf("of a sidecar: %s", got)
	}
}

func TestSlicesKeepTheirNamesWhilePodsChange(t *testing.T) {
	o := svc(t, "web", `selector: {app: web}, ipFamilies: [IPv4, IPv6], ports: [{port: 80}], clusterIP: None`)
	o.Labels = map[string]string{"team": "a"}
	names := func(pods ...*corev1.Pod) (out []string) {
		for _, s := range EndpointSlices(o, pods, nil) {
			out = append(out, s.Name)
			l := s.Labels
			if l["team"] != "a" || l[discoveryv1.LabelServiceName] != "web" || l[discoveryv1.LabelManagedBy] != SliceManager || s.OwnerReferences[0].Name != "web" || s.Namespace != "x" {
				t.Errorf("slice %+v", s)
			}
			if _, ok := l[corev1.IsHeadlessService]; !ok {
				t.Errorf("labels of a headless service's: %v", l)
			}
		}
		return out
	}
	a, b := backend(t, "a", "n1", "10.0.0.3 fd00::3", ""), backend(t, "b", "n1", "10.0.0.4 fd00::4", "")
	first := names(a)
	if len(first) != 2 || !slices.Equal(first, names(b, a)) || !strings.HasPrefix(first[0], "web-4-") || !strings.HasPrefix(first[1], "web-6-") {
		t.Errorf("names %q, then %q", first, names(b, a))
	}
	o.Spec.Ports[0].Port = 81
	if other := names(a); slices.Equal(first, other) {
		t.Errorf("slices of other ports have the names %q, too", other)
	}
	if len(o.Labels) != 1 {
		t.Errorf("labels of the service became %v", o.Labels)
	}
}
