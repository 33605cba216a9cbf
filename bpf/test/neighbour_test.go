package bpftest

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/bpf"
)

var broadcast = net.HardwareAddr{255, 255, 255, 255, 255, 255}

type arp struct {
	operation      uint16
	srcMAC, dstMAC net.HardwareAddr // of the frame
	sender, target netip.Addr
	senderMAC      net.HardwareAddr
	targetMAC      net.HardwareAddr
}

func (a arp) bytes() []byte {
	return serialize(
		&layers.Ethernet{SrcMAC: a.srcMAC, DstMAC: a.dstMAC, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: a.operation, SourceHwAddress: a.senderMAC, SourceProtAddress: a.sender.AsSlice(),
			DstHwAddress: a.targetMAC, DstProtAddress: a.target.AsSlice()})
}

func TestGatewayAnswersARPForItselfOnly(t *testing.T) {
	n := filled(t, config())
	f := families[0]
	ask := func(sender, target netip.Addr) arp {
		return arp{operation: 1, srcMAC: podMAC, dstMAC: broadcast, sender: sender, target: target, senderMAC: podMAC, targetMAC: make(net.HardwareAddr, 6)}
	}
	answer := arp{operation: 2, srcMAC: podGW, dstMAC: podMAC, sender: f.router, target: f.pod, senderMAC: podGW, targetMAC: podMAC}
	unicast := ask(f.pod, f.router)
	unicast.dstMAC = podGW
	reply := ask(f.pod, f.router)
	reply.operation = 2
	good := ask(f.pod, f.router).bytes()
	for _, c := range []fixture{
		{name: "who has the gateway", in: good, verdict: redirect, out: answer.bytes(), reason: bpf.ReasonARPAnswered},
		{name: "the same, unicast", in: unicast.bytes(), verdict: redirect, out: answer.bytes(), reason: bpf.ReasonARPAnswered},
		{name: "a stranger", in: ask(f.pod, f.peer).bytes(), verdict: shot, reason: bpf.DropUnknownTarget},
		{name: "with the address of another pod", in: ask(f.peer, f.router).bytes(), verdict: shot, reason: bpf.DropInvalidSourceIP},
		{name: "gratuitous", in: ask(f.pod, f.pod).bytes(), verdict: shot, reason: bpf.ReasonLinkChatter},
		{name: "probe", in: ask(netip.IPv4Unspecified(), f.pod).bytes(), verdict: shot, reason: bpf.ReasonLinkChatter},
		{name: "a reply nobody asked for", in: reply.bytes(), verdict: shot, reason: bpf.ReasonLinkChatter},
		{name: "other hardware", in: with(good, 14, 0, 6), verdict: shot, reason: bpf.DropInvalidPacket},
		{name: "other protocol", in: with(good, 16, 0x86, 0xdd), verdict: shot, reason: bpf.DropInvalidPacket},
		{name: "other hardware length", in: with(good, 18, 8), verdict: shot, reason: bpf.DropInvalidPacket},
		{name: "other protocol length", in: with(good, 19, 16), verdict: shot, reason: bpf.DropInvalidPacket},
	} {
		c.program = bpf.ProgFromPod
		t.Run(c.name, func(t *testing.T) { n.check(t, c) })
	}
	for size := range 28 {
		t.Run(fmt.Sprintf("cut after %d octets", size), func(t *testing.T) {
			n.check(t, fixture{program: bpf.ProgFromPod, in: good[:14+size], verdict: shot, reason: bpf.DropInvalidPacket})
		})
	}
	n.check(t, fixture{program: bpf.ProgFromOverlay, in: good, verdict: shot, reason: bpf.DropUnsupportedL2})
	n.check(t, fixture{program: bpf.ProgToPod, in: answer.bytes(), verdict: next, reason: bpf.ReasonPassed})
	n.check(t, fixture{program: bpf.ProgFromNetdev, in: good, verdict: next, reason: bpf.ReasonPassed})
	n.check(t, fixture{program: bpf.ProgFromHost, in: good, verdict: shot, reason: bpf.ReasonLinkChatter})
}

