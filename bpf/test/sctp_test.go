package bpftest

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"weir/bpf"
)

// sctp makes of a packet one of SCTP with that much data, and a CRC32c by
// another implementation.
func sctp(p packet, octets int) packet {
	sport, dport := p.ports()
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = append(b, 1, 2, 3, 4, 0, 0, 0, 0)
	b = append(b, payloadOf(octets)...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	p.proto, p.raw = layers.IPProtocolSCTP, b
	return p
}

func payloadOf(octets int) []byte {
	b := make([]byte, octets)
	for i := range b {
		b[i] = byte(i*7 + 1)
	}
	return b
}

// unsummed takes the sum away, as of a packet whose device is to make it.
func (p packet) unsummed() packet {
	p.raw = append([]byte{}, p.raw...)
	clear(p.raw[8:12])
	return p
}

// The ports of SCTP change with its sum, however long the packet.
func TestSumOfSCTPFollowsItsPorts(t *testing.T) {
	n := masquerading(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, peerBackend)
		for _, octets := range []int{4, 16, 33, 255, 1000, 1400} {
			n.forget(t)
			p := f.asks(unix.IPPROTO_SCTP)
			there := p.destination(f.peer, 8080)
			back := there.reply().to(peerMAC, peerGW)
			n.passes(t, "there", bpf.ProgFromPod, device(podID), sctp(p, octets), sctp(there.hop().to(peerGW, peerMAC), octets), bpf.ReasonToEndpoint)
			n.passes(t, "and back", bpf.ProgFromPod, device(peerID), sctp(back, octets),
				sctp(back.source(vip[f.v6], servicePort).hop().to(podGW, podMAC), octets), bpf.ReasonToEndpoint)
			n.passes(t, "without a sum", bpf.ProgFromPod, device(podID), sctp(p, octets).unsummed(),
				sctp(there.hop().to(peerGW, peerMAC), octets).unsummed(), bpf.ReasonToEndpoint)
			q := forService(f.from(f.world), 3868, unix.IPPROTO_SCTP)
			got := n.sendFrame(t, bpf.ProgFromPod, device(podID), sctp(q, octets).bytes())
			out := q.source(f.self, binary.BigEndian.Uint16(got.out[14+int(f.pick(20, 40)):]))
			n.passes(t, "out of the cluster", bpf.ProgFromPod, device(podID), sctp(q, octets), sctp(out.hop(), octets), bpf.ReasonToNetwork)
		}
	})
}
