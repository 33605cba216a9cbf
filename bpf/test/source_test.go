package bpftest

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

const (
	secondIfindex = underlayIfindex + 1
	secondRow     = 7 // of weir_nodes
)

// second is this node's address on another network.
func (f family) second() netip.Addr {
	if f.v6 {
		return netip.MustParseAddr("2001:db8:5::1")
	}
	return netip.MustParseAddr("192.0.3.1")
}

// secondDevice gives the node a device on another network, behind which nowhere is.
func secondDevice(t *testing.T) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Index = "second", secondIfindex
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.HardwareAddr = "second-in", underlayMAC
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	linktest.Up(t, "second")
	linktest.Up(t, "second-in")
	for _, f := range families {
		linktest.AddAddr(t, "second", netip.PrefixFrom(f.second(), f.bits()-8).String())
		err := netlink.NeighAdd(&netlink.Neigh{LinkIndex: secondIfindex, IP: f.nowhere.AsSlice(), HardwareAddr: otherMAC, State: netlink.NUD_PERMANENT})
		if err != nil {
			t.Fatal(err)
		}
		route(t, netip.PrefixFrom(f.nowhere, f.bits()), netlink.Route{LinkIndex: secondIfindex})
	}
}

// What leaves by another device of the underlay does so with the address that the
// kernel chooses for it, and its answers are known there.
func TestWhatLeavesByAnotherDeviceHasItsAddress(t *testing.T) {
	legacy := config()
	legacy.HostRouting = 0
	for name, cfg := range map[string]bpf.Config{"native": native(), "tunnel": config(), "legacy host routing": legacy} {
		n := masquerading(t, cfg)
		secondDevice(t)
		perFamily(t, n, func(t *testing.T, f family) {
			n.set(t, bpf.MapNodes, uint32(secondRow), bpf.Node{Addr: bpf.AddrFrom(f.second())})
			n.know(t, netip.PrefixFrom(f.second(), f.bits()), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityHost), Flags: uint8(bpf.IPCacheHost), Node: secondRow})
			for kind, p := range f.outbound(7) {
				what := name + ": " + kind
				n.forget(t)
				world := n.sourcePort(t, p)
				n.passes(t, what+": by the underlay", bpf.ProgFromPod, device(podID), p, f.as(p, f.self, world).hop(), bpf.ReasonToNetwork)
				p.dst = f.nowhere
				if p.raw != nil {
					p = f.summed(p)
				}
				there := f.as(p, f.second(), n.sourcePort(t, p))
				n.passes(t, what+": by the other device", bpf.ProgFromPod, device(podID), p, there.hop(), bpf.ReasonToNetwork)
				n.passes(t, what+": an error about it", bpf.ProgFromNetdev, secondIfindex,
					f.tells(f.nowhere, f.second(), there), f.tells(f.nowhere, f.pod, p).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
				back := f.answered(there).to(otherMAC, peerGW)
				home := f.answered(p).to(otherMAC, peerGW)
				home.ttl = back.ttl
				n.passes(t, what+": answer", bpf.ProgFromNetdev, secondIfindex, back, home.hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
				n.open(t, podID)
				n.passes(t, what+": judged anew", bpf.ProgFromPod, device(podID), p.then("A"), there.then("A").hop(), bpf.ReasonToNetwork)
				// The address goes, and with it what the connection is known by.
				n.set(t, bpf.MapNodes, uint32(secondRow), bpf.Node{})
				n.changed(t, f.nowhere)
				p = p.then("A")
				n.passes(t, what+": without it", bpf.ProgFromPod, device(podID), p, f.as(p, f.self, n.sourcePort(t, p)).hop(), bpf.ReasonToNetwork)
				n.set(t, bpf.MapNodes, uint32(secondRow), bpf.Node{Addr: bpf.AddrFrom(f.second())})
			}
			n.know(t, netip.PrefixFrom(f.second(), f.bits()), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityHost), Flags: uint8(bpf.IPCacheHost)})
			n.forget(t)
			p := f.from(f.nowhere)
			n.passes(t, name+": by a device that answers do not come to", bpf.ProgFromPod, device(podID), p, f.as(p, f.self, n.sourcePort(t, p)).hop(), bpf.ReasonToNetwork)
		})
	}
}

// A connection that was masqueraded is not let out as the pod when its backend goes
// with its service.
func TestPodKeepsNoAddressThatItsServiceHadHidden(t *testing.T) {
	n := masquerading(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.backend(t, 2*peerBackend, 7, at(f.peer, 8080), 0)
		n.add(t, service{id: 90, at: at(f.world, servicePort), proto: udp, first: 16 * 90, backends: []uint32{2 * peerBackend}, flags: bpf.ServiceExternal})
		p := forService(f.from(f.world), servicePort, udp)
		n.want(t, "the service's", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		if err := n.maps["inner "+bpf.MapServices].Delete(key(at(f.world, servicePort), udp)); err != nil {
			t.Fatal(err)
		}
		n.backend(t, 2*peerBackend, 8, netip.AddrPort{}, 0)
		n.passes(t, "without it", bpf.ProgFromPod, device(podID), p, f.as(p, f.self, n.sourcePort(t, p)).hop(), bpf.ReasonToNetwork)
	})
}

// A message that cannot be masqueraded is dropped, whatever packet came before it.
func TestMessagesNeverLeaveWithAPodsAddress(t *testing.T) {
	n := masquerading(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		message := f.message(f.from(f.world), f.pick(13, 139), 0)
		n.want(t, "alone", bpf.ProgFromPod, message, bpf.DropNATProtocol)
		p := f.from(f.world)
		n.want(t, "a connection", bpf.ProgFromPod, p, bpf.ReasonToNetwork)
		n.open(t, podID)
		n.want(t, "judged anew", bpf.ProgFromPod, p, bpf.ReasonToNetwork)
		n.want(t, "after it", bpf.ProgFromPod, message, bpf.DropNATProtocol)
	})
}
