package bpftest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// packet is a frame before it has bytes. The zero value of a field means what
// is usual.
type packet struct {
	src, dst       netip.Addr
	srcMAC, dstMAC net.HardwareAddr
	ttl            uint8
	id             uint16 // IPv4 only
	dontFragment   bool   // IPv4 only
	fragment       int    // IPv4: 1 the first, 2 a later one
	options        []layers.IPv4Option
	payload        int               // octets behind the UDP or TCP header
	tcp            bool              // TCP instead of UDP
	sport, dport   uint16            // 0: 1234, and 53 of UDP, 80 of TCP
	flags          string            // of TCP: some of "SAFRP"; "": A
	seq, ack       uint32            // of TCP
	proto          layers.IPProtocol // with raw
	raw            []byte            // what follows the IP header, instead of UDP
}

// from is a packet of the pod under test.
func (f family) from(dst netip.Addr) packet {
	return packet{src: f.pod, dst: dst, srcMAC: podMAC, dstMAC: podGW, ttl: 64}
}

// into is a packet that comes from elsewhere.
func (f family) into(dst netip.Addr) packet {
	return packet{src: f.remote, dst: dst, srcMAC: otherMAC, dstMAC: peerGW, ttl: 63}
}

// fromWorld is the same from outside of the cluster.
func (f family) fromWorld(dst netip.Addr) packet {
	p := f.into(dst)
	p.src = f.world
	return p
}

// hop is the packet after a router: the expected output, built anew, with
// checksums by another implementation.
func (p packet) hop() packet {
	p.ttl--
	return p
}

func (p packet) to(srcMAC, dstMAC net.HardwareAddr) packet {
	p.srcMAC, p.dstMAC = srcMAC, dstMAC
	return p
}

// sized makes the packet that long from its IP header on.
func (p packet) sized(n int) packet {
	p.payload = 100 // more than what pads a short frame
	p.payload = n - (len(p.bytes()) - 14 - p.payload)
	return p
}

func (p packet) has(flag rune) bool { return strings.ContainsRune(p.flags, flag) }

// ports are those on the wire.
func (p packet) ports() (src, dst uint16) {
	src, dst = p.sport, p.dport
	if src == 0 {
		src = 1234
	}
	if dst == 0 {
		dst = 53
		if p.tcp {
			dst = 80
		}
	}
	return src, dst
}

// window is that of a reset, or some other.
func (p packet) window() uint16 {
	if p.has('R') {
		return 0
	}
	return 1000
}

// reply is what the other end sends back; to whom the frame is addressed is
// left to the caller.
func (p packet) reply() packet {
	p.sport, p.dport = p.ports()
	p.sport, p.dport = p.dport, p.sport
	p.src, p.dst = p.dst, p.src
	return p
}

func (p packet) bytes() []byte {
	var network gopacket.NetworkLayer
	proto := layers.IPProtocolUDP
	if p.tcp {
		proto = layers.IPProtocolTCP
	}
	if p.raw != nil {
		proto = p.proto
	}
	eth := &layers.Ethernet{SrcMAC: p.srcMAC, DstMAC: p.dstMAC, EthernetType: layers.EthernetTypeIPv4}
	stack := []gopacket.SerializableLayer{eth}
	if p.src.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: p.ttl, Id: p.id, Protocol: proto, SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice(), Options: p.options}
		if p.dontFragment {
			ip.Flags |= layers.IPv4DontFragment
		}
		if p.fragment == 1 {
			ip.Flags |= layers.IPv4MoreFragments
		} else if p.fragment > 1 {
			ip.FragOffset = 100
		}
		network, stack = ip, append(stack, ip)
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: p.ttl, NextHeader: proto, SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice()}
		network, stack = ip, append(stack, ip)
	}
	switch {
	case p.raw != nil:
		stack = append(stack, gopacket.Payload(p.raw))
	case p.tcp:
		sport, dport := p.ports()
		tcp := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), Window: p.window(), Seq: p.seq, Ack: p.ack,
			SYN: p.has('S'), ACK: p.flags == "" || p.has('A'), FIN: p.has('F'), RST: p.has('R'), PSH: p.has('P')}
		tcp.SetNetworkLayerForChecksum(network)
		stack = append(stack, tcp, gopacket.Payload(make([]byte, p.payload)))
	default:
		sport, dport := p.ports()
		udp := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
		udp.SetNetworkLayerForChecksum(network)
		stack = append(stack, udp, gopacket.Payload(make([]byte, p.payload)))
	}
	return serialize(stack...)
}

func serialize(stack ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		panic(err) // a packet that no test could mean
	}
	return b.Bytes()
}

// with returns a copy of a frame with some bytes replaced.
func with(frame []byte, at int, b ...byte) []byte {
	out := append([]byte(nil), frame...)
	copy(out[at:], b)
	return out
}

// summed renews the checksum of a frame's IPv4 header.
func summed(frame []byte) []byte {
	out := with(frame, 24, 0, 0)
	binary.BigEndian.PutUint16(out[24:], ^sum(out[14:34]))
	return out
}

// sum is the internet checksum (RFC 1071) over b, folded, not inverted.
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func frame(etherType uint16, payload int) []byte {
	b := append(append([]byte(nil), podGW...), podMAC...)
	b = binary.BigEndian.AppendUint16(b, etherType)
	return append(b, make([]byte, payload)...)
}

func sysctl(t testing.TB, name, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
		t.Fatalf("set %s: %v", name, err)
	}
}
