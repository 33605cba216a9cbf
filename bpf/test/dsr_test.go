package bpftest

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// says is the packet with the option that says what was asked.
func (p packet) says(asked netip.AddrPort) packet {
	where := binary.BigEndian.AppendUint16(nil, asked.Port())
	where = append(where, asked.Addr().AsSlice()...)
	if p.src.Is4() {
		p.options = []layers.IPv4Option{{OptionType: 158, OptionLength: 8, OptionData: where}}
		return p
	}
	return p.behind(extension{layers.IPProtocolIPv6Destination, append([]byte{2, 1, 0, 30, 18}, where...)})
}

// dsrNode is a node whose services are answered by their backends' nodes, beside
// another one.
func dsrNode(t *testing.T, cfg bpf.Config) *node {
	t.Helper()
	n := serviceNode(t, cfg)
	n.nodes(t)
	return n
}

// nodes makes the other node one that the ipcache knows.
func (n *node) nodes(t *testing.T) {
	t.Helper()
	for _, f := range families {
		n.know(t, netip.PrefixFrom(f.node, f.bits()), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityRemoteNode)})
		n.every(t, f)
	}
}

// every makes the NodePort one of every node.
func (n *node) every(t *testing.T, f family) {
	t.Helper()
	any := netip.IPv4Unspecified()
	if f.v6 {
		any = netip.IPv6Unspecified()
	}
	for i, proto := range transports {
		n.add(t, service{id: 250 + 2*uint32(i) + uint32(f.pick(0, 1)), at: at(any, nodePort), proto: proto, first: 16 * 100,
			flags: bpf.ServiceExternal | bpf.ServiceNodePort | bpf.ServiceDSR})
	}
}

// asksOther is a client's packet as the other node forwards it to a pod of this one.
func (f family) asksOther(proto uint8) packet {
	p := forService(f.fromWorld(f.peer), 8080, proto)
	p.payload = 100
	return p
}

// ways are the nodes that may be asked, or have the backend.
func ways() map[string]bpf.Config {
	legacy := native()
	legacy.HostRouting = 0
	return map[string]bpf.Config{"native": native(), "tunnel": config(), "legacy host routing": legacy}
}

