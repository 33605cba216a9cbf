package bpftest

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket/layers"

	"weir/bpf"
)

func filled(t testing.TB, cfg bpf.Config) *node {
	t.Helper()
	host(t)
	n := newNode(t, cfg)
	n.fill(t)
	return n
}

func TestPodReachesEachOfFiveDestinationsThroughTheTunnel(t *testing.T) {
	each(t, filled(t, config()), func(f family) []fixture {
		peer, remote, world := f.from(f.peer), f.from(f.remote), f.from(f.world)
		return []fixture{
			{name: "pod of this node", program: bpf.ProgFromPod, in: peer.bytes(), verdict: redirect, out: peer.hop().to(peerGW, peerMAC).bytes(), reason: bpf.ReasonToEndpoint},
			{name: "itself", program: bpf.ProgFromPod, in: f.from(f.pod).bytes(), verdict: redirect, out: f.from(f.pod).hop().to(podGW, podMAC).bytes(), reason: bpf.ReasonToEndpoint},
			{name: "pod of another node", program: bpf.ProgFromPod, in: remote.bytes(), verdict: redirect, out: remote.hop().bytes(), reason: bpf.ReasonToOverlay},
			{name: "this node", program: bpf.ProgFromPod, in: f.from(f.self).bytes(), verdict: next, reason: bpf.ReasonToHost},
			{name: "the gateway", program: bpf.ProgFromPod, in: f.from(f.router).bytes(), verdict: next, reason: bpf.ReasonToHost},
			{name: "the world", program: bpf.ProgFromPod, in: world.bytes(), verdict: redirect, out: world.hop().bytes(), reason: bpf.ReasonToNetwork},
			{name: "another node", program: bpf.ProgFromPod, in: f.from(f.node).bytes(), verdict: redirect, out: f.from(f.node).hop().bytes(), reason: bpf.ReasonToNetwork},
			{name: "an unreachable route", program: bpf.ProgFromPod, in: f.from(f.refused).bytes(), verdict: next, reason: bpf.DropFIB},
			{name: "no route", program: bpf.ProgFromPod, in: f.from(f.nowhere).bytes(), verdict: next, reason: bpf.ReasonToStack},
		}
	})
}

func TestPodReachesOtherNodesByTheKernelsRoutesInNativeRouting(t *testing.T) {
	each(t, filled(t, native()), func(f family) []fixture {
		remote, big := f.from(f.remote), f.from(f.remote).sized(1500)
		return []fixture{
			{name: "pod of another node", program: bpf.ProgFromPod, in: remote.bytes(), verdict: redirect, out: remote.hop().bytes(), reason: bpf.ReasonToNetwork},
			{name: "as big as the underlay", program: bpf.ProgFromPod, in: big.bytes(), verdict: redirect, out: big.hop().bytes(), reason: bpf.ReasonToNetwork},
			{name: "pod of this node", program: bpf.ProgFromPod, in: f.from(f.peer).bytes(), verdict: redirect, out: f.from(f.peer).hop().to(peerGW, peerMAC).bytes(), reason: bpf.ReasonToEndpoint},
		}
	})
}

func TestLegacyHostRoutingLeavesRoutingToTheStack(t *testing.T) {
	cfg := native()
	cfg.HostRouting = 0
	each(t, filled(t, cfg), func(f family) []fixture {
		return []fixture{
			{name: "the world", program: bpf.ProgFromPod, in: f.from(f.world).bytes(), verdict: next, reason: bpf.ReasonToStack},
			{name: "pod of another node", program: bpf.ProgFromPod, in: f.from(f.remote).bytes(), verdict: next, reason: bpf.ReasonToStack},
			{name: "pod of this node", program: bpf.ProgFromPod, in: f.from(f.peer).bytes(), verdict: redirect, out: f.from(f.peer).hop().to(peerGW, peerMAC).bytes(), reason: bpf.ReasonToEndpoint},
		}
	})
}

