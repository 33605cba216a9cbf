package bpftest

import (
	"net/netip"
	"testing"

	"weir/bpf"
)

func TestPacketFromTheUnderlayReachesItsPod(t *testing.T) {
	each(t, filled(t, native()), func(f family) []fixture {
		peer, last, dead := f.into(f.peer), f.into(f.peer), f.into(f.peer)
		last.ttl, dead.ttl = 1, 0
		return []fixture{
			{name: "pod of this node", program: bpf.ProgFromNetdev, in: peer.bytes(), verdict: redirect, out: peer.hop().to(peerGW, peerMAC).bytes(), reason: bpf.ReasonToEndpoint},
			{name: "TTL 1", program: bpf.ProgFromNetdev, in: last.bytes(), verdict: next, reason: bpf.DropTTLExceeded},
			{name: "TTL 0", program: bpf.ProgFromNetdev, in: dead.bytes(), verdict: next, reason: bpf.DropTTLExceeded},
			{name: "this node", program: bpf.ProgFromNetdev, in: f.into(f.self).bytes(), verdict: next, reason: bpf.ReasonToHost},
			{name: "another address of this node", program: bpf.ProgFromNetdev, in: f.into(f.router).bytes(), verdict: next, reason: bpf.ReasonToHost},
			{name: "the world", program: bpf.ProgFromNetdev, in: f.into(f.world).bytes(), verdict: next, reason: bpf.ReasonPassed},
			{name: "pod of another node", program: bpf.ProgFromNetdev, in: f.into(f.remote).bytes(), verdict: next, reason: bpf.ReasonPassed},
			{name: "multicast", program: bpf.ProgFromNetdev, in: f.into(f.multicast[0]).bytes(), verdict: next, reason: bpf.ReasonPassed},
			{name: "slot given to another pod", program: bpf.ProgFromNetdev, in: f.into(f.stale).bytes(), verdict: shot, reason: bpf.DropPodNotReady},
			{name: "slot free", program: bpf.ProgFromNetdev, in: f.into(f.gone).bytes(), verdict: shot, reason: bpf.DropPodNotReady},
		}
	})
}

func TestHostReachesPodsWithoutAHop(t *testing.T) {
	each(t, filled(t, config()), func(f family) []fixture {
		from := func(dst netip.Addr) packet { p := f.into(dst); p.src = f.self; return p }
		peer, remote, big, last := from(f.peer), from(f.remote), from(f.remote).sized(1500), from(f.peer)
		last.ttl = 1
		out := []fixture{
			{name: "pod of this node", program: bpf.ProgFromHost, in: peer.bytes(), verdict: redirect, out: peer.to(peerGW, peerMAC).bytes(), reason: bpf.ReasonToEndpoint},
			{name: "TTL 1 is enough", program: bpf.ProgFromHost, in: last.bytes(), verdict: redirect, out: last.to(peerGW, peerMAC).bytes(), reason: bpf.ReasonToEndpoint},
			{name: "pod of another node", program: bpf.ProgFromHost, in: remote.bytes(), verdict: redirect, reason: bpf.ReasonToOverlay},
			{name: "the stack has judged its size", program: bpf.ProgFromHost, in: big.bytes(), verdict: redirect, reason: bpf.ReasonToOverlay},
			{name: "pod CIDR without a pod", program: bpf.ProgFromHost, in: from(f.noPod).bytes(), verdict: shot, reason: bpf.DropUnroutable},
			{name: "slot given to another pod", program: bpf.ProgFromHost, in: from(f.stale).bytes(), verdict: shot, reason: bpf.DropPodNotReady},
			{name: "slot free", program: bpf.ProgFromHost, in: from(f.gone).bytes(), verdict: shot, reason: bpf.DropPodNotReady},
			{name: "multicast", program: bpf.ProgFromHost, in: from(f.multicast[0]).bytes(), verdict: shot, reason: bpf.ReasonLinkChatter},
		}
		if f.v6 {
			out = append(out, fixture{name: "link-local", program: bpf.ProgFromHost, in: from(netip.MustParseAddr("fe80::1")).bytes(), verdict: shot, reason: bpf.ReasonLinkChatter})
		}
		return out
	})
}

func TestHostBeforeTheAgentRanIsRefused(t *testing.T) {
	host(t)
	each(t, newNode(t, config()), func(f family) []fixture {
		return []fixture{
			{name: "from the host", program: bpf.ProgFromHost, in: f.into(f.peer).bytes(), verdict: shot, reason: bpf.DropHostNotReady},
			{name: "from a pod", program: bpf.ProgFromPod, in: f.from(f.peer).bytes(), verdict: shot, reason: bpf.DropPodNotReady},
			{name: "from the underlay", program: bpf.ProgFromNetdev, in: f.into(f.peer).bytes(), verdict: next, reason: bpf.ReasonPassed},
			{name: "to a pod", program: bpf.ProgToPod, in: f.into(f.pod).bytes(), verdict: shot, reason: bpf.DropPodNotReady},
		}
	})
}

