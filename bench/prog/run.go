package prog

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"weir/bench/topo"
	"weir/bpf"
)

// Case is one way of one packet through one program.
type Case struct {
	Name     string
	Program  *ebpf.Program
	Packet   []byte
	Ifindex  uint32
	Want     uint32 // what the program has to return, so that the way is the one meant
	Verified uint32 // instructions the verifier walked; 0: the kernel does not tell
	Size     int    // bytes of machine code
}

const (
	podIndex = 1000001
	redirect = 7          // TC_ACT_REDIRECT
	pass     = 0xffffffff // TCX_NEXT
	overlay  = 2          // index of the tunnel's device: nobody looks for it
)

// Bench is every case, and the empty program.
type Bench struct {
	Cases []Case
	Empty *ebpf.Program
	netns topo.Netns
	sets  []*loaded
}

// Make loads the programs and prepares a namespace for them, whose name begins
// with prefix; dir is for the maps' bpffs. Close it in any case.
func Make(prefix, dir string) (*Bench, error) {
	b := &Bench{}
	var err error
	if b.netns, err = topo.Make(prefix + "-prog"); err != nil {
		return b, err
	}
	if err := b.devices(); err != nil {
		return b, err
	}
	if b.Empty, err = Empty(); err != nil {
		return b, err
	}
	for _, index := range []uint32{overlay, 0} {
		l, err := load(filepath.Join(dir, fmt.Sprint("bpf", index)), index, 0, bpf.MonitorMedium, wrapPacket)
		b.sets = append(b.sets, l)
		if err != nil {
			return b, err
		}
	}
	return b, b.fill(b.sets[0], b.sets[1])
}

// Inside runs f where the devices are that the packets come from.
func (b *Bench) Inside(f func() error) error { return b.netns.Inside(f) }

// Close removes what Make made.
func (b *Bench) Close() error {
	var errs []error
	for _, s := range b.sets {
		errs = append(errs, s.close())
	}
	if b.Empty != nil {
		b.Empty.Close()
	}
	return errors.Join(append(errs, b.netns.Remove())...)
}

// devices are the pod's device, and the underlay's with a neighbour.
func (b *Bench) devices() error {
	if err := b.netns.Forward(); err != nil {
		return err
	}
	err := b.netns.Do(func(h *netlink.Handle) error {
		return errors.Join(
			h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "pod1", Index: podIndex}, PeerName: "pod1x"}),
			h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", HardwareAddr: addressed}, PeerName: "eth0x"}))
	})
	if err != nil {
		return err
	}
	for _, e := range []topo.End{{In: b.netns, Name: "pod1"}, {In: b.netns, Name: "pod1x"}, {In: b.netns, Name: "eth0x"},
		{In: b.netns, Name: "eth0", Addrs: []string{node + "/24", "fd30:60::1/64"}}} {
		if err := e.Up(); err != nil {
			return err
		}
	}
	index, _, err := b.netns.Index("eth0")
	if err != nil {
		return err
	}
	for f, dst := range []string{"10.60.2.0/24", "fd60:2::/64"} {
		if err := b.netns.Route(dst, next[f], "eth0"); err != nil {
			return err
		}
		err := b.netns.Do(func(h *netlink.Handle) error {
			return h.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT,
				IP: netip.MustParseAddr(next[f]).AsSlice(), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 9, 9}})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Bench) fill(tunnel, native *loaded) error {
	index, _, err := b.netns.Index("eth0")
	if err != nil {
		return err
	}
	eth0 := uint32(index)
	for f, v := range []string{"IPv4", "IPv6"} {
		own, neighbour, remote := pods[f], beside[f], far[f]
		err = errors.Join(err,
			b.add("from_pod, pod of this node, "+v, tunnel, bpf.ProgFromPod, own, neighbour, podIndex, redirect),
			b.add("from_pod, into the tunnel, "+v, tunnel, bpf.ProgFromPod, own, remote, podIndex, redirect),
			b.add("from_pod, native by the FIB, "+v, native, bpf.ProgFromPod, own, remote, podIndex, redirect),
			b.add("from_overlay, into a pod, "+v, tunnel, bpf.ProgFromOverlay, remote, own, eth0, redirect),
			b.add("from_netdev, into a pod, "+v, native, bpf.ProgFromNetdev, remote, own, eth0, redirect),
			b.add("from_netdev, not for a pod, "+v, native, bpf.ProgFromNetdev, remote, next[f], eth0, pass))
	}
	return errors.Join(err,
		b.add("to_overlay", tunnel, bpf.ProgToOverlay, pods[0], far[0], eth0, pass),
		b.add("to_netdev", native, bpf.ProgToNetdev, pods[0], far[0], eth0, pass),
		b.add("to_host", native, bpf.ProgToHost, pods[0], far[0], eth0, pass),
		b.add("from_host, into a pod, IPv4", tunnel, bpf.ProgFromHost, node, pods[0], eth0, redirect))
}

func (b *Bench) add(name string, l *loaded, program, src, dst string, ifindex, want uint32) error {
	p := l.programs[program]
	if p == nil {
		return fmt.Errorf("no program %s in the objects", program)
	}
	packet, err := frame(netip.MustParseAddr(src), netip.MustParseAddr(dst))
	if err != nil {
		return fmt.Errorf("make packet of %q: %w", name, err)
	}
	info, err := p.Info()
	if err != nil {
		return err
	}
	c := Case{Name: name, Program: p, Packet: packet, Ifindex: ifindex, Want: want}
	c.Verified, _ = info.VerifiedInstructions()
	if size, err := info.JitedSize(); err == nil {
		c.Size = int(size)
	}
	b.Cases = append(b.Cases, c)
	return nil
}