func TestTooBigForTheWayIsLeftToTheStackToAnswer(t *testing.T) {
	each(t, filled(t, config()), func(f family) []fixture {
		fits, big, free := f.from(f.remote).sized(tunnelMTU), f.from(f.remote).sized(tunnelMTU+1), f.from(f.remote).sized(tunnelMTU+1)
		narrow, narrowFree := f.from(f.narrow).sized(narrowMTU+1), f.from(f.narrow).sized(narrowMTU+1)
		fits.dontFragment, big.dontFragment, narrow.dontFragment = true, true, true
		without := bpf.ReasonFragmented
		if f.v6 {
			without = bpf.DropFragNeeded // routers do not fragment (RFC 8200 section 5)
		}
		peer := f.from(f.peer).sized(1500)
		return []fixture{
			{name: "just fits the tunnel", program: bpf.ProgFromPod, in: fits.bytes(), verdict: redirect, out: fits.hop().bytes(), reason: bpf.ReasonToOverlay},
			{name: "one too many for the tunnel", program: bpf.ProgFromPod, in: big.bytes(), verdict: next, reason: bpf.DropFragNeeded},
			{name: "may be fragmented", program: bpf.ProgFromPod, in: free.bytes(), verdict: next, reason: without},
			{name: "one too many for the route", program: bpf.ProgFromPod, in: narrow.bytes(), verdict: next, reason: bpf.DropFragNeeded},
			{name: "may be fragmented for the route", program: bpf.ProgFromPod, in: narrowFree.bytes(), verdict: next, reason: without},
			{name: "within the node the tunnel does not count", program: bpf.ProgFromPod, in: peer.bytes(), verdict: redirect, out: peer.hop().to(peerGW, peerMAC).bytes(), reason: bpf.ReasonToEndpoint},
		}
	})
}

func TestGSOPacketIsJudgedByItsSegments(t *testing.T) {
	each(t, filled(t, config()), func(f family) []fixture {
		ip := 20
		if f.v6 {
			ip = 40
		}
		gso := func(name string, tcp bool, segment int, verdict int32, reason bpf.Reason) fixture {
			p := f.from(f.remote)
			p.tcp, p.dontFragment = tcp, true
			l4 := 8
			if tcp {
				l4 = 20
			}
			size := segment - ip - l4
			p.payload = 2 * size
			c := fixture{name: name, program: bpf.ProgFromPod, in: p.bytes(), gsoSize: size, packets: 2, verdict: verdict, reason: reason}
			if verdict == redirect {
				c.out = p.hop().bytes()
			}
			return c
		}
		mapped := f.from(f.remote)
		mapped.tcp, mapped.payload = true, 2000
		into := fixture{}
		if f.v6 { // an IPv6 packet must not reach a pod by its IPv4 address
			in := with(mapped.bytes(), 14+24, mappedBytes(families[0].peer)...)
			into = fixture{name: "to an IPv4-mapped address", program: bpf.ProgFromPod, in: in, gsoSize: 1000, packets: 2, verdict: shot, reason: bpf.DropInvalidPacket}
		}
		return []fixture{
			gso("TCP segments fit", true, tunnelMTU, redirect, bpf.ReasonToOverlay),
			gso("TCP segments do not", true, tunnelMTU+1, next, bpf.DropFragNeeded),
			gso("UDP segments fit", false, tunnelMTU, redirect, bpf.ReasonToOverlay),
			gso("UDP segments do not", false, tunnelMTU+1, next, bpf.DropFragNeeded),
			into,
		}
	})
}

func mappedBytes(a netip.Addr) []byte {
	b := a.As16()
	return b[:]
}

func TestUsedUpTTLIsLeftToTheStackToAnswer(t *testing.T) {
	each(t, filled(t, config()), func(f family) (out []fixture) {
		for _, dst := range []netip.Addr{f.peer, f.remote, f.world, f.noPod} {
			for ttl := range uint8(2) {
				p := f.from(dst)
				p.ttl = ttl
				out = append(out, fixture{name: fmt.Sprintf("TTL %d to %s", ttl, dst), program: bpf.ProgFromPod, in: p.bytes(), verdict: next, reason: bpf.DropTTLExceeded})
			}
		}
		p := f.from(f.self)
		p.ttl = 1
		return append(out, fixture{name: "TTL 1 is enough for this node", program: bpf.ProgFromPod, in: p.bytes(), verdict: next, reason: bpf.ReasonToHost})
	})
}

