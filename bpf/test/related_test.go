package bpftest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weir/bpf"
)

// summed gives an ICMP message its checksum.
func (f family) summed(p packet) packet {
	p.raw = append([]byte{}, p.raw...)
	p.raw[2], p.raw[3] = 0, 0
	covered := p.raw
	if f.v6 {
		covered = append(append(p.src.AsSlice(), p.dst.AsSlice()...), byte(len(p.raw)>>8), byte(len(p.raw)), 0, byte(f.icmp()))
		covered = append(covered, p.raw...)
	}
	binary.BigEndian.PutUint16(p.raw[2:], ^sum(covered))
	return p
}

// tells is an ICMP error with all sums.
func (f family) tells(src, dst netip.Addr, about packet) packet {
	p := f.into(dst)
	p.src = src
	return f.summed(f.unreachable(p, about))
}

// masquerading is a node that does, with services.
func masquerading(t *testing.T, cfg bpf.Config) *node {
	t.Helper()
	cfg.Masquerade = uint8(bpf.MasqueradeIPv4 | bpf.MasqueradeIPv6)
	return serviceNode(t, cfg)
}

// outbound is one packet of a pod to the world in each protocol.
func (f family) outbound(id uint16) map[string]packet {
	return map[string]packet{
		"UDP":  f.from(f.world),
		"TCP":  forService(f.from(f.world), 443, unix.IPPROTO_TCP),
		"echo": f.summed(f.ping(f.from(f.world), id)),
	}
}

// as is the packet in another's name.
func (f family) as(p packet, src netip.Addr, port uint16) packet {
	p.src = src
	if p.raw == nil {
		p.sport = port
		return p
	}
	p.raw = append([]byte{}, p.raw...)
	binary.BigEndian.PutUint16(p.raw[4:], port)
	return f.summed(p)
}

// answered is the answer to it.
func (f family) answered(p packet) packet {
	if p.raw == nil {
		return p.reply().then("SA")
	}
	id := binary.BigEndian.Uint16(p.raw[4:])
	p.src, p.dst = p.dst, p.src
	return f.summed(f.pong(p, id))
}

// sourcePort is the port, or the echo's identifier, that a pod's packet leaves with.
func (n *node) sourcePort(t *testing.T, in packet) uint16 {
	t.Helper()
	return n.port(t, bpf.ProgFromPod, device(podID), in)
}

