package bpftest

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weir/bpf"
)

// Rows of these tests.
const (
	peerBackend   = 1
	remoteBackend = 2
	selfBackend   = 3 // the pod itself
	hostBackend   = 4
)

// serviceNode is a node with a ClusterIP and a NodePort of UDP and TCP, whose
// backends the test chooses.
func serviceNode(t testing.TB, cfg bpf.Config) *node {
	t.Helper()
	n := filled(t, serving(cfg))
	n.services(t)
	return n
}

// offer makes the services of a family with those backends. The numbers of its
// rows are even for IPv4 and odd for IPv6.
func (n *node) offer(t testing.TB, f family, flags bpf.ServiceFlag, backends ...uint32) {
	t.Helper()
	odd := uint32(f.pick(0, 1))
	for row, a := range map[uint32]netip.Addr{peerBackend: f.peer, remoteBackend: f.remote, selfBackend: f.pod, hostBackend: f.self} {
		n.backend(t, 2*row+odd, 7, at(a, 8080), 0)
	}
	var rows []uint32
	for _, b := range backends {
		rows = append(rows, 2*b+odd)
	}
	for i, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP} {
		id := 10*uint32(i) + odd
		n.add(t, service{id: 100 + id, at: at(vip[f.v6], servicePort), proto: proto, first: 16 * id, backends: rows},
			service{id: 200 + id, at: at(f.self, nodePort), proto: proto, first: 16*id + 16*40, backends: rows, flags: bpf.ServiceExternal | bpf.ServiceNodePort | flags})
	}
}

// asks is a pod's packet for the service.
func (f family) asks(proto uint8) packet { return forService(f.from(vip[f.v6]), servicePort, proto) }

// asksNode is a packet from outside, for the NodePort of this node.
func (f family) asksNode(proto uint8) packet {
	return forService(f.fromWorld(f.self), nodePort, proto)
}

func forService(p packet, port uint16, proto uint8) packet {
	p.dport = port
	if proto == unix.IPPROTO_TCP {
		p.tcp, p.flags = true, "S"
	}
	return p
}

// then is the connection's next packet: no longer a SYN.
func (p packet) then(flags string) packet {
	if p.tcp {
		p.flags = flags
	}
	return p
}

func (p packet) source(a netip.Addr, port uint16) packet      { p.src, p.sport = a, port; return p }
func (p packet) destination(a netip.Addr, port uint16) packet { p.dst, p.dport = a, port; return p }

// passes sends a packet and compares what comes out.
func (n *node) passes(t *testing.T, what, program string, ifindex uint32, in, out packet, reason bpf.Reason) {
	t.Helper()
	got := n.sendFrame(t, program, ifindex, in.bytes())
	if got.reason != reason || !bytes.Equal(got.out, out.bytes()) {
		t.Errorf("%s: %s (%d), want %s\n got % x\nwant % x", what, got.reason, uint32(got.reason), reason, head(got.out), head(out.bytes()))
	}
}

// port is the source port, or the echo's identifier, of what a packet becomes.
func (n *node) port(t *testing.T, program string, ifindex uint32, in packet) uint16 {
	t.Helper()
	got := n.sendFrame(t, program, ifindex, in.bytes())
	if got.reason.Drop() {
		t.Fatalf("dropped: %s", got.reason)
	}
	at := 14 + 20
	if in.src.Is6() {
		at = 14 + 40
	}
	if in.raw != nil {
		at += 4
	}
	return binary.BigEndian.Uint16(got.out[at:])
}

var transports = []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP}

