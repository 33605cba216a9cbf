// Package prog times the datapath's programs alone: BPF_PROG_TEST_RUN on
// prepared maps, packet by packet, minus an empty program.
//
// Code and maps stay in the caches, and neither devices nor stack are part of
// it: packets of life cost more. What a whole path costs is measured by
// traffic.
package prog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// testRun is the kernel's union bpf_attr for BPF_PROG_TEST_RUN.
type testRun struct {
	fd, ret             uint32
	sizeIn, sizeOut     uint32
	in, out             uint64
	repeat, duration    uint32
	ctxIn, ctxOut       uint32
	ctxInPtr, ctxOutPtr uint64
	flags, cpu, batch   uint32
	_                   uint32
}

const (
	cmdTestRun = 10
	ctxSize    = 192 // of struct __sk_buff
	ctxIfindex = 40  // offset of ifindex in it
)

// perCall is how often a packet goes through a program before it is made anew:
// each run takes one from its TTL, which begins with 255.
const perCall = 240

// Time runs the program calls times perCall over the packet and returns the
// mean time of one run in nanoseconds, and what the program returned.
func Time(p *ebpf.Program, packet []byte, ifindex uint32, calls int) (float64, uint32, error) {
	total, done := 0.0, 0
	var verdict uint32
	for range calls {
		ns, got, err := testRunOnce(p, packet, ifindex, perCall)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		total, done, verdict = total+ns, done+1, got
	}
	return total / float64(max(done, 1)), verdict, nil
}

// testRunOnce is one system call, which sends a packet repeat times.
func testRunOnce(p *ebpf.Program, packet []byte, ifindex, repeat uint32) (ns float64, verdict uint32, err error) {
	var ctx [ctxSize]byte
	binary.NativeEndian.PutUint32(ctx[ctxIfindex:], ifindex)
	attr := testRun{fd: uint32(p.FD()), sizeIn: uint32(len(packet)), repeat: repeat, ctxIn: ctxSize,
		in: uint64(uintptr(unsafe.Pointer(&packet[0]))), ctxInPtr: uint64(uintptr(unsafe.Pointer(&ctx[0])))}
	_, _, errno := unix.Syscall(unix.SYS_BPF, cmdTestRun, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(packet)
	runtime.KeepAlive(&ctx)
	if errno != 0 {
		return 0, 0, fmt.Errorf("run program: %w", errno)
	}
	return float64(attr.duration), attr.ret, nil
}

// Empty is the program whose time is the loop's.
func Empty() (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: "empty", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}})
}
