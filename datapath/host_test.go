package datapath

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// bpffs is a BPF file system of the test's own.
func bpffs(t *testing.T) string {
	t.Helper()
	root := emptyRoot(t)
	if _, err := MountBPFFS(root); err != nil {
		t.Fatal(err)
	}
	return root
}

// emptyRoot is a folder from which all mounts go when the test ends.
func emptyRoot(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount bpffs and load BPF programs")
	}
	root := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for unix.Unmount(root, 0) == nil {
			continue // another may be below
		}
	})
	return root
}

// start opens the datapath as a starting agent does.
func start(t *testing.T, o Options) *Datapath {
	t.Helper()
	d, err := Open(slog.New(slog.DiscardHandler), o)
	if errors.Is(err, bpf.ErrNotBuilt) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// small keeps the maps of a test small.
func small(root string, mode AttachMode) Options {
	return Options{Root: root, AttachMode: mode, Sizes: map[string]uint32{bpf.MapEndpoints: 64, bpf.MapIPCache: 64}}
}

func load(t *testing.T, d *Datapath, cfg bpf.Config) Loaded {
	t.Helper()
	n, err := d.Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func attach(t *testing.T, d *Datapath, a Attachment) {
	t.Helper()
	if err := d.Attach(a); err != nil {
		t.Fatal(err)
	}
}

// device makes a veth pair, name and name-in, that carries nothing but what a
// test sends, and describes from_netdev's place on it.
func device(t *testing.T, d *Datapath, name string) Attachment {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	pair := netlink.NewVeth(attrs)
	pair.PeerName = name + "-in"
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatalf("make %s: %v", name, err)
	}
	for _, n := range []string{name, name + "-in"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+n+"/disable_ipv6", []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
		linktest.Up(t, n)
	}
	return Attachment{Device: name, Ifindex: linktest.Link(t, name).Attrs().Index, Program: bpf.ProgFromNetdev, Folder: d.Tree().DeviceLinks(name)}
}

// send sends frames of no protocol to a device of that name.
func send(t *testing.T, name string, frames int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	frame := make([]byte, 60)
	frame[12], frame[13] = 0x88, 0xcc
	for range frames {
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: linktest.Link(t, name+"-in").Attrs().Index}); err != nil {
			t.Fatal(err)
		}
	}
}

// passed is how many packets from_netdev has let pass.
func passed(t *testing.T, d *Datapath) uint64 {
	t.Helper()
	counters, err := d.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counters {
		if c.Place == bpf.PlaceFromNetdev && c.Reason == bpf.ReasonPassed {
			return c.Packets
		}
	}
	return 0
}

// foreign is a program of somebody else that counts what it sees and lets it on.
type foreign struct {
	program *ebpf.Program
	seen    *ebpf.Map
}

func newForeign(t *testing.T, name string) foreign {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "theirs", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMapValue(asm.R1, m.FD(), 0),
		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, -1),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); m.Close() })
	return foreign{p, m}
}

func (f foreign) count(t *testing.T) (n uint64) {
	t.Helper()
	if err := f.seen.Lookup(uint32(0), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (f foreign) id(t *testing.T) ebpf.ProgramID {
	t.Helper()
	id, err := programID(f.program)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
