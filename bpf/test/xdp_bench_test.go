package bpftest

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// liveFrames is BPF_F_TEST_XDP_LIVE_FRAMES: what the program redirects is sent.
const liveFrames = 1 << 1

// xdpAction is a program that does the same with every frame.
func xdpAction(b *testing.B, code ...asm.Instruction) *ebpf.Program {
	b.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: append(code, asm.Return())})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Close() })
	return p
}

func onDevice(b *testing.B, p *ebpf.Program, device string) {
	b.Helper()
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: linktest.Link(b, device).Attrs().Index, Flags: link.XDPDriverMode})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
}

// sender is a program that makes each frame it is given this one, and sends it
// out of a device: a run uses its frames again as they have become.
func sender(b *testing.B, frame []byte, ifindex int32) *ebpf.Program {
	b.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(len(frame)), MaxEntries: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	if err := m.Put(uint32(0), frame); err != nil {
		b.Fatal(err)
	}
	return xdpAction(b, asm.Mov.Imm(asm.R2, 0), asm.LoadMapValue(asm.R3, m.FD(), 0), asm.Mov.Imm(asm.R4, int32(len(frame))),
		asm.FnXdpStoreBytes.Call(), asm.Mov.Imm(asm.R1, ifindex), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call())
}

// Frames of an established connection to a NodePort whose backend is on another
// node, as a driver hands them over: how many of them a CPU sends on.
func BenchmarkNodePortElsewhere(b *testing.B) {
	for _, by := range []string{"xdp", "tc"} {
		b.Run(by, func(b *testing.B) {
			n := serviceNode(b, accelerated(native()))
			f := families[0]
			n.offer(b, f, 0, remoteBackend)
			frame := f.asksNode(unix.IPPROTO_UDP).bytes()
			n.runXDP(b, frame)
			n.chosen(b)
			at, want := bpf.PlaceFromXDP, bpf.ReasonToNetwork
			if by == "xdp" {
				onDevice(b, n.programs[bpf.ProgFromXDP], "underlay")
				onDevice(b, xdpAction(b, asm.Mov.Imm(asm.R0, 1)), "underlay-in") // takes what is sent, and drops it
			} else {
				at = bpf.PlaceFromNetdev
				onDevice(b, xdpAction(b, asm.Mov.Imm(asm.R0, xdpPass)), "underlay") // or veth takes no frames
				n.attach(b, bpf.ProgFromNetdev, underlayIfindex)
			}
			out := linktest.Link(b, "underlay-in").Attrs().Index
			send := sender(b, frame, int32(out))
			b.ResetTimer()
			_, err := send.Run(&ebpf.RunOptions{Data: frame, Repeat: uint32(b.N), Flags: liveFrames})
			b.StopTimer()
			if err != nil {
				b.Fatal(err)
			}
			rose, err := n.countAt(at)
			if err != nil {
				b.Fatal(err)
			}
			var sent uint64
			for _, c := range rose {
				if c.Reason == want {
					sent += c.Packets
				}
			}
			b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "packets/s")
			b.ReportMetric(100*float64(sent)/float64(b.N), "%sent")
		})
	}
}