func TestPodsPacketForAServiceGoesToItsBackendAndBack(t *testing.T) {
	n := serviceNode(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, peerBackend)
		for _, proto := range transports {
			n.forget(t)
			p := f.asks(proto)
			there := p.destination(f.peer, 8080)
			n.passes(t, "first", bpf.ProgFromPod, device(podID), p, there.hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
			back := there.reply().to(peerMAC, peerGW).then("SA")
			n.passes(t, "answer", bpf.ProgFromPod, device(peerID), back, back.source(vip[f.v6], servicePort).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
			n.passes(t, "second", bpf.ProgFromPod, device(podID), p.then("A"), there.then("A").hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
			if got := len(n.entries(t)); got != 2 {
				t.Errorf("%d entries, want one for each direction", got)
			}
		}
	})
}

// The policy of both ends is about the backend and its port, and holds at once.
func TestServiceIsJudgedByItsBackend(t *testing.T) {
	n := serviceNode(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, peerBackend)
		p := f.asks(unix.IPPROTO_UDP)
		n.isolate(t, peerID, bpf.PolicyIngress)
		n.want(t, "isolated", bpf.ProgFromPod, p, bpf.DropPolicy)
		n.noEntries(t, "a denial")
		n.rules(t, rule{ingress: true, level: bpf.LevelPort, proto: udp, port: 8080, id: 5})
		n.want(t, "the backend's port", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		n.noRules(t)
		n.rules(t, rule{ingress: true, level: bpf.LevelPort, proto: udp, port: servicePort, id: 5})
		n.isolate(t, peerID, bpf.PolicyIngress)
		n.want(t, "the service's port", bpf.ProgFromPod, p, bpf.DropPolicy)
	})
}

// A pod that is its own backend hears from the router, which is not itself.
func TestPodReachesItselfThroughItsService(t *testing.T) {
	n := serviceNode(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, selfBackend)
		n.isolate(t, podID, bpf.PolicyIngress|bpf.PolicyEgress)
		for _, proto := range transports {
			n.forget(t)
			p := f.asks(proto)
			port := n.port(t, bpf.ProgFromPod, device(podID), p)
			there := p.source(f.router, port).destination(f.pod, 8080)
			n.passes(t, "again", bpf.ProgFromPod, device(podID), p, there.hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
			back := there.reply().to(podMAC, podGW).then("SA")
			n.passes(t, "answer", bpf.ProgFromPod, device(podID), back, back.source(vip[f.v6], servicePort).destination(f.pod, 1234).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
		}
	})
}

func TestNodePortLeadsToAPodOfThisNode(t *testing.T) {
	n := serviceNode(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, peerBackend)
		for _, proto := range transports {
			n.forget(t)
			p := f.asksNode(proto)
			there := p.destination(f.peer, 8080)
			n.passes(t, "first", bpf.ProgFromNetdev, underlayIfindex, p, there.hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
			back := there.reply().to(peerMAC, peerGW).then("SA")
			n.passes(t, "answer", bpf.ProgFromPod, device(peerID), back, back.source(f.self, nodePort).hop(), bpf.ReasonToNetwork)
			n.passes(t, "second", bpf.ProgFromNetdev, underlayIfindex, p.then("A"), there.then("A").hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
		}
	})
}

// A backend elsewhere answers this node, which answers the client.
func TestNodePortLeadsToAPodOfAnotherNodeInThisNodesName(t *testing.T) {
	n := serviceNode(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, remoteBackend)
		for _, proto := range transports {
			n.forget(t)
			p := f.asksNode(proto)
			port := n.port(t, bpf.ProgFromNetdev, underlayIfindex, p)
			there := p.source(f.self, port).destination(f.remote, 8080)
			n.passes(t, "again", bpf.ProgFromNetdev, underlayIfindex, p, there.hop(), bpf.ReasonToNetwork)
			back := there.reply().then("SA")
			n.passes(t, "answer", bpf.ProgFromNetdev, underlayIfindex, back, back.source(f.self, nodePort).destination(f.world, 1234).hop(), bpf.ReasonToNetwork)
			n.passes(t, "second", bpf.ProgFromNetdev, underlayIfindex, p.then("A"), there.then("A").hop(), bpf.ReasonToNetwork)
		}
	})
}

func TestWhatLeavesTheClusterDoesSoAsTheNode(t *testing.T) {
	n := masquerading(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		for name, p := range map[string]packet{"UDP": f.from(f.world), "TCP": forService(f.from(f.world), 443, unix.IPPROTO_TCP)} {
			n.forget(t)
			port := n.port(t, bpf.ProgFromPod, device(podID), p)
			there := p.source(f.self, port)
			n.passes(t, name+" again", bpf.ProgFromPod, device(podID), p, there.hop(), bpf.ReasonToNetwork)
			back := there.reply().then("SA")
			n.passes(t, name+" answer", bpf.ProgFromNetdev, underlayIfindex, back, back.destination(f.pod, 1234).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
			n.passes(t, name+" next", bpf.ProgFromPod, device(podID), p.then("A"), there.then("A").hop(), bpf.ReasonToNetwork)
		}
		n.forget(t)
		n.passes(t, "to another node's pod", bpf.ProgFromPod, device(podID), f.from(f.remote), f.from(f.remote).hop(), bpf.ReasonToNetwork)
		n.set(t, bpf.MapUnmasqueraded, bpf.IPCacheKeyFrom(netip.PrefixFrom(f.world, f.bits())), uint32(1+f.pick(0, 1)))
		n.forget(t)
		n.passes(t, "where it is switched off", bpf.ProgFromPod, device(podID), f.from(f.world), f.from(f.world).hop(), bpf.ReasonToNetwork)
	})
}