// icmpv6 is a neighbour discovery message from the pod; body is what follows
// the four octets of type, code and checksum.
func icmpv6(src, dst netip.Addr, hops uint8, kind uint8, body []byte) []byte {
	eth := &layers.Ethernet{SrcMAC: podMAC, DstMAC: podGW, EthernetType: layers.EthernetTypeIPv6}
	ip := &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolICMPv6, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	icmp.SetNetworkLayerForChecksum(ip)
	return serialize(eth, ip, icmp, gopacket.Payload(body))
}

func solicitation(target netip.Addr, option bool) []byte {
	body := append(make([]byte, 4), target.AsSlice()...)
	if option {
		body = append(append(body, 1, 1), podMAC...)
	}
	return body
}

// advertisement is the right answer, its checksum by another implementation.
func advertisement(to netip.Addr, router netip.Addr) []byte {
	eth := &layers.Ethernet{SrcMAC: podGW, DstMAC: podMAC, EthernetType: layers.EthernetTypeIPv6}
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: router.AsSlice(), DstIP: to.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(136, 0)}
	icmp.SetNetworkLayerForChecksum(ip)
	body := append([]byte{0xe0, 0, 0, 0}, router.AsSlice()...)
	return serialize(eth, ip, icmp, gopacket.Payload(append(append(body, 2, 1), podGW...)))
}

func TestGatewayAnswersNeighbourSolicitationsForItselfOnly(t *testing.T) {
	n := filled(t, config())
	f := families[1]
	local, group := netip.MustParseAddr("fe80::a"), netip.MustParseAddr("ff02::1:ff00:1")
	full := solicitation(f.router, true)
	short := icmpv6(f.pod, f.router, 255, 135, full[:12])
	claims := with(icmpv6(f.pod, f.router, 255, 135, full), 18, 0, 8) // the header ends before the target
	hopopts := packet{src: local, dst: netip.MustParseAddr("ff02::16"), srcMAC: podMAC, dstMAC: podGW, ttl: 1,
		proto: layers.IPProtocolIPv6HopByHop, raw: append([]byte{58, 0, 5, 2, 0, 0, 1, 0}, 143, 0, 0, 0, 0, 0, 0, 0)}
	masquerades := masquerading(t, config())
	for _, c := range []fixture{
		{name: "with its MAC", in: icmpv6(f.pod, group, 255, 135, full), verdict: redirect, out: advertisement(f.pod, f.router), reason: bpf.ReasonNDPAnswered},
		{name: "unicast", in: icmpv6(f.pod, f.router, 255, 135, full), verdict: redirect, out: advertisement(f.pod, f.router), reason: bpf.ReasonNDPAnswered},
		{name: "without an option", in: icmpv6(f.pod, f.router, 255, 135, solicitation(f.router, false)), verdict: redirect, out: advertisement(f.pod, f.router), reason: bpf.ReasonNDPAnswered},
		{name: "with more options than an answer has", in: icmpv6(f.pod, f.router, 255, 135, append(full, 14, 1, 0, 0, 0, 0, 0, 0)), verdict: redirect, out: advertisement(f.pod, f.router), reason: bpf.ReasonNDPAnswered},
		{name: "from a link-local address", in: icmpv6(local, group, 255, 135, full), verdict: redirect, out: advertisement(local, f.router), reason: bpf.ReasonNDPAnswered},
		{name: "a stranger", in: icmpv6(f.pod, group, 255, 135, solicitation(f.peer, true)), verdict: shot, reason: bpf.DropUnknownTarget},
		{name: "with the address of another pod", in: icmpv6(f.peer, group, 255, 135, full), verdict: shot, reason: bpf.DropInvalidSourceIP},
		{name: "duplicate address detection", in: icmpv6(netip.IPv6Unspecified(), group, 255, 135, solicitation(f.pod, false)), verdict: shot, reason: bpf.ReasonLinkChatter},
		{name: "came through a router", in: icmpv6(f.pod, group, 254, 135, full), verdict: shot, reason: bpf.DropInvalidPacket},
		{name: "cut in the target", in: short, verdict: shot, reason: bpf.DropInvalidPacket},
		{name: "ends before the target", in: claims, verdict: shot, reason: bpf.DropInvalidPacket},
		{name: "router solicitation", in: icmpv6(local, netip.MustParseAddr("ff02::2"), 255, 133, make([]byte, 4)), verdict: shot, reason: bpf.ReasonLinkChatter},
		{name: "unsolicited advertisement", in: icmpv6(f.pod, netip.MustParseAddr("ff02::1"), 255, 136, solicitation(f.pod, false)), verdict: shot, reason: bpf.ReasonLinkChatter},
		{name: "MLD query", in: icmpv6(local, netip.MustParseAddr("ff02::1"), 1, 130, make([]byte, 20)), verdict: shot, reason: bpf.ReasonLinkChatter},
		{name: "MLDv2 report without router alert", in: icmpv6(local, netip.MustParseAddr("ff02::16"), 1, 143, make([]byte, 24)), verdict: shot, reason: bpf.ReasonLinkChatter},
		{name: "MLDv2 report behind hop-by-hop options", in: hopopts.bytes(), verdict: shot, reason: bpf.ReasonLinkChatter},
		{name: "echo request is routed", in: icmpv6(f.pod, f.router, 64, 128, make([]byte, 8)), verdict: next, reason: bpf.ReasonToHost},
	} {
		c.program = bpf.ProgFromPod
		t.Run(c.name, func(t *testing.T) { n.check(t, c) })
		t.Run(c.name+", masquerading", func(t *testing.T) { masquerades.check(t, c) })
	}
}

