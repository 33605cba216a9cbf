package ipcache

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"weir/state"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addrs(all ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range all {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// two is a cluster of this node and another, with a pod on each.
func two() Rows {
	db := state.Pod{Name: state.PodName{Namespace: "default", Name: "db"}, Node: "n2", IPs: addrs("10.0.1.9", "fd00::109")}
	return Rows{
		Nodes: []state.Node{
			{Name: "n1", Local: true, Addresses: addrs("172.18.0.2", "fc00::2"), Routers: addrs("10.0.0.1", "fd00::1"), Health: addrs("10.0.0.2"), PodCIDRs: []netip.Prefix{prefix("10.0.0.0/24"), prefix("fd00::/120")}},
			{Name: "n2", Addresses: addrs("172.18.0.3", "fc00::3"), Routers: addrs("10.0.1.1", "fd00::101"), Health: addrs("10.0.1.2", "fd00::102"), PodCIDRs: []netip.Prefix{prefix("10.0.1.0/24"), prefix("fd00::100/120")}},
		},
		Pods:       []state.Pod{db},
		Identities: map[state.PodName]state.IdentityID{db.Name: 300},
		Endpoints:  []state.Endpoint{{ID: 7, Pod: state.PodName{Namespace: "default", Name: "web"}, IPv4: addrs("10.0.0.9")[0], IPv6: addrs("fd00::9")[0], Identity: 299}},
		Host:       addrs("192.0.2.1"),
	}
}

// derive gives rows to a fresh Control and returns the table it makes.
func derive(t *testing.T, r Rows) map[netip.Prefix]state.IP {
	t.Helper()
	tables := state.New()
	tables.Nodes.Put(r.Nodes...)
	tables.Pods.Put(r.Pods...)
	tables.Endpoints.Put(r.Endpoints...)
	for name, id := range r.Identities {
		tables.PodIdentities.Put(state.PodIdentity{Pod: name, ID: id})
	}
	for i, a := range r.Host {
		tables.Devices.Put(state.Device{Name: fmt.Sprint("h", i), Addrs: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}})
	}
	for i, p := range r.Underlay {
		tables.Devices.Put(state.Device{Name: fmt.Sprint("u", i), Addrs: []netip.Prefix{p}})
	}
	if err := newKernel().control(t, r, tables).Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	out := map[netip.Prefix]state.IP{}
	for p, row := range tables.IPs.All() {
		out[p] = row
	}
	return out
}

func TestEveryAddressHasItsOwnerAndItsWay(t *testing.T) {
	for underlay6, via := range map[bool]string{false: "172.18.0.3", true: "fc00::3"} {
		rows := two()
		rows.Underlay6 = underlay6
		got := derive(t, rows)
		far, none := netip.MustParseAddr(via), netip.Addr{}
		for p, want := range map[string]struct {
			identity state.IdentityID
			endpoint state.EndpointID
			via      netip.Addr
			host     bool
		}{
			"0.0.0.0/0":     {state.IdentityWorld, 0, none, false},
			"::/0":          {state.IdentityWorld, 0, none, false},
			"172.18.0.2/32": {state.IdentityHost, 0, none, true},
			"192.0.2.1/32":  {state.IdentityHost, 0, none, true},
			"10.0.0.1/32":   {state.IdentityHost, 0, none, true},
			"10.0.0.0/24":   {state.IdentityUnknown, 0, none, false},
			"10.0.0.9/32":   {299, 7, none, false},
			"fd00::9/128":   {299, 7, none, false},
			"172.18.0.3/32": {state.IdentityRemoteNode, 0, none, false},
			"10.0.1.1/32":   {state.IdentityRemoteNode, 0, far, false},
			"fd00::102/128": {state.IdentityHealth, 0, far, false},
			"fd00::100/120": {state.IdentityUnknown, 0, far, false},
			"10.0.1.9/32":   {300, 0, far, false},
			"fd00::109/128": {300, 0, far, false},
			"fd00::101/128": {state.IdentityRemoteNode, 0, far, false},
			"fc00::3/128":   {state.IdentityRemoteNode, 0, none, false},
		} {
			row, ok := got[prefix(p)]
			if node := p == "172.18.0.3/32" || p == "fc00::3/128"; row.Via.IsValid() != node || node && row.Via != far {
				t.Errorf("underlay6 %v: %s: by %s, want %s of another node's own addresses alone", underlay6, p, row.Via, far)
			}
			if !ok || row.Identity != want.identity || row.Endpoint != want.endpoint || row.TunnelEndpoint != want.via || row.Host != want.host {
				t.Errorf("underlay6 %v: %s: got %+v (%v), want %+v", underlay6, p, row, ok, want)
			}
		}
		if _, ok := got[prefix("10.0.0.2/32")]; ok {
			t.Error("this node's health endpoint has a row before it is an endpoint")
		}
	}
}

func TestTheWorldHasAnIdentityForEachFamilyWhereBothAreOn(t *testing.T) {
	for dual, want := range map[bool][2]state.IdentityID{false: {state.IdentityWorld, state.IdentityWorld}, true: {state.IdentityWorldIPv4, state.IdentityWorldIPv6}} {
		got := derive(t, Rows{Dual: dual})
		if four, six := got[prefix("0.0.0.0/0")].Identity, got[prefix("::/0")].Identity; four != want[0] || six != want[1] {
			t.Errorf("dual %v: got %d and %d, want %v", dual, four, six, want)
		}
	}
}

func TestStrongerSourceWinsAPrefix(t *testing.T) {
	rows := two()
	rows.Pods = append(rows.Pods, state.Pod{Name: state.PodName{Namespace: "default", Name: "aaa"}, Node: "n2", IPs: addrs("10.0.0.9", "10.0.1.1", "10.0.1.9")})
	got := derive(t, rows)
	for p, want := range map[string]state.IPSource{"10.0.0.9/32": state.IPEndpoint, "10.0.1.1/32": state.IPNode, "10.0.1.9/32": state.IPPod} {
		if got[prefix(p)].Source != want {
			t.Errorf("%s: got %+v, want source %s", p, got[prefix(p)], want)
		}
	}
	if of := got[prefix("10.0.1.9/32")].Of; of != "default/aaa" {
		t.Errorf("10.0.1.9 belongs to %s, want the first by name, default/aaa", of)
	}
}

// An API server keeps the object of a pod until its node has said that it ended,
// or for ever when the node is lost; its address may be given away before.
func TestAPodThatIsBeingDeletedGivesWayToItsSuccessor(t *testing.T) {
	pod := func(name string, born int64, deleting bool) state.Pod {
		return state.Pod{Name: state.PodName{Namespace: "default", Name: name}, Node: "n2", IPs: addrs("10.0.1.30"),
			Created: time.Unix(born, 0), Deleting: deleting, UID: name}
	}
	for name, tt := range map[string]struct {
		pods []state.Pod
		want string
	}{
		"one that lingers":              {[]state.Pod{pod("a", 1, true), pod("b", 2, false)}, "b"},
		"one that lingers and is young": {[]state.Pod{pod("a", 3, true), pod("b", 2, false)}, "b"},
		"an older one":                  {[]state.Pod{pod("a", 1, false), pod("b", 2, false)}, "b"},
		"two that linger":               {[]state.Pod{pod("a", 1, true), pod("b", 2, true)}, "b"},
		"of the same age":               {[]state.Pod{pod("b", 2, false), pod("a", 2, false)}, "a"},
		"alone while it ends":           {[]state.Pod{pod("a", 1, true)}, "a"},
	} {
		rows := two()
		rows.Pods = tt.pods
		rows.Identities = map[state.PodName]state.IdentityID{}
		for i, p := range tt.pods {
			rows.Identities[p.Name] = state.IdentityID(400 + i)
		}
		got := derive(t, rows)[prefix("10.0.1.30/32")]
		if got.Of != "default/"+tt.want || got.UID != tt.want || got.Identity != rows.Identities[state.PodName{Namespace: "default", Name: tt.want}] {
			t.Errorf("%s: got %+v, want %s", name, got, tt.want)
		}
	}
}

func TestPodsThatHaveNoAddressOfTheirOwnHaveNoRow(t *testing.T) {
	rows := two()
	name := func(s string) state.PodName { return state.PodName{Namespace: "default", Name: s} }
	rows.Pods = []state.Pod{
		{Name: name("host"), Node: "n2", HostNetwork: true, IPs: addrs("10.0.1.20")},
		{Name: name("pending"), IPs: addrs("10.0.1.21")},
		{Name: name("lost"), Node: "n9", IPs: addrs("10.0.1.22")},
		{Name: name("local"), Node: "n1", IPs: addrs("10.0.0.23")},
	}
	got := derive(t, rows)
	for _, p := range []string{"10.0.1.20/32", "10.0.1.21/32", "10.0.1.22/32", "10.0.0.23/32"} {
		if row, ok := got[prefix(p)]; ok {
			t.Errorf("%s: got %+v, want no row", p, row)
		}
	}
}

// A node that has got another name: its pods' objects name the old one to their end.
func TestPodsOfANodeThatIsNotKnownAreWhereTheirKubeletSays(t *testing.T) {
	rows := two()
	name := func(s string) state.PodName { return state.PodName{Namespace: "default", Name: s} }
	at := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	rows.Pods = []state.Pod{
		{Name: name("moved"), Node: "n9", IPs: addrs("10.0.9.20", "fd00::920"), HostIP: at("172.18.0.9")},
		{Name: name("here"), Node: "n9", IPs: addrs("10.0.9.21"), HostIP: at("172.18.0.2")},
		{Name: name("pending"), IPs: addrs("10.0.9.22"), HostIP: at("172.18.0.9")},
		{Name: name("other-family"), Node: "n9", IPs: addrs("10.0.9.23"), HostIP: at("fc00::9")},
		{Name: name("known"), Node: "n2", IPs: addrs("10.0.1.24"), HostIP: at("172.18.0.9")},
	}
	got := derive(t, rows)
	for p, want := range map[string]string{"10.0.9.20/32": "172.18.0.9", "fd00::920/128": "172.18.0.9", "10.0.1.24/32": "172.18.0.3",
		"10.0.9.21/32": "", "10.0.9.22/32": "", "10.0.9.23/32": ""} {
		row, ok := got[prefix(p)]
		if ok != (want != "") || ok && row.TunnelEndpoint.String() != want {
			t.Errorf("%s: got %+v, want it at %q", p, row, want)
		}
	}
}

func TestPodCIDROnTheUnderlayHasNoRow(t *testing.T) {
	rows := two()
	rows.Underlay = []netip.Prefix{prefix("10.0.1.128/25")}
	got := derive(t, rows)
	if row, ok := got[prefix("10.0.1.0/24")]; ok {
		t.Errorf("10.0.1.0/24 covers the underlay 10.0.1.128/25: got %+v", row)
	}
	if _, ok := got[prefix("fd00::100/120")]; !ok {
		t.Error("the CIDR that does not collide has no row")
	}
}

func TestOrderOfRowsDoesNotMatter(t *testing.T) {
	rows := two()
	rows.Nodes = append(rows.Nodes, state.Node{Name: "n3", Addresses: addrs("172.18.0.4"), PodCIDRs: []netip.Prefix{prefix("10.0.1.0/24")}})
	rows.Pods = append(rows.Pods, state.Pod{Name: state.PodName{Namespace: "default", Name: "aaa"}, Node: "n3", IPs: addrs("10.0.1.9")})
	want := derive(t, rows)
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		r.Shuffle(len(rows.Nodes), func(i, j int) { rows.Nodes[i], rows.Nodes[j] = rows.Nodes[j], rows.Nodes[i] })
		r.Shuffle(len(rows.Pods), func(i, j int) { rows.Pods[i], rows.Pods[j] = rows.Pods[j], rows.Pods[i] })
		got := derive(t, rows)
		if len(got) != len(want) {
			t.Fatalf("got %d rows, want %d", len(got), len(want))
		}
		for p, row := range want {
			if got[p] != row {
				t.Errorf("%s: got %+v, want %+v", p, got[p], row)
			}
		}
	}
}

