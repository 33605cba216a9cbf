package packets

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"weir/api/agent"
	"weir/lab"
)

// Addresses of the underlay that nobody has.
var (
	l2External = map[bool]netip.Addr{true: netip.MustParseAddr("172.18.0.77"), false: netip.MustParseAddr("fc00:f853:ccd:e793::77")}
	l2Nobodys  = map[bool]netip.Addr{true: netip.MustParseAddr("172.18.200.99"), false: netip.MustParseAddr("fc00:f853:ccd:e793:200::99")}
)

// announced is a service of a server on each node, and who may answer for it.
var announced = webServers + `
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {public: "yes"}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  ipFamilyPolicy: PreferDualStack
  externalIPs: [` + l2External[true].String() + `, "` + l2External[false].String() + `"]
  selector: {app: web}
  ports: [{port: 80}]
---
apiVersion: cilium.io/v2alpha1
kind: CiliumL2AnnouncementPolicy
metadata: {name: public}
spec:
  serviceSelector: {matchLabels: {public: "yes"}}
  nodeSelector: {matchExpressions: [{key: private, operator: DoesNotExist}]}
  interfaces: ["^eth[0-9]+$"]
  externalIPs: true
  loadBalancerIPs: true
`

// Seed row B14. From outside an address of a service is found at the node that holds
// its lease, and at no other, and at the next one when that node fails.
func TestRowB14OnlyTheHolderOfTheLeaseAnswersForAnAddress(t *testing.T) {
	needRoot(t)
	c := temporary(t, lab.Spec{Name: prefix + "l2", Nodes: lab.Nodes(3), Agent: map[string]any{
		"health": map[string]any{"enabled": false}, "l2announcements": map[string]any{"enabled": true}}}, nil)
	if err := c.ApplyYAML(t.Context(), "l2.yaml", []byte(announced)).Err(); err != nil {
		t.Fatal(err)
	}
	service, err := c.Service("default/web")
	if err != nil {
		t.Fatal(err)
	}
	var addrs []netip.Addr // two of each family
	for _, in := range service.Status.LoadBalancer.Ingress {
		addrs = append(addrs, netip.MustParseAddr(in.IP))
	}
	addrs = append(addrs, l2External[true], l2External[false])
	for _, a := range addrs[:2] { // the lab routes them; here they are on the link
		c.run(t, "world", "sh", "-c", fmt.Sprintf("ip %[1]s route del $(ip %[1]s route show to match %[2]s | grep via | grep -v default)", familyFlag(a), a))
	}
	first := c.holder(t, addrs, "")
	for _, a := range addrs {
		before := c.responses(t, first, a)
		c.asksForMAC(t, a, c.mac(t, first))
		if after := c.responses(t, first, a); after != before+3 {
			t.Errorf("%s: %d answers counted at %s, then %d; want 3 more", a, before, first, after)
		}
		if got := c.asks(t, "world", netip.AddrPortFrom(a, 80), ""); !strings.Contains(got, "PodName") {
			t.Errorf("the world asks %s: %q", a, got)
		}
	}
	for _, a := range l2Nobodys {
		c.asksForMAC(t, a, nil)
	}
	wire := c.listenOn(t, "world", "eth0")
	c.run(t, "underlay", "ip", "link", "set", first+"-eth0", "down")
	start := time.Now()
	c.ready(t, first, "Unknown")
	moved := map[netip.Addr]time.Duration{}
	eventually(t, "the world's neighbour entries name another node", func() bool {
		for _, a := range addrs {
			if at := c.neighbour(t, a); moved[a] == 0 && at != nil && !slices.Equal(at, c.mac(t, first)) {
				moved[a] = time.Since(start)
			}
		}
		return len(moved) == len(addrs)
	})
	t.Logf("another node is known, from when %s was declared to be gone: %v", first, moved)
	second := c.holder(t, addrs, first)
	for _, a := range addrs {
		if n := len(wire.all(announcementOf(a, c.mac(t, second)))); n == 0 {
			t.Errorf("%s did not announce %s", second, a)
		}
		if got := c.asks(t, "world", netip.AddrPortFrom(a, 80), ""); !strings.Contains(got, "PodName") {
			t.Errorf("the world asks %s of %s: %q", a, second, got)
		}
	}
	c.run(t, "underlay", "ip", "link", "set", first+"-eth0", "up")
	c.ready(t, first, "True")
	if third := c.holder(t, addrs, first); third != second {
		t.Errorf("%s came back, and %s holds the lease, want %s still", first, third, second)
	}
	for _, a := range addrs {
		c.asksForMAC(t, a, c.mac(t, second))
	}
}

func familyFlag(a netip.Addr) string {
	if a.Is6() {
		return "-6"
	}
	return "-4"
}

// ready is what a node's kubelet, or whoever misses it, says.
func (c *cluster) ready(t *testing.T, node, status string) {
	t.Helper()
	object := fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: %s}\nstatus: {conditions: [{type: Ready, status: %q}]}\n", node, status)
	if err := c.ApplyYAML(t.Context(), "node.yaml", []byte(object)).Err(); err != nil {
		t.Fatal(err)
	}
}

