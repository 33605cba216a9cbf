package bpftest

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"weir/bpf"
)

// Extension headers of IPv6, without the octet that says what follows.
var (
	hopByHop    = extension{layers.IPProtocolIPv6HopByHop, []byte{0, 1, 4, 0, 0, 0, 0}}
	destination = extension{layers.IPProtocolIPv6Destination, []byte{1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}
	routing     = extension{layers.IPProtocolIPv6Routing, []byte{0, 4, 0, 0, 0, 0, 0}}
	authentic   = extension{layers.IPProtocolAH, []byte{4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}
)

type extension struct {
	proto layers.IPProtocol
	rest  []byte
}

func fragmentHeader(id uint32, offset uint16, more bool) extension {
	at := offset << 3
	if more {
		at |= 1
	}
	return extension{layers.IPProtocolIPv6Fragment, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{0}, at), id)}
}

// behind puts extension headers between a packet's IPv6 header and what followed it.
func (p packet) behind(chain ...extension) packet {
	b := p.bytes()
	proto, rest := layers.IPProtocol(b[20]), b[54:]
	for i := len(chain) - 1; i >= 0; i-- {
		rest = append(append([]byte{byte(proto)}, chain[i].rest...), rest...)
		proto = chain[i].proto
	}
	p.proto, p.raw = proto, rest
	return p
}

// fragments cuts a packet in two: the first has its header.
func (f family) fragments(p packet, id uint16, chain ...extension) (first, later packet) {
	p.id = id
	first, later = p, p
	if f.v6 {
		first = p.behind(append(chain[:len(chain):len(chain)], fragmentHeader(uint32(id), 0, true))...)
		later.proto, later.raw = layers.IPProtocol(p.bytes()[20]), make([]byte, 64)
		return first, later.behind(append(chain[:len(chain):len(chain)], fragmentHeader(uint32(id), 100, false))...)
	}
	b := p.bytes()
	first.fragment, later.fragment = 1, 2
	later.proto, later.raw = layers.IPProtocol(b[23]), make([]byte, 64)
	return first, later
}

func TestLaterFragmentsFollowTheFirst(t *testing.T) {
	n := filled(t, config())
	id := uint16(100)
	perFamily(t, n, func(t *testing.T, f family) {
		chains := map[string][]extension{"plain": nil}
		if f.v6 {
			chains["behind options"] = []extension{hopByHop, destination}
			chains["behind a routing header"] = []extension{hopByHop, routing}
			chains["behind five headers"] = []extension{hopByHop, destination, routing, authentic, destination}
		}
		for name, chain := range chains {
			for kind, p := range map[string]packet{
				"UDP": f.from(f.peer).sized(200), "TCP": tcpOf(f.from(f.peer)).sized(200), "echo": f.ping(f.from(f.peer), 8),
				"SYN": {src: f.pod, dst: f.peer, srcMAC: podMAC, dstMAC: podGW, ttl: 64, tcp: true, flags: "S"},
			} {
				t.Run(name+": "+kind, func(t *testing.T) {
					n.forget(t)
					n.open(t, peerID)
					id++
					first, later := f.fragments(p, id, chain...)
					n.want(t, "without the first", bpf.ProgFromPod, later, bpf.DropFragment)
					n.noEntries(t, "a fragment without the first")
					n.want(t, "the first", bpf.ProgFromPod, first, bpf.ReasonToEndpoint)
					n.want(t, "a later one", bpf.ProgFromPod, later, bpf.ReasonToEndpoint)
					if _, e := n.entry(t); e.Packets != [2]uint32{2, 0} {
						t.Errorf("the two are counted as %v, want one connection's", e.Packets)
					}
					_, stranger := f.fragments(p, id+1000, chain...)
					n.want(t, "one of another datagram", bpf.ProgFromPod, stranger, bpf.DropFragment)
					n.isolate(t, peerID, bpf.PolicyIngress)
					n.want(t, "a later one after the policy changed", bpf.ProgFromPod, later, bpf.DropPolicy)
					n.want(t, "the first after the policy changed", bpf.ProgFromPod, first, bpf.DropPolicy)
					_, other := f.fragments(p.reply().to(peerMAC, peerGW), id, chain...)
					n.want(t, "one of the other direction with its id", bpf.ProgFromPod, other, bpf.DropFragment)
				})
			}
		}
	})
}