// An error about what left as the node reaches the pod, about what the pod has
// sent; the pod's about an answer reaches the answerer as the node's.
func TestErrorAboutAMasqueradedConnection(t *testing.T) {
	legacy := native()
	legacy.HostRouting = 0
	for name, cfg := range map[string]bpf.Config{"native": native(), "tunnel": config(), "legacy host routing": legacy} {
		t.Run(name, func(t *testing.T) {
			n := masquerading(t, cfg)
			perFamily(t, n, func(t *testing.T, f family) {
				for name, p := range f.outbound(7) {
					n.forget(t)
					there := f.as(p, f.self, n.sourcePort(t, p))
					n.passes(t, name, bpf.ProgFromPod, device(podID), p, there.hop(), bpf.ReasonToNetwork)
					for _, from := range []netip.Addr{f.gateway, f.world} {
						n.passes(t, fmt.Sprintf("%s: error from %s", name, from), bpf.ProgFromNetdev, underlayIfindex,
							f.tells(from, f.self, there), f.tells(from, f.pod, p).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
					}
					back := f.answered(there)
					home := f.answered(p).to(back.srcMAC, back.dstMAC)
					home.ttl = back.ttl
					n.passes(t, name+": answer", bpf.ProgFromNetdev, underlayIfindex, back.to(otherMAC, peerGW), home.hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
					n.passes(t, name+": the pod's error", bpf.ProgFromPod, device(podID), f.tells(f.pod, f.world, home).to(podMAC, podGW),
						f.tells(f.self, f.world, back).hop().to(podMAC, podGW), bpf.ReasonToNetwork)
				}
				other := f.from(f.world)
				other.src, other.sport = f.self, 9
				n.want(t, "an error about nobody's", bpf.ProgFromNetdev, f.tells(f.gateway, f.self, other), bpf.ReasonToHost)
			})
		})
	}
}

// Both ends of a NodePort, and routers on both sides, can say that something is
// wrong.
func TestErrorAboutAConnectionToAService(t *testing.T) {
	n := serviceNode(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, remoteBackend)
		for _, proto := range transports {
			n.forget(t)
			p := f.asksNode(proto)
			there := p.source(f.self, n.port(t, bpf.ProgFromNetdev, underlayIfindex, p)).destination(f.remote, 8080)
			for from, known := range map[netip.Addr]netip.Addr{f.gateway: f.gateway, f.remote: f.self} {
				n.passes(t, fmt.Sprintf("from %s on the backend's side", from), bpf.ProgFromNetdev, underlayIfindex,
					f.tells(from, f.self, there), f.tells(known, f.world, p).hop(), bpf.ReasonToNetwork)
			}
			back := there.reply().then("SA")
			out := back.source(f.self, nodePort).destination(f.world, 1234)
			n.passes(t, "answer", bpf.ProgFromNetdev, underlayIfindex, back, out.hop(), bpf.ReasonToNetwork)
			for from, known := range map[netip.Addr]netip.Addr{f.gateway: f.gateway, f.world: f.self} {
				n.passes(t, fmt.Sprintf("from %s on the client's side", from), bpf.ProgFromNetdev, underlayIfindex,
					f.tells(from, f.self, out), f.tells(known, f.remote, back).hop(), bpf.ReasonToNetwork)
			}
		}
		n.offer(t, f, 0, peerBackend)
		for _, proto := range transports {
			n.forget(t)
			p := f.asks(proto)
			there := p.destination(f.peer, 8080)
			n.passes(t, "a pod's", bpf.ProgFromPod, device(podID), p, there.hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
			n.passes(t, "the backend refuses", bpf.ProgFromPod, device(peerID), f.tells(f.peer, f.pod, there).to(peerMAC, peerGW),
				f.tells(vip[f.v6], f.pod, p).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
		}
	})
}

// An error whose quote ends after 8 octets has no sum of TCP.
func TestErrorThatQuotesLittleIsTranslated(t *testing.T) {
	n := masquerading(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		p := forService(f.from(f.world), 443, unix.IPPROTO_TCP)
		there := f.as(p, f.self, n.sourcePort(t, p))
		short := func(e packet) packet {
			e.raw = e.raw[:8+int(f.pick(20, 40))+8]
			return f.summed(e)
		}
		n.passes(t, "error", bpf.ProgFromNetdev, underlayIfindex, short(f.tells(f.gateway, f.self, there)),
			short(f.tells(f.gateway, f.pod, p)).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
	})
}

// What the fast path does not know of a masqueraded connection is not the
// node's for that: fragments, and the first answer after a policy has changed.
func TestAnswersOfAMasqueradedConnectionAreThePods(t *testing.T) {
	n := masquerading(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		p := f.from(f.world)
		there := p.source(f.self, n.sourcePort(t, p))
		back := there.reply().to(otherMAC, peerGW)
		n.open(t, podID)
		n.passes(t, "after a change", bpf.ProgFromNetdev, underlayIfindex, back, back.destination(f.pod, 1234).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
		first, later := f.fragments(back, 77)
		n.want(t, "its first fragment", bpf.ProgFromNetdev, first, bpf.ReasonToEndpoint)
		n.want(t, "a later one", bpf.ProgFromNetdev, later, bpf.ReasonToEndpoint)
		_, strange := f.fragments(back, 78)
		n.want(t, "a stranger's", bpf.ProgFromNetdev, strange, bpf.ReasonToHost)
	})
}
