package policylab

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"weir/datapath/link/linktest"
)

// shot is a packet to be made. Ports are those of the packet; of ICMP sport is
// the identifier.
type shot struct {
	src, dst     netip.Addr
	proto        string // "tcp", "udp", "sctp", "icmp"
	flags        string // of TCP: "S", "SA", "R", "A"; of ICMP: "reply"
	sport, dport uint16
	payload      string
}

// bytes is the packet from the IP header on.
func (s shot) bytes() ([]byte, error) {
	var network gopacket.NetworkLayer
	var parts []gopacket.SerializableLayer
	number := map[string]layers.IPProtocol{"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1}[s.proto]
	if s.src.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: number, SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice()}
		network, parts = ip, append(parts, ip)
	} else {
		if s.proto == "icmp" {
			number = layers.IPProtocolICMPv6
		}
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: number, SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice()}
		network, parts = ip, append(parts, ip)
	}
	parts = append(parts, s.transport(network)...)
	if s.proto == "sctp" {
		parts = append(parts, &layers.SCTPInit{SCTPChunk: layers.SCTPChunk{Type: layers.SCTPChunkTypeInit}, InitiateTag: 7, OutboundStreams: 1, InboundStreams: 1})
	}
	parts = append(parts, gopacket.Payload(s.payload))
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...)
	return bytes.Clone(b.Bytes()), err
}

func (s shot) transport(network gopacket.NetworkLayer) []gopacket.SerializableLayer {
	switch s.proto {
	case "tcp":
		l := &layers.TCP{SrcPort: layers.TCPPort(s.sport), DstPort: layers.TCPPort(s.dport), Seq: 1000, Window: 1024,
			SYN: s.flags == "S" || s.flags == "SA", ACK: s.flags == "SA" || s.flags == "A", RST: s.flags == "R"}
		_ = l.SetNetworkLayerForChecksum(network) // fails for no IP layer only
		return []gopacket.SerializableLayer{l}
	case "udp":
		l := &layers.UDP{SrcPort: layers.UDPPort(s.sport), DstPort: layers.UDPPort(s.dport)}
		_ = l.SetNetworkLayerForChecksum(network)
		return []gopacket.SerializableLayer{l}
	case "sctp":
		return []gopacket.SerializableLayer{&layers.SCTP{SrcPort: layers.SCTPPort(s.sport), DstPort: layers.SCTPPort(s.dport)}}
	}
	if s.src.Is4() {
		kind := uint8(layers.ICMPv4TypeEchoRequest)
		if s.flags == "reply" {
			kind = layers.ICMPv4TypeEchoReply
		}
		return []gopacket.SerializableLayer{&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: s.sport, Seq: 1}}
	}
	kind := uint8(layers.ICMPv6TypeEchoRequest)
	if s.flags == "reply" {
		kind = layers.ICMPv6TypeEchoReply
	}
	l := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	_ = l.SetNetworkLayerForChecksum(network)
	return []gopacket.SerializableLayer{l, &layers.ICMPv6Echo{Identifier: s.sport, SeqNumber: 1}}
}

// gun sends crafted packets through the stack of one namespace.
type gun struct{ fd4, fd6 int }

func newGun(t *testing.T, netns string) *gun {
	t.Helper()
	g := &gun{}
	err := linktest.Inside(netns, func() (err error) {
		if g.fd4, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
			return err
		}
		if g.fd6, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
			return err
		}
		return unix.SetsockoptInt(g.fd6, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, 1)
	})
	if err != nil {
		t.Fatalf("raw sockets: %v", err)
	}
	t.Cleanup(func() { unix.Close(g.fd4); unix.Close(g.fd6) })
	return g
}

func (g *gun) fire(to netip.Addr, packet []byte) error {
	if to.Is4() {
		return unix.Sendto(g.fd4, packet, 0, &unix.SockaddrInet4{Addr: to.As4()})
	}
	return unix.Sendto(g.fd6, packet, 0, &unix.SockaddrInet6{Addr: to.As16()})
}

func (g *gun) shoot(s shot) error {
	b, err := s.bytes()
	if err != nil {
		return err
	}
	return g.fire(s.dst, b)
}

// tap hands every packet that arrives in a namespace to see, from the IP
// header on. What a pod's interface gets has passed every program.
type tap struct {
	mu    sync.Mutex
	seen  map[string]int // payloads that begin with mark, up to its end
	files []*os.File
}

// mark begins the payloads by which packets are known again; markLen is their
// length.
const (
	mark    = "weir-mark-"
	markLen = len(mark) + 8
)

// marked returns the payload's mark.
func marked(packet []byte) string {
	i := bytes.Index(packet, []byte(mark))
	if i < 0 || len(packet) < i+markLen {
		return ""
	}
	return string(packet[i : i+markLen])
}

// openTap listens in the namespace. With local it hears what the stack
// delivers to itself, after the programs of its devices; else what comes in on
// any of its interfaces, which exist by now or come later.
func openTap(netns string, local bool) (*tap, error) {
	p := &tap{seen: map[string]int{}}
	err := linktest.Inside(netns, func() error {
		if !local {
			return p.open(unix.AF_PACKET, unix.SOCK_DGRAM, int(unixHtons(unix.ETH_P_ALL)))
		}
		for _, proto := range []int{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP} {
			for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
				if err := p.open(family, unix.SOCK_RAW, proto); err != nil {
					return err
				}
			}
		}
		return errors.Join(p.open(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), p.open(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6))
	})
	if err != nil {
		p.close()
		return nil, err
	}
	for _, f := range p.files {
		go p.read(f)
	}
	return p, nil
}

func (p *tap) open(family, kind, proto int) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) // less will do when it is quiet
	p.files = append(p.files, os.NewFile(uintptr(fd), "tap"))
	return nil
}

func (p *tap) close() {
	for _, f := range p.files {
		f.Close()
	}
}

func (p *tap) read(f *os.File) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 65536)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), buf, 0)
			return failed != unix.EAGAIN
		})
		if err != nil || failed == unix.EBADF {
			return // closed
		}
		if failed != nil {
			continue // the interface went down
		}
		if at, ok := from.(*unix.SockaddrLinklayer); ok && at.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if m := marked(buf[:n]); m != "" {
			p.mu.Lock()
			p.seen[m]++
			p.mu.Unlock()
		}
	}
}

// count returns how often a marked packet has arrived.
func (p *tap) count(m string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[m]
}

// begin returns how many packets have arrived whose mark begins so, by mark.
func (p *tap) begin(prefix string) (n int, which map[string]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	which = map[string]int{}
	for m, k := range p.seen {
		if len(m) >= len(prefix) && m[:len(prefix)] == prefix {
			n += k
			which[m] += k
		}
	}
	return n, which
}

func unixHtons(v uint16) uint16 { return v<<8 | v>>8 }
