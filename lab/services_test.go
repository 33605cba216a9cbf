package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"weir/source/files"
	"weir/state"
)

const webService = `
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {topology.kubernetes.io/zone: z2}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: a, image: x, ports: [{name: http, containerPort: 8080}], command: [sleep, "300"]}
---
apiVersion: v1
kind: Pod
metadata: {name: host, labels: {app: web}}
spec: {nodeName: n1, hostNetwork: true, containers: [{name: a, ports: [{name: http, containerPort: 9090}], command: [sleep, "300"]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {team: a}}
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: http}
---
apiVersion: v1
kind: Service
metadata: {name: written}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: none, namespace: shop}
spec: {clusterIP: None, selector: {app: web}}
`

// slicesOf returns what agents read of the slices of a service.
func slicesOf(t *testing.T, lab, service string) (out []state.Slice) {
	t.Helper()
	r, err := readRecord(lab)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := r.readObjects()
	if err != nil || tables.Problems.Len() > 0 {
		t.Errorf("objects: %v, problems %+v", err, tables.Problems.Rows(nil))
	}
	for _, s := range tables.Slices.All() {
		if s.Service.String() == service {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b state.Slice) int { return strings.Compare(a.Name.Name, b.Name.Name) })
	return out
}

func TestServicesGetAddressesPortsAndSlices(t *testing.T) {
	l := fake(t, Spec{Name: "src-svc", Nodes: Nodes(2)})
	apply := func(text string) Report { return l.ApplyYAML(t.Context(), "m.yaml", []byte(text)) }
	if rep := apply(webService); rep.Err() != nil || !slices.Contains(rep.Lines, "Service default/web created") {
		t.Fatalf("%v %q", rep.Err(), rep.Lines)
	}
	dir := bin(t)
	want := "" +
		"NAME              TYPE           CLUSTER-IP                   EXTERNAL-IP                                 PORT(S)\n" +
		"default/web       LoadBalancer   10.96.1.1,fd00:10:96::101    172.18.200.1,fc00:f853:ccd:e793:200::1      80:30086/TCP\n" +
		"default/written   ClusterIP      10.96.1.2                    <none>                                      80/TCP\n" +
		"shop/none         ClusterIP      None                         <none>                                      <none>\n"
	got := weirLab(t, dir, "services", "--name", l.Name())
	if strings.Join(strings.Fields(got.Stdout), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("services: %+v\nwant %s", got, want)
	}
	if out := weirLab(t, dir, "services", "--name", l.Name(), "-o", "json"); !strings.Contains(out.Stdout, `"clusterIP": "10.96.1.1"`) {
		t.Errorf("as JSON: %+v", out)
	}
	for range 2 { // the second time nothing is to be done
		if rep := apply(webService); rep.Err() != nil || strings.Count(strings.Join(rep.Lines, ","), "unchanged") != 6 {
			t.Errorf("apply again: %v %q", rep.Err(), rep.Lines)
		}
	}
	p, err := l.Pod("host")
	if err != nil {
		t.Fatal(err)
	}
	// Pods of different ports have slices of their own; the fake plugin gives IPv4 only.
	checkSlices(t, l, 2, func(e state.SliceEndpoint, port uint16) bool {
		host := e.Addr == p.IPs[0] || e.Addr == p.IPs[1]
		return e.Ready && e.Serving && !e.Terminating && host == (port == 9090) && (e.Node == "n2") == (e.Zone == "z2") && e.Node != ""
	}, 4)
	if got := slicesOf(t, l.Name(), "default/written"); len(got) > 0 {
		t.Errorf("slices of a service without a selector: %+v", got)
	}
}

// checkSlices wants so many slices with more ports than one, or one, and so many
// endpoints that are all right.
func checkSlices(t *testing.T, l *Lab, ports int, right func(e state.SliceEndpoint, port uint16) bool, endpoints int) {
	t.Helper()
	seen, n := map[uint16]bool{}, 0
	for _, s := range slicesOf(t, l.Name(), "default/web") {
		for _, e := range s.Endpoints {
			n++
			if len(s.Ports) != 1 || s.Ports[0].Name != "http" || !right(e, s.Ports[0].Port) {
				t.Errorf("slice %s, ports %+v: %+v", s.Name, s.Ports, e)
			}
			seen[s.Ports[0].Port] = true
		}
	}
	if len(seen) != ports || n != endpoints {
		t.Errorf("%d endpoints of the ports %v, want %d of %d", n, seen, endpoints, ports)
	}
}

