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

var (
	vip4, vip6 = netip.MustParseAddr("172.18.200.1"), netip.MustParseAddr("fc00::200:1")
	nicMAC     = underlayMAC
	clientMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
	client4    = netip.MustParseAddr("172.18.0.99")
	client6    = netip.MustParseAddr("fc00::99")
	unknown4   = netip.MustParseAddr("172.18.200.2")
	unknown6   = netip.MustParseAddr("fc00::1:200:1") // of the same solicited-node group
	group6     = netip.MustParseAddr("ff02::1:ff00:1")
	groupMAC   = net.HardwareAddr{0x33, 0x33, 0xff, 0, 0, 1}
)

func answering() bpf.Config {
	cfg := config()
	cfg.L2 = 1
	return cfg
}

// announce makes a node answer for both addresses on its underlay.
func (n *node) announce(t *testing.T) {
	t.Helper()
	for _, a := range []netip.Addr{vip4, vip6} {
		n.set(t, bpf.MapL2, l2Key(a), bpf.L2Entry{MAC: bpf.MACFrom(nicMAC)})
	}
}

func l2Key(a netip.Addr) bpf.L2Key {
	return bpf.L2Key{Addr: bpf.AddrFrom(a), Ifindex: underlayIfindex}
}

// answered is how often a node has answered for an address.
func (n *node) answered(t *testing.T, a netip.Addr) uint64 {
	t.Helper()
	var e bpf.L2Entry
	if err := n.maps[bpf.MapL2].Lookup(l2Key(a), &e); err != nil {
		t.Fatal(err)
	}
	return e.Responses
}

// whoHas is a client's ARP request.
func whoHas(target netip.Addr) arp {
	return arp{operation: 1, srcMAC: clientMAC, dstMAC: broadcast, sender: client4, target: target, senderMAC: clientMAC, targetMAC: make(net.HardwareAddr, 6)}
}

func TestARPForAnAnnouncedAddressIsAnsweredByItsHolderOnly(t *testing.T) {
	n := filled(t, answering())
	n.announce(t)
	answer := func(to netip.Addr) []byte {
		return arp{operation: 2, srcMAC: nicMAC, dstMAC: clientMAC, sender: vip4, target: to, senderMAC: nicMAC, targetMAC: clientMAC}.bytes()
	}
	change := func(f func(*arp)) []byte {
		a := whoHas(vip4)
		f(&a)
		return a.bytes()
	}
	good := whoHas(vip4).bytes()
	answered := uint64(0)
	for _, c := range []fixture{
		{name: "who has it", in: good, out: answer(client4)},
		{name: "padded", in: append(good, make([]byte, 18)...), out: append(answer(client4), make([]byte, 18)...)},
		{name: "unicast", in: change(func(a *arp) { a.dstMAC = nicMAC }), out: answer(client4)},
		{name: "a probe", in: change(func(a *arp) { a.sender = netip.IPv4Unspecified() }), out: answer(netip.IPv4Unspecified())},
		{name: "for another's MAC", in: change(func(a *arp) { a.dstMAC = strangerMAC })},
		{name: "an announcement", in: change(func(a *arp) { a.sender = vip4 })},
		{name: "a reply", in: change(func(a *arp) { a.operation = 2 })},
		{name: "an address that is not announced", in: whoHas(unknown4).bytes()},
		{name: "this node's own", in: whoHas(families[0].self).bytes()},
		{name: "on another device", in: good, ifindex: int(device(podID))},
		{name: "other hardware", in: with(good, 14, 0, 6)},
		{name: "other protocol", in: with(good, 16, 0x86, 0xdd)},
		{name: "other hardware length", in: with(good, 18, 8)},
		{name: "other protocol length", in: with(good, 19, 16)},
		{name: "cut", in: good[:41]},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.program, c.verdict, c.reason = bpf.ProgFromNetdev, next, bpf.ReasonPassed
			if c.out != nil {
				c.verdict, c.reason = redirect, bpf.ReasonARPAnswered
				answered++
			}
			n.check(t, c)
			if got := n.answered(t, vip4); got != answered {
				t.Errorf("%d answers counted, want %d", got, answered)
			}
		})
	}
}