// The first fragment's message says what the later ones are, too: none of them
// may pass for something that is allowed, or make a connection that its first
// one would not.
func TestLaterFragmentsOfMessagesAreWhatTheFirstIs(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.isolate(t, peerID, bpf.PolicyIngress)
		request := uint16(f.pick(8, 128))
		n.rules(t, rule{ingress: true, level: bpf.LevelPort, proto: uint8(f.icmp()), port: request, id: 2})
		first, later := f.fragments(f.pong(f.from(f.peer), request), 7)
		n.want(t, "an answer to nothing", bpf.ProgFromPod, first, bpf.DropPolicy)
		n.want(t, "its later fragment", bpf.ProgFromPod, later, bpf.DropPolicy)
		n.open(t, peerID)
		n.want(t, "allowed", bpf.ProgFromPod, first, bpf.ReasonToEndpoint)
		n.want(t, "its later fragment", bpf.ProgFromPod, later, bpf.ReasonToEndpoint)
		first, later = f.fragments(f.message(f.from(f.peer), f.pick(13, 139), 0), 8)
		n.want(t, "a message that is no echo", bpf.ProgFromPod, first, bpf.ReasonToEndpoint)
		n.want(t, "its later fragment", bpf.ProgFromPod, later, bpf.ReasonToEndpoint)
		n.noEntries(t, "messages that open nothing")

		live := f.from(f.world)
		n.isolate(t, podID, bpf.PolicyIngress)
		n.want(t, "a connection", bpf.ProgFromPod, live, bpf.ReasonToNetwork)
		first, later = f.fragments(f.unreachable(f.fromPeer(f.pod), live), 9)
		n.want(t, "an error about it", bpf.ProgFromPod, first, bpf.ReasonToEndpoint)
		later.raw = append(later.raw[:0:0], first.raw...) // what it carries looks like another error
		if f.v6 {
			later.raw = append(later.raw[:0:0], first.raw...)
			binary.BigEndian.PutUint16(later.raw[2:], 100<<3)
		}
		n.want(t, "its later fragment", bpf.ProgFromPod, later, bpf.DropPolicy)
	})
}

// RFC 8200 section 4.5: what follows the fragment header is what the first one
// says, and other headers may stand between.
func TestHeadersBehindTheFragmentHeader(t *testing.T) {
	n := filled(t, config())
	f := families[1]
	p := f.from(f.peer)
	first := p.behind(hopByHop, fragmentHeader(5, 0, true), destination)
	later := p
	later.proto, later.raw = layers.IPProtocolIPv6Destination, make([]byte, 64)
	later = later.behind(hopByHop, fragmentHeader(5, 100, false))
	n.want(t, "the first", bpf.ProgFromPod, first, bpf.ReasonToEndpoint)
	n.want(t, "a later one", bpf.ProgFromPod, later, bpf.ReasonToEndpoint)
	odd := later
	odd.raw = with(later.raw, 8, byte(layers.IPProtocolTCP)) // names another protocol
	n.want(t, "a later one that says TCP", bpf.ProgFromPod, odd, bpf.ReasonToEndpoint)
	if k, e := n.entry(t); k.Proto != uint8(layers.IPProtocolUDP) || e.Packets != [2]uint32{3, 0} {
		t.Errorf("one connection of UDP with three packets is %s %s", k, e)
	}
}

func TestWholeDatagramInAFragmentHeaderIsNoFragment(t *testing.T) {
	n := filled(t, config())
	f := families[1]
	p := f.from(f.peer).behind(fragmentHeader(6, 0, false))
	n.want(t, "an atomic fragment (RFC 6946)", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
	later := f.from(f.peer).behind(fragmentHeader(6, 100, false))
	n.want(t, "a later fragment with its id", bpf.ProgFromPod, later, bpf.DropFragment)
}

// RFC 7112: the first fragment has all headers. Whoever cannot see the ports
// must not guess them.
func TestHeadersThatDoNotEndInTheFirstFragmentAreInvalid(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		for name, p := range map[string]packet{"UDP": f.from(f.peer), "TCP": tcpOf(f.from(f.peer)), "echo": f.ping(f.from(f.peer), 1)} {
			b := p.bytes()
			whole, proto := b[34:], layers.IPProtocol(b[23])
			if f.v6 {
				whole, proto = b[54:], layers.IPProtocol(b[20])
			}
			header := 8
			if p.tcp {
				header = 20
			}
			for size := range header {
				p.raw, p.proto, p.id = append([]byte{}, whole[:size]...), proto, 77
				first, _ := f.fragments(p, 77)
				n.want(t, fmt.Sprintf("%s header of %d octets", name, size), bpf.ProgFromPod, first, bpf.DropInvalidPacket)
			}
		}
		n.noEntries(t, "headers that are cut")
	})
}

