package prog

import (
	"encoding/binary"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"weir/bpf"
)

// wrapPacket puts a few instructions before from_overlay that, the first time it
// sees a packet, give it the metadata that the tunnel device would have: a
// prepared packet has none. The packet remembers it in its control block, so
// that later runs pay two instructions.
func wrapPacket(p *ebpf.ProgramSpec) {
	if p.Name != bpf.ProgFromOverlay {
		return
	}
	const keySize = 44 // of struct bpf_tunnel_key
	head := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 48, asm.Word), // cb[0]
		asm.JNE.Imm(asm.R2, 0, "wrapped"),
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.StoreImm(asm.R1, 48, 1, asm.Word),
	}
	head = append(head, asm.Mov.Imm(asm.R2, 0))
	for off := int16(-48); off < 0; off += 8 {
		head = append(head, asm.StoreMem(asm.R10, off, asm.R2, asm.DWord))
	}
	head = append(head,
		asm.StoreImm(asm.R10, -48, identity, asm.Word), // tunnel_id
		// local_ipv4: what a program reads as the remote of a packet that came
		// in. It has to be the node of the inner sender.
		asm.StoreImm(asm.R10, -48+28, int64(binary.BigEndian.Uint32(netip.MustParseAddr(next[0]).AsSlice())), asm.Word),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -48),
		asm.Mov.Imm(asm.R3, keySize),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnSkbSetTunnelKey.Call(),
		asm.Mov.Reg(asm.R1, asm.R6),
	)
	prepend(p, head, "wrapped")
}

// prepend puts instructions before a program, whose first gets the label.
func prepend(p *ebpf.ProgramSpec, head asm.Instructions, label string) {
	body := p.Instructions
	name, fn := body[0].Symbol(), btf.FuncMetadata(&body[0])
	head[0] = head[0].WithSymbol(name).WithSource(body[0].Source())
	if fn != nil {
		head[0] = btf.WithFuncMetadata(head[0], fn)
	}
	body[0].Metadata = asm.Metadata{} // the function begins earlier
	body[0] = body[0].WithSymbol(label)
	p.Instructions = append(head, body...)
}
