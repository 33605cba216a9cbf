package bpftest

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// modes are the ways a node can be set up, of those that change what a program does.
func modes() map[string]bpf.Config {
	out := map[string]bpf.Config{}
	for _, legacy := range []bool{false, true} {
		for _, tunnel := range []bool{false, true} {
			for _, firewall := range []bool{false, true} {
				c := native()
				if tunnel {
					c = config()
					c.TunnelPort = bpf.Network(vxlanPort)
				}
				if legacy {
					c.HostRouting, c.Services = 0, 1
				}
				if firewall {
					c.HostFirewall = 1
				}
				out[fmt.Sprintf("legacy %v, tunnel %v, host firewall %v", legacy, tunnel, firewall)] = c
			}
		}
	}
	return out
}

// CVE-2026-33726 and CVE-2026-26963: one combination of modes did not ask the
// policy. Here each way to a pod, and each way from one, in each combination.
func TestAdvisoryEveryModeAsksThePolicy(t *testing.T) {
	for name, cfg := range modes() {
		t.Run(name, func(t *testing.T) {
			n := filled(t, cfg)
			perFamily(t, n, func(t *testing.T, f family) {
				host, world := f.into(f.peer), f.fromWorld(f.peer)
				host.src = f.self
				for _, end := range []struct {
					id     uint32
					flags  bpf.PolicyFlag
					reason bpf.Reason
				}{{peerID, bpf.PolicyIngress, bpf.DropPolicy}, {podID, bpf.PolicyEgress, bpf.DropPolicy}, {peerID, 0, bpf.DropNoPolicy}, {podID, 0, bpf.DropNoPolicy}} {
					n.open(t, podID)
					n.open(t, peerID)
					n.forget(t)
					if end.reason == bpf.DropNoPolicy {
						n.set(t, bpf.MapPolicy, end.id, bpf.Policy{})
					} else {
						n.isolate(t, end.id, end.flags)
					}
					n.want(t, "pod to pod", bpf.ProgFromPod, f.from(f.peer), end.reason)
					n.want(t, "pod to pod, through the stack", bpf.ProgToPod, f.from(f.peer), end.reason)
					if end.id == peerID {
						n.want(t, "host to pod", bpf.ProgFromHost, host, end.reason)
						n.want(t, "host to pod, by the pod's own route", bpf.ProgToPod, host, end.reason)
						n.want(t, "world to pod", bpf.ProgFromNetdev, world, end.reason)
						n.want(t, "world to pod, through the stack", bpf.ProgToPod, world, end.reason)
						if cfg.TunnelIfindex == 0 {
							n.want(t, "another node's pod", bpf.ProgFromNetdev, f.into(f.peer), end.reason)
						}
						continue
					}
					for _, dst := range []netip.Addr{f.remote, f.world, f.self, f.router, f.node} {
						n.want(t, "pod to "+dst.String(), bpf.ProgFromPod, f.from(dst), end.reason)
					}
				}
				n.noEntries(t, "denials")
			})
		})
	}
}

// CVE-2023-27594: packets of the world were taken for the host's. Only who has
// an address of this node is the host, and not when it comes from outside.
func TestAdvisoryCVE202327594WorldIsNotTheHost(t *testing.T) {
	for name, cfg := range modes() {
		n := filled(t, cfg)
		perFamily(t, n, func(t *testing.T, f family) {
			n.selectors(t, 10, 40)
			n.set(t, bpf.MapPolicyPeers, uint32(bpf.IdentityHost), uint32(10))
			n.rules(t, rule{ingress: true, level: bpf.LevelAny, selector: 40, id: 5})
			n.isolate(t, peerID, bpf.PolicyIngress)
			host := f.into(f.peer)
			host.src = f.self
			n.want(t, name+": the host", bpf.ProgFromHost, host, bpf.ReasonToEndpoint)
			n.forget(t)
			n.want(t, name+": through the device", bpf.ProgToPod, host, bpf.ReasonToEndpoint)
			for _, src := range []netip.Addr{f.world, f.node, f.gateway, f.remote} {
				p := host
				p.src = src
				n.want(t, name+": forwarded by the stack from "+src.String(), bpf.ProgFromHost, p, bpf.DropPolicy)
				want := bpf.DropPolicy
				if src == f.remote && cfg.TunnelIfindex != 0 {
					want = bpf.DropInvalidSourceIP
				}
				n.want(t, name+": from "+src.String(), bpf.ProgFromNetdev, p, want)
				n.want(t, name+": through the device from "+src.String(), bpf.ProgToPod, p, bpf.DropPolicy)
			}
			n.want(t, name+": with the host's address", bpf.ProgFromNetdev, host, bpf.DropInvalidSourceIP)
		})
	}
}

