package bpftest

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// attachOut puts a program on the egress of a device until the test ends.
func (n *node) attachOut(t *testing.T, program string, ifindex uint32) {
	t.Helper()
	n.do(func() {
		l, err := link.AttachTCX(link.TCXOptions{Interface: int(ifindex), Program: n.programs[program], Attach: ebpf.AttachTCXEgress})
		if err != nil {
			t.Errorf("attach %s: %v", program, err)
			return
		}
		t.Cleanup(func() { l.Close() })
	})
}

// refusedAt dials, and wants to be told at once.
func refusedAt(t *testing.T, what string, f family, to netip.Addr) {
	t.Helper()
	d := net.Dialer{Timeout: 3 * time.Second}
	c, err := d.Dial("tcp", netip.AddrPortFrom(to, 80).String())
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%s, %s: TCP: got %v, want %v", f.name, what, err, syscall.ECONNREFUSED)
	}
	u, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 5353)))
	if err != nil {
		t.Error(err)
		return
	}
	defer u.Close()
	if err := u.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Error(err)
	}
	if _, err := u.Write([]byte("an odd number of octets")); err != nil {
		t.Error(err)
	}
	want := syscall.EHOSTUNREACH // of ICMP code 13
	if f.v6 {
		want = syscall.EACCES // of ICMPv6 code 1
	}
	if _, err = u.Read(make([]byte, 1)); !errors.Is(err, want) {
		t.Errorf("%s, %s: UDP: got %v, want %v", f.name, what, err, want)
	}
}

// answers reads what arrives until a reset and an ICMP error have, and checks
// their sums. The frame must begin with the given addresses.
func answers(t *testing.T, fd int, f family, to, from net.HardwareAddr, skip int) {
	t.Helper()
	want := map[uint8]bool{unix.IPPROTO_TCP: true, uint8(f.icmp()): true}
	wait(t, fd, "a reset and an error of "+f.name, func(frame []byte) bool {
		if len(frame) < skip+54 || !bytes.Equal(frame[skip:skip+6], to) || !bytes.Equal(frame[skip+6:skip+12], from) {
			return false
		}
		proto, covered := l4(frame[skip:])
		if !want[proto] {
			return false
		}
		if proto == unix.IPPROTO_ICMP {
			covered = covered[12:] // it covers no addresses
		}
		if proto == unix.IPPROTO_ICMPV6 && frame[skip+14+40] == 135 {
			return false
		}
		if s := sum(covered); s != 0xffff {
			t.Errorf("%s: protocol %d sums to %#x: % x", f.name, proto, s, frame[skip:])
		}
		if s := sum(frame[skip+14 : skip+34]); !f.v6 && s != 0xffff {
			t.Errorf("IPv4 header sums to %#x", s)
		}
		delete(want, proto)
		return len(want) == 0
	})
}

// The stack leaves sums to the device (CHECKSUM_PARTIAL): what becomes of a
// packet must be right behind a device that computes them, too.
func TestRefusedPodIsToldWithTheRightSums(t *testing.T) {
	for _, c := range []struct {
		name    string
		routing uint8
		sums    bool // the pod's host device computes them
	}{{"into the pod's device", 1, true}, {"legacy host routing", 0, true}, {"legacy host routing, a device without sums", 0, false}} {
		t.Run(c.name, func(t *testing.T) {
			cfg := native()
			cfg.HostRouting = c.routing
			n := filled(t, cfg)
			if !c.sums {
				linktest.ChecksumsOff(t, "pod")
			}
			path := movePod(t, "pod", podMAC, podGW, func(f family) netip.Addr { return f.pod })
			n.attach(t, bpf.ProgFromPod, device(podID))
			if c.routing == 0 {
				n.attachOut(t, bpf.ProgToPod, device(podID))
			}
			n.isolate(t, podID, bpf.PolicyEgress|bpf.PolicyRejectEgress)
			for _, f := range families {
				var fd int
				linktest.In(t, path, func() { fd = capture(t, "pod-in") })
				linktest.In(t, path, func() { refusedAt(t, c.name, f, f.world) })
				if !c.sums {
					answers(t, fd, f, podMAC, podGW, 0)
				}
			}
		})
	}
}

func TestRefusedHostIsTold(t *testing.T) {
	n := filled(t, native())
	n.isolate(t, peerID, bpf.PolicyIngress|bpf.PolicyRejectIngress)
	dev := linktest.Link(t, "free")
	sysctl(t, "net/ipv4/conf/free/rp_filter", "1")
	for _, f := range families {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: dev.Attrs().Index, Dst: &net.IPNet{IP: f.peer.AsSlice(), Mask: net.CIDRMask(f.bits(), f.bits())}, Src: f.self.AsSlice()}); err != nil {
			t.Fatal(err)
		}
		if err := netlink.NeighAdd(&netlink.Neigh{LinkIndex: dev.Attrs().Index, IP: f.peer.AsSlice(), HardwareAddr: otherMAC, State: netlink.NUD_PERMANENT}); err != nil {
			t.Fatal(err)
		}
	}
	n.attachOut(t, bpf.ProgFromHost, device(freeID))
	for _, f := range families {
		n.do(func() { refusedAt(t, "the host", f, f.peer) })
	}
}