func TestServiceRefusesWhomItIsNotFor(t *testing.T) {
	n := serviceNode(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, bpf.ServiceRanges, peerBackend)
		n.want(t, "outside of its ranges", bpf.ProgFromNetdev, f.asksNode(unix.IPPROTO_UDP), bpf.DropSourceRange)
		odd := uint32(f.pick(0, 1))
		bits := uint32(96 + 32 + 24)
		if f.v6 {
			bits = 32 + 64
		}
		n.set(t, bpf.MapSourceRanges, bpf.SourceRange{PrefixLen: bits, Service: 210 + odd, Addr: bpf.AddrFrom(f.world)}, uint32(1))
		n.want(t, "within them", bpf.ProgFromNetdev, f.asksNode(unix.IPPROTO_UDP), bpf.ReasonToEndpoint)
		n.want(t, "a pod outside of them", bpf.ProgFromPod, forService(f.from(f.self), nodePort, unix.IPPROTO_UDP), bpf.DropSourceRange)
		n.set(t, bpf.MapSourceRanges, bpf.SourceRange{PrefixLen: 32 + 128, Service: 210 + odd, Addr: bpf.AddrFrom(f.pod)}, uint32(1))
		n.want(t, "a pod within them", bpf.ProgFromPod, forService(f.from(f.self), nodePort, unix.IPPROTO_UDP), bpf.ReasonToEndpoint)
		cluster := f.asksNode(unix.IPPROTO_UDP).destination(vip[f.v6], servicePort)
		n.want(t, "a ClusterIP, from outside", bpf.ProgFromNetdev, cluster, bpf.DropClusterIP)
		n.offer(t, f, 0)
		n.forget(t)
		got := n.send(t, bpf.ProgFromPod, f.asks(unix.IPPROTO_TCP))
		if got.reason != bpf.DropNoBackend || got.told != bpf.ReasonReset {
			t.Errorf("without a backend: %s, the sender is told %s", got.reason, got.told)
		}
		got = n.send(t, bpf.ProgFromPod, f.asks(unix.IPPROTO_UDP))
		if got.reason != bpf.DropNoBackend || got.told != bpf.ReasonUnreachable {
			t.Errorf("a datagram without a backend: %s, the sender is told %s", got.reason, got.told)
		}
		at, want := 14+20, []byte{3, 3} // ICMP port unreachable (RFC 792)
		if f.v6 {
			at, want = 14+40, []byte{1, 4} // RFC 4443 section 3.1
		}
		if len(got.out) < at+2 || !bytes.Equal(got.out[at:at+2], want) {
			t.Errorf("a datagram without a backend is answered by % x, want type and code % x", got.out, want)
		}
		n.offer(t, f, bpf.ServiceDropOutside)
		got = n.send(t, bpf.ProgFromNetdev, f.asksNode(unix.IPPROTO_TCP))
		if got.reason != bpf.DropNoBackend || got.told != 0 {
			t.Errorf("without one by its traffic policy: %s, the sender is told %s", got.reason, got.told)
		}
	})
}

// natNode masquerades by these ports.
func natNode(t *testing.T, cfg bpf.Config, first, last uint16) *node {
	t.Helper()
	cfg = serving(cfg)
	cfg.Masquerade = uint8(bpf.MasqueradeIPv4 | bpf.MasqueradeIPv6)
	cfg.NATFirst, cfg.NATLast = first, last
	n := filled(t, cfg)
	n.services(t)
	return n
}