// The node that was asked: nothing is put in the client's place, and the first
// packet of a connection, or each where there is no handshake, says what was asked.
func TestNodeForwardsToABackendThatAnswersItself(t *testing.T) {
	for name, cfg := range ways() {
		t.Run(name, func(t *testing.T) {
			n := dsrNode(t, cfg)
			reason := bpf.ReasonToNetwork
			if cfg.TunnelIfindex != 0 {
				reason = bpf.ReasonToOverlay
			}
			perFamily(t, n, func(t *testing.T, f family) {
				n.offer(t, f, bpf.ServiceDSR, remoteBackend)
				asked := at(f.self, nodePort)
				for _, proto := range transports {
					n.forget(t)
					p := f.asksNode(proto)
					p.payload = 101
					there := p.destination(f.remote, 8080)
					n.passes(t, "first", bpf.ProgFromNetdev, underlayIfindex, p, there.hop().says(asked), reason)
					if k, e := n.entry(t); e.Flags&uint8(bpf.CTIsForward) == 0 {
						t.Errorf("%s %s: want an entry of the client's packets and none of answers", k, e)
					}
					next := there.then("A").hop()
					if proto == unix.IPPROTO_UDP {
						next = next.says(asked)
					}
					n.passes(t, "second", bpf.ProgFromNetdev, underlayIfindex, p.then("A"), next, reason)
					n.passes(t, "again", bpf.ProgFromNetdev, underlayIfindex, p, there.hop().says(asked), reason)
				}
				n.offer(t, f, bpf.ServiceDSR, peerBackend)
				n.forget(t)
				p := f.asksNode(unix.IPPROTO_TCP)
				n.passes(t, "a backend here", bpf.ProgFromNetdev, underlayIfindex, p, p.destination(f.peer, 8080).hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
				n.offer(t, f, bpf.ServiceDSR, remoteBackend)
				other := p
				other.src, other.sport = f.node, 4321
				got := n.sendFrame(t, bpf.ProgFromNetdev, underlayIfindex, other.bytes())
				if got.reason != reason || bytes.Contains(got.out, f.node.AsSlice()) {
					t.Errorf("a node asks: %s, want this node in its place: % x", got.reason, head(got.out))
				}
			})
		})
	}
}

// The backend's node: the pod sees neither option nor another source, and what it
// answers comes from what was asked.
func TestBackendsNodeAnswersInTheServicesName(t *testing.T) {
	n := dsrNode(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, bpf.ServiceDSR, peerBackend)
		asked, second := at(f.node, nodePort), at(f.self, nodePort)
		for _, proto := range transports {
			n.forget(t)
			p := f.asksOther(proto)
			pod := p.hop().to(peerGW, peerMAC)
			back := p.reply().to(peerMAC, peerGW).then("SA")
			answer := func(what string, asked netip.AddrPort, flags string) {
				t.Helper()
				b := back.then(flags)
				n.passes(t, what, bpf.ProgFromPod, device(peerID), b, b.source(asked.Addr(), asked.Port()).hop(), bpf.ReasonToNetwork)
			}
			n.passes(t, "first", bpf.ProgFromNetdev, underlayIfindex, p.says(asked), pod, bpf.ReasonToEndpoint)
			answer("its answer", asked, "SA")
			n.passes(t, "without the option", bpf.ProgFromNetdev, underlayIfindex, p.then("A"), pod.then("A"), bpf.ReasonToEndpoint)
			n.passes(t, "with it", bpf.ProgFromNetdev, underlayIfindex, p.then("A").says(asked), pod.then("A"), bpf.ReasonToEndpoint)
			_, e := n.entry(t)
			if e.Packets != [2]uint32{3, 1} || bpf.CTOut(e.Way[1]) != bpf.OutDSR || e.Rule[1] != 0 {
				t.Errorf("the one entry is %s", e)
			}
			n.isolate(t, peerID, 0) // another epoch: judged anew
			answer("judged anew, an answer first", asked, "A")
			n.isolate(t, peerID, 0)
			n.passes(t, "judged anew, the client first", bpf.ProgFromNetdev, underlayIfindex, p.then("A"), pod.then("A"), bpf.ReasonToEndpoint)
			answer("and its answer", asked, "A")
			n.set(t, bpf.MapCT, uint32(1), n.table)
			n.newTable(t, 1024)
			n.passes(t, "while the table grows", bpf.ProgFromNetdev, underlayIfindex, p.then("A"), pod.then("A"), bpf.ReasonToEndpoint)
			answer("and its answer", asked, "A")
			if err := n.maps[bpf.MapCT].Delete(uint32(1)); err != nil {
				t.Fatal(err)
			}
			n.passes(t, "another service asked", bpf.ProgFromNetdev, underlayIfindex, p.says(second), pod, bpf.ReasonToEndpoint)
			answer("its answer", second, "SA")
			if proto == unix.IPPROTO_TCP {
				n.passes(t, "the pod itself asked", bpf.ProgFromNetdev, underlayIfindex, p, pod, bpf.ReasonToEndpoint)
				answer("its answer", at(f.peer, 8080), "SA")
			}
		}
	})
}

// What the policy of the backend sees is the client.
func TestPolicyOfTheBackendSeesTheClient(t *testing.T) {
	n := dsrNode(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		p := f.asksOther(unix.IPPROTO_UDP).says(at(f.node, nodePort))
		n.forget(t)
		n.isolate(t, peerID, bpf.PolicyIngress)
		n.want(t, "isolated", bpf.ProgFromNetdev, p, bpf.DropPolicy)
		n.noEntries(t, "a denial")
		n.rules(t, rule{ingress: true, level: bpf.LevelPort, proto: udp, port: 8080, id: 5})
		n.want(t, "the backend's port", bpf.ProgFromNetdev, p, bpf.ReasonToEndpoint)
		if _, e := n.entry(t); e.Rule[1] != 5 {
			t.Errorf("allowed by rule %d, want 5", e.Rule[1])
		}
		before, _ := n.hits(t, 5)
		n.want(t, "again", bpf.ProgFromNetdev, p, bpf.ReasonToEndpoint)
		if after, _ := n.hits(t, 5); after != before+1 {
			t.Errorf("its rule counted %d packets more, want 1", after-before)
		}
		n.noRules(t)
		n.open(t, peerID)
	})
}

