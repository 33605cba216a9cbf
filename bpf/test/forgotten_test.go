package bpftest

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weir/bpf"
)

// Answers of a service whose number is another's by now do not come from nowhere.
func TestAnswersWhoseServiceIsNotKnownAnyMoreAreDropped(t *testing.T) {
	n := serviceNode(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, peerBackend)
		p := f.asks(unix.IPPROTO_UDP)
		n.want(t, "asks", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		back := p.destination(f.peer, 8080).reply().to(peerMAC, peerGW)
		n.sendFrame(t, bpf.ProgFromPod, device(peerID), back.bytes())
		odd := uint32(f.pick(0, 1))
		n.set(t, "inner "+bpf.MapFrontends, 110+odd, bpf.Frontend{Port: bpf.Network(30053), Proto: unix.IPPROTO_UDP}) // a NodePort's, at every address
		got := n.sendFrame(t, bpf.ProgFromPod, device(peerID), back.bytes())
		if got.reason != bpf.DropNoBackend {
			t.Errorf("the row is another's, which has no address: %s, % x", got.reason, head(got.out))
		}
	})
}

// An answer whose service of another node is not remembered any more.
func TestAnswersOfANodePortElsewhereThatIsForgottenAreDropped(t *testing.T) {
	n := serviceNode(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.know(t, netip.PrefixFrom(f.node, f.bits()), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityRemoteNode)})
		n.everyNodes(t, f, unix.IPPROTO_UDP, bpf.ServiceExternal|bpf.ServiceNodePort, peerBackend)
		p := forService(f.from(f.node), nodePort, unix.IPPROTO_UDP)
		n.want(t, "asks", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		back := p.destination(f.peer, 8080).reply().to(peerMAC, peerGW)
		n.sendFrame(t, bpf.ProgFromPod, device(peerID), back.bytes())
		var k uint32
		var v bpf.Frontend
		it := n.maps[bpf.MapDSR].Iterate()
		for it.Next(&k, &v) {
			if err := n.maps[bpf.MapDSR].Delete(k); err != nil {
				t.Fatal(err)
			}
		}
		got := n.sendFrame(t, bpf.ProgFromPod, device(peerID), back.bytes())
		if got.reason != bpf.DropNoBackend {
			t.Errorf("%s, % x", got.reason, head(got.out))
		}
	})
}
