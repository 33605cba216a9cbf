package live

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"weir/bench/topo"
)

const (
	xdpTx = 3

	xdpData, xdpDataEnd = 0, 4   // of struct xdp_md
	skbData, skbDataEnd = 76, 80 // of struct __sk_buff
)

// MirrorXDP makes a device of a node send each frame back at once, before the
// kernel has made a packet of it: what a frame costs whoever translates it.
func (w *Wire) MirrorXDP(node topo.Netns, dev string) error {
	index, _, err := node.Index(dev)
	if err != nil {
		return err
	}
	p, err := w.program(mirror(xdpData, xdpDataEnd, asm.Mov.Imm(asm.R0, xdpTx))...)
	if err != nil {
		return err
	}
	return w.attach(node, index, p)
}

// MirrorTC does the same where tc's programs run: a packet's way there and back
// is in the figure.
func (w *Wire) MirrorTC(node topo.Netns, dev string) error {
	index, _, err := node.Index(dev)
	if err != nil {
		return err
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: mirror(skbData, skbDataEnd,
		asm.Mov.Imm(asm.R1, int32(index)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call())})
	if err != nil {
		return fmt.Errorf("load a program for tc: %w", err)
	}
	w.closers = append(w.closers, p.Close)
	if err := w.Pass(node, dev); err != nil {
		return err
	}
	return node.Inside(func() error {
		l, err := link.AttachTCX(link.TCXOptions{Program: p, Interface: index, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return fmt.Errorf("attach to tc in %s: %w", node.Name, err)
		}
		w.closers = append(w.closers, l.Close)
		return nil
	})
}

// mirror exchanges the MACs of a frame, whose ends are at these offsets of the
// context, and ends as back says.
func mirror(data, end int16, back ...asm.Instruction) asm.Instructions {
	code := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, data, asm.Word), asm.LoadMem(asm.R3, asm.R1, end, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, offsetType), asm.JGT.Reg(asm.R4, asm.R3, "back"),
	}
	for offset := int16(0); offset < 6; offset += 2 {
		code = append(code, asm.LoadMem(asm.R4, asm.R2, offset, asm.Half), asm.LoadMem(asm.R5, asm.R2, offset+6, asm.Half),
			asm.StoreMem(asm.R2, offset, asm.R5, asm.Half), asm.StoreMem(asm.R2, offset+6, asm.R4, asm.Half))
	}
	back[0] = back[0].WithSymbol("back")
	return append(append(code, back...), asm.Return())
}
