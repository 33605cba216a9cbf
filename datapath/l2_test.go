package datapath

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// What is sent is what another implementation makes of the RFCs.
func TestAnnouncementsAreWhatRFCsSay(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	ip4, ip6, nodes := netip.MustParseAddr("172.18.200.1"), netip.MustParseAddr("fc00::200:1"), netip.MustParseAddr("ff02::1")
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: ip6.AsSlice(), DstIP: nodes.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(136, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[netip.Addr][]gopacket.SerializableLayer{
		ip4: {&layers.Ethernet{SrcMAC: mac, DstMAC: all, EthernetType: layers.EthernetTypeARP, Length: 0},
			&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
				SourceHwAddress: mac, SourceProtAddress: ip4.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: ip4.AsSlice()}},
		ip6: {&layers.Ethernet{SrcMAC: mac, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6}, ip, icmp,
			&layers.ICMPv6NeighborAdvertisement{Flags: 0x20, TargetAddress: ip6.AsSlice(),
				Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac}}}},
	} {
		b := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, want...); err != nil {
			t.Fatal(err)
		}
		got := announcement(addr, bpf.MACFrom(mac))
		if !bytes.HasPrefix(b.Bytes(), got) { // the serializer pads Ethernet
			t.Errorf("%s:\n got % x\nwant % x", addr, got, b.Bytes())
		}
	}
}

func TestSolicitedNodeGroupHasTheLastOctets(t *testing.T) {
	if got, want := solicitedNode(netip.MustParseAddr("fc00::12:3456")), netip.MustParseAddr("ff02::1:ff12:3456"); got != want {
		t.Errorf("group %s, want %s", got, want)
	}
}

// One socket has room for two thousand groups, or for some hundreds before Linux 6.8.
func TestGroupsOfManyAddressesAreJoinedAndLeft(t *testing.T) {
	linktest.Enter(t)
	linktest.Veth(t, "l2a", "l2b")
	device := uint32(linktest.Link(t, "l2a").Attrs().Index)
	var keys []bpf.L2Key
	for i := range 5000 {
		a := netip.AddrFrom16([16]byte{0xfc, 14: byte(i >> 8), 15: byte(i)})
		keys = append(keys, bpf.L2Key{Addr: bpf.AddrFrom(a), Ifindex: device})
	}
	var l L2Link
	defer l.Close()
	groups := func() int {
		b, err := os.ReadFile("/proc/thread-self/net/igmp6")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "ff0200000000000000000001ff00")
	}
	before := groups()
	for _, want := range []int{5000, 3, 4000, 0} {
		if err := l.Listen(keys[:want]); err != nil {
			t.Fatalf("%d groups: %v", want, err)
		}
		if got := groups() - before; got != want {
			t.Errorf("the node is in %d groups, want %d", got, want)
		}
	}
}

// The agent's writes leave the counter alone, and it tells no entry from what it should be.
func TestCountersOfAnswersAreTheProgramsOwn(t *testing.T) {
	d := start(t, small(bpffs(t), AttachTC))
	k := bpf.L2Key{Addr: bpf.AddrFrom(netip.MustParseAddr("172.18.200.1")), Ifindex: 2}
	e := bpf.L2Entry{MAC: bpf.MAC{Bytes: [6]uint8{2, 0, 0, 0, 0, 1}}}
	want := map[bpf.L2Key]bpf.L2Entry{k: e}
	if _, err := d.L2.Apply(want); err != nil {
		t.Fatal(err)
	}
	e.Responses = 7 // as the program counts
	if err := d.maps.maps[bpf.MapL2].Put(k, e); err != nil {
		t.Fatal(err)
	}
	again, err := OpenMirror(bpf.MapL2, l2Store{kernel[bpf.L2Key, bpf.L2Entry]{d.maps.maps[bpf.MapL2]}})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := again.Apply(want); err != nil || c.Any() {
		t.Errorf("the next agent writes %+v, %v", c, err)
	}
	if n, err := d.L2Responses(k); n != 7 || err != nil {
		t.Errorf("%d answers, %v; want 7", n, err)
	}
	if n, err := d.L2Responses(bpf.L2Key{Ifindex: 1}); n != 0 || err != nil {
		t.Errorf("%d answers of an address that nobody answers for, %v", n, err)
	}
	rows, err := d.Dump(bpf.MapL2)
	if err != nil || len(rows) != 1 || rows[0] != (MapRow{Key: "172.18.200.1 on device 2", Value: "responses=7 mac=02:00:00:00:00:01", State: RowSync}) {
		t.Errorf("rows %+v, %v", rows, err)
	}
}