// holder waits until every node but one says that the same node, which is not that one,
// answers for all addresses, and that one itself does.
func (c *cluster) holder(t *testing.T, addrs []netip.Addr, but string) string {
	t.Helper()
	nodes := slices.DeleteFunc([]string{"n1", "n2", "n3"}, func(n string) bool { return n == but })
	var seen map[string]int
	eventually(t, "nodes agree on who answers", func() bool {
		seen = map[string]int{}
		for _, n := range nodes {
			var rows []agent.L2Announcement
			c.get(t, n, agent.PathL2, &rows)
			for _, r := range rows {
				if (r.Device == "eth0") == (r.Holder == n) && r.Local == (r.Holder == n) && slices.Equal(r.Services, []string{"default/web"}) {
					seen[r.Holder]++
				}
			}
		}
		for holder, n := range seen {
			return len(seen) == 1 && n == len(nodes)*len(addrs) && holder != but && holder != ""
		}
		return false
	})
	for holder := range seen {
		return holder
	}
	return ""
}

func (c *cluster) responses(t *testing.T, node string, a netip.Addr) uint64 {
	t.Helper()
	var rows []agent.L2Announcement
	c.get(t, node, agent.PathL2, &rows)
	for _, r := range rows {
		if r.Address == a.String() {
			return r.Responses
		}
	}
	t.Fatalf("%s does not list %s: %+v", node, a, rows)
	return 0
}

func (c *cluster) mac(t *testing.T, ref string) net.HardwareAddr {
	t.Helper()
	text := strings.Fields(c.run(t, ref, "ip", "-br", "link", "show", "eth0"))
	mac, err := net.ParseMAC(text[2])
	if err != nil {
		t.Fatalf("eth0 of %s: %v: %v", ref, text, err)
	}
	return mac
}

// neighbour is the MAC that the world knows of an address; nil: none.
func (c *cluster) neighbour(t *testing.T, a netip.Addr) net.HardwareAddr {
	t.Helper()
	_, after, _ := strings.Cut(c.run(t, "world", "ip", "neigh", "show", a.String(), "dev", "eth0"), "lladdr ")
	text, _, _ := strings.Cut(after, " ")
	mac, _ := net.ParseMAC(text)
	return mac
}

// asksForMAC asks the link three times who has an address, as arping and ndisc6 do. Every
// answer is to be from mac, and there is to be one for each question; nil: none.
func (c *cluster) asksForMAC(t *testing.T, a netip.Addr, mac net.HardwareAddr) {
	t.Helper()
	wire := c.listenOn(t, "world", "eth0")
	question := question(t, a, c.mac(t, "world"))
	for range 3 {
		if _, err := unix.Write(wire.fd, question); err != nil {
			t.Fatal(err)
		}
	}
	want := 3
	if mac == nil {
		want = 0
	}
	var got []string
	look := func() bool {
		got = nil
		for _, p := range wire.all(func(p gopacket.Packet) bool { return isAnswer(p, a) }) {
			got = append(got, p.LinkLayer().LinkFlow().Src().String())
		}
		return len(got) >= want
	}
	await(patience, look)
	await(200*time.Millisecond, func() bool { return look() && len(got) > want }) // nobody else answers late
	if len(got) != want || slices.ContainsFunc(got, func(m string) bool { return m != mac.String() }) {
		t.Errorf("%s is answered for by %v, want %d times by %v", a, got, want, mac)
	}
}

// question is an ARP request or a neighbour solicitation of the world.
func question(t *testing.T, a netip.Addr, mac net.HardwareAddr) []byte {
	t.Helper()
	if a.Is4() {
		return frame(t, &layers.Ethernet{SrcMAC: mac, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP},
			&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
				SourceHwAddress: mac, SourceProtAddress: net.IP{172, 18, 0, 254}, DstHwAddress: make([]byte, 6), DstProtAddress: a.AsSlice()})
	}
	b := a.As16()
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(group[13:], b[13:])
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.ParseIP("fc00:f853:ccd:e793::fe"), DstIP: group[:]}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip) // fails for no IP layer only
	return frame(t, &layers.Ethernet{SrcMAC: mac, DstMAC: append(net.HardwareAddr{0x33, 0x33}, group[12:]...), EthernetType: layers.EthernetTypeIPv6}, ip, icmp,
		&layers.ICMPv6NeighborSolicitation{TargetAddress: a.AsSlice(), Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: mac}}})
}

// isAnswer reports whether somebody says where an address is, being asked.
func isAnswer(p gopacket.Packet, a netip.Addr) bool {
	if l, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		return l.Operation == 2 && addrOf(l.SourceProtAddress) == a
	}
	l, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	return ok && addrOf(l.TargetAddress) == a && l.Flags&0x40 != 0
}

// announcementOf matches what tells all neighbours, unasked, where an address is now.
func announcementOf(a netip.Addr, mac net.HardwareAddr) func(gopacket.Packet) bool {
	return func(p gopacket.Packet) bool {
		if p.LinkLayer() == nil || p.LinkLayer().LinkFlow().Src().String() != mac.String() {
			return false
		}
		if l, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
			return l.Operation == 1 && addrOf(l.SourceProtAddress) == a && addrOf(l.DstProtAddress) == a
		}
		l, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
		return ok && addrOf(l.TargetAddress) == a && l.Flags == 0x20
	}
}
