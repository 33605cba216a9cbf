package bpftest

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weir/bpf"
)

// everyNodes is a NodePort as all nodes have it: at the unspecified address of the
// family, with no address that answers could come from.
func (n *node) everyNodes(t testing.TB, f family, proto uint8, flags bpf.ServiceFlag, backend uint32) {
	t.Helper()
	odd := uint32(f.pick(0, 1))
	for row, a := range map[uint32]netip.Addr{peerBackend: f.peer, remoteBackend: f.remote, selfBackend: f.pod} {
		n.backend(t, 2*row+odd, 7, at(a, 8080), 0)
	}
	id := 220 + odd
	n.add(t, service{id: id, at: at(f.everything().Addr(), nodePort), proto: proto, first: 16 * 80, backends: []uint32{2*backend + odd}, flags: flags})
	n.set(t, "inner "+bpf.MapFrontends, id, bpf.Frontend{Port: bpf.Network(nodePort), Proto: proto})
}

// A pod that asks another node for a NodePort is given a backend here, as by its
// socket; answers come from the node that it has asked.
func TestPodAsksAnotherNodeForANodePort(t *testing.T) {
	for name, cfg := range map[string]bpf.Config{"tunnel": config(), "native": native()} {
		n := masquerading(t, cfg)
		perFamily(t, n, func(t *testing.T, f family) {
			n.know(t, netip.PrefixFrom(f.node, f.bits()), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityRemoteNode)})
			for _, flags := range []bpf.ServiceFlag{0, bpf.ServiceDSR} {
				for _, proto := range transports {
					what := name + ": "
					n.forget(t)
					n.everyNodes(t, f, proto, bpf.ServiceExternal|bpf.ServiceNodePort|flags, peerBackend)
					p := forService(f.from(f.node), nodePort, proto)
					there := p.destination(f.peer, 8080)
					n.passes(t, what+"first", bpf.ProgFromPod, device(podID), p, there.hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
					back := there.reply().to(peerMAC, peerGW).then("SA")
					n.passes(t, what+"answer", bpf.ProgFromPod, device(peerID), back, back.source(f.node, nodePort).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
					n.passes(t, what+"second", bpf.ProgFromPod, device(podID), p.then("A"), there.then("A").hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
					n.open(t, podID)
					n.passes(t, what+"judged anew", bpf.ProgFromPod, device(podID), p.then("A"), there.then("A").hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
					n.passes(t, what+"its answer", bpf.ProgFromPod, device(peerID), back.then("A"), back.then("A").source(f.node, nodePort).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
					n.forget(t)
					n.everyNodes(t, f, proto, bpf.ServiceExternal|bpf.ServiceNodePort|flags, remoteBackend)
					way := map[string]bpf.Reason{"tunnel": bpf.ReasonToOverlay, "native": bpf.ReasonToNetwork}[name]
					n.passes(t, what+"a pod of another node", bpf.ProgFromPod, device(podID), p, p.destination(f.remote, 8080).hop(), way)
				}
			}
			n.forget(t)
			n.everyNodes(t, f, unix.IPPROTO_UDP, bpf.ServiceExternal|bpf.ServiceNodePort, selfBackend)
			p := forService(f.from(f.node), nodePort, unix.IPPROTO_UDP)
			own := p.source(f.router, n.port(t, bpf.ProgFromPod, device(podID), p)).destination(f.pod, 8080)
			n.passes(t, name+": itself answers", bpf.ProgFromPod, device(podID), own.reply().to(podMAC, podGW),
				own.reply().to(podMAC, podGW).source(f.node, nodePort).destination(f.pod, 1234).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
		})
	}
}

// With externalTrafficPolicy Local the node that is asked answers by its own
// backends, or nobody does: another node's pod is outside, for it.
func TestPodAsksAnotherNodeForALocalNodePort(t *testing.T) {
	flags := bpf.ServiceExternal | bpf.ServiceNodePort | bpf.ServiceKeepClient
	for name, cfg := range map[string]bpf.Config{"tunnel": config(), "native": native()} {
		n := masquerading(t, cfg)
		perFamily(t, n, func(t *testing.T, f family) {
			n.know(t, netip.PrefixFrom(f.node, f.bits()), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityRemoteNode)})
			odd := uint32(f.pick(0, 1))
			for _, proto := range transports {
				n.forget(t)
				n.everyNodes(t, f, proto, flags, peerBackend)
				p := forService(f.from(f.node), nodePort, proto)
				left, client := p, f.remote
				if name == "tunnel" { // where pods' addresses are not of the underlay
					left, client = p.source(f.self, n.sourcePort(t, p)), f.node
				}
				n.passes(t, name+": left to the other node", bpf.ProgFromPod, device(podID), p, left.hop(), bpf.ReasonToNetwork)
				asked := forService(f.into(f.self), nodePort, proto)
				asked.src = client
				mine := service{id: 230 + odd, at: at(f.self, nodePort), proto: proto, first: 16 * 85, backends: []uint32{2*remoteBackend + odd}, flags: flags | bpf.ServiceDropOutside}
				mine.outside = []uint32{}
				n.add(t, mine)
				n.want(t, name+": no backend here", bpf.ProgFromNetdev, asked, bpf.DropNoBackend)
				mine.outside = []uint32{2*peerBackend + odd}
				n.add(t, mine)
				n.want(t, name+": one here", bpf.ProgFromNetdev, asked, bpf.ReasonToEndpoint)
			}
		})
	}
}

// What only one node has is no NodePort of any: a HostPort of this node is none of
// another's, and one of another node is found where no service has the port.
func TestPodAsksAnotherNodeForAHostPort(t *testing.T) {
	n := serviceNode(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.know(t, netip.PrefixFrom(f.node, f.bits()), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityRemoteNode)})
		odd := uint32(f.pick(0, 1))
		p := forService(f.from(f.node), nodePort, unix.IPPROTO_TCP)
		n.everyNodes(t, f, unix.IPPROTO_TCP, bpf.ServiceExternal|bpf.ServiceKeepClient, peerBackend)
		n.passes(t, "one of this node", bpf.ProgFromPod, device(podID), p, p.hop(), bpf.ReasonToNetwork)
		n.add(t, service{id: 240 + odd, at: at(f.node, nodePort), proto: unix.IPPROTO_TCP, first: 16 * 90, backends: []uint32{2*remoteBackend + odd},
			flags: bpf.ServiceExternal | bpf.ServiceKeepClient | bpf.ServiceElsewhere})
		n.forget(t)
		n.passes(t, "one of the other", bpf.ProgFromPod, device(podID), p, p.destination(f.remote, 8080).hop(), bpf.ReasonToOverlay)
		n.everyNodes(t, f, unix.IPPROTO_TCP, bpf.ServiceExternal|bpf.ServiceNodePort, peerBackend)
		n.forget(t)
		n.passes(t, "a NodePort of both", bpf.ProgFromPod, device(podID), p, p.destination(f.peer, 8080).hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
	})
}