func TestSlicesFollowPodsAndServices(t *testing.T) {
	l := fake(t, Spec{Name: "src-slices", Nodes: Nodes(2)})
	apply := func(text string) {
		t.Helper()
		if rep := l.ApplyYAML(t.Context(), "m.yaml", []byte(text)); rep.Err() != nil {
			t.Fatal(rep.Err())
		}
	}
	any := func(state.SliceEndpoint, uint16) bool { return true }
	apply(webService)
	checkSlices(t, l, 2, any, 4)
	apply(strings.Replace(webService, "replicas: 2", "replicas: 5", 1))
	checkSlices(t, l, 2, any, 7)
	apply(strings.Replace(webService, "replicas: 2", "replicas: 0", 1))
	checkSlices(t, l, 1, any, 2)
	if err := l.DeletePods(t.Context(), "host"); err != nil {
		t.Fatal(err)
	}
	if got := slicesOf(t, l.Name(), "default/web"); len(got) > 0 {
		t.Errorf("slices without a pod: %+v", got)
	}
	apply(webService)
	checkSlices(t, l, 2, any, 4)
	apply(strings.Replace(webService, "selector: {app: web}\n  ports", "selector: {app: db}\n  ports", 1))
	if got := slicesOf(t, l.Name(), "default/web"); len(got) > 0 {
		t.Errorf("slices of another selector: %+v", got)
	}
	apply(webService)
	// A pod that does not run any more is not ready.
	p, err := l.Pod("host")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Containers[0].Process.kill(); err != nil {
		t.Fatal(err)
	}
	apply("apiVersion: v1\nkind: Service\nmetadata: {name: another}\n")
	checkSlices(t, l, 2, func(e state.SliceEndpoint, port uint16) bool {
		return e.Ready == (port == 8080) && e.Serving == e.Ready
	}, 4)
	file := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(file, []byte(webService), 0o600); err != nil {
		t.Fatal(err)
	}
	if rep := l.Delete(t.Context(), file); rep.Err() != nil {
		t.Error(rep.Err())
	}
	left, _ := filepath.Glob(filepath.Join(labDir(l.Name()), "objects", "labslice_*"))
	if services, err := l.Services(); err != nil || len(services) != 1 || len(left) > 0 {
		t.Errorf("left: %d services, %v, files %q", len(services), err, left)
	}
}

func TestGoingPodsAreTerminatingFirst(t *testing.T) {
	r := &record{Name: "x", Nodes: []Node{{Name: "n1", Addresses: addrs("172.18.0.2")}}, Pods: []Pod{
		{Namespace: "default", Name: "a", Node: "n1", IPs: addrs("10.0.0.3"), Object: &corev1.Pod{}},
		{Namespace: "default", Name: "b", Node: "n1", IPs: addrs("10.0.0.4"), Object: &corev1.Pod{}},
	}}
	pods := r.slicePods([]string{"default/b"})
	if pods[0].DeletionTimestamp != nil || pods[1].DeletionTimestamp == nil || pods[1].Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Errorf("pods %+v", pods)
	}
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestWhatServicesCannotHaveIsRefusedWithItsLine(t *testing.T) {
	l := fake(t, Spec{Name: "src-refuse", Nodes: Nodes(1), IPv6: new(false)})
	text := `apiVersion: v1
kind: Service
metadata: {name: a}
spec: {type: NodePort, clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30100}]}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec:
  clusterIP: 10.96.0.10
---
apiVersion: v1
kind: Service
metadata: {name: c}
spec:
  type: NodePort
  ports:
  - port: 80
    nodePort: 30100
---
apiVersion: v1
kind: Service
metadata: {name: d}
spec: {ipFamilyPolicy: RequireDualStack}
---
apiVersion: v1
kind: Service
metadata: {name: e}
`
	rep := l.ApplyYAML(t.Context(), "m.yaml", []byte(text))
	for _, want := range []string{
		`m.yaml:10: Service default/b: spec.clusterIP: "10.96.0.10" is that of Service default/a: use another, or leave it out`,
		`m.yaml:19: Service default/c: spec.ports[0].nodePort: 30100 is that of Service default/a`,
		`m.yaml:24: Service default/d: spec.ipFamilyPolicy: "RequireDualStack" needs ranges of cluster IPs of both families, and there is 10.96.0.0/16`,
	} {
		if rep.Err() == nil || !strings.Contains(rep.Err().Error(), want) {
			t.Errorf("got %v\nwant %s", rep.Err(), want)
		}
	}
	if diff := cmp.Diff([]string{"Service default/a created", "Service default/e created"}, rep.Lines); diff != "" {
		t.Error(diff)
	}
	if e, err := l.Service("e"); err != nil || e.Spec.ClusterIP != "10.96.1.1" {
		t.Errorf("service e: %+v, %v", e, err)
	}
	if _, err := l.Service("shop/e"); err == nil || !strings.Contains(err.Error(), `no service shop/e; see "weir lab services"`) {
		t.Errorf("a service that is not there: %v", err)
	}
}

