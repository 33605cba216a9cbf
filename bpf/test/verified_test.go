package bpftest

import (
	"bufio"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"weir/bpf"
)

var update = flag.Bool("update", false, "rewrite verified.txt")

const (
	verifiedFile = "verified.txt"
	// A program beyond it has a loop or branches that the verifier walks many times over.
	verifiedMax = 120000
	// A kernel's verifier walks a few more or less than another's.
	slack = 120 // percent
)

// The cost of a program at load time, on the kernel that verified.txt was
// written on, with every feature on. More than a fifth more needs a reason.
func TestVerifierWalksNoMoreInstructionsThanRecorded(t *testing.T) {
	cfg := serving(config())
	cfg.Monitor, cfg.MonitorRate = uint8(bpf.MonitorNone), 1<<20
	cfg.HostFirewall, cfg.Acceleration, cfg.L2, cfg.DNS, cfg.Masquerade = 1, 1, 1, 1, uint8(bpf.MasqueradeIPv4|bpf.MasqueradeIPv6)
	cfg.VLANBypass = [8]uint16{1, 2, 3, 4, 5, 6, 7, 8}
	got := map[string]uint32{}
	n := newNode(t, cfg)
	maps.Copy(n.programs, endPrograms(t, n))
	for name, p := range n.programs {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, ok := info.VerifiedInstructions()
		if !ok {
			t.Skip("this kernel does not tell verified instructions (it needs 5.16)")
		}
		got[name] = n
		if n > verifiedMax {
			t.Errorf("%s: %d instructions verified, at most %d may be", name, n, verifiedMax)
		}
	}
	if *update {
		write(t, got)
	}
	want := read(t)
	for name, n := range got {
		switch old, ok := want[name]; {
		case !ok:
			t.Errorf("%s is not in %s: run this test with -update", name, verifiedFile)
		case n*100 > old*slack:
			t.Errorf("%s: %d instructions verified, %s says %d: make it smaller, or run this test with -update and say why", name, n, verifiedFile, old)
		}
	}
	all := int(bpf.PlaceToHost) + 2 + len(bpf.SocketPrograms) + 2 // expire has no place, from_xdp is beyond; two end sockets
	if len(got) != all || len(want) != len(got) {
		t.Errorf("%d programs loaded, %d recorded, want %d", len(got), len(want), all)
	}
}

// endPrograms are those that end sockets.
func endPrograms(t *testing.T, n *node) map[string]*ebpf.Program {
	t.Helper()
	spec, err := bpf.Spec(bpf.ObjectEnd)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]*ebpf.Map{}
	for name, m := range spec.Maps {
		if n.maps[name] != nil {
			m.MaxEntries = n.maps[name].MaxEntries()
			used[name] = n.maps[name]
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: used})
	if err != nil {
		t.Fatalf("load %s: %+v", bpf.ObjectEnd, err)
	}
	t.Cleanup(coll.Close)
	return coll.Programs
}

func write(t *testing.T, got map[string]uint32) {
	t.Helper()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(got)) {
		fmt.Fprintf(&b, "%-13s %d\n", name, got[name])
	}
	if err := os.WriteFile(verifiedFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T) map[string]uint32 {
	t.Helper()
	f, err := os.Open(verifiedFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]uint32{}
	for s := bufio.NewScanner(f); s.Scan(); {
		var name string
		var n uint32
		if _, err := fmt.Sscan(s.Text(), &name, &n); err != nil {
			t.Fatalf("%s: %q: %v", verifiedFile, s.Text(), err)
		}
		out[name] = n
	}
	return out
}