// An option can name nothing but a service that the client could have asked.
func TestOptionIsBelievedOnlyWhereItCanBeTrue(t *testing.T) {
	n := dsrNode(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, bpf.ServiceDSR, peerBackend)
		p := f.asksOther(unix.IPPROTO_UDP)
		good := at(f.node, nodePort)
		from := func(a netip.Addr) packet { q := p; q.src = a; return q.says(good) }
		for what, c := range map[string]packet{
			"a client in the cluster":                       from(f.remote),
			"a node":                                        from(f.node),
			"this node":                                     from(f.self),
			"a pod of this node, from outside":              from(f.pod),
			"a ClusterIP":                                   p.says(at(vip[f.v6], servicePort)),
			"a port that is no NodePort":                    p.says(at(f.node, nodePort+1)),
			"a NodePort of somebody who is no node":         p.says(at(f.gateway, nodePort)),
			"the port of a service of TCP and UDP, by SCTP": forService(p, 8080, unix.IPPROTO_UDP).says(at(f.node, servicePort)),
		} {
			n.forget(t)
			n.want(t, what, bpf.ProgFromNetdev, c, bpf.DropDSR)
			n.noEntries(t, what)
		}
		other := p
		other.dst = f.world
		passing := other.says(good)
		n.passes(t, "for somebody else", bpf.ProgFromNetdev, underlayIfindex, passing, passing, bpf.ReasonPassed)
		if f.v6 {
			p = p.behind(extension{layers.IPProtocolIPv6Destination, []byte{0, 1, 4, 0, 0, 0, 0}})
		} else {
			p.options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}} // RFC 2113
		}
		n.passes(t, "another option", bpf.ProgFromNetdev, underlayIfindex, p, p.hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
	})
}

// Where there is a tunnel, only the tunnel brings what is for pods.
func TestTunnelAloneBringsTheOptionToPods(t *testing.T) {
	n := dsrNode(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		p := f.asksOther(unix.IPPROTO_UDP).says(at(f.node, nodePort))
		n.want(t, "past the tunnel", bpf.ProgFromNetdev, p, bpf.DropDSR)
	})
}

// Through the real tunnel device: from whichever node, first packet and all others.
func TestTunnelBringsTheOption(t *testing.T) {
	n := tunnelledBy(t, serving(config()))
	n.services(t)
	n.nodes(t)
	n.attach(t, bpf.ProgFromOverlay, tunnelIfindex)
	path := movePod(t, "peer", peerMAC, peerGW, func(f family) netip.Addr { return f.peer })
	mac := linktest.Link(t, "underlay").Attrs().HardwareAddr
	var pod int
	linktest.In(t, path, func() { pod = capture(t, "peer-in") })
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			n.forget(t)
			asked := at(f.node, nodePort)
			for _, p := range []packet{f.asksOther(unix.IPPROTO_TCP), f.asksOther(unix.IPPROTO_TCP).then("A"), f.asksOther(unix.IPPROTO_UDP), f.asksOther(unix.IPPROTO_UDP)} {
				in := p
				if p.flags != "A" {
					in = p.says(asked)
				}
				n.inject(t, "underlay-in", wrapped(mac, in.bytes()))
				n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.ReasonToEndpoint: 1})
				want := p.hop().to(peerGW, peerMAC).bytes()
				wait(t, pod, "the packet in the pod, without the option", func(frame []byte) bool { return bytes.Equal(frame, want) })
				back := p.reply().to(peerMAC, peerGW).then("SA")
				n.passes(t, "its answer", bpf.ProgFromPod, device(peerID), back, back.source(asked.Addr(), asked.Port()).hop(), bpf.ReasonToNetwork)
			}
			stranger := families[0].gateway
			for _, p := range []packet{f.asksOther(unix.IPPROTO_TCP).then("A"), f.asksOther(unix.IPPROTO_UDP).says(asked)} {
				n.inject(t, "underlay-in", wrappedBy(stranger, mac, p.bytes()))
				n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.DropTunnelSource: 1})
			}
		})
	}
}