// ask is a client's ICMPv6 of the link; body is what follows the checksum.
func ask(src, dst netip.Addr, dstMAC net.HardwareAddr, hops, kind, code uint8, body []byte) []byte {
	eth := &layers.Ethernet{SrcMAC: clientMAC, DstMAC: dstMAC, EthernetType: layers.EthernetTypeIPv6}
	ip := &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolICMPv6, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, code)}
	icmp.SetNetworkLayerForChecksum(ip)
	return serialize(eth, ip, icmp, gopacket.Payload(body))
}

// isAt is the advertisement of the address, its checksum by another implementation.
func isAt(dst netip.Addr, dstMAC net.HardwareAddr, flags byte) []byte {
	eth := &layers.Ethernet{SrcMAC: nicMAC, DstMAC: dstMAC, EthernetType: layers.EthernetTypeIPv6}
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: vip6.AsSlice(), DstIP: dst.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(136, 0)}
	icmp.SetNetworkLayerForChecksum(ip)
	body := append([]byte{flags, 0, 0, 0}, vip6.AsSlice()...)
	return serialize(eth, ip, icmp, gopacket.Payload(append(append(body, 2, 1), nicMAC...)))
}

func TestSolicitationOfAnAnnouncedAddressIsAnsweredByItsHolderOnly(t *testing.T) {
	n := filled(t, answering())
	n.announce(t)
	const solicited, dad = 0x60, 0x20
	local, none, all := netip.MustParseAddr("fe80::99"), netip.IPv6Unspecified(), netip.MustParseAddr("ff02::1")
	body := append(append(append(make([]byte, 4), vip6.AsSlice()...), 1, 1), clientMAC...)
	bare, nonce := body[:20], []byte{14, 1, 1, 2, 3, 4, 5, 6}
	join := func(parts ...[]byte) (out []byte) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	from := func(src netip.Addr, body []byte) []byte { return ask(src, group6, groupMAC, 255, 135, 0, body) }
	toAll := isAt(all, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, dad)
	good, long := from(client6, body), make([]byte, 104)
	for i := 0; i < len(long); i += 8 {
		long[i], long[i+1] = 14, 1
	}
	answered := uint64(0)
	for _, c := range []fixture{
		{name: "to its group", in: good, out: isAt(client6, clientMAC, solicited)},
		{name: "unicast", in: ask(client6, vip6, nicMAC, 255, 135, 0, body), out: isAt(client6, clientMAC, solicited)},
		{name: "from a link-local address", in: from(local, body), out: isAt(local, clientMAC, solicited)},
		{name: "without an option", in: from(client6, bare), out: isAt(client6, clientMAC, solicited)},
		{name: "with a nonce, too", in: from(client6, join(body, nonce)), out: isAt(client6, clientMAC, solicited)},
		{name: "with as many options as are read", in: from(client6, join(bare, long)), out: isAt(client6, clientMAC, solicited)},
		{name: "duplicate address detection", in: from(none, bare), out: toAll},
		{name: "the same with a nonce", in: from(none, join(bare, nonce)), out: toAll},
		{name: "the same with the MAC of nobody's address", in: from(none, body)},
		{name: "the same unicast", in: ask(none, vip6, nicMAC, 255, 135, 0, bare)},
		{name: "for another's MAC", in: ask(client6, vip6, strangerMAC, 255, 135, 0, body)},
		{name: "to all nodes", in: ask(client6, all, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, 255, 135, 0, body)},
		{name: "to another group", in: ask(client6, netip.MustParseAddr("ff02::1:ff00:2"), groupMAC, 255, 135, 0, body)},
		{name: "from a group", in: from(all, body)},
		{name: "an address that is not announced", in: from(client6, join(make([]byte, 4), unknown6.AsSlice()))},
		{name: "IPv4's in disguise", in: ask(client6, netip.MustParseAddr("ff02::1:ff12:c801"), groupMAC, 255, 135, 0, append(make([]byte, 14), 0xff, 0xff, 172, 18, 200, 1))},
		{name: "on another device", in: good, ifindex: int(device(podID))},
		{name: "came through a router", in: ask(client6, group6, groupMAC, 254, 135, 0, body)},
		{name: "of another code", in: ask(client6, group6, groupMAC, 255, 135, 1, body)},
		{name: "an advertisement", in: ask(client6, group6, groupMAC, 255, 136, 0, body)},
		{name: "an echo request", in: ask(client6, group6, groupMAC, 255, 128, 0, body)},
		{name: "a wrong checksum", in: with(good, 14+40+2, good[14+40+2]^1)},
		{name: "another target than was summed", in: with(good, 14+40+23, 2)},
		{name: "an option without length", in: from(client6, join(bare, []byte{14, 0, 0, 0, 0, 0, 0, 0}))},
		{name: "an option beyond the end", in: from(client6, join(bare, []byte{14, 2, 0, 0, 0, 0, 0, 0}))},
		{name: "half an option", in: from(client6, join(bare, nonce[:4]))},
		{name: "more options than are read", in: from(client6, join(bare, long, nonce))},
		{name: "ends in the target", in: from(client6, bare[:12])},
		{name: "empty", in: from(client6, nil)},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.program, c.verdict, c.reason = bpf.ProgFromNetdev, next, bpf.ReasonPassed
			if c.out != nil {
				c.verdict, c.reason = redirect, bpf.ReasonNDPAnswered
				answered++
			}
			n.check(t, c)
			if got := n.answered(t, vip6); got != answered {
				t.Errorf("%d answers counted, want %d", got, answered)
			}
		})
	}
}

