package bpftest

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weir/bpf"
)

// changed gives an address another generation, as the agent does.
func (n *node) changed(t testing.TB, a netip.Addr) {
	t.Helper()
	n.set(t, bpf.MapGenerations, bpf.AddrSlot(a), n.nextEpoch())
}

// Who sent datagrams to an address before it became a service's gets a backend with
// the next one, masqueraded until then or not; a connection of TCP goes on as it is,
// and another one is the service's.
func TestServiceThatComesLaterGetsTheDatagramsOfThoseWhoSendAlready(t *testing.T) {
	for _, masquerade := range []bool{false, true} {
		n := serviceNode(t, native())
		if masquerade {
			n = masquerading(t, native())
		}
		perFamily(t, n, func(t *testing.T, f family) {
			for _, proto := range transports {
				what := fmt.Sprintf("masqueraded %v, protocol %d: ", masquerade, proto)
				n.forget(t)
				p := forService(f.from(f.world), servicePort, proto)
				before := p
				if masquerade {
					before = f.as(p, f.self, n.sourcePort(t, p))
				}
				n.passes(t, what+"before", bpf.ProgFromPod, device(podID), p, before.hop(), bpf.ReasonToNetwork)
				n.backend(t, 2*peerBackend, 7, at(f.peer, 8080), 0)
				n.add(t, service{id: 90, at: at(f.world, servicePort), proto: proto, first: 16 * 90, backends: []uint32{2 * peerBackend}, flags: bpf.ServiceExternal})
				n.changed(t, f.world)
				there := p.destination(f.peer, 8080)
				if proto == unix.IPPROTO_TCP {
					n.passes(t, what+"goes on", bpf.ProgFromPod, device(podID), p.then("A"), before.then("A").hop(), bpf.ReasonToNetwork)
					p.sport, there.sport = 4321, 4321
				}
				n.passes(t, what+"the service's", bpf.ProgFromPod, device(podID), p, there.hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
				n.passes(t, what+"the next", bpf.ProgFromPod, device(podID), p.then("A"), there.then("A").hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
				back := there.reply().to(peerMAC, peerGW).then("SA")
				port := p.dport
				n.passes(t, what+"answer", bpf.ProgFromPod, device(peerID), back, back.source(f.world, port).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
				if err := n.maps["inner "+bpf.MapServices].Delete(key(at(f.world, servicePort), proto)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