func TestWorldReachesLoadBalancersOverTheFirstNode(t *testing.T) {
	l := fake(t, Spec{Name: "src-world", Nodes: Nodes(2)})
	for to, via := range map[string]string{"172.18.200.1": "172.18.0.2", "fc00:f853:ccd:e793:200::1": "fc00:f853:ccd:e793::2"} {
		if got := wantExec(t, l, "world", "ip", "route", "get", to); !strings.Contains(got, "via "+via+" ") {
			t.Errorf("way to %s: %s, want one via %s", to, got, via)
		}
	}
}

func TestServicesArePrintedAsKubectlDoes(t *testing.T) {
	for text, want := range map[string]string{
		`{type: NodePort, clusterIPs: [10.96.1.1], externalIPs: [192.0.2.1], ports: [{port: 53, nodePort: 30053, protocol: UDP}, {port: 54, protocol: SCTP}]}`: `x/a NodePort 10.96.1.1 192.0.2.1 53:30053/UDP,54/SCTP`,
		`{type: LoadBalancer, clusterIPs: [10.96.1.1], ports: [{port: 80}]}`:                                                                                   `x/a LoadBalancer 10.96.1.1 <pending> 80/TCP`,
		`{type: ExternalName, externalName: a.example}`:                                                                                                        `x/a ExternalName <none> a.example <none>`,
	} {
		objects, _ := files.Parse("x.yaml", []byte("{apiVersion: v1, kind: Service, metadata: {name: a, namespace: x}, spec: "+text+"}"))
		var s corev1.Service
		if err := objects[0].Decode(&s); err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := printServices(&b, []*corev1.Service{&s}); err != nil {
			t.Fatal(err)
		}
		_, line, _ := strings.Cut(b.String(), "\n")
		if got := strings.Join(strings.Fields(line), " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestRangesOfServicesMayNotBeInTheWay(t *testing.T) {
	for text, want := range map[string]string{
		"serviceCIDRs: {ipv4: 10.0.0.0/16}":                                "serviceCIDRs.ipv4: 10.0.0.0/16 overlaps 10.0.0.0/24 of the pods of node n1: choose another",
		"serviceCIDRs: {ipv4: 172.18.9.0/24}":                              "serviceCIDRs.ipv4: 172.18.9.0/24 overlaps 172.18.0.0/16 of the underlay",
		`serviceCIDRs: {ipv4: "fd00:9::/112"}`:                             "serviceCIDRs.ipv4: fd00:9::/112 is not a CIDR of this family",
		"serviceCIDRs: {ipv6: 10.1.0.0/16}":                                "serviceCIDRs.ipv6: 10.1.0.0/16 is not a CIDR of this family",
		"serviceCIDRs: {ipv4: 10.96.0.1/16}":                               "serviceCIDRs.ipv4: 10.96.0.1/16 is not a CIDR of this family without host bits",
		"loadBalancerCIDRs: {ipv4: 172.18.0.0/24}":                         "loadBalancerCIDRs.ipv4: 172.18.0.0/24 overlaps 172.18.0.2/32 of node n1",
		"loadBalancerCIDRs: {ipv4: 172.18.0.248/29}":                       "overlaps 172.18.0.254/32 of the world",
		"loadBalancerCIDRs: {ipv4: 10.96.7.0/24}":                          "loadBalancerCIDRs.ipv4: 10.96.7.0/24 overlaps 10.96.0.0/16 of serviceCIDRs.ipv4",
		"serviceCIDR: {ipv4: 10.96.7.0/24}":                                `did you mean "serviceCIDRs"?`,
		"serviceCIDRs: {ipv4: 10.97.0.0/16}\nipv6: false":                  "",
		"serviceCIDRs: {ipv6: 10.97.0.0/16}\nipv6: false":                  "",
		"loadBalancerCIDRs: {ipv4: 192.0.2.0/24, ipv6: \"2001:db9::/64\"}": "",
	} {
		s, err := ParseSpec("lab.yaml", []byte(text))
		if err == nil {
			_, err = s.withDefaults().layout()
		}
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	r := Spec{ServiceCIDRs: CIDRs{IPv6: netip.MustParsePrefix("fd00:7::/112")}}.withDefaults().serviceRanges()
	if got := fmt.Sprint(r.ClusterIPs, r.LoadBalancerIPs); got != "[10.96.0.0/16 fd00:7::/112] [172.18.200.0/24 fc00:f853:ccd:e793:200::/112]" {
		t.Errorf("ranges: %s", got)
	}
}
