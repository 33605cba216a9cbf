package packets

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"

	"weir/bpf"
	"weir/lab"
)

// device is what `ip -j -d addr show` says of one.
type device struct {
	Index    int      `json:"ifindex"`
	Name     string   `json:"ifname"`
	Link     string   `json:"link"`
	PeerAt   int      `json:"link_index"`
	Netnsid  *int     `json:"link_netnsid"`
	Flags    []string `json:"flags"`
	MTU      int      `json:"mtu"`
	Qdisc    string   `json:"qdisc"`
	Address  string   `json:"address"`
	LinkInfo struct {
		Kind string `json:"info_kind"`
		Data struct {
			External bool `json:"external"`
			Port     int  `json:"port"`
		} `json:"info_data"`
	} `json:"linkinfo"`
	Addrs []struct {
		Family string `json:"family"`
		Local  string `json:"local"`
		Bits   int    `json:"prefixlen"`
		Scope  string `json:"scope"`
	} `json:"addr_info"`
}

// devices lists those of a pod or node by name.
func (c *cluster) devices(t *testing.T, ref string) map[string]device {
	t.Helper()
	var all []device
	if err := json.Unmarshal([]byte(c.run(t, ref, "ip", "-j", "-d", "addr", "show")), &all); err != nil {
		t.Fatal(err)
	}
	out := map[string]device{}
	for _, d := range all {
		out[d.Name] = d
	}
	return out
}

// global returns the addresses that are no link-local ones, with their scopes.
func (d device) global() map[string]string {
	out := map[string]string{}
	for _, a := range d.Addrs {
		if !netip.MustParseAddr(a.Local).IsLinkLocalUnicast() {
			out[fmt.Sprintf("%s/%d", a.Local, a.Bits)] = a.Scope
		}
	}
	return out
}

func TestRowD1HostPairHasNoARPAndKeepsItsMACs(t *testing.T) {
	eachMode(t, bpfRouted, func(t *testing.T, c *cluster) {
		before := c.devices(t, "n3")
		host, net := before["weir_host"], before["weir_net"]
		if host.Link != "weir_net" || net.Link != "weir_host" {
			t.Errorf("weir_host and weir_net are not each other's peers: %q and %q", host.Link, net.Link)
		}
		for _, d := range []device{host, net} {
			if !slices.Contains(d.Flags, "NOARP") || !slices.Contains(d.Flags, "UP") || d.MTU != 1500 {
				t.Errorf("%s: got flags %v and MTU %d, want NOARP, UP and 1500", d.Name, d.Flags, d.MTU)
			}
		}
		if err := c.Agent(t.Context(), "n3", lab.AgentRestart); err != nil {
			t.Fatal(err)
		}
		after := c.devices(t, "n3")
		for _, name := range []string{"weir_host", "weir_net"} {
			if diff := cmp.Diff(before[name], after[name]); diff != "" {
				t.Errorf("%s after a restart of the agent (-before +after):\n%s", name, diff)
			}
		}
	})
}

func TestRowD2RouterAddressIsOfTheNodesCIDRAndStays(t *testing.T) {
	eachMode(t, bpfRouted, func(t *testing.T, c *cluster) {
		scope := "global"
		if c.spec.Mode == lab.ModeNative {
			scope = "link"
		}
		before := c.devices(t, "n3")["weir_host"].global()
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			r := c.router(t, "n3", is4)
			if !c.cidr(t, "n3", is4).Contains(r) {
				t.Errorf("router %s is not in the node's pod CIDR %s", r, c.cidr(t, "n3", is4))
			}
			got, ok := before[netip.PrefixFrom(r, r.BitLen()).String()]
			if !ok {
				t.Errorf("weir_host has %v, not the router's address %s", before, r)
			}
			if is4 && got != scope {
				t.Errorf("scope of %s: got %s, want %s", r, got, scope)
			}
		})
		if err := c.Agent(t.Context(), "n3", lab.AgentRestart); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, c.devices(t, "n3")["weir_host"].global()); diff != "" {
			t.Errorf("addresses of weir_host after a restart (-before +after):\n%s", diff)
		}
	})
}