// What another program has judged is not judged again, by a mark on the packet:
// nobody but a program of ours may set it. A pod with rights in its own
// namespace can put any number into the packet's fields there.
func TestAdvisoryPodCannotClaimToBeJudged(t *testing.T) {
	for _, routing := range []uint8{0, 1} {
		t.Run(fmt.Sprint("host routing ", routing), func(t *testing.T) {
			cfg := native()
			cfg.HostRouting = routing
			n := filled(t, cfg)
			if err := netlink.LinkSetHardwareAddr(linktest.Link(t, "pod"), podGW); err != nil {
				t.Fatal(err)
			}
			n.markOut(t, "pod-in", judgedMark)
			n.attach(t, bpf.ProgFromPod, device(podID))
			n.dropMarked(t, "underlay", judgedMark)
			for _, f := range families {
				wire := capture(t, "underlay-in")
				p := f.from(f.world).sized(90)
				n.inject(t, "pod-in", p.bytes())
				wait(t, wire, "the packet behind the node, without the mark", func(frame []byte) bool {
					return len(frame) == 14+90 && bytes.Equal(frame[14+20:], p.hop().bytes()[14+20:])
				})
			}
			// The mark does stop a packet there: with it, nothing of the above would arrive.
			wire := capture(t, "underlay-in")
			n.markOut(t, "underlay", judgedMark)
			n.inject(t, "pod-in", families[0].from(families[0].world).sized(91).bytes())
			var sent uint64
			linktest.Eventually(t, 5*time.Second, "three packets from the pod", func() bool {
				counted, err := n.count()
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range counted { // among the stack's own
					if c.Place == bpf.PlaceFromPod && c.Reason == n.toWorld(routing) {
						sent += c.Packets
					}
				}
				return sent == 3
			})
			for buffer := make([]byte, 2000); ; {
				size, err := unix.Read(wire, buffer)
				if err != nil {
					break // nothing more for 50 ms
				}
				if size == 14+91 {
					t.Error("a marked packet passed who drops marked ones")
				}
			}
		})
	}
}

// Nor to be an answer of ours, which no policy is asked about.
func TestAdvisoryPodCannotClaimToBeAnAnswer(t *testing.T) {
	n := filled(t, native())
	path := movePod(t, "pod", podMAC, podGW, func(f family) netip.Addr { return f.pod })
	ownOut(t, func(f func()) { linktest.In(t, path, f) }, "pod-in", asm.Instructions{
		asm.Mov.Imm(asm.R2, answeredMark),
		asm.StoreMem(asm.R1, skbMark, asm.R2, asm.Word),
		asm.Mov.Imm(asm.R0, next),
		asm.Return(),
	})
	n.attach(t, bpf.ProgFromPod, device(podID))
	n.isolate(t, podID, bpf.PolicyEgress)
	linktest.In(t, path, func() { speak(t, families[0].world) })
	var denied uint64
	linktest.Eventually(t, 5*time.Second, "a SYN and a datagram denied", func() bool {
		counted, err := n.count()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counted {
			if c.Reason == bpf.DropPolicy {
				denied += c.Packets
			}
			if c.Place == bpf.PlaceFromPod && c.Reason == bpf.ReasonPassed {
				t.Errorf("%d packets of the pod passed unjudged", c.Packets)
			}
		}
		return denied >= 2
	})
}

