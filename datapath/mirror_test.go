package datapath

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"weir/bpf"
)

// rows makes n entries, the i-th with a value of the given generation.
type rows[K, V comparable] func(n, generation int) map[K]V

func endpointRows(n, generation int) map[uint32]bpf.Endpoint {
	out := map[uint32]bpf.Endpoint{}
	for i := range n {
		id := uint32(i + 1)
		out[id] = bpf.Endpoint{ID: id, Identity: uint32(generation)}
	}
	return out
}

func ipcacheRows(n, generation int) map[bpf.IPCacheKey]bpf.IPCacheEntry {
	out := map[bpf.IPCacheKey]bpf.IPCacheEntry{}
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if i%2 == 1 {
			b := netip.MustParseAddr("fd00::").As16()
			b[13], b[14], b[15] = byte(i>>16), byte(i>>8), byte(i)
			a = netip.AddrFrom16(b)
		}
		out[bpf.IPCacheKeyFrom(netip.PrefixFrom(a, a.BitLen()))] = bpf.IPCacheEntry{Identity: uint32(generation)}
	}
	return out
}

const room = 64

// Every store keeps the same promises.
func TestMirror(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		contract(t, ipcacheRows, func(t *testing.T) Store[bpf.IPCacheKey, bpf.IPCacheEntry] {
			return &Memory[bpf.IPCacheKey, bpf.IPCacheEntry]{Max: room}
		})
	})
	t.Run("trie", func(t *testing.T) {
		contract(t, ipcacheRows, func(t *testing.T) Store[bpf.IPCacheKey, bpf.IPCacheEntry] {
			return kernel[bpf.IPCacheKey, bpf.IPCacheEntry]{kernelMap(t, bpf.MapIPCache, room)}
		})
	})
	t.Run("array", func(t *testing.T) {
		contract(t, endpointRows, func(t *testing.T) Store[uint32, bpf.Endpoint] {
			return kernel[uint32, bpf.Endpoint]{kernelMap(t, bpf.MapEndpoints, room+1)} // slot 0 stays free
		})
	})
}

func kernelMap(t *testing.T, name string, size uint32) *ebpf.Map {
	t.Helper()
	emptyRoot(t) // skips without root
	specs, err := mapSpecs(map[string]uint32{name: size})
	if err != nil {
		t.Skip(err)
	}
	m, err := ebpf.NewMap(specs[name])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func contract[K, V comparable](t *testing.T, make rows[K, V], open func(t *testing.T) Store[K, V]) {
	cases := map[string]func(t *testing.T, s Store[K, V]){
		"apply writes the difference":       func(t *testing.T, s Store[K, V]) { applyWritesTheDifference(t, s, make) },
		"restart writes nothing":            func(t *testing.T, s Store[K, V]) { restartWritesNothing(t, s, make) },
		"full says so and goes on":          func(t *testing.T, s Store[K, V]) { fullGoesOn(t, s, make) },
		"full can change its whole content": func(t *testing.T, s Store[K, V]) { fullChangesContent(t, s, make) },
		"single entries":                    func(t *testing.T, s Store[K, V]) { singleEntries(t, s, make) },
		"some entries":                      func(t *testing.T, s Store[K, V]) { someEntries(t, s, make) },
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) { f(t, open(t)) })
	}
}

