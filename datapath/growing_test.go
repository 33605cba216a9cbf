package datapath

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"

	"weir/bpf"
)

func backendRows(n, generation int) map[uint32]bpf.Backend {
	out := map[uint32]bpf.Backend{}
	for i := range n {
		out[uint32(i+1)] = bpf.Backend{Addr: bpf.AddrFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), Generation: uint32(generation)}
	}
	return out
}

func serviceRows(n, generation int) map[bpf.ServiceKey]bpf.Service {
	out := map[bpf.ServiceKey]bpf.Service{}
	for i := range n {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 80)
		out[bpf.ServiceKeyFrom(a, 6)] = bpf.Service{ID: uint32(i + 1), Flags: uint32(generation)}
	}
	return out
}

// outer makes an empty map of a map.
func outer(t *testing.T, name string) (*ebpf.Map, *ebpf.MapSpec) {
	t.Helper()
	emptyRoot(t) // skips without root
	specs, err := mapSpecs(nil)
	if err != nil {
		t.Skip(err)
	}
	m, err := ebpf.NewMap(specs[name])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, specs[name]
}

// grows opens the inner map of a small first size.
func grows[K, V comparable](t *testing.T, name string, first, limit uint32) *growing[K, V] {
	t.Helper()
	m, spec := outer(t, name)
	spec.InnerMap.MaxEntries = first
	return reopen[K, V](t, m, spec, limit)
}

func reopen[K, V comparable](t *testing.T, m *ebpf.Map, spec *ebpf.MapSpec, limit uint32) *growing[K, V] {
	t.Helper()
	g, err := openGrowing[K, V](slog.New(slog.DiscardHandler), spec.Name, m, spec)
	if err != nil {
		t.Fatal(err)
	}
	g.limit = limit
	t.Cleanup(g.close)
	return g
}

// A map that grows keeps the promises of all stores. "full" is at its limit.
func TestGrowingMirror(t *testing.T) {
	t.Run("hash", func(t *testing.T) {
		contract(t, serviceRows, func(t *testing.T) Store[bpf.ServiceKey, bpf.Service] {
			return grows[bpf.ServiceKey, bpf.Service](t, bpf.MapServices, 2, room)
		})
	})
	t.Run("array", func(t *testing.T) {
		contract(t, backendRows, func(t *testing.T) Store[uint32, bpf.Backend] {
			return grows[uint32, bpf.Backend](t, bpf.MapBackends, 2, room+1) // slot 0 stays free
		})
	})
}

func TestAMapGrowsOverManySizesAndARestartWritesNothing(t *testing.T) {
	t.Run("hash", func(t *testing.T) { growsAndRestarts(t, bpf.MapServices, serviceRows) })
	t.Run("array", func(t *testing.T) { growsAndRestarts(t, bpf.MapBackends, backendRows) })
}

func growsAndRestarts[K, V comparable](t *testing.T, name string, make rows[K, V]) {
	m, spec := outer(t, name)
	g := reopen[K, V](t, m, spec, growLimit)
	for _, n := range []int{10, 3000, 3001, 100_000} {
		if _, err := mirror(t, g).Apply(make(n, n)); err != nil {
			t.Fatal(err)
		}
		id := g.inner
		again := reopen[K, V](t, m, spec, growLimit)
		apply(t, mirror(t, again), make(n, n), Changes{})
		holds(t, mirror(t, again), again, make(n, n))
		if a, b := mapID(t, id), mapID(t, again.inner); a != b {
			t.Errorf("%d entries: a restart made map %d of map %d", n, b, a)
		}
	}
}

func mapID(t *testing.T, m *ebpf.Map) ebpf.MapID {
	t.Helper()
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return id
}

// Large arrays grow by an eighth: 640,000 rows of Maglev take 46 MB, not 67.
func TestALargeArrayGrowsByAnEighth(t *testing.T) {
	g := grows[uint32, bpf.Slots](t, bpf.MapSlots, 16, growLimit)
	s := slots{g}
	for _, c := range []struct{ rows, room uint32 }{{17, 32}, {1000, 1125}, {640_000, 720_000}, {720_001, 810_000}} {
		if err := s.Reserve(c.rows); err != nil {
			t.Fatal(err)
		}
		if _, _, entries, _ := g.shape(); entries != c.room {
			t.Errorf("room for %d rows, want %d for %d", entries, c.room, c.rows)
		}
	}
	if err := s.WriteRows(719_990, []bpf.Slots{{Backends: [16]uint32{1}}, {Backends: [16]uint32{2}}}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Rows()
	if err != nil || got[719_991].Backends[0] != 2 || got[719_992].Backends[0] != 0 {
		t.Errorf("the rows are not what was written: %v", err)
	}
}

func TestWhatCannotGrowSaysSoAndLosesNothing(t *testing.T) {
	t.Run("hash", func(t *testing.T) { cannotGrow(t, bpf.MapServices, serviceRows, 0) })
	t.Run("array", func(t *testing.T) { cannotGrow(t, bpf.MapBackends, backendRows, 1) })
}

func cannotGrow[K, V comparable](t *testing.T, name string, make rows[K, V], unused uint32) {
	g := grows[K, V](t, name, 4, room+unused)
	m := mirror(t, g)
	apply(t, m, make(room, 1), Changes{Added: room})
	_, err := m.Apply(make(room+9, 2))
	if err == nil || !strings.Contains(err.Error(), "cannot grow from") || !strings.Contains(err.Error(), "stays in force") {
		t.Errorf("got %v, want an error that says that it cannot grow", err)
	}
	held, err := g.Load()
	if err != nil || len(held) != room {
		t.Fatalf("%d entries are left, want %d: %v", len(held), room, err)
	}
	for k, v := range make(room, 2) {
		if held[k] != v {
			t.Errorf("%v was not updated although it needs no room", k)
		}
	}
	apply(t, m, make(room, 2), Changes{})
}

// A reader finds what was there before in whatever map it looks, while it grows.
func TestReadersSeeEveryEntryWhileAMapGrows(t *testing.T) {
	m, spec := outer(t, bpf.MapServices)
	spec.InnerMap.MaxEntries = 64
	g := reopen[bpf.ServiceKey, bpf.Service](t, m, spec, growLimit)
	first := serviceRows(64, 1)
	if _, err := g.Put(first); err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	missing, looks := make(chan error, 1), 0
	go func() {
		defer close(missing)
		for ; !done.Load(); looks++ {
			if err := seesAll(m, first); err != nil {
				missing <- err
				return
			}
		}
	}()
	for n := 128; n <= 1<<16; n *= 2 {
		if _, err := g.Put(without(serviceRows(n, 1), slices.Collect(maps.Keys(first)))); err != nil {
			t.Fatal(err)
		}
	}
	done.Store(true)
	if err := <-missing; err != nil {
		t.Error(err)
	}
	if looks == 0 {
		t.Error("the reader never looked")
	}
}

func seesAll(outer *ebpf.Map, want map[bpf.ServiceKey]bpf.Service) error {
	in, err := inner(outer, "test", current)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // user space opens by number, and the map has gone since: programs do not
	}
	if err != nil {
		return err
	}
	defer in.Close()
	for k, v := range want {
		var got bpf.Service
		if err := in.Lookup(&k, &got); err != nil || got != v {
			return fmt.Errorf("%v is %v: %w", k, got, err)
		}
	}
	return nil
}