// Masquerading leaves the node's own router and neighbour messages (RFC 4861), in both
// directions, and what hears of groups (RFC 3810), as they are.
func TestNeighboursMessagesAreNotMasqueraded(t *testing.T) {
	n := masquerading(t, native())
	f := families[1]
	for _, kind := range []byte{130, 133, 134, 135, 136, 143} {
		for _, to := range []netip.Addr{f.gateway, netip.MustParseAddr("ff02::1"), netip.MustParseAddr("fe80::1")} {
			in, out := f.message(f.arriving(f.gateway), kind, 0), f.message(f.leaving(to), kind, 0)
			reason := bpf.ReasonToHost
			if to.IsMulticast() {
				in.dst, reason = to, bpf.ReasonPassed
			}
			n.passes(t, fmt.Sprint("type in ", kind), bpf.ProgFromNetdev, underlayIfindex, in, in, reason)
			n.passes(t, fmt.Sprint("type out ", kind), bpf.ProgToNetdev, underlayIfindex, out, out, bpf.ReasonPassed)
		}
	}
	n.noEntries(t, "neighbours' messages")
}

func TestGatewayOfAFamilyThatIsOffAnswersNothing(t *testing.T) {
	f, v4 := families[1], families[0]
	cfg := config()
	cfg.IPv4, cfg.RouterIPv4 = 0, bpf.Addr{}
	n := filled(t, cfg)
	ask := arp{operation: 1, srcMAC: podMAC, dstMAC: broadcast, sender: v4.pod, target: v4.router, senderMAC: podMAC, targetMAC: make(net.HardwareAddr, 6)}
	n.check(t, fixture{program: bpf.ProgFromPod, in: ask.bytes(), verdict: shot, reason: bpf.DropUnknownTarget})

	cfg = config()
	cfg.IPv6, cfg.RouterIPv6 = 0, bpf.Addr{}
	n = newNode(t, cfg)
	n.fill(t)
	n.check(t, fixture{program: bpf.ProgFromPod, in: icmpv6(f.pod, f.router, 255, 135, solicitation(f.router, true)), verdict: shot, reason: bpf.DropUnsupportedL3})
}
