package bpftest

import (
	"fmt"
	"testing"

	"weir/bpf"
)

// What a device sees that is in promiscuous mode, and is for another host, is nobody's
// here: it is neither judged nor answered, and no service.
func TestFramesForOtherHostsArePassedOver(t *testing.T) {
	for _, acceleration := range []bool{false, true} {
		cfg := native()
		if acceleration {
			cfg = accelerated(cfg)
		}
		n := serviceNode(t, cfg)
		perFamily(t, n, func(t *testing.T, f family) {
			for _, backend := range []uint32{peerBackend, remoteBackend} {
				n.offer(t, f, 0, backend)
				for _, proto := range transports {
					what := fmt.Sprintf("acceleration %v, backend %d, protocol %d", acceleration, backend, proto)
					n.forget(t)
					p := f.asksNode(proto).to(otherMAC, strangerMAC)
					if acceleration {
						n.left(t, what, p.bytes())
					}
					n.passes(t, what, bpf.ProgFromNetdev, underlayIfindex, p, p, bpf.ReasonPassed)
					n.noEntries(t, what)
				}
			}
			n.isolate(t, peerID, bpf.PolicyIngress)
			p := f.into(f.peer).to(otherMAC, strangerMAC)
			n.passes(t, "for a pod", bpf.ProgFromNetdev, underlayIfindex, p, p, bpf.ReasonPassed)
		})
	}
}