// Each port serves one connection to a destination, and nearly all of them are found.
func TestPortsAreFoundUntilNearlyAllAreInUse(t *testing.T) {
	n := natNode(t, native(), 20000, 20199)
	f := families[0]
	seen := map[uint16]bool{}
	for i := range 190 { // 95 %
		p := f.from(f.world)
		p.sport = uint16(2000 + 200*i) // whose first port would be the same
		port := n.port(t, bpf.ProgFromPod, device(podID), p)
		if port < 20000 || port > 20199 || seen[port] {
			t.Fatalf("connection %d got port %d", i, port)
		}
		seen[port] = true
	}
	full := false
	for i := range 20 {
		p := f.from(f.world)
		p.sport = uint16(41000 + 200*i)
		full = full || n.send(t, bpf.ProgFromPod, p).reason == bpf.DropNATPorts
	}
	if !full {
		t.Error("210 connections have a port each, of 200")
	}
	if rows := n.retries(t); rows[0] > 30 || rows[1] < 90 || rows[1] > 180 || rows[5] == 0 || rows[9] != 1 {
		t.Errorf("tries until a port was free: %v", rows)
	}
	other := f.from(f.narrow)
	n.want(t, "another destination", bpf.ProgFromPod, other, bpf.ReasonToNetwork)
}

// One opener's ports lead to as many others, at the first try; another's are in the
// way, unless they have ended.
func TestOneOpenersPortsAreFoundAtOnce(t *testing.T) {
	n := natNode(t, native(), 20000, 20199)
	f := families[0]
	for i := range uint16(200) {
		n.port(t, bpf.ProgFromPod, device(podID), f.connects(2000+i))
	}
	if rows := n.retries(t); rows[0] != 200 {
		t.Errorf("tries until a port was free: %v, want one for each of 200", rows)
	}
}

// When no port is free, those of connections that have ended are: by both ends, or
// by a reset. One whose other end may still send keeps its port.
func TestPortsOfEndedConnectionsAreTakenWhenNoneIsFree(t *testing.T) {
	for _, ended := range []struct {
		name        string
		there, back string // how the client and the server end it
		taken       bool
	}{
		{"by both", "FA", "FA", true}, {"reset by the server", "", "R", true}, {"reset by the client", "R", "", true},
		{"by the server", "", "FA", false}, {"by the client", "FA", "", false}, {"by nobody", "", "", false},
	} {
		t.Run(ended.name, func(t *testing.T) {
			n := natNode(t, native(), 20000, 20003)
			perFamily(t, n, func(t *testing.T, f family) {
				ports := map[uint16]bool{}
				for i := range uint16(4) {
					p := f.connects(2000 + i)
					there := f.as(p, f.self, n.sourcePort(t, p))
					ports[there.sport] = true
					n.answers(t, f, p, there, "SA")
					if ended.there != "" {
						n.want(t, "the client ends", bpf.ProgFromPod, p.then(ended.there), bpf.ReasonToNetwork)
					}
					if ended.back != "" {
						n.answers(t, f, p, there, ended.back)
					}
				}
				for i := range uint16(4) {
					p := f.connects(3000 + i)
					if !ended.taken {
						n.want(t, "one more", bpf.ProgFromPod, p, bpf.DropNATPorts)
						continue
					}
					there := f.as(p, f.self, n.sourcePort(t, p))
					if !ports[there.sport] {
						t.Errorf("port %d is not one of an ended connection, or is given twice", there.sport)
					}
					delete(ports, there.sport)
					n.answers(t, f, p, there, "SA")
				}
			})
		})
	}
}

func (f family) connects(sport uint16) packet {
	p := forService(f.from(f.world), 443, unix.IPPROTO_TCP)
	p.sport = sport
	return p
}

