package bpftest

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

const vxlanPort = 8472

// tunnelled is a filled node with its tunnel device.
func tunnelled(t *testing.T) *node { return tunnelledBy(t, config()) }

func tunnelledBy(t *testing.T, cfg bpf.Config) *node {
	t.Helper()
	n := filled(t, cfg)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Index = "vxlan", tunnelIfindex
	if err := netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, FlowBased: true, Port: vxlanPort}); err != nil {
		t.Fatalf("make tunnel device: %v", err)
	}
	sysctl(t, "net/ipv6/conf/vxlan/disable_ipv6", "1")
	linktest.Up(t, "vxlan")
	alone(t)
	return n
}

// wait reads frames until one is wanted.
func wait(t *testing.T, fd int, what string, wanted func(frame []byte) bool) {
	t.Helper()
	buffer := make([]byte, 4000)
	linktest.Eventually(t, 5*time.Second, what, func() bool {
		size, err := unix.Read(fd, buffer)
		return err == nil && wanted(buffer[:size])
	})
}

// Seed rows M7 and M11, and F5: out with the sender's identity, in to the pod,
// each a hop.
func TestTunnelCarriesPacketsAndIdentities(t *testing.T) {
	n := tunnelled(t)
	n.attach(t, bpf.ProgFromPod, device(podID))
	n.attach(t, bpf.ProgFromOverlay, tunnelIfindex)
	path := movePod(t, "peer", peerMAC, peerGW, func(f family) netip.Addr { return f.peer })
	wire, mac := capture(t, "underlay-in"), linktest.Link(t, "underlay").Attrs().HardwareAddr
	var pod int
	linktest.In(t, path, func() { pod = capture(t, "peer-in") })
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			out := f.from(f.remote).sized(1000)
			n.inject(t, "pod-in", out.bytes())
			wait(t, wire, "a packet of the tunnel", func(frame []byte) bool {
				const inner = 14 + 20 + 8 + 8
				if len(frame) < inner || !bytes.Equal(frame[:6], otherMAC) || frame[23] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(frame[36:]) != vxlanPort {
					return false
				}
				if vni := binary.BigEndian.Uint32(frame[46:]) >> 8; vni != 1000+podID {
					t.Errorf("VNI %d, want the identity %d", vni, 1000+podID)
				}
				if !bytes.Equal(frame[inner:], out.hop().bytes()) {
					t.Errorf("packet in the tunnel:\n got % x\nwant % x", head(frame[inner:]), head(out.hop().bytes()))
				}
				return true
			})

			in := f.into(f.peer).sized(1000)
			n.inject(t, "underlay-in", wrapped(mac, in.bytes()))
			n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.ReasonToEndpoint: 1})
			want := in.hop().to(peerGW, peerMAC).bytes()
			wait(t, pod, "the packet in the pod", func(frame []byte) bool { return bytes.Equal(frame, want) })

			last := f.into(f.peer)
			last.ttl = 1
			n.inject(t, "underlay-in", wrapped(mac, f.into(f.noPod).bytes()), wrapped(mac, f.into(f.world).bytes()), wrapped(mac, f.into(f.self).bytes()),
				wrapped(mac, f.into(f.stale).bytes()), wrapped(mac, last.bytes()), wrapped(mac, frame(0x88cc, 46)))
			n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.DropNoEndpoint: 2, bpf.ReasonToHost: 1,
				bpf.DropPodNotReady: 1, bpf.DropTTLExceeded: 1, bpf.DropUnsupportedL2: 1})
		})
	}
}

