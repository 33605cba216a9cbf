package datapath

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// growing is a Store over a map in a map of one. When the inner map is full, a
// larger one is made, filled, and put in its place in one step: a reader always
// sees one map that has everything. Nobody but the agent writes it.
type growing[K, V comparable] struct {
	log   *slog.Logger
	name  string
	outer *ebpf.Map
	spec  *ebpf.MapSpec // of the inner map
	limit uint32        // entries, up to which it grows

	mu    sync.Mutex
	inner *ebpf.Map
}

const (
	// growLimit is the entries of the largest inner map.
	growLimit = 1 << 24
	// fineGrowth is from how many entries on an array grows by an eighth: twice
	// the memory of a large one is more than the doubling saves.
	fineGrowth = 65536
)

// openGrowing opens the inner map that an earlier agent left, or makes one.
func openGrowing[K, V comparable](log *slog.Logger, name string, outer *ebpf.Map, spec *ebpf.MapSpec) (*growing[K, V], error) {
	g := &growing[K, V]{log: log, name: name, outer: outer, spec: spec.InnerMap, limit: growLimit}
	var err error
	if g.inner, err = inner(outer, name, current); err != nil || g.inner != nil {
		return g, err
	}
	next, err := g.create(g.spec.MaxEntries)
	if err != nil {
		return nil, err
	}
	return g, g.replace(next)
}

// innerFits reports whether what the outer map holds has the layout of the spec.
// An empty one does: whatever is put there has to.
func innerFits(outer *ebpf.Map, spec *ebpf.MapSpec) bool {
	if spec.InnerMap == nil {
		return true
	}
	m, err := inner(outer, spec.Name, current)
	if err != nil || m == nil {
		return err == nil
	}
	defer m.Close()
	return m.Type() == spec.InnerMap.Type && m.KeySize() == spec.InnerMap.KeySize && m.ValueSize() == spec.InnerMap.ValueSize
}

func (g *growing[K, V]) array() bool { return g.spec.Type == ebpf.Array }

func (g *growing[K, V]) create(entries uint32) (*ebpf.Map, error) {
	spec := g.spec.Copy()
	spec.Name, spec.MaxEntries = g.name, entries
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, fmt.Errorf("make %s of %d entries: %w", g.name, entries, err)
	}
	return m, nil
}

// replace puts a map in the place of the one in use.
func (g *growing[K, V]) replace(next *ebpf.Map) error {
	if err := g.outer.Put(current, next); err != nil {
		next.Close()
		return fmt.Errorf("put %s in place: %w", g.name, err)
	}
	if g.inner != nil {
		g.inner.Close()
	}
	g.inner = next
	return nil
}

// grow makes room for need entries, or for as many as the limit allows. When it
// cannot, all stays as it is.
func (g *growing[K, V]) grow(need uint64) error {
	old := g.inner.MaxEntries()
	if need <= uint64(old) {
		return nil
	}
	err := error(nil)
	if size := g.larger(need); size > old {
		err = g.growTo(size)
	}
	if err == nil && need > uint64(g.limit) {
		err = fmt.Errorf("%d is the limit", g.limit)
	}
	if err != nil {
		return fmt.Errorf("%s is full and cannot grow from %d to %d entries: %w (what it holds stays in force)", g.name, old, need, err)
	}
	return nil
}

// larger is the size of a map that has need entries and room for some more.
func (g *growing[K, V]) larger(need uint64) uint32 {
	old := uint64(g.inner.MaxEntries())
	size := 2 * old
	if g.array() && old >= fineGrowth {
		size = old + old/8
	}
	if size < need {
		size = need + need/8
	}
	return uint32(min(size, uint64(g.limit)))
}

func (g *growing[K, V]) growTo(size uint32) error {
	next, err := g.create(size)
	if err != nil {
		return err
	}
	if err := copyAll[K, V](next, g.inner); err != nil {
		next.Close()
		return fmt.Errorf("copy: %w", err)
	}
	g.log.Info("map grows", "map", g.name, "from", g.inner.MaxEntries(), "to", size)
	return g.replace(next)
}