// answers wants an answer to what a pod's packet became to be the pod's.
func (n *node) answers(t *testing.T, f family, p, there packet, flags string) {
	t.Helper()
	back := there.reply().then(flags)
	home := p.reply().then(flags).to(back.srcMAC, back.dstMAC)
	home.ttl = back.ttl
	n.passes(t, "answer "+flags, bpf.ProgFromNetdev, underlayIfindex, back.to(otherMAC, peerGW), home.hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
}

func (n *node) retries(t *testing.T) []uint64 {
	t.Helper()
	out := make([]uint64, bpf.NATRetryRows)
	for i := range out {
		var perCPU []uint64
		if err := n.maps[bpf.MapNATRetries].Lookup(uint32(i), &perCPU); err != nil {
			t.Fatal(err)
		}
		out[i] = total(perCPU)
	}
	return out
}

func total(numbers []uint64) (sum uint64) {
	for _, n := range numbers {
		sum += n
	}
	return sum
}

// A client may ask the backend itself from the port from which it has asked the
// service: not while both could be meant, but as soon as the server is done.
func TestBackendIsAskedItselfFromAServicesClientsPort(t *testing.T) {
	n := serviceNode(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, peerBackend)
		p := f.asks(unix.IPPROTO_TCP)
		there := p.destination(f.peer, 8080)
		back := there.reply().to(peerMAC, peerGW)
		n.want(t, "of the service", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		n.passes(t, "answer", bpf.ProgFromPod, device(peerID), back.then("SA"), back.then("SA").source(vip[f.v6], servicePort).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
		n.want(t, "itself, meanwhile", bpf.ProgFromPod, there, bpf.DropNATPorts)
		n.passes(t, "the server is done", bpf.ProgFromPod, device(peerID), back.then("FA"), back.then("FA").source(vip[f.v6], servicePort).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
		n.passes(t, "itself", bpf.ProgFromPod, device(podID), there, there.hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
		n.passes(t, "its answer", bpf.ProgFromPod, device(peerID), back.then("SA"), back.then("SA").hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
		n.passes(t, "what is left for the service", bpf.ProgFromPod, device(podID), p.then("FA"), there.then("FA").hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
	})
}

// A backend in the node's own network is asked and answers through the stack.
func TestServiceOfTheNodeItself(t *testing.T) {
	n := serviceNode(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, hostBackend)
		for _, proto := range transports {
			n.forget(t)
			p := f.asksNode(proto)
			there := p.destination(f.self, 8080)
			n.passes(t, "from outside", bpf.ProgFromNetdev, underlayIfindex, p, there, bpf.ReasonToHost)
			back := there.reply().then("SA")
			n.passes(t, "its answer", bpf.ProgToNetdev, underlayIfindex, back, back.source(f.self, nodePort), bpf.ReasonPassed)
			other := f.leaving(f.world)
			n.passes(t, "the node's own", bpf.ProgToNetdev, underlayIfindex, other, other, bpf.ReasonPassed)
			n.forget(t)
			q := f.asks(proto)
			up := q.destination(f.self, 8080)
			n.passes(t, "from a pod", bpf.ProgFromPod, device(podID), q, up, bpf.ReasonToHost)
			down := up.reply().then("SA")
			n.passes(t, "its answer to a pod", bpf.ProgFromHost, underlayIfindex, down, down.source(vip[f.v6], servicePort).to(podGW, podMAC), bpf.ReasonToEndpoint)
		}
	})
}

// While the table grows, both entries of a connection may be in its predecessor.
func TestTranslatedConnectionGoesOnWhileTheTableGrows(t *testing.T) {
	n := serviceNode(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, peerBackend)
		p := f.asks(unix.IPPROTO_TCP)
		there := p.destination(f.peer, 8080)
		back := there.reply().to(peerMAC, peerGW).then("SA")
		n.want(t, "SYN", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		n.sendFrame(t, bpf.ProgFromPod, device(peerID), back.bytes())
		old := n.table
		n.set(t, bpf.MapCT, uint32(1), old)
		n.newTable(t, 2048)
		n.passes(t, "the opener", bpf.ProgFromPod, device(podID), p.then("A"), there.then("A").hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
		n.passes(t, "the backend", bpf.ProgFromPod, device(peerID), back.then("A"), back.then("A").source(vip[f.v6], servicePort).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
		n.newTable(t, 2048)
		n.passes(t, "the backend first", bpf.ProgFromPod, device(peerID), back.then("A"), back.then("A").source(vip[f.v6], servicePort).hop().to(podGW, podMAC), bpf.ReasonToEndpoint)
		n.passes(t, "then the opener", bpf.ProgFromPod, device(podID), p.then("A"), there.then("A").hop().to(peerGW, peerMAC), bpf.ReasonToEndpoint)
		if err := n.maps[bpf.MapCT].Delete(uint32(1)); err != nil {
			t.Fatal(err)
		}
	})
}
