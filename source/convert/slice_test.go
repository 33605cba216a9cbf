package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"weir/state"
)

// slice converts an EndpointSlice named x/a-1 of Service x/a.
func slice(t *testing.T, rest string) (state.Slice, error) {
	t.Helper()
	var o discoveryv1.EndpointSlice
	if err := yaml.UnmarshalStrict([]byte("{metadata: {name: a-1, namespace: x, labels: {kubernetes.io/service-name: a}}, "+rest+"}"), &o); err != nil {
		t.Fatalf("%s: %v", rest, err)
	}
	return EndpointSlice(&o)
}

func TestSlicesSayWhatTheyMeanByLeavingOut(t *testing.T) {
	addr := addrs("10.0.1.7")[0]
	for _, tt := range []struct {
		endpoint string
		want     state.SliceEndpoint
	}{
		{`{}`, state.SliceEndpoint{Ready: true, Serving: true}},
		{`{conditions: {ready: true}}`, state.SliceEndpoint{Ready: true, Serving: true}},
		{`{conditions: {ready: false}}`, state.SliceEndpoint{}},
		{`{conditions: {ready: false, serving: true, terminating: true}}`, state.SliceEndpoint{Serving: true, Terminating: true}},
		{`{conditions: {serving: false}}`, state.SliceEndpoint{Ready: true}},
		{`{conditions: {terminating: false}, nodeName: n1, zone: z1}`, state.SliceEndpoint{Ready: true, Serving: true, Node: "n1", Zone: "z1"}},
		{`{hints: {}}`, state.SliceEndpoint{Ready: true, Serving: true}},
		{`{hints: {forZones: [{name: z1}, {name: z2}], forNodes: [{name: n1}]}}`,
			state.SliceEndpoint{Ready: true, Serving: true, HintZones: []string{"z1", "z2"}, HintNodes: []string{"n1"}}},
	} {
		got, err := slice(t, "addressType: IPv4, endpoints: ["+strings.Replace(tt.endpoint, "{", "{addresses: [10.0.1.7], ", 1)+"]")
		tt.want.Addr = addr
		want := state.Slice{
			Name: state.SliceName{Namespace: "x", Name: "a-1"}, Service: state.ServiceName{Namespace: "x", Name: "a"},
			Addrs: addrs("10.0.1.7"), Endpoints: []state.SliceEndpoint{tt.want},
		}
		if diff := cmp.Diff(want, got, exact); diff != "" || err != nil {
			t.Errorf("%s\n%v (-want +got):\n%s", tt.endpoint, err, diff)
		}
	}
}

func TestPortsOfSlices(t *testing.T) {
	for ports, want := range map[string][]state.SlicePort{
		``: nil,
		`{port: 80}, {name: dns, port: 53, protocol: UDP}, {name: s, port: 9, protocol: SCTP, appProtocol: x}`: {
			{Proto: 6, Port: 80}, {Name: "dns", Proto: 17, Port: 53}, {Name: "s", Proto: 132, Port: 9}},
		`{name: any}`: {{Name: "any", Proto: 6}},
		`{}`:          {{Proto: 6}},
	} {
		got, err := slice(t, "addressType: IPv6, ports: ["+ports+"]")
		if diff := cmp.Diff(want, got.Ports); diff != "" || err != nil {
			t.Errorf("%s\n%v (-want +got):\n%s", ports, err, diff)
		}
	}
}

func TestAddrsOfASliceAreAllItsAddressesSorted(t *testing.T) {
	got, err := slice(t, `addressType: IPv6, endpoints: [{addresses: ["fd00::9", "fd00::3"]}, {addresses: ["fd00::1"], conditions: {ready: false}}, {addresses: ["fd00::9"]}]`)
	if diff := cmp.Diff(addrs("fd00::1", "fd00::3", "fd00::9"), got.Addrs, exact); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if len(got.Endpoints) != 3 || got.Endpoints[0].Addr != got.Addrs[2] {
		t.Errorf("endpoints %+v: want each once, with its first address", got.Endpoints)
	}
}

func TestSlicesWithAWrongFieldAreRefusedWhole(t *testing.T) {
	ends := func(kind, ends string) string { return `addressType: ` + kind + `, endpoints: [` + ends + `]` }
	ports := func(ports string) string { return `addressType: IPv4, ports: [` + ports + `]` }
	for _, tt := range []struct{ rest, says string }{
		{`addressType: ipv4`, `EndpointSlice x/a-1: addressType: "ipv4" is no type: use IPv4, IPv6, FQDN`},
		{ends("IPv4", `{}`), `endpoints[0].addresses: is empty: write the endpoint's address`},
		{ends("IPv4", `{addresses: [10.0.0.1]}, {addresses: [10.0.0.2, "fd00::1"]}`), `endpoints[1].addresses[1]: "fd00::1" is no IPv4 address, as addressType says`},
		{ends("IPv6", `{addresses: [10.0.0.1]}`), `endpoints[0].addresses[0]: "10.0.0.1" is no IPv6 address`},
		{ends("IPv4", `{addresses: [127.0.0.1]}`), `endpoints[0].addresses[0]: "127.0.0.1" is a loopback address`},
		{ends("IPv4", `{addresses: [169.254.169.254]}`), `"169.254.169.254" is a link-local address`},
		{ends("IPv4", `{addresses: [0.0.0.0]}`), `"0.0.0.0" is the unspecified address`},
		{ends("IPv4", `{addresses: [239.1.1.1]}`), `"239.1.1.1" is a multicast address`},
		{ends("IPv6", `{addresses: ["::1"]}`), `"::1" is a loopback address`},
		{ends("IPv6", `{addresses: ["fe80::1"]}`), `"fe80::1" is a link-local address`},
		{ends("IPv6", `{addresses: ["::"]}`), `"::" is the unspecified address`},
		{ends("IPv6", `{addresses: ["ff0e::1"]}`), `"ff0e::1" is a multicast address`},
		{ends("IPv4", `{addresses: [10.0.0.1], hints: {forZones: [{name: a}, {}]}}`), `endpoints[0].hints.forZones[1].name: is empty: write a zone's name`},
		{ends("IPv4", `{addresses: [10.0.0.1], hints: {forNodes: [{}]}}`), `endpoints[0].hints.forNodes[0].name: is empty: write a node's name`},
		{ports(`{port: 0}`), `ports[0].port: 0 is not a port: use 1 to 65535`},
		{ports(`{port: 65536}`), `ports[0].port: 65536 is not a port`},
		{ports(`{port: 80, protocol: Udp}`), `ports[0].protocol: "Udp" is no protocol: use TCP, UDP, SCTP (did you mean "UDP"?)`},
		{ports(`{port: 80}, {port: 81}`), `ports[1].name: "" is that of ports[0]: write another`},
		{ports(`{name: a, port: 80}, {name: a, port: 80, protocol: UDP}`), `ports[1].name: "a" is that of ports[0]`},
		{ports(`{name: A, port: 80}`), `ports[0].name: "A" is not a port's name`},
	} {
		got, err := slice(t, tt.rest)
		if !strings.Contains(fmt.Sprint(err), tt.says) || !got.Same(state.Slice{}) {
			t.Errorf("%s\n got %v and %+v\nwant %s", tt.rest, err, got, tt.says)
		}
	}
}