// Whoever reaches the port could otherwise send as any pod, or into the host.
func TestTunnelBelievesOnlyTheNodeThatHasTheSender(t *testing.T) {
	n := tunnelled(t)
	n.attach(t, bpf.ProgFromOverlay, tunnelIfindex)
	path := movePod(t, "peer", peerMAC, peerGW, func(f family) netip.Addr { return f.peer })
	mac := linktest.Link(t, "underlay").Attrs().HardwareAddr
	var pod int
	linktest.In(t, path, func() { pod = capture(t, "peer-in") })
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			stranger := families[0].gateway // on the underlay, and no node
			as := func(src netip.Addr) packet {
				p := f.into(f.peer)
				p.src = src
				return p
			}
			n.inject(t, "underlay-in", wrappedBy(stranger, mac, as(f.remote).bytes()), wrappedBy(stranger, mac, as(f.world).bytes()))
			n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.DropTunnelSource: 2})
			n.inject(t, "underlay-in", wrapped(mac, as(f.pod).bytes()), wrapped(mac, as(f.self).bytes()), wrapped(mac, as(f.martians[0]).bytes()))
			n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.DropTunnelSource: 3})
			var many [][]byte
			for _, dst := range append(append([]netip.Addr{}, f.multicast...), f.martians...) {
				many = append(many, wrapped(mac, f.into(dst).bytes()))
			}
			n.inject(t, "underlay-in", many...)
			n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.DropUnknownTarget: uint64(len(many))})
			good := as(f.remote).sized(700)
			n.inject(t, "underlay-in", wrapped(mac, good.bytes()))
			want := good.hop().to(peerGW, peerMAC).bytes()
			wait(t, pod, "the packet of the right node", func(frame []byte) bool {
				if !bytes.Equal(frame[6:12], peerGW) {
					return false // the pod's own
				}
				if !bytes.Equal(frame, want) {
					t.Errorf("the pod got % x", head(frame))
				}
				return true
			})
			n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.ReasonToEndpoint: 1})
		})
	}
}

// wrapped is a frame as another node sends it through the tunnel.
func wrapped(mac []byte, inner []byte) []byte { return wrappedBy(families[0].node, mac, inner) }

func wrappedBy(sender netip.Addr, mac []byte, inner []byte) []byte {
	return wrappedAs(sender, 2000, mac, inner)
}

// wrappedAs is wrapped with the identity that the sender's node says.
func wrappedAs(sender netip.Addr, vni uint16, mac []byte, inner []byte) []byte {
	v4 := families[0]
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: sender.AsSlice(), DstIP: v4.self.AsSlice()}
	udp := &layers.UDP{SrcPort: 40000, DstPort: vxlanPort}
	udp.SetNetworkLayerForChecksum(ip)
	vxlan := append([]byte{8, 0, 0, 0}, 0, byte(vni>>8), byte(vni), 0)
	return serialize(&layers.Ethernet{SrcMAC: otherMAC, DstMAC: mac, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload(append(vxlan, inner...)))
}

// The node that has the sender knows best who it is. Where it and the ipcache
// disagree, one of them is late, and nobody gets what only one would allow.
func TestSenderHasToBeAllowedAsItsNodeSaysAndAsTheCacheSays(t *testing.T) {
	n := tunnelled(t)
	n.attach(t, bpf.ProgFromOverlay, tunnelIfindex)
	mac := linktest.Link(t, "underlay").Attrs().HardwareAddr
	node := families[0].node
	perFamily(t, n, func(t *testing.T, f family) {
		n.selectors(t, 10, 40)
		n.isolate(t, peerID, bpf.PolicyIngress)
		n.rules(t, rule{ingress: true, level: bpf.LevelAny, selector: 40, id: 5})
		meets := func(ids ...uint32) {
			for _, id := range []uint32{2000, 2001} {
				set := uint32(0)
				if slices.Contains(ids, id) {
					set = 10
				}
				n.set(t, bpf.MapPolicyPeers, id, set)
			}
			n.forget(t)
		}
		for name, c := range map[string]struct {
			allowed []uint32
			vni     uint16
			want    bpf.Reason
		}{
			"both say the one that is allowed":      {[]uint32{2000}, 2000, bpf.ReasonToEndpoint},
			"the node says one that is not":         {[]uint32{2000}, 2001, bpf.DropPolicy},
			"the cache says one that is not":        {[]uint32{2001}, 2001, bpf.DropPolicy},
			"they disagree, and either is allowed":  {[]uint32{2000, 2001}, 2001, bpf.ReasonToEndpoint},
			"the node does not say":                 {[]uint32{2000}, 0, bpf.ReasonToEndpoint},
			"the node says that it is the receiver": {[]uint32{2000}, uint16(bpf.IdentityHost), bpf.ReasonToEndpoint},
		} {
			meets(c.allowed...)
			n.inject(t, "underlay-in", wrappedAs(node, c.vni, mac, f.into(f.peer).bytes()))
			t.Log(name)
			n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{c.want: 1})
		}
	})
}

