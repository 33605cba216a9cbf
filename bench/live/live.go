// Package live sends frames as a driver would hand them over, as fast as one CPU
// can, and counts what a node sends on: no socket and no generator's stack is in
// the figure.
package live

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/bench/topo"
)

const (
	liveFrames = 1 << 1 // BPF_F_TEST_XDP_LIVE_FRAMES (linux/bpf.h): what the program redirects is sent
	xdpDrop    = 1
	xdpPass    = 2

	offsetType     = 12 // of an Ethernet frame
	offsetProtocol = 14 + 9
	protocolUDP    = 17
)

// Wire is one end of an underlay: it sends datagrams to a node, and counts those
// that come back over the same device.
type Wire struct {
	in      topo.Netns
	sender  *ebpf.Program
	counts  *ebpf.Map
	frame   []byte
	closers []func() error
}

// New makes the device dev of a namespace a Wire whose frames go to at, in the
// name of from. Close it in any case.
func New(in topo.Netns, dev string, to net.HardwareAddr, from, at netip.AddrPort) (*Wire, error) {
	w := &Wire{in: in}
	index, mac, err := in.Index(dev)
	if err != nil {
		return w, err
	}
	if w.frame, err = datagram(mac, to, from, at); err != nil {
		return w, err
	}
	if err := w.makeSender(index); err != nil {
		return w, err
	}
	return w, w.makeCounter(index)
}

// Close detaches everything.
func (w *Wire) Close() error {
	var errs []error
	for _, c := range w.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// Rate sends count frames and returns how many came back for each second, and how
// many microseconds of the CPU each of them took: it did nothing else meanwhile.
func (w *Wire) Rate(count int) (rate, cpu float64, err error) {
	before, err := w.counted()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	err = w.in.Inside(func() error {
		_, err := w.sender.Run(&ebpf.RunOptions{Data: w.frame, Repeat: uint32(count), Flags: liveFrames})
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("send frames: %w", err)
	}
	took := time.Since(began).Seconds()
	after, err := w.counted()
	if err != nil {
		return 0, 0, err
	}
	if after == before {
		return 0, 0, fmt.Errorf("none of %d frames came back from the node", count)
	}
	came := float64(after - before)
	return came / took, took * 1e6 / came, nil
}

// makeSender loads a program that makes each frame it is given this one, and sends
// it: a run uses its frames again as they have become.
func (w *Wire) makeSender(index int) error {
	m, err := w.array(uint32(len(w.frame)), ebpf.Array)
	if err != nil {
		return err
	}
	if err := m.Put(uint32(0), w.frame); err != nil {
		return fmt.Errorf("keep the frame: %w", err)
	}
	w.sender, err = w.program(
		asm.Mov.Imm(asm.R2, 0), asm.LoadMapValue(asm.R3, m.FD(), 0), asm.Mov.Imm(asm.R4, int32(len(w.frame))), asm.FnXdpStoreBytes.Call(),
		asm.Mov.Imm(asm.R1, int32(index)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return())
	return err
}

// makeCounter takes datagrams of IPv4 off the wire, and counts them.
func (w *Wire) makeCounter(index int) (err error) {
	if w.counts, err = w.array(8, ebpf.PerCPUArray); err != nil {
		return err
	}
	p, err := w.program(
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data, data_end
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, offsetProtocol+1), asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R4, asm.R2, offsetType, asm.Half), asm.JNE.Imm(asm.R4, int32(binary.LittleEndian.Uint16([]byte{0x08, 0x00})), "pass"),
		asm.LoadMem(asm.R4, asm.R2, offsetProtocol, asm.Byte), asm.JNE.Imm(asm.R4, protocolUDP, "pass"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, w.counts.FD()), asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord), asm.Add.Imm(asm.R1, 1), asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, xdpDrop), asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"), asm.Return())
	if err != nil {
		return err
	}
	return w.attach(w.in, index, p)
}

// Pass makes a device of a node take frames from a driver, as one without XDP of its
// own does not if it is a veth, and does nothing with them.
func (w *Wire) Pass(node topo.Netns, dev string) error {
	index, _, err := node.Index(dev)
	if err != nil {
		return err
	}
	p, err := w.program(asm.Mov.Imm(asm.R0, xdpPass), asm.Return())
	if err != nil {
		return err
	}
	return w.attach(node, index, p)
}

func (w *Wire) attach(in topo.Netns, index int, p *ebpf.Program) error {
	return in.Inside(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: index, Flags: link.XDPDriverMode})
		if err != nil {
			return fmt.Errorf("attach XDP in %s: %w", in.Name, err)
		}
		w.closers = append(w.closers, l.Close)
		return nil
	})
}

func (w *Wire) program(code ...asm.Instruction) (*ebpf.Program, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: code})
	if err != nil {
		return nil, fmt.Errorf("load XDP program: %w", err)
	}
	w.closers = append(w.closers, p.Close)
	return p, nil
}

func (w *Wire) array(size uint32, kind ebpf.MapType) (*ebpf.Map, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: kind, KeySize: 4, ValueSize: size, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("make map: %w", err)
	}
	w.closers = append(w.closers, m.Close)
	return m, nil
}

func (w *Wire) counted() (sum uint64, err error) {
	var each []uint64
	if err := w.counts.Lookup(uint32(0), &each); err != nil {
		return 0, fmt.Errorf("read counter: %w", err)
	}
	for _, n := range each {
		sum += n
	}
	return sum, nil
}

// datagram is a frame with 18 octets of payload, the least that Ethernet has.
func datagram(from, to net.HardwareAddr, src, dst netip.AddrPort) ([]byte, error) {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
	udp := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, fmt.Errorf("build frame: %w", err)
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload(make([]byte, 18)))
	if err != nil {
		return nil, fmt.Errorf("build frame: %w", err)
	}
	return buf.Bytes(), nil
}