// The marks: JUDGED and ANSWERED of finish.h.
const (
	judgedMark   = 0x5745
	answeredMark = 0x57455245
)

// toWorld is the reason of a pod's packet to the world.
func (n *node) toWorld(routing uint8) bpf.Reason {
	if routing == 0 {
		return bpf.ReasonToStack
	}
	return bpf.ReasonToNetwork
}

// CVE-2023-27595: without the agent's rows nothing is let through.
func TestAdvisoryCVE202327595NothingPassesBeforeThePolicyIsThere(t *testing.T) {
	for name, cfg := range modes() {
		n := filled(t, cfg)
		for _, f := range families {
			for id := range uint32(3) {
				n.set(t, bpf.MapPolicy, id, bpf.Policy{})
			}
			host := f.into(f.peer)
			host.src = f.self
			for program, p := range map[string]packet{bpf.ProgFromPod: f.from(f.world), bpf.ProgToPod: f.into(f.peer), bpf.ProgFromNetdev: f.fromWorld(f.peer), bpf.ProgFromHost: host} {
				n.want(t, name, program, p, bpf.DropNoPolicy)
				p.tcp, p.flags = true, "SA"
				n.want(t, name+": like an answer", program, p, bpf.DropNoPolicy)
			}
		}
		n.noEntries(t, name)
	}
}

// GHSA-c66w-hq56-4q97 is TestEchoRequestIsNeverTheAnswerToAnother. The same of
// every other packet that could pass for an answer.
func TestAdvisoryNothingButAnAnswerIsOne(t *testing.T) {
	n := filled(t, native())
	perFamily(t, n, func(t *testing.T, f family) {
		n.isolate(t, podID, bpf.PolicyIngress)
		out := f.from(f.world)
		out.sport, out.dport = 4000, 5000
		n.want(t, "a connection", bpf.ProgFromPod, out, bpf.ReasonToNetwork)
		back := out.reply()
		back.ttl = 63
		n.want(t, "its answer", bpf.ProgFromNetdev, back, bpf.ReasonToEndpoint)
		for name, change := range map[string]func(p *packet){
			"from another address":            func(p *packet) { p.src = f.node },
			"from another port":               func(p *packet) { p.sport++ },
			"to another port":                 func(p *packet) { p.dport++ },
			"with the ports the wrong way":    func(p *packet) { p.sport, p.dport = p.dport, p.sport },
			"of TCP":                          func(p *packet) { p.tcp = true },
			"of TCP, a SYN":                   func(p *packet) { p.tcp, p.flags = true, "S" },
			"of SCTP":                         func(p *packet) { p.proto, p.raw = unix.IPPROTO_SCTP, p.bytes()[14+int(f.pick(20, 40)):] },
			"of ICMP with the ports in it":    func(p *packet) { *p = f.pong(*p, 4000) },
			"of the other family's ICMP":      func(p *packet) { *p = f.pong(*p, 4000); p.proto = families[1-f.pick(0, 1)].icmp() },
			"a request that has a port as id": func(p *packet) { *p = f.ping(*p, 4000) },
			"a protocol without ports":        func(p *packet) { p.proto, p.raw = 47, make([]byte, 20) },
		} {
			p := back
			change(&p)
			n.want(t, name, bpf.ProgFromNetdev, p, bpf.DropPolicy)
		}
		// To another pod the answer is a stranger's.
		n.isolate(t, peerID, bpf.PolicyIngress)
		p := back
		p.dst = f.peer
		n.want(t, "to another pod", bpf.ProgFromNetdev, p, bpf.DropPolicy)
		n.want(t, "the answer, still", bpf.ProgFromNetdev, back, bpf.ReasonToEndpoint)
		if got := len(n.entries(t)); got != 1 {
			t.Errorf("%d entries, want one", got)
		}
	})
}
