package convert

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"weir/state"
)

func podOf(t *testing.T, spec string) (state.Pod, error) {
	t.Helper()
	var o corev1.Pod
	if err := yaml.UnmarshalStrict([]byte("{metadata: {name: web}, spec: "+spec+"}"), &o); err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return Pod(&o)
}

func TestHostPortsOfContainersThatRunBesideEachOther(t *testing.T) {
	web := state.HostPort{Proto: state.ProtoTCP, Port: 8080, Target: 80}
	at := func(h state.HostPort, ip string) state.HostPort { h.IP = netip.MustParseAddr(ip); return h }
	for spec, want := range map[string][]state.HostPort{
		`{containers: [{name: c, ports: [{containerPort: 80}]}]}`:                                                                          nil,
		`{containers: [{name: c, ports: [{containerPort: 80, hostPort: 8080}]}]}`:                                                          {web},
		`{containers: [{name: c, ports: [{containerPort: 80, hostPort: 8080}]}, {name: d, ports: [{containerPort: 80, hostPort: 8080}]}]}`: {web},
		`{containers: [{name: c, ports: [{containerPort: 80, hostPort: 8080, hostIP: 172.18.0.2}, {containerPort: 80, hostPort: 8080, hostIP: "fd18::2"}]}]}`: {
			at(web, "172.18.0.2"), at(web, "fd18::2")},
		`{containers: [{name: c, ports: [{containerPort: 80, hostPort: 8080, hostIP: "::ffff:172.18.0.2"}]}]}`: {at(web, "172.18.0.2")},
		`{containers: [{name: c, ports: [{containerPort: 53, hostPort: 53, protocol: UDP}, {containerPort: 9, hostPort: 9, protocol: SCTP}]}]}`: {
			{Proto: state.ProtoUDP, Port: 53, Target: 53}, {Proto: state.ProtoSCTP, Port: 9, Target: 9}},
		`{initContainers: [{name: i, ports: [{containerPort: 80, hostPort: 8081}]}, {name: s, restartPolicy: Always, ports: [{containerPort: 80, hostPort: 8080}]}]}`: {web},
		`{hostNetwork: true, containers: [{name: c, ports: [{containerPort: 80, hostPort: 80}]}]}`:                                                                    nil,
	} {
		got, err := podOf(t, spec)
		if diff := cmp.Diff(want, got.HostPorts, exact); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", spec, err, diff)
		}
		if other, _ := podOf(t, `{containers: []}`); other.Same(got) != (want == nil && !got.HostNetwork) {
			t.Errorf("%s: the row is the same as one without", spec)
		}
	}
}

func TestBadHostPortsAreRefusedByName(t *testing.T) {
	for ports, says := range map[string]string{
		`{containerPort: 80, hostPort: 70000}`:                   `Pod default/web: spec.containers[0].ports[0].hostPort: 70000 is not a port: use 1 to 65535, or leave it out`,
		`{containerPort: 80, hostPort: -1}`:                      `hostPort: -1 is not a port`,
		`{containerPort: 0, hostPort: 80}`:                       `containerPort: 0 is not a port`,
		`{containerPort: 80, hostPort: 80, protocol: ICMP}`:      `protocol: "ICMP" has no ports`,
		`{containerPort: 80, hostPort: 80, hostIP: n1}`:          `hostIP: "n1" is not an IP address: write one of the node's, or leave it out for all of them`,
		`{containerPort: 80, hostPort: 80, hostIP: "fe80::1%a"}`: `hostIP: "fe80::1%a" is not an IP address`,
	} {
		if _, err := podOf(t, "{containers: [{name: c, ports: ["+ports+"]}]}"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", ports, err, says)
		}
	}
}