func (g *growing[K, V]) store() kernel[K, V] { return kernel[K, V]{g.inner} }

// Load implements Store.
func (g *growing[K, V]) Load() (map[K]V, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var zero V
	out := map[K]V{}
	err := batches(g.inner, func(keys []K, values []V) error {
		for i, k := range keys {
			if !g.array() || values[i] != zero {
				out[k] = values[i]
			}
		}
		return nil
	})
	if errors.Is(err, ebpf.ErrNotSupported) {
		return g.store().Load()
	}
	return out, err
}

// Put implements Store. What does not fit although the map grew as far as it
// could is not written; all else is.
func (g *growing[K, V]) Put(entries map[K]V) (written []K, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.array() {
		return g.putRows(entries)
	}
	rest := entries
	for {
		done, err := g.store().Put(rest)
		written = append(written, done...)
		if !errors.Is(err, unix.E2BIG) {
			return written, err
		}
		rest = without(rest, done)
		full := g.inner.MaxEntries()
		if err := g.grow(uint64(full) + uint64(len(rest))); err != nil && g.inner.MaxEntries() == full {
			return append(written, g.squeeze(rest)...), err
		}
	}
}

// putRows writes an array's rows: its size follows from the highest index.
func (g *growing[K, V]) putRows(entries map[K]V) (written []K, err error) {
	highest := uint64(0)
	for k := range entries {
		highest = max(highest, uint64(index(k)))
	}
	if err := g.grow(highest + 1); err != nil {
		fit := maps.Clone(entries)
		maps.DeleteFunc(fit, func(k K, _ V) bool { return index(k) >= g.inner.MaxEntries() })
		written, e := g.store().Put(fit)
		return written, errors.Join(err, e)
	}
	return g.store().Put(entries)
}

// index is the key of an array.
func index(k any) uint32 { return k.(uint32) }

// squeeze writes what needs no further room: entries that are there already.
func (g *growing[K, V]) squeeze(entries map[K]V) (written []K) {
	for k, v := range entries {
		if g.inner.Update(&k, &v, ebpf.UpdateExist) == nil {
			written = append(written, k)
		}
	}
	return written
}

func without[K comparable, V any](m map[K]V, keys []K) map[K]V {
	out := maps.Clone(m)
	for _, k := range keys {
		delete(out, k)
	}
	return out
}

// Delete implements Store.
func (g *growing[K, V]) Delete(keys []K) (deleted []K, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	there := keys
	if g.array() {
		there = slices.DeleteFunc(slices.Clone(keys), func(k K) bool { return index(k) >= g.inner.MaxEntries() })
	}
	if _, err := g.store().Delete(there); err != nil {
		return nil, err
	}
	return keys, nil
}

// shape is that of the inner map.
func (g *growing[K, V]) shape() (key, value, entries uint32, memory uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if info, err := g.inner.Info(); err == nil {
		memory, _ = info.Memlock()
	}
	return g.inner.KeySize(), g.inner.ValueSize(), g.inner.MaxEntries(), memory
}

func (g *growing[K, V]) most() uint32 { return g.limit }

func (g *growing[K, V]) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inner.Close()
}

// copyAll copies every entry.
func copyAll[K, V comparable](to, from *ebpf.Map) error {
	err := batches(from, func(keys []K, values []V) error {
		_, err := kernel[K, V]{to}.update(keys, values)
		return err
	})
	if errors.Is(err, ebpf.ErrNotSupported) {
		_, err = copyEntries(to, from)
	}
	return err
}

// batches reads a map, a few thousand entries at a time.
func batches[K, V any](m *ebpf.Map, see func([]K, []V) error) error {
	keys, values := make([]K, batch), make([]V, batch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		if err := see(keys[:n], values[:n]); err != nil {
			return err
		}
		if err != nil {
			return nil
		}
	}
}
