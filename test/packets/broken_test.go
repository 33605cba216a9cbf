package packets

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/bpf"
)

// l3 is where the IP header begins.
const l3 = 14

// broken is a frame that no pod may receive, and the reason it is dropped for.
type broken struct {
	name   string
	frame  []byte
	reason bpf.Reason
}

// with returns a copy of a frame that f has changed.
func with(frame []byte, f func([]byte)) []byte {
	out := append([]byte(nil), frame...)
	f(out)
	return out
}

func brokenIPv4(ok []byte) []broken {
	set := func(at int, value ...byte) []byte {
		return with(ok, func(b []byte) { copy(b[l3+at:], value) })
	}
	length := func(n int) []byte {
		return with(ok, func(b []byte) { binary.BigEndian.PutUint16(b[l3+2:], uint16(n)) })
	}
	return []broken{
		{"no header", ok[:l3], bpf.DropInvalidPacket},
		{"half a header", ok[:l3+10], bpf.DropInvalidPacket},
		{"header cut by a byte", ok[:l3+19], bpf.DropInvalidPacket},
		{"payload cut", ok[:len(ok)-1], bpf.DropInvalidPacket},
		{"version 5", set(0, 0x55), bpf.DropInvalidPacket},
		{"version 6", set(0, 0x65), bpf.DropInvalidPacket},
		{"header of 16 bytes", set(0, 0x44), bpf.DropInvalidPacket},
		{"header of none", set(0, 0x40), bpf.DropInvalidPacket},
		{"total length below the header's", length(19), bpf.DropInvalidPacket},
		{"total length of zero", length(0), bpf.DropInvalidPacket},
		{"total length beyond the frame", length(len(ok) - l3 + 1), bpf.DropInvalidPacket},
		{"total length of all", length(65535), bpf.DropInvalidPacket},
		{"to 0.0.0.0", set(16, 0, 0, 0, 0), bpf.DropUnknownTarget},
		{"to loopback", set(16, 127, 0, 0, 1), bpf.DropUnknownTarget},
		{"to a group", set(16, 224, 0, 0, 251), bpf.DropMulticast},
		{"to everyone", set(16, 255, 255, 255, 255), bpf.DropMulticast},
		{"from nobody", set(12, 0, 0, 0, 0), bpf.DropInvalidSourceIP},
		{"from loopback", set(12, 127, 0, 0, 1), bpf.DropInvalidSourceIP},
		{"from a group", set(12, 224, 0, 0, 1), bpf.DropInvalidSourceIP},
	}
}

func brokenIPv6(ok []byte) []broken {
	set := func(at int, value ...byte) []byte {
		return with(ok, func(b []byte) { copy(b[l3+at:], value) })
	}
	address := func(at int, a string) []byte { return set(at, netip.MustParseAddr(a).AsSlice()...) }
	return []broken{
		{"no header", ok[:l3], bpf.DropInvalidPacket},
		{"half a header", ok[:l3+20], bpf.DropInvalidPacket},
		{"header cut by a byte", ok[:l3+39], bpf.DropInvalidPacket},
		{"payload cut", ok[:len(ok)-1], bpf.DropInvalidPacket},
		{"version 4", set(0, 0x40), bpf.DropInvalidPacket},
		{"payload beyond the frame", with(ok, func(b []byte) { b[l3+5]++ }), bpf.DropInvalidPacket},
		{"payload of 65535", set(4, 0xff, 0xff), bpf.DropInvalidPacket},
		{"to an IPv4-mapped address", address(24, "::ffff:10.0.0.4"), bpf.DropInvalidPacket},
		{"from an IPv4-mapped address", address(8, "::ffff:10.0.0.3"), bpf.DropInvalidPacket},
		{"to ::", address(24, "::"), bpf.DropUnknownTarget},
		{"to loopback", address(24, "::1"), bpf.DropUnknownTarget},
		{"to a link-local address", address(24, "fe80::1"), bpf.DropUnknownTarget},
		{"to a group", address(24, "ff02::fb"), bpf.DropMulticast},
		{"from ::", address(8, "::"), bpf.DropInvalidSourceIP},
		{"from loopback", address(8, "::1"), bpf.DropInvalidSourceIP},
		{"from a link-local address", address(8, "fe80::1"), bpf.DropInvalidSourceIP},
		{"from a group", address(8, "ff02::1"), bpf.DropInvalidSourceIP},
	}
}

// brokenFrames are those whose fault is below IP.
func (c *cluster) brokenFrames(t *testing.T, ok []byte) []broken {
	t.Helper()
	tagged := append(append(append([]byte(nil), ok[:12]...), 0x81, 0x00, 0x00, 0x05), ok[12:]...)
	other := append([]byte(nil), ok...)
	binary.BigEndian.PutUint16(other[12:], 0x9999)
	return []broken{
		{"tagged", tagged, bpf.DropVLAN},
		{"of an unknown kind", other, bpf.DropUnsupportedL2},
	}
}