func mirror[K, V comparable](t *testing.T, s Store[K, V]) *Mirror[K, V] {
	t.Helper()
	m, err := OpenMirror("test", s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func apply[K, V comparable](t *testing.T, m *Mirror[K, V], desired map[K]V, want Changes) {
	t.Helper()
	got, err := m.Apply(desired)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("wrote %+v, want %+v", got, want)
	}
}

// holds compares the store with what it should hold, and with what the mirror
// believes it holds.
func holds[K, V comparable](t *testing.T, m *Mirror[K, V], s Store[K, V], want map[K]V) {
	t.Helper()
	got, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(len(want), len(got)); diff != "" || !maps.Equal(got, want) {
		t.Errorf("the store holds %d entries, want these %d", len(got), len(want))
	}
	if !maps.Equal(m.held, got) {
		t.Errorf("the mirror believes in %d entries, the store holds %d", len(m.held), len(got))
	}
}

func applyWritesTheDifference[K, V comparable](t *testing.T, s Store[K, V], make rows[K, V]) {
	m := mirror(t, s)
	apply(t, m, make(20, 1), Changes{Added: 20})
	holds(t, m, s, make(20, 1))
	apply(t, m, make(20, 1), Changes{})
	next := make(30, 1)
	maps.Copy(next, make(5, 2))
	apply(t, m, next, Changes{Added: 10, Updated: 5})
	holds(t, m, s, next)
	apply(t, m, make(3, 2), Changes{Deleted: 27})
	holds(t, m, s, make(3, 2))
	apply(t, m, nil, Changes{Deleted: 3})
	holds(t, m, s, map[K]V{})
}

func restartWritesNothing[K, V comparable](t *testing.T, s Store[K, V], make rows[K, V]) {
	apply(t, mirror(t, s), make(40, 1), Changes{Added: 40})
	again := mirror(t, s)
	if !maps.Equal(again.Desired(), make(40, 1)) {
		t.Error("after a restart the desired state is not what the store holds")
	}
	apply(t, again, make(40, 1), Changes{})
	apply(t, mirror(t, s), make(41, 1), Changes{Added: 1})
}

func fullGoesOn[K, V comparable](t *testing.T, s Store[K, V], make rows[K, V]) {
	m := mirror(t, s)
	c, err := m.Apply(make(room+10, 1))
	if err == nil {
		t.Fatalf("%d entries went into a store of %d", room+10, room)
	}
	held, loadErr := s.Load()
	if loadErr != nil {
		t.Fatal(loadErr)
	}
	holds(t, m, s, held)
	if c.Added != len(held) {
		t.Errorf("reported %d added, the store holds %d", c.Added, len(held))
	}
	if got, want := m.Errors(), room+10-len(held); got != want {
		t.Errorf("%d errors, want %d", got, want)
	}
	if got := len(m.Desired()); got != room+10 {
		t.Errorf("%d entries desired, want %d", got, room+10)
	}
	if _, err := m.Apply(make(room, 2)); err != nil {
		t.Fatal(err)
	}
	holds(t, m, s, make(room, 2))
	if m.Errors() != 0 {
		t.Errorf("%d errors after all went well", m.Errors())
	}
}

func fullChangesContent[K, V comparable](t *testing.T, s Store[K, V], make rows[K, V]) {
	m := mirror(t, s)
	half, other := make(room/2, 1), make(room, 1)
	for k := range half {
		delete(other, k)
	}
	full := maps.Clone(half)
	maps.Copy(full, other)
	apply(t, m, full, Changes{Added: room})
	apply(t, m, other, Changes{Deleted: room / 2})
	apply(t, m, half, Changes{Added: room / 2, Deleted: room / 2})
	holds(t, m, s, half)
}

func singleEntries[K, V comparable](t *testing.T, s Store[K, V], make rows[K, V]) {
	m := mirror(t, s)
	for k, v := range make(10, 1) {
		for range 2 {
			if err := m.Set(k, v); err != nil {
				t.Fatal(err)
			}
		}
		if got, ok := m.Get(k); !ok || got != v {
			t.Errorf("%v: got %v", k, got)
		}
	}
	holds(t, m, s, make(10, 1))
	for k := range make(12, 1) {
		if err := m.Delete(k); err != nil {
			t.Fatal(err)
		}
	}
	holds(t, m, s, map[K]V{})
}

func someEntries[K, V comparable](t *testing.T, s Store[K, V], make rows[K, V]) {
	m := mirror(t, s)
	apply(t, m, make(20, 1), Changes{Added: 20})
	write := func(put map[K]V, gone []K, want Changes) {
		t.Helper()
		if got, err := m.Write(put, gone); err != nil || got != want {
			t.Errorf("wrote %+v, %v, want %+v", got, err, want)
		}
	}
	write(make(10, 1), nil, Changes{}) // held already
	want := make(22, 1)
	maps.Copy(want, make(5, 2))
	put := make(5, 2)
	for k, v := range make(22, 1) {
		if _, ok := make(20, 1)[k]; !ok {
			put[k] = v
		}
	}
	write(put, nil, Changes{Added: 2, Updated: 5})
	holds(t, m, s, want)
	var gone []K
	for k := range make(24, 1) { // two of them are not there
		if _, ok := make(15, 1)[k]; !ok {
			gone = append(gone, k)
			delete(want, k)
		}
	}
	write(nil, gone, Changes{Deleted: 7})
	holds(t, m, s, want)
	if !maps.Equal(m.Desired(), want) || !maps.Equal(m.Held(), want) {
		t.Error("what should be held is not what is held")
	}
	write(nil, gone, Changes{})
}

// A batch is one system call; more entries than one takes are written too.
func TestMirrorWritesMoreThanOneBatch(t *testing.T) {
	s := kernel[bpf.IPCacheKey, bpf.IPCacheEntry]{kernelMap(t, bpf.MapIPCache, 3*batch)}
	m := mirror[bpf.IPCacheKey, bpf.IPCacheEntry](t, s)
	apply(t, m, ipcacheRows(2*batch+7, 1), Changes{Added: 2*batch + 7})
	holds(t, m, s, ipcacheRows(2*batch+7, 1))
}

func TestMemoryCountsItsWrites(t *testing.T) {
	s := &Memory[uint32, bpf.Endpoint]{}
	m := mirror[uint32, bpf.Endpoint](t, s)
	apply(t, m, endpointRows(5, 1), Changes{Added: 5})
	apply(t, m, endpointRows(5, 1), Changes{})
	if s.Writes != 5 {
		t.Errorf("%d writes, want 5", s.Writes)
	}
}

func TestWritesAreCountedAndSoAreThoseThatFail(t *testing.T) {
	m, err := OpenMirror("ops", &Memory[int, int]{Max: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Apply(map[int]int{1: 1, 2: 2}); err != nil {
		t.Fatal(err)
	}
	if err := m.Set(1, 9); err != nil {
		t.Fatal(err)
	}
	if err := m.Set(1, 9); err != nil { // says nothing new
		t.Fatal(err)
	}
	if err := m.Set(3, 3); err == nil {
		t.Fatal("a full store took a third entry")
	}
	if err := m.Delete(2); err != nil {
		t.Fatal(err)
	}
	if got, want := m.Ops(), (Ops{Updated: 3, Deleted: 1, Failed: 1}); got != want || m.Len() != 1 {
		t.Errorf("%+v and %d entries, want %+v and one", got, m.Len(), want)
	}
}
