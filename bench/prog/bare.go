package prog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"weir/bpf"
)

// The least that any program which knows connections has to do for a packet:
// one lookup, in a hash with the same number of entries of the same size. How
// fast that is depends on the machine and on who else is on it; the ratio to it
// does so less.

const (
	keySize   = int(unsafe.Sizeof(bpf.CTKey{}))
	entrySize = int(unsafe.Sizeof(bpf.CTEntry{}))
)

// Where an IPv4 packet has what tells the flows apart.
const (
	offDst  = 14 + 16
	offPort = 14 + 20
)

// bareKey is the key that bareInstructions make of a flow's packet.
func bareKey(w Way, flow uint32) (k bpf.CTKey) {
	dst := w.dst.As4()
	binary.BigEndian.PutUint16(dst[2:], uint16(low16(w.dst)+flow%w.spread))
	k.A.W[0] = binary.NativeEndian.Uint32(dst[:])
	k.A.W[1] = uint32(bits.ReverseBytes16(uint16(firstPort + flow/w.spread)))
	return k
}

func (f *Flows) makeBare(connections uint32) (err error) {
	f.table, err = ebpf.NewMap(&ebpf.MapSpec{Name: "bare", Type: ebpf.Hash, KeySize: uint32(keySize), ValueSize: uint32(entrySize), MaxEntries: connections})
	if err != nil {
		return fmt.Errorf("make the table of bare lookups: %w", err)
	}
	spec := &ebpf.ProgramSpec{Name: "bare", Type: ebpf.SchedCLS, License: "GPL", Instructions: f.bareInstructions()}
	f.picks.wrap(spec)
	if f.bare, err = ebpf.NewProgram(spec); err != nil {
		return fmt.Errorf("load the bare lookup: %w", err)
	}
	return nil
}

// bareInstructions look the packet's flow up and count it in its entry.
func (f *Flows) bareInstructions() asm.Instructions {
	out := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 76, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 80, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, offPort+2),
		asm.JGT.Reg(asm.R4, asm.R3, "done"),
		asm.LoadMem(asm.R4, asm.R2, offDst, asm.Word),
		asm.LoadMem(asm.R5, asm.R2, offPort, asm.Half),
		asm.Mov.Imm(asm.R0, 0),
	}
	for at := -keySize; at < 0; at += 8 {
		out = append(out, asm.StoreMem(asm.RFP, int16(at), asm.R0, asm.DWord))
	}
	return append(out,
		asm.StoreMem(asm.RFP, int16(-keySize), asm.R4, asm.Word),
		asm.StoreMem(asm.RFP, int16(4-keySize), asm.R5, asm.Word),
		asm.LoadMapPtr(asm.R1, f.table.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, int32(-keySize)),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "done"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("done"),
		asm.Return())
}

// Bare returns the nanoseconds of the lookup, net.
func (f *Flows) Bare(flows, packets uint32) (float64, error) {
	keys, values := make([]bpf.CTKey, flows), make([]bpf.CTEntry, flows)
	for i := range keys {
		keys[i] = bareKey(f.Ways[0], uint32(i))
	}
	if _, err := f.table.BatchUpdate(keys, values, nil); err != nil {
		return 0, fmt.Errorf("fill the table of bare lookups: %w", err)
	}
	pick := picker{Random: 1, Flows: flows}
	empty, err := f.run(f.empty, f.Ways[0], false, pick, packets)
	if err != nil {
		return 0, err
	}
	ns, err := f.run(f.bare, f.Ways[0], false, pick, packets)
	if err != nil {
		return 0, err
	}
	return ns - empty, f.counted(flows)
}

// counted makes sure that the lookups found what they were to find.
func (f *Flows) counted(flows uint32) error {
	var e bpf.CTEntry
	sum := uint64(0)
	for i := range min(flows, 1000) {
		if err := f.table.Lookup(bareKey(f.Ways[0], i), &e); err != nil {
			return fmt.Errorf("read the table of bare lookups: %w", err)
		}
		sum += e.Bytes[0]
	}
	if sum == 0 {
		return errors.New("the bare lookups have found nothing")
	}
	return nil
}
