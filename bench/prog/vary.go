package prog

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"structs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"weir/bench/rules"
)

// BPF_PROG_TEST_RUN gives a program the same packet again and again. So that
// each run sees another flow, instructions go before the program that write the
// next one's destination and source port into the packet, and its TTL back. The
// same instructions before nothing are what is subtracted.
//
// Which flow it is comes of a counter that is read and written by one locked
// instruction: a run does not begin before the one before it is done, as it
// would not on a wire. Otherwise the CPU waits for two flows' memory at once.

// picker is what these instructions read: value of their map.
type picker struct {
	_       structs.HostLayout
	Counter uint64
	Random  uint32 // 1: any of Flows, 0: one after the other
	Flows   uint32
	Spread  uint32 // over so many destinations
	Base    uint32 // low 16 bits of the first
}

const (
	offRandom = 8
	offFlows  = 12
	offSpread = 16
	offBase   = 20

	firstPort = 1024 // the flows' source ports begin here
	// mostFlows is how many flows one destination can have.
	mostFlows = 65536 - firstPort
)

// picks is the map of a picker.
type picks struct{ m *ebpf.Map }

func newPicks() (picks, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "picks", Type: ebpf.Array, KeySize: 4, ValueSize: 24, MaxEntries: 1})
	if err != nil {
		return picks{}, fmt.Errorf("make map of flows: %w", err)
	}
	return picks{m}, nil
}

func (p picks) set(v picker) error { return p.m.Put(uint32(0), v) }

// counter is how many packets were made.
func (p picks) counter() (uint64, error) {
	var v picker
	err := p.m.Lookup(uint32(0), &v)
	return v.Counter, err
}

// low16 is the end of an address, by which destinations differ.
func low16(a netip.Addr) uint32 {
	b := a.As16()
	return uint32(binary.BigEndian.Uint16(b[14:]))
}

// wrap puts the instructions before a program that judges what pods send, and
// before the empty one.
func (p picks) wrap(program *ebpf.ProgramSpec) { prepend(program, p.instructions(), "picked") }

// instructions write the next flow into a packet whose transport header follows
// its IP header directly. R6: context, R7: picker, R8: flow, R9: packet.
func (p picks) instructions() asm.Instructions {
	out := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMapValue(asm.R7, p.m.FD(), 0),
		asm.Mov.Imm(asm.R8, 1),
		fetchAdd(asm.R7, asm.R8),
		asm.LoadMem(asm.R2, asm.R7, offRandom, asm.Word),
		asm.JEq.Imm(asm.R2, 0, "in-order"),
	}
	out = append(out, mix(asm.R8, asm.R3)...)
	out = append(out,
		asm.LoadMem(asm.R2, asm.R7, offFlows, asm.Word),
		asm.Mul.Reg(asm.R8, asm.R2),
		asm.RSh.Imm(asm.R8, 32),
		asm.LoadMem(asm.R9, asm.R6, 76, asm.Word).WithSymbol("in-order"), // data
		asm.LoadMem(asm.R3, asm.R6, 80, asm.Word),                        // data_end
		asm.Mov.Reg(asm.R4, asm.R9),
		asm.Add.Imm(asm.R4, 58), // IPv6: up to the ports
		asm.JGT.Reg(asm.R4, asm.R3, "restore"),
		asm.LoadMem(asm.R4, asm.R7, offSpread, asm.Word),
		asm.Mov.Reg(asm.R5, asm.R8),
		asm.Mod.Reg(asm.R8, asm.R4),
		asm.Div.Reg(asm.R5, asm.R4),
		asm.LoadMem(asm.R4, asm.R7, offBase, asm.Word),
		asm.Add.Reg(asm.R8, asm.R4),
		asm.Add.Imm(asm.R5, firstPort),
		asm.HostTo(asm.BE, asm.R8, asm.Half),
		asm.HostTo(asm.BE, asm.R5, asm.Half),
		asm.LoadMem(asm.R2, asm.R9, 12, asm.Half),
		asm.JEq.Imm(asm.R2, 8, "ipv4"), // 0x0800 as it is read here
		asm.StoreImm(asm.R9, 14+7, 255, asm.Byte),
		asm.StoreMem(asm.R9, 14+38, asm.R8, asm.Half),
		asm.StoreMem(asm.R9, 14+40, asm.R5, asm.Half),
		asm.Ja.Label("restore"),
		asm.StoreImm(asm.R9, 14+8, 255, asm.Byte).WithSymbol("ipv4"),
		asm.StoreMem(asm.R9, 14+18, asm.R8, asm.Half),
		asm.StoreMem(asm.R9, 14+20, asm.R5, asm.Half),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("restore"))
	return out
}

// fetchAdd adds src to what dst points to, and makes src what was there. The
// library leaves out the operation's number unless it is told (cilium/ebpf
// v0.22.0).
func fetchAdd(dst, src asm.Register) asm.Instruction {
	out := asm.FetchAdd.Mem(dst, src, asm.DWord, 0)
	out.Constant = int64(asm.FetchAdd >> 8)
	return out
}

// mix makes 32 bits of noise of a number (the end of MurmurHash3).
func mix(r, tmp asm.Register) asm.Instructions {
	shift := func(n int32) asm.Instructions {
		return asm.Instructions{asm.Mov.Reg32(tmp, r), asm.RSh.Imm32(tmp, n), asm.Xor.Reg32(r, tmp)}
	}
	out := shift(16)
	out = append(out, asm.Mul.Imm32(r, -0x7a143595)) // 0x85ebca6b
	out = append(out, shift(13)...)
	out = append(out, asm.Mul.Imm32(r, -0x3d4d51cb)) // 0xc2b2ae35
	return append(out, shift(16)...)
}

// flowFrame is the packet that the instructions change.
func flowFrame(src, dst netip.Addr, syn bool) ([]byte, error) {
	return segment(src, dst, rules.Port, syn, 16) // the instructions want 58 octets
}