// A packet from the underlay is answered out of the device it came in on.
func TestRefusalGoesBackToTheUnderlay(t *testing.T) {
	n := filled(t, native())
	alone(t)
	n.isolate(t, peerID, bpf.PolicyIngress|bpf.PolicyRejectIngress)
	n.attach(t, bpf.ProgFromNetdev, underlayIfindex)
	for _, f := range families {
		var fd int
		n.do(func() { fd = capture(t, "underlay-in") })
		datagram := f.into(f.peer).to(otherMAC, underlayMAC)
		syn := tcpOf(datagram)
		syn.flags = "S"
		n.inject(t, "underlay-in", syn.bytes(), datagram.bytes())
		answers(t, fd, f, otherMAC, underlayMAC, 0)
	}
}

// And one out of the tunnel through the tunnel, to the node that sent it.
func TestRefusalGoesBackThroughTheTunnel(t *testing.T) {
	n := tunnelled(t)
	n.isolate(t, peerID, bpf.PolicyIngress|bpf.PolicyRejectIngress)
	n.attach(t, bpf.ProgFromOverlay, tunnelIfindex)
	mac := linktest.Link(t, "underlay").Attrs().HardwareAddr
	for _, f := range families {
		wire := capture(t, "underlay-in")
		syn := tcpOf(f.into(f.peer))
		syn.flags = "S"
		n.inject(t, "underlay-in", wrapped(mac, syn.bytes()), wrapped(mac, f.into(f.peer).bytes()))
		answers(t, wire, f, otherMAC, peerGW, 14+20+8+8)
		n.expect(t, bpf.ProgFromOverlay, map[bpf.Reason]uint64{bpf.DropPolicy: 2})
		n.noEntries(t, "a refusal")
	}
}

// markOut sets tc_index of what leaves a device, as a program in a pod could.
func (n *node) markOut(t *testing.T, device string, value int32) {
	ownOut(t, n.do, device, asm.Instructions{
		asm.Mov.Imm(asm.R2, value),
		asm.StoreMem(asm.R1, tcIndex, asm.R2, asm.Word),
		asm.Mov.Imm(asm.R0, next),
		asm.Return(),
	})
}

// dropMarked drops what leaves a device with a tc_index.
func (n *node) dropMarked(t *testing.T, device string, value int32) {
	ownOut(t, n.do, device, asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, tcIndex, asm.Word),
		asm.Mov.Imm(asm.R0, shot),
		asm.JEq.Imm(asm.R2, value, "end"),
		asm.Mov.Imm(asm.R0, next),
		asm.Return().WithSymbol("end"),
	})
}

// Offsets in struct __sk_buff.
const (
	skbMark = 2 * 4
	tcIndex = 11 * 4
)

// ownOut puts a program of the test's own before all others on the egress of a
// device; in runs a function in the device's namespace.
func ownOut(t *testing.T, in func(func()), device string, code asm.Instructions) {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: code})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	in(func() {
		l, err := link.AttachTCX(link.TCXOptions{Interface: linktest.Link(t, device).Attrs().Index, Program: p, Attach: ebpf.AttachTCXEgress, Anchor: link.Head()})
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
	})
}

// Where the stack delivers, the answer passes the pod's own hook on its way
// back, and no policy of the pod may stop it: the pod has not sent it.
func TestRefusalOfADeliveryGoesRoundThePodsPolicy(t *testing.T) {
	cfg := native()
	cfg.HostRouting = 0
	n := filled(t, cfg)
	alone(t)
	for _, d := range []string{"pod", "pod-in"} { // the stack is to forward both families
		sysctl(t, "net/ipv6/conf/"+d+"/disable_ipv6", "0")
	}
	n.isolate(t, podID, bpf.PolicyIngress|bpf.PolicyEgress|bpf.PolicyRejectIngress)
	n.attach(t, bpf.ProgFromPod, device(podID))
	n.attachOut(t, bpf.ProgToPod, device(podID))
	pod := linktest.Link(t, "pod")
	for _, f := range families {
		r := netlink.Route{LinkIndex: pod.Attrs().Index, Dst: &net.IPNet{IP: f.pod.AsSlice(), Mask: net.CIDRMask(f.bits(), f.bits())}}
		if err := netlink.RouteAdd(&r); err != nil {
			t.Fatal(err)
		}
		if err := netlink.NeighAdd(&netlink.Neigh{LinkIndex: pod.Attrs().Index, IP: f.pod.AsSlice(), HardwareAddr: podMAC, State: netlink.NUD_PERMANENT}); err != nil {
			t.Fatal(err)
		}
		n.do(func() { refusedAt(t, "the host, by the pod's own route", f, f.pod) })
	}
}

// The host's own connection, which its policy denies for leaving, is told so
// though nothing may come in.
func TestRefusedHostIsToldThroughItsOwnFirewall(t *testing.T) {
	n := filled(t, guarded())
	n.isolate(t, hostEnd, bpf.PolicyIngress|bpf.PolicyEgress|bpf.PolicyRejectEgress)
	n.attach(t, bpf.ProgFromNetdev, underlayIfindex)
	n.attachOut(t, bpf.ProgToNetdev, underlayIfindex)
	for _, f := range families {
		n.do(func() { refusedAt(t, "the host", f, f.world) })
	}
}