// Eight addresses: network, router, health endpoint and broadcast are not for
// pods.
func TestRowD2RouterAddressIsNeverGivenToAPod(t *testing.T) {
	cidrs := []netip.Prefix{netip.MustParsePrefix("10.77.0.0/29"), netip.MustParsePrefix("fd00:77::/125")}
	s := lab.Spec{Name: prefix + "small", Nodes: lab.NodeSpecs{{Name: "n1", PodCIDRs: cidrs}}}
	c := temporary(t, s, map[string]string{"first": "n1"})
	taken := map[netip.Addr]string{}
	for _, is4 := range []bool{true, false} {
		taken[c.router(t, "n1", is4)] = "the router"
	}
	var err error
	for i := 0; err == nil && i < 8; i++ {
		err = c.ApplyYAML(t.Context(), "pods.yaml", manifest(map[string]string{fmt.Sprintf("p%d", i): "n1"})).Err()
	}
	if err == nil {
		t.Error("nine pods got addresses out of eight")
	}
	pods, perr := c.Pods()
	if perr != nil {
		t.Fatal(perr)
	}
	for _, p := range pods {
		for _, a := range p.IPs {
			if taken[a] != "" {
				t.Errorf("%s was given to pod %s and belongs to %s", a, p.Name, taken[a])
			}
			taken[a] = p.Name
		}
	}
	if len(taken) < 2+2*4 {
		t.Errorf("only %d addresses are in use: the pool ended early: %v", len(taken), err)
	}
}

func TestRowD3TunnelDeviceIsExternalAndVNIIsTheSourcesIdentity(t *testing.T) {
	for _, m := range []mode{vxlan, vxlanIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			d := c.devices(t, "n1")["weir_vxlan"]
			if d.LinkInfo.Kind != "vxlan" || !d.LinkInfo.Data.External || d.LinkInfo.Data.Port != 8472 || d.MTU != 1500 || d.Qdisc != "noqueue" {
				t.Errorf("weir_vxlan: got %+v, want an external vxlan device of port 8472, MTU 1500, without queue", d)
			}
			c.eachFamily(t, func(t *testing.T, is4 bool) {
				for _, pod := range []string{"a", "b"} {
					c.wantVNI(t, pod, "c", is4)
				}
			})
		})
	}
}

// wantVNI pings between nodes and compares the VNI in each direction with the
// identity of the pod that sent.
func (c *cluster) wantVNI(t *testing.T, from, to string, is4 bool) {
	t.Helper()
	wire := c.listenOn(t, c.pod(t, from).Node, "eth0")
	c.reach(t, from, c.addr(t, to, is4))
	for _, way := range []struct {
		src, dst string
		request  bool
	}{{from, to, true}, {to, from, false}} {
		want := c.endpoint(t, way.src).Identity
		got := wire.all(func(p gopacket.Packet) bool {
			v, ok := tunnelled(p)
			return ok && v.VNI == want && echo(way.request, c.addr(t, way.src, is4), c.addr(t, way.dst, is4))(inner(v))
		})
		if len(got) != 3 || want < 256 {
			t.Errorf("%s to %s: %d packets on the wire with VNI %d, the identity of the sender; want 3", way.src, way.dst, len(got), want)
		}
	}
}

var podDevice = regexp.MustCompile(`^weir[0-9a-f]{11}$`)

func TestRowD5HostDeviceIsPairedWithThePodsAndHasNoAddress(t *testing.T) {
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		p := c.pod(t, "a")
		host, pod := c.devices(t, "n1")[p.HostDevice], c.devices(t, "a")["eth0"]
		if !podDevice.MatchString(host.Name) {
			t.Errorf("host device %q: want weir and 11 hex digits", host.Name)
		}
		if len(host.Addrs) > 0 || host.Qdisc != "noqueue" {
			t.Errorf("host device: addresses %v, qdisc %s; want no address and noqueue", host.Addrs, host.Qdisc)
		}
		if host.PeerAt != pod.Index || pod.PeerAt != host.Index || host.Netnsid == nil || pod.Netnsid == nil {
			t.Errorf("host device %d@if%d and pod's eth0 %d@if%d are not a pair over two namespaces", host.Index, host.PeerAt, pod.Index, pod.PeerAt)
		}
		if e := c.endpoint(t, "a"); e.Device != host.Name || e.Ifindex != host.Index || !strings.EqualFold(e.NodeMAC, host.Address) || !strings.EqualFold(e.MAC, pod.Address) {
			t.Errorf("endpoint %+v does not describe host device %d %s and pod %s", e, host.Index, host.Address, pod.Address)
		}
	})
}

func TestRowD6PodHasOneAddressOfEachFamilyAndTheDevicesMTU(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		p := c.pod(t, "a")
		eth0 := c.devices(t, "a")["eth0"]
		want := map[string]string{}
		for _, a := range p.IPs {
			want[netip.PrefixFrom(a, a.BitLen()).String()] = "global"
		}
		if diff := cmp.Diff(want, eth0.global()); diff != "" {
			t.Errorf("addresses of eth0 (-want +got):\n%s", diff)
		}
		if eth0.MTU != 1500 {
			t.Errorf("MTU of eth0: got %d, want 1500: routes handle the overhead", eth0.MTU)
		}
	})
}

