package datapath

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
)

// Memory is a Store without a kernel, for tests. It holds at most Max entries
// when Max is not zero.
type Memory[K comparable, V comparable] struct {
	Max     int
	entries map[K]V
	Writes  int // entries written or deleted since it was made
}

// Load implements Store.
func (s *Memory[K, V]) Load() (map[K]V, error) {
	out := maps.Clone(s.entries)
	if out == nil {
		out = map[K]V{}
	}
	return out, nil
}

// Put implements Store.
func (s *Memory[K, V]) Put(entries map[K]V) (written []K, err error) {
	if s.entries == nil {
		s.entries = map[K]V{}
	}
	for k, v := range entries {
		if _, ok := s.entries[k]; !ok && s.Max > 0 && len(s.entries) >= s.Max {
			return written, fmt.Errorf("full: %d of %d entries in use", len(s.entries), s.Max)
		}
		s.entries[k] = v
		s.Writes++
		written = append(written, k)
	}
	return written, nil
}

// Delete implements Store.
func (s *Memory[K, V]) Delete(keys []K) (deleted []K, err error) {
	for _, k := range keys {
		delete(s.entries, k)
		s.Writes++
	}
	return keys, nil
}

// kernel is a Store over a BPF map of any kind.
type kernel[K comparable, V comparable] struct {
	m *ebpf.Map
}

// array reports that entries are never absent: deleting one writes zeroes, and
// zeroes are not loaded.
func (s kernel[K, V]) array() bool { return s.m.Type() == ebpf.Array }

func (s kernel[K, V]) Load() (map[K]V, error) {
	var (
		k    K
		v    V
		zero V
		out  = map[K]V{}
		it   = s.m.Iterate()
	)
	for it.Next(&k, &v) {
		if !s.array() || v != zero {
			out[k] = v
		}
	}
	return out, it.Err()
}

// batch is the number of entries one system call writes.
const batch = 4096

func (s kernel[K, V]) Put(entries map[K]V) (written []K, err error) {
	keys := slices.Collect(maps.Keys(entries))
	for chunk := range slices.Chunk(keys, batch) {
		values := make([]V, len(chunk))
		for i, k := range chunk {
			values[i] = entries[k]
		}
		n, err := s.update(chunk, values)
		written = append(written, chunk[:n]...)
		if err != nil {
			return written, s.explain(err)
		}
	}
	return written, nil
}

func (s kernel[K, V]) update(keys []K, values []V) (n int, err error) {
	if len(keys) > 8 {
		n, err = s.m.BatchUpdate(keys, values, nil)
		if !errors.Is(err, ebpf.ErrNotSupported) {
			return n, err
		}
	}
	for i := range keys {
		if err := s.m.Put(&keys[i], &values[i]); err != nil {
			return i, err
		}
	}
	return len(keys), nil
}

func (s kernel[K, V]) Delete(keys []K) (deleted []K, err error) {
	var zero V
	for i := range keys {
		var err error
		if s.array() {
			err = s.m.Put(&keys[i], &zero)
		} else {
			err = s.m.Delete(&keys[i])
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return keys[:i], err
		}
	}
	return keys, nil
}

func (s kernel[K, V]) explain(err error) error {
	if errors.Is(err, ebpf.ErrKeyExist) || s.m == nil {
		return err
	}
	return fmt.Errorf("%w (the map has room for %d entries)", err, s.m.MaxEntries())
}