func TestBrokenPacketsOfAPodAreCountedAndReachNobody(t *testing.T) {
	const each = 5
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			taps := c.everywhere(t, "a")
			send := c.sender(t, "a", "eth0")
			for _, to := range []string{"b", "c"} {
				ok := c.udp(t, c.fromPod(t, "a", 0), c.addr(t, "a", is4), c.addr(t, to, is4))
				cases := append(c.brokenFrames(t, ok), brokenIPv6(ok)...)
				if is4 {
					cases = append(c.brokenFrames(t, ok), brokenIPv4(ok)...)
				}
				for _, b := range cases {
					before := c.counters(t, "n1")
					send(each, b.frame)
					t.Run(b.name, func(t *testing.T) {
						c.wantDropped(t, "n1", before, at(bpf.PlaceFromPod, b.reason), each)
					})
				}
			}
			wantNowhere(t, taps)
		})
	})
}

func TestPacketsOfAFamilyThatIsOffAreCountedAndReachNobody(t *testing.T) {
	for _, m := range []mode{nativeIPv4, legacyIPv4, nativeIPv6, vxlanIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			taps := c.everywhere(t, "a")
			src, dst := netip.MustParseAddr("fd00::3"), netip.MustParseAddr("fd00::4")
			if !*c.spec.IPv4 {
				src, dst = netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.4")
			}
			before := c.counters(t, "n1")
			c.emit(t, "a", "eth0", 4, c.udp(t, c.fromPod(t, "a", 0), src, dst))
			c.wantDropped(t, "n1", before, at(bpf.PlaceFromPod, bpf.DropUnsupportedL3), 4)
			wantNowhere(t, taps)
		})
	}
}

func TestPodCannotSpeakARPForOthers(t *testing.T) {
	c := on(t, vxlan)
	e := c.endpoint(t, "a")
	arp := func(operation uint16, sender, target string) []byte {
		eth := c.fromPod(t, "a", layers.EthernetTypeARP)
		return frame(t, eth, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: operation, SourceHwAddress: eth.SrcMAC, SourceProtAddress: netip.MustParseAddr(sender).AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: netip.MustParseAddr(target).AsSlice(),
		}, gopacket.Payload(mark))
	}
	router, other := c.router(t, "n1", true).String(), c.addr(t, "b", true).String()
	whole := arp(layers.ARPRequest, e.IPv4, router)
	taps := c.everywhere(t, "a")
	send := c.sender(t, "a", "eth0")
	for _, b := range []broken{
		{"truncated", whole[:l3+20], bpf.DropInvalidPacket},
		{"of another hardware", with(whole, func(b []byte) { b[l3+1] = 6 }), bpf.DropInvalidPacket},
		{"for a stranger", arp(layers.ARPRequest, e.IPv4, other), bpf.DropUnknownTarget},
		{"as a stranger", arp(layers.ARPRequest, other, router), bpf.DropInvalidSourceIP},
	} {
		before := c.counters(t, "n1")
		send(3, b.frame)
		t.Run(b.name, func(t *testing.T) {
			c.wantDropped(t, "n1", before, at(bpf.PlaceFromPod, b.reason), 3)
		})
	}
	wantNowhere(t, taps)
}

func TestPodCannotSpeakNDPForOthers(t *testing.T) {
	c := on(t, vxlan)
	e := c.endpoint(t, "a")
	solicit := func(source, target string, hopLimit uint8) []byte {
		ip := &layers.IPv6{Version: 6, HopLimit: hopLimit, NextHeader: layers.IPProtocolICMPv6,
			SrcIP: netip.MustParseAddr(source).AsSlice(), DstIP: netip.MustParseAddr(target).AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
		_ = icmp.SetNetworkLayerForChecksum(ip) // fails for no IP layer only
		return frame(t, c.fromPod(t, "a", layers.EthernetTypeIPv6), ip, icmp,
			&layers.ICMPv6NeighborSolicitation{TargetAddress: netip.MustParseAddr(target).AsSlice()})
	}
	router, other := c.router(t, "n1", false).String(), c.addr(t, "b", false).String()
	whole := solicit(e.IPv6, router, 255)
	send := c.sender(t, "a", "eth0")
	for _, b := range []broken{
		{"from another link", solicit(e.IPv6, router, 254), bpf.DropInvalidPacket},
		{"without a target", with(whole[:l3+40+8], func(b []byte) { b[l3+5] = 8 }), bpf.DropInvalidPacket},
		{"for a stranger", solicit(e.IPv6, other, 255), bpf.DropUnknownTarget},
		{"as a stranger", solicit(other, router, 255), bpf.DropInvalidSourceIP},
	} {
		before := c.counters(t, "n1")
		send(3, b.frame)
		t.Run(b.name, func(t *testing.T) {
			c.wantDropped(t, "n1", before, at(bpf.PlaceFromPod, b.reason), 3)
		})
	}
}