// A first packet that leaves no room for the option comes back, with the size that
// does; of a known connection it goes without.
func TestPacketWithoutRoomForTheOption(t *testing.T) {
	n := dsrNode(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, bpf.ServiceDSR, remoteBackend)
		fits := tunnelMTU - int(f.pick(8, 24))
		asked := at(f.self, nodePort)
		p := f.asksNode(unix.IPPROTO_UDP)
		n.forget(t)
		big := p.sized(fits + 1)
		got := n.sendFrame(t, bpf.ProgFromNetdev, underlayIfindex, big.bytes())
		if want := f.tooBig(big, fits); got.reason != bpf.DropFragNeeded || got.told != bpf.ReasonTooBig || !bytes.Equal(got.out, want) {
			t.Errorf("one octet too many: %s, the sender is told %s\n got % x\nwant % x", got.reason, got.told, got.out, want)
		}
		n.noEntries(t, "a packet that is too big")
		whole := p.sized(fits)
		n.passes(t, "as big as can be", bpf.ProgFromNetdev, underlayIfindex, whole, whole.destination(f.remote, 8080).hop().says(asked), bpf.ReasonToOverlay)
		n.passes(t, "one octet more, then", bpf.ProgFromNetdev, underlayIfindex, big, big.destination(f.remote, 8080).hop(), bpf.ReasonToOverlay)
		tcp := forService(f.asksNode(unix.IPPROTO_TCP), nodePort, unix.IPPROTO_TCP).then("A").sized(fits + 1)
		got = n.sendFrame(t, bpf.ProgFromNetdev, underlayIfindex, tcp.bytes())
		if got.reason != bpf.DropFragNeeded || got.told != bpf.ReasonTooBig {
			t.Errorf("TCP in the middle of a connection: %s, the sender is told %s", got.reason, got.told)
		}
	})
}

// tooBig is the ICMP error about p (RFC 1191 section 4, RFC 4443 section 3.2).
func (f family) tooBig(p packet, mtu int) []byte {
	r := p.told()
	eth := &layers.Ethernet{SrcMAC: r.srcMAC, DstMAC: r.dstMAC, EthernetType: layers.EthernetTypeIPv4}
	if f.v6 {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: r.src.AsSlice(), DstIP: r.dst.AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(2, 0)}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			panic(err)
		}
		return serialize(eth, ip, icmp, gopacket.Payload(append(binary.BigEndian.AppendUint32(nil, uint32(mtu)), p.bytes()[14:14+48]...)))
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, Flags: layers.IPv4DontFragment, SrcIP: r.src.AsSlice(), DstIP: r.dst.AsSlice()}
	return serialize(eth, ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: uint16(mtu)}, gopacket.Payload(p.bytes()[14:14+28]))
}

// A host's own pod is answered for, too: its answers leave by to_netdev.
func TestBackendInTheNodesOwnNetworkIsAnsweredFor(t *testing.T) {
	for name, cfg := range ways() {
		t.Run(name, func(t *testing.T) {
			n := dsrNode(t, cfg)
			perFamily(t, n, func(t *testing.T, f family) {
				asked := at(f.node, nodePort)
				for _, proto := range transports {
					n.forget(t)
					p := f.asksOther(proto).destination(f.self, 8080)
					n.passes(t, "first", bpf.ProgFromNetdev, underlayIfindex, p.says(asked), p, bpf.ReasonToHost)
					back := p.reply().then("SA")
					n.passes(t, "its answer", bpf.ProgToNetdev, underlayIfindex, back, back.source(asked.Addr(), asked.Port()), bpf.ReasonPassed)
					n.passes(t, "second", bpf.ProgFromNetdev, underlayIfindex, p.then("A"), p.then("A"), bpf.ReasonToHost)
				}
			})
		})
	}
}