func TestNobodyAnswersWhatIsSwitchedOff(t *testing.T) {
	arp := whoHas(vip4).bytes()
	nd := ask(client6, group6, groupMAC, 255, 135, 0, append(make([]byte, 4), vip6.AsSlice()...))
	for i, c := range []struct {
		off      func(*bpf.Config)
		arp, ndp bool // answered
	}{
		{func(c *bpf.Config) { c.L2 = 0 }, false, false},
		{func(c *bpf.Config) { c.IPv4, c.RouterIPv4 = 0, bpf.Addr{} }, false, true},
		{func(c *bpf.Config) { c.IPv6, c.RouterIPv6 = 0, bpf.Addr{} }, true, false},
		{func(c *bpf.Config) { c.HostFirewall = 1 }, true, true},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			cfg := answering()
			c.off(&cfg)
			n := filled(t, cfg)
			n.announce(t)
			for in, want := range map[string]bool{string(arp): c.arp, string(nd): c.ndp} {
				got, err := n.run(bpf.ProgFromNetdev, skb{Ifindex: underlayIfindex}, []byte(in))
				if err != nil {
					t.Fatal(err)
				}
				if is := got.verdict == redirect; is != want {
					t.Errorf("% x: verdict %d, want an answer: %v", in[:14], got.verdict, want)
				}
			}
		})
	}
}

// Seed row M9 for questions of neighbours: a tagged one is for a device of its VLAN.
func TestNobodyAnswersInAVLAN(t *testing.T) {
	cfg := answering()
	cfg.VLANBypass = [8]uint16{200}
	n := filled(t, cfg)
	n.set(t, bpf.MapL2, bpf.L2Key{Addr: bpf.AddrFrom(vip4), Ifindex: device(podID)}, bpf.L2Entry{MAC: bpf.MACFrom(nicMAC)})
	alone(t)
	n.attach(t, bpf.ProgFromNetdev, device(podID))
	in := whoHas(vip4).bytes()
	n.inject(t, "pod-in", tagged(in, 0x8100, 100), tagged(in, 0x8100, 200), tagged(in, 0x8100, 0))
	n.expect(t, bpf.ProgFromNetdev, map[bpf.Reason]uint64{bpf.DropVLAN: 1, bpf.ReasonVLANBypassed: 1, bpf.ReasonARPAnswered: 1})
}