func TestEntryIsTheMapsForm(t *testing.T) {
	for _, c := range []struct {
		row  state.IP
		want string
	}{
		{state.IP{Prefix: prefix("10.0.1.0/24"), TunnelEndpoint: netip.MustParseAddr("fc00::3"), Source: state.IPPodCIDR}, "10.0.1.0/24 identity=0 encryptkey=0 tunnelendpoint=fc00::3 flags=<none>"},
		{state.IP{Prefix: prefix("fd00::/120"), Source: state.IPPodCIDR}, "fd00::/120 identity=0 encryptkey=0 tunnelendpoint=0.0.0.0 flags=localcidr"},
		{state.IP{Prefix: prefix("10.0.0.1/32"), Identity: 1, Host: true, Source: state.IPHost}, "10.0.0.1/32 identity=1 encryptkey=0 tunnelendpoint=0.0.0.0 flags=host"},
		{state.IP{Prefix: prefix("fd00::9/128"), Identity: 300, Endpoint: 7, Source: state.IPEndpoint}, "fd00::9/128 identity=300 encryptkey=0 tunnelendpoint=0.0.0.0 endpoint=7 flags=<none>"},
	} {
		k, v := entry(c.row, 0)
		if got := k.String() + " " + v.String(); got != c.want {
			t.Errorf("%+v: got %s, want %s", c.row, got, c.want)
		}
	}
}