func TestExtensionHeadersAreWalkedToThePorts(t *testing.T) {
	n := filled(t, config())
	f := families[1]
	n.isolate(t, peerID, bpf.PolicyIngress)
	n.rules(t, rule{ingress: true, level: bpf.LevelPort, proto: 17, port: 53, id: 2})
	chain := []extension{hopByHop, destination, routing, authentic, destination, destination, destination}
	other := f.from(f.peer)
	other.dport = 54
	for i := 1; i <= len(chain); i++ {
		reason, denied := bpf.ReasonToEndpoint, bpf.DropPolicy
		if i > 6 {
			reason, denied = bpf.DropInvalidPacket, bpf.DropInvalidPacket
		}
		n.want(t, fmt.Sprintf("%d headers", i), bpf.ProgFromPod, f.from(f.peer).behind(chain[:i]...), reason)
		n.want(t, fmt.Sprintf("%d headers, another port", i), bpf.ProgFromPod, other.behind(chain[:i]...), denied)
	}
	if _, e := n.entry(t); e.Packets[0] != 6 {
		t.Errorf("%d packets of one connection, want 6", e.Packets[0])
	}
	n.want(t, "and without", bpf.ProgFromPod, f.from(f.peer), bpf.ReasonToEndpoint)
}

func TestExtensionHeaderThatIsCutIsInvalid(t *testing.T) {
	n := filled(t, config())
	f := families[1]
	for _, chain := range [][]extension{{hopByHop}, {destination}, {routing}, {authentic}, {fragmentHeader(1, 0, true)}, {fragmentHeader(1, 9, true)}, {hopByHop, destination}} {
		p := f.from(f.peer).behind(chain...)
		p.raw = p.raw[:len(p.raw)-8] // without UDP
		headers := len(p.raw)
		for size := range headers + 8 {
			q := p
			q.raw = append(append([]byte{}, p.raw...), make([]byte, 8)...)[:size]
			reason := bpf.DropInvalidPacket
			if chain[0].proto == layers.IPProtocolIPv6Fragment && chain[0].rest[2] != 1 && size >= 8 {
				reason = bpf.DropFragment
			}
			n.want(t, fmt.Sprintf("%d octets of %d behind IPv6, protocol %d first", size, headers, chain[0].proto), bpf.ProgFromPod, q, reason)
			// The frame goes on with the rest, which is no part of the packet.
			in := append(q.bytes()[:54+size], p.raw[min(size, headers):]...)
			in = append(in, f.from(f.peer).bytes()[54:]...)
			if got := n.sendFrame(t, bpf.ProgFromPod, device(podID), in); got.reason != reason {
				t.Errorf("%d octets of %d and a trailer, protocol %d first: %s, want %s", size, headers, chain[0].proto, got.reason, reason)
			}
		}
	}
	overlong := destination
	for _, units := range []byte{6, 7, 30, 127, 255} { // longer than the packet, over what follows
		overlong.rest = with(destination.rest, 0, units)
		n.want(t, fmt.Sprintf("a header of %d octets over what follows", 8*int(units)+8), bpf.ProgFromPod, f.from(f.peer).sized(80).behind(overlong), bpf.DropInvalidPacket)
	}
	cut := f.from(f.peer)
	cut.proto, cut.raw = layers.IPProtocolNoNextHeader, []byte{}
	overlong.rest = with(destination.rest, 0, 3)
	n.want(t, "a header beyond the packet, then none", bpf.ProgFromPod, cut.behind(overlong), bpf.DropInvalidPacket)
	n.noEntries(t, "headers that are cut")
}

// A datagram's ports are noted once, under its own id, also where two stages complete
// the packet.
func TestFragmentedDatagramHasOneRow(t *testing.T) {
	n := masquerading(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		clearMap[bpf.FragmentKey, bpf.Fragment](t, n.maps[bpf.MapFragments])
		first, later := f.fragments(f.fromWorld(f.self).sized(200), 77)
		n.want(t, "the first", bpf.ProgFromNetdev, first, bpf.ReasonToHost)
		n.want(t, "a later one", bpf.ProgFromNetdev, later, bpf.ReasonToHost)
		first, later = f.fragments(f.fromWorld(f.peer).sized(200), 78)
		n.want(t, "the first of a pod's", bpf.ProgFromNetdev, first, bpf.ReasonToEndpoint)
		n.want(t, "a later one of a pod's", bpf.ProgFromNetdev, later, bpf.ReasonToEndpoint)
		var k bpf.FragmentKey
		var v bpf.Fragment
		rows := 0
		for it := n.maps[bpf.MapFragments].Iterate(); it.Next(&k, &v); rows++ {
			if k.ID == 0 {
				t.Errorf("a row has no id: %+v", k)
			}
		}
		if rows != 2 {
			t.Errorf("%d rows, want one for each datagram", rows)
		}
	})
}