// A test run cannot give a packet the metadata of a tunnel:
// TestTunnelCarriesPacketsAndIdentities shows the other side.
func TestPacketThatDidNotComeThroughTheTunnelIsDropped(t *testing.T) {
	each(t, filled(t, config()), func(f family) []fixture {
		return []fixture{{name: "for a pod", program: bpf.ProgFromOverlay, in: f.into(f.peer).bytes(), verdict: shot, reason: bpf.DropTunnelKey}}
	})
}

func TestPodGetsOnlyWhatIsForIt(t *testing.T) {
	each(t, filled(t, config()), func(f family) []fixture {
		in := f.into(f.pod)
		local := fixture{}
		if f.v6 { // an advertisement of the gateway
			local = fixture{name: "link-local", program: bpf.ProgToPod, in: f.into(netip.MustParseAddr("fe80::a")).bytes(), verdict: next, reason: bpf.ReasonPassed}
		}
		return []fixture{
			local,
			{name: "for it", program: bpf.ProgToPod, in: in.bytes(), verdict: next, out: in.to(podGW, podMAC).bytes(), reason: bpf.ReasonToEndpoint},
			{name: "for another pod", program: bpf.ProgToPod, in: f.into(f.peer).bytes(), verdict: shot, reason: bpf.DropUnknownTarget},
			{name: "multicast", program: bpf.ProgToPod, in: f.into(f.multicast[0]).bytes(), verdict: shot, reason: bpf.ReasonLinkChatter},
			{name: "device without a row", program: bpf.ProgToPod, ifindex: int(device(freeID)), in: f.into(f.peer).bytes(), verdict: shot, reason: bpf.DropPodNotReady},
		}
	})
}

func TestProgramsThatOnlyCountLetEverythingPass(t *testing.T) {
	each(t, filled(t, config()), func(f family) (out []fixture) {
		for program, reason := range map[string]bpf.Reason{
			bpf.ProgToHost: bpf.ReasonToHost, bpf.ProgToOverlay: bpf.ReasonPassed, bpf.ProgToNetdev: bpf.ReasonPassed,
		} {
			for name, in := range map[string][]byte{
				"packet": f.from(f.world).bytes(), "LLDP": frame(0x88cc, 46), "too big": f.from(f.world).sized(3000).bytes(),
			} {
				out = append(out, fixture{name: program + ": " + name, program: program, in: in, verdict: next, reason: reason})
			}
		}
		return out
	})
}

// What one node's from_pod hands to the wire is what the other node gets.
func TestPacketKeepsItsBytesFromNodeToNode(t *testing.T) {
	a := filled(t, native())
	b := newNode(t, native())
	b.fill(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			// On node B the destination is a pod of its own, and the source is none.
			b.know(t, netip.PrefixFrom(f.pod, f.bits()), bpf.IPCacheEntry{Identity: 1001})
			b.know(t, netip.PrefixFrom(f.remote, f.bits()), bpf.IPCacheEntry{Identity: 1002, Endpoint: peerID})
			row := bpf.Endpoint{ID: peerID, Ifindex: device(peerID), MAC: bpf.MACFrom(peerMAC), NodeMAC: bpf.MACFrom(peerGW)}
			if f.v6 {
				row.IPv6 = bpf.AddrFrom(f.remote)
			} else {
				row.IPv4 = bpf.AddrFrom(f.remote)
			}
			b.put(t, b.endpoints, uint32(peerID), row)
			p := f.from(f.remote)
			a.check(t, fixture{program: bpf.ProgFromPod, in: p.bytes(), verdict: redirect, out: p.hop().bytes(), reason: bpf.ReasonToNetwork})
			wire := p.hop().to(otherMAC, otherMAC) // the kernel's neighbour table addresses the frame
			arrived := wire.hop().to(peerGW, peerMAC)
			b.check(t, fixture{program: bpf.ProgFromNetdev, in: wire.bytes(), verdict: redirect, out: arrived.bytes(), reason: bpf.ReasonToEndpoint})
			if arrived.ttl != 62 {
				t.Errorf("TTL at the pod: got %d, want 62", arrived.ttl)
			}
			last := p
			last.ttl = 2
			a.check(t, fixture{program: bpf.ProgFromPod, in: last.bytes(), verdict: redirect, out: last.hop().bytes(), reason: bpf.ReasonToNetwork})
			b.check(t, fixture{program: bpf.ProgFromNetdev, in: last.hop().bytes(), verdict: next, reason: bpf.DropTTLExceeded})
		})
	}
}