// In tunnel mode nothing but the tunnel brings packets of other nodes' pods to
// pods: whoever is on the underlay could send as any of them.
func TestUnderlayBringsNothingOfOtherNodesPods(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.want(t, "a new connection", bpf.ProgFromNetdev, f.into(f.peer), bpf.DropInvalidSourceIP)
		n.noEntries(t, "it")
		out := f.from(f.remote)
		n.want(t, "a pod's own", bpf.ProgFromPod, out, bpf.ReasonToOverlay)
		n.want(t, "its reply, but not through the tunnel", bpf.ProgFromNetdev, out.reply(), bpf.DropInvalidSourceIP)
	})
}

// A connection's entry is no pass for whoever knows its ports: its packets come
// from the node that has the other end.
func TestConnectionThroughTheTunnelNeedsTheNodeOfItsOtherEnd(t *testing.T) {
	n := tunnelled(t)
	n.attach(t, bpf.ProgFromOverlay, tunnelIfindex)
	mac := linktest.Link(t, "underlay").Attrs().HardwareAddr
	another := families[0].gateway // another node of the cluster
	n.know(t, netip.PrefixFrom(another, 32), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityRemoteNode)})
	perFamily(t, n, func(t *testing.T, f family) {
		out := f.from(f.remote)
		in := out.reply()
		in.ttl = 63
		n.isolate(t, podID, bpf.PolicyIngress)
		n.inject(t, "underlay-in", wrapped(mac, in.bytes()))
		n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.DropPolicy: 1})
		n.want(t, "a connection", bpf.ProgFromPod, out, bpf.ReasonToOverlay)
		n.inject(t, "underlay-in", wrapped(mac, in.bytes()))
		n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.ReasonToEndpoint: 1})
		_, before := n.entry(t)
		if before.Packets != [2]uint32{1, 1} {
			t.Errorf("after a packet each way: %s", before)
		}
		n.inject(t, "underlay-in", wrappedBy(another, mac, in.bytes()), wrappedBy(families[0].world, mac, in.bytes()))
		n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.DropTunnelSource: 2})
		if _, after := n.entry(t); after != before {
			t.Errorf("the wrong node's packets changed the connection: %s, was %s", after, before)
		}
		// The node got another address: its number has it, and the ipcache.
		n.set(t, bpf.MapNodes, uint32(1), bpf.Node{Addr: bpf.AddrFrom(another)})
		n.know(t, f.remotes, bpf.IPCacheEntry{Identity: 2000, TunnelEndpoint: bpf.AddrFrom(another), Node: 1})
		n.inject(t, "underlay-in", wrappedBy(another, mac, in.bytes()))
		n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.ReasonToEndpoint: 1})
		n.inject(t, "underlay-in", wrapped(mac, in.bytes()))
		n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.DropTunnelSource: 1})
		n.set(t, bpf.MapNodes, uint32(1), bpf.Node{Addr: bpf.AddrFrom(families[0].node)})
		n.know(t, f.remotes, bpf.IPCacheEntry{Identity: 2000, TunnelEndpoint: bpf.AddrFrom(families[0].node), Node: 1})
	})
}
