package service

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

// bpffs is an empty BPF file system of the test's own.
func bpffs(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount bpffs and make BPF maps")
	}
	root := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(root, 0) })
	return root
}

func openDatapath(t testing.TB, root string) *datapath.Datapath {
	t.Helper()
	d, err := datapath.Open(slog.New(slog.DiscardHandler), datapath.Options{Root: root})
	if errors.Is(err, bpf.ErrNotBuilt) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The kernel takes ten thousand services, whose maps have to grow for them, and an
// agent that starts anew finds every entry where it was.
func TestTenThousandServicesAreInTheKernelAndStayWhereTheyAre(t *testing.T) {
	root, services := bpffs(t), 10_000
	if testing.Short() {
		services = 2000
	}
	tables := bigTables(services, 10, state.AlgorithmRandom)
	d := openDatapath(t, root)
	c := New(slog.New(slog.DiscardHandler), Options{IPv4: true}, tables, d.Services)
	began := time.Now()
	step(t, c)
	t.Logf("%d services of 10 backends: %v from rows to the kernel's maps", services, time.Since(began).Round(time.Millisecond))
	if n := len(d.Services.Services.Held()); n != services || len(d.Services.Backends.Held()) != 10*services {
		t.Fatalf("%d services and %d backends are held", n, len(d.Services.Backends.Held()))
	}
	one := bigSlice(state.ServiceName{Namespace: "d", Name: "s7"}, 7, 9)
	tables.Slices.Put(one)
	began = time.Now()
	step(t, c)
	t.Logf("one endpoint: %v", time.Since(began).Round(time.Microsecond))
	tables.Slices.Put(bigSlice(one.Service, 7, 10))
	step(t, c)
	held, slots := d.Services.Services.Held(), rowsOf(t, d)
	d.Close()

	d = openDatapath(t, root)
	defer d.Close()
	began = time.Now()
	step(t, New(slog.New(slog.DiscardHandler), Options{IPv4: true}, tables, d.Services))
	t.Logf("a restart: %v", time.Since(began).Round(time.Millisecond))
	if !maps.Equal(held, d.Services.Services.Held()) || !slices.Equal(slots, rowsOf(t, d)) {
		t.Error("a restart without a change changed entries")
	}
}

func rowsOf(t *testing.T, d *datapath.Datapath) []bpf.Slots {
	t.Helper()
	rows, err := d.Services.Slots.Rows()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}