func TestRowD8EveryNICThatLeadsToTheUnderlayHasPrograms(t *testing.T) {
	s := vxlan.spec()
	s.Name, s.Nodes = prefix+"nics", lab.NodeSpecs{{Name: "n1", NICs: 1}, {Name: "n2", NICs: 1}}
	c := temporary(t, s, map[string]string{"a": "n1", "c": "n2"})
	for _, node := range []string{"n1", "n2"} {
		for _, dev := range []string{"eth0", "eth1"} {
			c.wantPrograms(t, node, dev, bpf.ProgFromNetdev, bpf.ProgToNetdev)
		}
	}
	// An address of the second underlay is the node's own, too, and pods are
	// reached through either card.
	second := []netip.Addr{netip.MustParseAddr("172.19.0.2"), netip.MustParseAddr("fc00:f853:ccd:e794::2")}
	beyond := []netip.Addr{netip.MustParseAddr("172.19.0.3"), netip.MustParseAddr("fc00:f853:ccd:e794::3")} // n2's
	c.eachFamily(t, func(t *testing.T, is4 bool) {
		c.reach(t, "a", c.addr(t, "c", is4))
		c.reach(t, "a", pick(second, is4))
		before := c.counters(t, "n1")
		via := pick(second, is4).String()
		pod := c.addr(t, "a", is4)
		cidr := netip.PrefixFrom(pod, pod.BitLen()).String()
		c.run(t, "n2", "ip", "route", "add", cidr, "via", via, "dev", "eth1", "src", pick(beyond, is4).String())
		defer c.run(t, "n2", "ip", "route", "del", cidr)
		c.reach(t, "n2", pod)
		c.wantCount(t, "n1", before, at(bpf.PlaceFromNetdev, bpf.ReasonToEndpoint), 3)
	})
	// What leaves the cluster by the second card does so as the node is called there.
	c.eachFamily(t, func(t *testing.T, is4 bool) {
		if got, want := c.sees(t, "n2", pick(beyond, is4), "a"), pick(second, is4); got != want {
			t.Errorf("%s sees %s, want the node's second card %s", pick(beyond, is4), got, want)
		}
	})
	c.wantNodePorts(t, second, beyond)
}

// wantNodePorts asks n1 by the addresses of both cards, from outside of n2's
// cgroup: its sockets would find the backend without n1. And from a pod of n1, n2 by
// that of its second card, which its Node object does not name.
func (c *cluster) wantNodePorts(t *testing.T, second, beyond []netip.Addr) {
	t.Helper()
	if err := c.ApplyYAML(t.Context(), "kinds.yaml", []byte(kinds+kindsOf[0].yaml())).Err(); err != nil {
		t.Fatal(err)
	}
	c.eachFamily(t, func(t *testing.T, is4 bool) {
		c.tellsClients(t, "one", is4)
		for _, a := range []netip.Addr{c.addr(t, "n1", is4), pick(second, is4)} {
			at := netip.AddrPortFrom(a, uint16(kindsOf[0].port))
			got := ""
			if !await(2*patience, func() bool { got = c.askOnce(t, "n2", at); return strings.HasPrefix(got, "one ") }) {
				t.Errorf("n2 asks NodePort %s: %s", at, got)
			}
		}
		at := netip.AddrPortFrom(pick(beyond, is4), uint16(kindsOf[0].port))
		got := ""
		if !await(2*patience, func() bool { got = c.askOnce(t, "a", at); return strings.HasPrefix(got, "one ") }) {
			t.Errorf("a asks NodePort %s: %s", at, got)
		}
	})
}

// wantPrograms compares what is on both hooks of a device with the programs
// that should be there; "" is none.
func (c *cluster) wantPrograms(t *testing.T, node, dev, ingress, egress string) {
	t.Helper()
	for hook, want := range map[string]string{"ingress": ingress, "egress": egress} {
		got, err := c.programs(t, node, dev, hook)
		if err != nil {
			t.Errorf("%s %s %s: %v", node, dev, hook, err)
		}
		if want == "" && len(got) == 0 {
			continue
		}
		if len(got) != 1 || got[0].Name != want {
			t.Errorf("%s %s %s: got %v, want %q alone", node, dev, hook, got, want)
		}
	}
}