// Every TTL, and enough identifications for the checksum to take every value:
// the incremental update must agree with the sum over the header.
func TestChecksumStaysRightForEveryTTLAndEveryWrap(t *testing.T) {
	n := filled(t, config())
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			for ttl := 2; ttl < 256; ttl++ {
				p := f.from(f.remote)
				p.ttl = uint8(ttl)
				n.check(t, fixture{program: bpf.ProgFromPod, in: p.bytes(), verdict: redirect, out: p.hop().bytes(), reason: bpf.ReasonToOverlay})
			}
		})
	}
	t.Run("wrap", func(t *testing.T) {
		p := families[0].from(families[0].remote)
		in, want := p.bytes(), p.hop().bytes()
		ctx := skb{Ifindex: device(podID)}
		for id := range 1 << 16 {
			in = summed(with(in, 18, byte(id>>8), byte(id)))
			want = summed(with(want, 18, byte(id>>8), byte(id)))
			o := ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in)+64), Context: &ctx}
			verdict, err := n.exec(bpf.ProgFromPod, &o)
			if err != nil || verdict != redirect {
				t.Fatalf("id %d: verdict %d, %v", id, verdict, err)
			}
			if !bytes.Equal(o.DataOut, want) {
				t.Fatalf("id %d:\n got % x\nwant % x", id, o.DataOut, want)
			}
		}
	})
}

func TestSpoofedSourceIsDropped(t *testing.T) {
	each(t, filled(t, config()), func(f family) (out []fixture) {
		sources := append([]netip.Addr{f.peer, f.remote, f.world, f.self, f.router, f.noPod, f.martians[0]}, f.multicast[0])
		if f.v6 {
			sources = append(sources, netip.MustParseAddr("fe80::1"), netip.MustParseAddr("::"))
		}
		for _, src := range sources {
			for _, dst := range []netip.Addr{f.peer, f.self, f.world} {
				p := f.from(dst)
				p.src = src
				out = append(out, fixture{name: fmt.Sprintf("%s to %s", src, dst), program: bpf.ProgFromPod, in: p.bytes(), verdict: shot, reason: bpf.DropInvalidSourceIP})
			}
		}
		return out
	})
}

func TestFamilyThePodHasNoAddressOfIsSpoofed(t *testing.T) {
	n := filled(t, config())
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			row := bpf.Endpoint{ID: podID, Ifindex: device(podID), IPv4: bpf.AddrFrom(families[0].pod)}
			zero := netip.MustParseAddr("::")
			if !f.v6 {
				row.IPv4, row.IPv6 = bpf.Addr{}, bpf.AddrFrom(families[1].pod)
				zero = netip.MustParseAddr("0.0.0.0")
			}
			n.put(t, n.endpoints, uint32(podID), row)
			for _, src := range []netip.Addr{f.pod, zero} {
				p := f.from(f.peer)
				p.src = src
				n.check(t, fixture{program: bpf.ProgFromPod, in: p.bytes(), verdict: shot, reason: bpf.DropInvalidSourceIP})
			}
		})
	}
}