// An inner map of another version has another layout: programs of this one could
// not read it, and the kernel would refuse ours in its place.
func TestAnotherLayoutInsideMakesAnotherMap(t *testing.T) {
	root := bpffs(t)
	d := start(t, small(root, AttachAuto))
	before := mapIDs(t, d)
	pin := d.Tree().Map(bpf.MapBackends)
	d.Close()
	specs, err := mapSpecs(nil)
	if err != nil {
		t.Fatal(err)
	}
	spec := specs[bpf.MapBackends]
	spec.InnerMap.ValueSize = 16
	spec.InnerMap.Value = nil
	old, err := ebpf.NewMap(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	in, err := ebpf.NewMap(spec.InnerMap)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := errors.Join(old.Put(current, in), old.Pin(pin+"-test"), os.Rename(pin+"-test", pin)); err != nil {
		t.Fatal(err)
	}
	d = start(t, small(root, AttachAuto))
	apply(t, d.Services.Backends, backendRows(2000, 1), Changes{Added: 2000})
	for name, id := range mapIDs(t, d) {
		if (name == bpf.MapBackends) != (id != before[name]) {
			t.Errorf("map %s: %d, was %d", name, id, before[name])
		}
	}
}

func TestServiceMapsOutliveTheAgent(t *testing.T) {
	root := bpffs(t)
	d := start(t, small(root, AttachAuto))
	apply(t, d.Services.Services, serviceRows(5000, 1), Changes{Added: 5000})
	apply(t, d.Services.Backends, backendRows(3000, 1), Changes{Added: 3000})
	ranges := map[bpf.SourceRange]uint32{bpf.SourceRangeFrom(7, netip.MustParsePrefix("10.0.0.0/8")): 1}
	apply(t, d.Services.SourceRanges, ranges, Changes{Added: 1})
	if err := d.Services.Slots.WriteRows(4000, []bpf.Slots{{Backends: [16]uint32{3, 4}}}); err != nil {
		t.Fatal(err)
	}
	d.Close()
	d = start(t, small(root, AttachAuto))
	apply(t, d.Services.Services, serviceRows(5000, 1), Changes{})
	apply(t, d.Services.Backends, backendRows(3000, 1), Changes{})
	apply(t, d.Services.SourceRanges, ranges, Changes{})
	if rows, err := d.Services.Slots.Rows(); err != nil || rows[4000].Backends[1] != 4 {
		t.Errorf("the slots are not what was written: %v", err)
	}
	dumped := map[string]string{}
	for _, name := range []string{bpf.MapServices, bpf.MapSlots, bpf.MapBackends, bpf.MapSourceRanges} {
		list, err := d.Dump(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			dumped[name+" "+r.Key] = r.Value + " " + r.State
		}
	}
	want := map[string]string{
		"weir_services 10.0.0.4:80/TCP":           "id=5 frontend=0 affinity=0s inside=0@0 outside=0@0 flags=external sync",
		"weir_slots 4000":                         "[3 4] ",
		"weir_source_ranges service=7 10.0.0.0/8": "1 sync",
	}
	for k, v := range want {
		if dumped[k] != v {
			t.Errorf("%s is %q, want %q", k, dumped[k], v)
		}
	}
	infos, err := d.Maps()
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]int{}
	for _, i := range infos {
		entries[i.Name] = i.Entries
		if i.Name == bpf.MapServices && (i.MaxEntries < 5000 || i.KeySize != 20 || i.Memory == 0) {
			t.Errorf("%+v is not the shape of the inner map", i)
		}
	}
	if entries[bpf.MapServices] != 5000 || entries[bpf.MapSlots] != 1 {
		t.Errorf("%d services and %d rows of slots are counted", entries[bpf.MapServices], entries[bpf.MapSlots])
	}
}