// Errors find the connection on either node, and quote what its ends have sent.
func TestErrorAboutAConnectionThatIsAnsweredElsewhere(t *testing.T) {
	for name, cfg := range ways() {
		t.Run(name, func(t *testing.T) {
			n := dsrNode(t, cfg)
			perFamily(t, n, func(t *testing.T, f family) {
				n.offer(t, f, bpf.ServiceDSR, remoteBackend)
				n.forget(t)
				reason := bpf.ReasonToNetwork
				if cfg.TunnelIfindex != 0 {
					reason = bpf.ReasonToOverlay
				}
				p := f.asksNode(unix.IPPROTO_UDP)
				n.want(t, "a client asks", bpf.ProgFromNetdev, p, reason)
				answer, atBackend := p.reply(), p.destination(f.remote, 8080).reply()
				for _, from := range []netip.Addr{f.gateway, f.world} {
					n.passes(t, "error about an answer", bpf.ProgFromNetdev, underlayIfindex,
						f.tells(from, f.self, answer), f.tells(from, f.remote, atBackend).hop(), reason)
				}
			})
		})
	}
	legacy := native()
	legacy.HostRouting = 0
	for name, cfg := range map[string]bpf.Config{"native": native(), "legacy host routing": legacy} {
		t.Run("backend, "+name, func(t *testing.T) {
			n := dsrNode(t, cfg)
			perFamily(t, n, func(t *testing.T, f family) {
				n.forget(t)
				p, asked := f.asksOther(unix.IPPROTO_UDP), at(f.node, nodePort)
				n.want(t, "first", bpf.ProgFromNetdev, p.says(asked), bpf.ReasonToEndpoint)
				n.passes(t, "the pod's error", bpf.ProgFromPod, device(peerID), f.tells(f.peer, f.world, p).to(peerMAC, peerGW),
					f.tells(asked.Addr(), f.world, p.destination(asked.Addr(), asked.Port())).hop().to(peerMAC, peerGW), bpf.ReasonToNetwork)
				back := p.reply()
				in := f.tells(f.gateway, f.peer, back)
				n.passes(t, "an error about its answer", bpf.ProgFromNetdev, underlayIfindex, in, in.hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
			})
		})
	}
}

// Fragments have the option each, and lose it.
func TestFragmentsSayWhatWasAsked(t *testing.T) {
	n := dsrNode(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, bpf.ServiceDSR, remoteBackend)
		n.forget(t)
		whole := f.asksNode(unix.IPPROTO_UDP)
		whole.payload = 200
		n.want(t, "a whole one", bpf.ProgFromNetdev, whole, bpf.ReasonToNetwork)
		there := whole.destination(f.remote, 8080)
		in, later := f.fragments(whole, 97)
		out, last := f.fragments(there, 97)
		n.passes(t, "first, of the node that was asked", bpf.ProgFromNetdev, underlayIfindex, in, out.hop().says(at(f.self, nodePort)), bpf.ReasonToNetwork)
		n.passes(t, "later, there", bpf.ProgFromNetdev, underlayIfindex, later, last.hop().says(at(f.self, nodePort)), bpf.ReasonToNetwork)
		n.forget(t)
		first, later := f.fragments(f.asksOther(unix.IPPROTO_UDP), 98)
		asked := at(f.node, nodePort)
		n.passes(t, "first", bpf.ProgFromNetdev, underlayIfindex, first.says(asked), first.hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
		n.passes(t, "later", bpf.ProgFromNetdev, underlayIfindex, later.says(asked), later.hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
	})
}

// Of the answers the node that was asked sees none.
func TestConnectionAnsweredElsewhereExpires(t *testing.T) {
	n := dsrNode(t, native())
	limits := bpf.CTExpire{TCPNew: 900, TCPEstablished: 5000, TCPClosing: 300, UDPNew: 900, UDPEstablished: 5000}
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, bpf.ServiceDSR, remoteBackend)
		n.forget(t)
		after := func(idle uint32) uint32 {
			k, e := n.entry(t)
			e.Seen = n.expire(t, limits).Now - idle
			n.put(t, n.table, k, e)
			n.expire(t, limits, k)
			return n.expire(t, limits, k).Count
		}
		p := f.asksNode(unix.IPPROTO_TCP)
		send := func(flags string) { n.want(t, flags, bpf.ProgFromNetdev, p.then(flags), bpf.ReasonToNetwork) }
		send("S")
		if got := after(800); got != 0 {
			t.Errorf("a SYN: %d deleted early", got)
		}
		send("S")
		if got := after(1000); got != 1 {
			t.Errorf("two SYNs, and no answer to an answer: %d deleted, want it", got)
		}
		send("S")
		send("A")
		if got := after(4000); got != 0 {
			t.Errorf("established: %d deleted early", got)
		}
		send("FA")
		if got := after(800); got != 0 {
			t.Errorf("half closed: %d deleted early", got)
		}
		send("A")
		if got := after(1000); got != 1 {
			t.Errorf("half closed, and idle: %d deleted, want it", got)
		}
	})
}