func TestAddressesThatAreNobodysAreDropped(t *testing.T) {
	each(t, filled(t, config()), func(f family) (out []fixture) {
		for _, dst := range f.martians {
			out = append(out, fixture{name: "martian " + dst.String(), program: bpf.ProgFromPod, in: f.from(dst).bytes(), verdict: shot, reason: bpf.DropUnknownTarget})
		}
		for _, dst := range f.multicast {
			out = append(out, fixture{name: "multicast " + dst.String(), program: bpf.ProgFromPod, in: f.from(dst).bytes(), verdict: shot, reason: bpf.DropMulticast})
		}
		if f.v6 {
			return append(out,
				fixture{name: "link-local", program: bpf.ProgFromPod, in: f.from(netip.MustParseAddr("fe80::1")).bytes(), verdict: shot, reason: bpf.DropUnknownTarget},
				fixture{name: "link-local, last bit of the prefix", program: bpf.ProgFromPod, in: f.from(netip.MustParseAddr("febf::1")).bytes(), verdict: shot, reason: bpf.DropUnknownTarget})
		}
		igmp := f.from(netip.MustParseAddr("224.0.0.22"))
		igmp.proto, igmp.raw = layers.IPProtocolIGMP, make([]byte, 8)
		early := igmp
		early.src = netip.MustParseAddr("0.0.0.0")
		return append(out,
			fixture{name: "IGMP", program: bpf.ProgFromPod, in: igmp.bytes(), verdict: shot, reason: bpf.ReasonLinkChatter},
			fixture{name: "IGMP before there is an address", program: bpf.ProgFromPod, in: early.bytes(), verdict: shot, reason: bpf.ReasonLinkChatter},
			fixture{name: "link-local follows the node's routes", program: bpf.ProgFromPod, in: f.from(netip.MustParseAddr("169.254.169.254")).bytes(), verdict: next, reason: bpf.ReasonToStack})
	})
}

func TestPacketForNoPodIsDroppedWithItsReason(t *testing.T) {
	n := filled(t, config())
	each(t, n, func(f family) []fixture {
		return []fixture{
			{name: "pod CIDR without a pod", program: bpf.ProgFromPod, in: f.from(f.noPod).bytes(), verdict: shot, reason: bpf.DropUnroutable},
			{name: "slot given to another pod", program: bpf.ProgFromPod, in: f.from(f.stale).bytes(), verdict: shot, reason: bpf.DropPodNotReady},
			{name: "slot free", program: bpf.ProgFromPod, in: f.from(f.gone).bytes(), verdict: shot, reason: bpf.DropPodNotReady},
			{name: "sender has no row", program: bpf.ProgFromPod, ifindex: int(device(freeID)), in: f.from(f.peer).bytes(), verdict: shot, reason: bpf.DropPodNotReady},
			{name: "device is no pod's", program: bpf.ProgFromPod, ifindex: underlayIfindex, in: f.from(f.peer).bytes(), verdict: shot, reason: bpf.DropPodNotReady},
		}
	})
	for _, f := range families {
		if err := n.ipcache.Delete(bpf.IPCacheKeyFrom(f.everything())); err != nil {
			t.Fatal(err)
		}
	}
	each(t, n, func(f family) []fixture {
		return []fixture{{name: "agent never ran", program: bpf.ProgFromPod, in: f.from(f.world).bytes(), verdict: shot, reason: bpf.DropHostNotReady}}
	})
}

func TestFamilySwitchedOffIsDropped(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			cfg := config()
			if f.v6 {
				cfg.IPv6, cfg.RouterIPv6 = 0, bpf.Addr{}
			} else {
				cfg.IPv4, cfg.RouterIPv4 = 0, bpf.Addr{}
			}
			n := filled(t, cfg)
			o := f.other()
			for _, c := range []fixture{
				{name: "off", program: bpf.ProgFromPod, in: f.from(f.peer).bytes(), verdict: shot, reason: bpf.DropUnsupportedL3},
				{name: "off, from the overlay", program: bpf.ProgFromOverlay, in: f.into(f.peer).bytes(), verdict: shot, reason: bpf.DropUnsupportedL3},
				{name: "off, from the host", program: bpf.ProgFromHost, in: f.into(f.peer).bytes(), verdict: shot, reason: bpf.DropUnsupportedL3},
				{name: "off, to the pod", program: bpf.ProgToPod, in: f.into(f.pod).bytes(), verdict: shot, reason: bpf.DropUnsupportedL3},
				{name: "off, from the underlay", program: bpf.ProgFromNetdev, in: f.into(f.peer).bytes(), verdict: next, reason: bpf.ReasonPassed},
				{name: "the other", program: bpf.ProgFromPod, in: o.from(o.peer).bytes(), verdict: redirect, out: o.from(o.peer).hop().to(peerGW, peerMAC).bytes(), reason: bpf.ReasonToEndpoint},
			} {
				t.Run(c.name, func(t *testing.T) { n.check(t, c) })
			}
		})
	}
}
