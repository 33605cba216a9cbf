package path

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"weir/bench/topo"
)

// minimal is the floor for any eBPF network of this shape: a program that
// addresses the frame and hands it to the other pod, without looking at it.
func (s *Set) minimal(context.Context) error {
	n, err := s.netns("m-n1")
	if err != nil {
		return err
	}
	a, err := s.pod(n, "m-a", "pod1", "10.43.1.1", 1500)
	if err != nil {
		return err
	}
	b, err := s.pod(n, "m-b", "pod2", "10.43.1.2", 1500)
	if err != nil {
		return err
	}
	s.add(Minimal, a, b, "10.43.1.2")
	// ARP would need a program of its own: the gateway is told instead.
	return errors.Join(gateway(n, "pod1", a), gateway(n, "pod2", b),
		s.hand(n, "pod1", "pod2", b), s.hand(n, "pod2", "pod1", a))
}

func gateway(node topo.Netns, dev string, pod topo.Netns) error {
	_, mac, err := node.Index(dev)
	if err != nil {
		return err
	}
	index, _, err := pod.Index("eth0")
	if err != nil {
		return err
	}
	return pod.Do(func(h *netlink.Handle) error {
		return h.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: net.IPv4(169, 254, 1, 1), HardwareAddr: mac})
	})
}

// hand attaches the program to the ingress of from: what it gets goes into the
// pod behind to.
func (s *Set) hand(node topo.Netns, from, to string, pod topo.Netns) error {
	in, _, err1 := node.Index(from)
	out, _, err2 := node.Index(to)
	_, mac, err3 := pod.Index("eth0")
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "minimal", Type: ebpf.SchedCLS, License: "GPL", Instructions: redirect(out, mac)})
	if err != nil {
		return fmt.Errorf("load the minimal program: %w", err)
	}
	return node.Inside(func() error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: in, Program: p, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return fmt.Errorf("attach the minimal program: %w", err)
		}
		s.undo = append(s.undo, func() error { return errors.Join(l.Close(), p.Close()) })
		return nil
	})
}

// redirect writes the destination's hardware address and redirects.
func redirect(ifindex int, mac net.HardwareAddr) asm.Instructions {
	word := int64(int32(uint32(mac[0]) | uint32(mac[1])<<8 | uint32(mac[2])<<16 | uint32(mac[3])<<24))
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 76, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 80, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 14),
		asm.JGT.Reg(asm.R4, asm.R3, "out"),
		asm.StoreImm(asm.R2, 0, word, asm.Word),
		asm.StoreImm(asm.R2, 4, int64(uint16(mac[4])|uint16(mac[5])<<8), asm.Half),
		asm.Mov.Imm(asm.R1, int32(ifindex)).WithSymbol("out"),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirectPeer.Call(),
		asm.Return(),
	}
}
