package bpftest

import (
	"testing"

	"golang.org/x/sys/unix"

	"weir/bpf"
)

// A connection that has got another backend leaves the answers' entry of the first
// behind. Who takes that port takes nothing from the connection as it is.
func TestPortOfABackendThatWasLeftIsTakenFromNoLivingConnection(t *testing.T) {
	n := natNode(t, native(), 20000, 20000)
	perFamily(t, n, func(t *testing.T, f family) {
		row := uint32(10 + f.pick(0, 1))
		leads := func(to uint32) {
			n.add(t, service{id: 90 + row, at: at(vip[f.v6], servicePort), proto: unix.IPPROTO_TCP, first: 16 * 90, backends: []uint32{to}})
		}
		n.backend(t, row, 7, at(f.world, 8080), 0)
		leads(row)
		p := f.asks(unix.IPPROTO_TCP)
		there := f.as(p, f.self, n.sourcePort(t, p)).destination(f.world, 8080)
		n.want(t, "the first backend resets", bpf.ProgFromNetdev, there.reply().then("R").to(otherMAC, peerGW), bpf.ReasonToEndpoint)
		n.backend(t, row, 8, at(f.narrow, 8080), 0) // the first is no more
		n.sourcePort(t, p)
		there = there.destination(f.narrow, 8080)
		n.want(t, "the second answers", bpf.ProgFromNetdev, there.reply().then("SA").to(otherMAC, peerGW), bpf.ReasonToEndpoint)
		n.passes(t, "established", bpf.ProgFromPod, device(podID), p.then("A"), there.then("A").hop(), bpf.ReasonToNetwork)

		other := forService(f.from(f.world), 8080, unix.IPPROTO_TCP)
		other.sport = 3000
		n.send(t, bpf.ProgFromPod, other) // wants the only port, to the first backend
		n.backend(t, row+2, 1, at(f.peer, 8080), 0)
		leads(row + 2)
		n.passes(t, "goes on", bpf.ProgFromPod, device(podID), p.then("A"), there.then("A").hop(), bpf.ReasonToNetwork)
	})
}

// What comes to the tunnel's port is the tunnel's, so no datagram leaves from there.
func TestNoDatagramLeavesFromTheTunnelsPort(t *testing.T) {
	cfg := config()
	cfg.TunnelPort = bpf.Network(vxlanPort)
	n := natNode(t, cfg, vxlanPort, vxlanPort+1)
	perFamily(t, n, func(t *testing.T, f family) {
		for range 8 {
			n.forget(t)
			p := f.from(f.world)
			there := f.as(p, f.self, n.sourcePort(t, p))
			n.answers(t, f, p, there, "")
		}
	})
}
