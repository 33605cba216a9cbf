package bpftest

import (
	"net/netip"
	"testing"

	"weir/bpf"
)

// After the node has got another address, and its connections are judged anew for
// that, a pod's datagrams are answered at it.
func TestDatagramsGoOnByTheNodesNextAddress(t *testing.T) {
	f := families[0]
	old := masquerading(t, native())
	p := f.from(f.world)
	port := old.sourcePort(t, p)
	next := netip.MustParseAddr("192.0.2.77")
	cfg := native()
	cfg.NodeIPv4 = bpf.AddrFrom(next)
	n := masquerading(t, cfg)
	n.set(t, bpf.MapCT, uint32(0), old.table)
	n.changed(t, f.world)
	there := f.as(p, next, port)
	n.passes(t, "leaves", bpf.ProgFromPod, device(podID), p, there.hop(), bpf.ReasonToNetwork)
	n.answers(t, f, p, there, "")
}
