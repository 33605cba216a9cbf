package datapath

import (
	"fmt"
	"maps"
	"sync"
)

// Store is where a mirror's entries live: a BPF map, or memory in tests.
type Store[K comparable, V comparable] interface {
	// Load returns every entry.
	Load() (map[K]V, error)
	// Put inserts or replaces entries. On error it reports which were written.
	Put(entries map[K]V) (written []K, err error)
	// Delete removes entries; one that is not there is not an error.
	Delete(keys []K) (deleted []K, err error)
}

// Changes counts what an Apply wrote.
type Changes struct{ Added, Updated, Deleted int }

// Any reports whether anything was written.
func (c Changes) Any() bool { return c != Changes{} }

// Mirror is the only writer of one BPF map. It knows what the map holds, so
// that it writes only what differs: a restart writes nothing.
type Mirror[K comparable, V comparable] struct {
	name  string
	store Store[K, V]

	mu      sync.Mutex
	held    map[K]V // what the store holds
	desired map[K]V // what it should hold
	errors  int     // writes that failed at the last attempt
	ops     Ops
}

// Ops counts entries that were written and deleted since a mirror was opened.
type Ops struct{ Updated, Deleted, Failed uint64 }

// OpenMirror reads the store back.
func OpenMirror[K comparable, V comparable](name string, store Store[K, V]) (*Mirror[K, V], error) {
	held, err := store.Load()
	if err != nil {
		return nil, fmt.Errorf("read back %s: %w", name, err)
	}
	return &Mirror[K, V]{name: name, store: store, held: held, desired: maps.Clone(held)}, nil
}

// Apply makes the store hold exactly desired. Entries that go are deleted
// before others are written, so that a full map can change its content. On
// error the mirror knows what was written and the next Apply goes on from there.
func (m *Mirror[K, V]) Apply(desired map[K]V) (Changes, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.desired = maps.Clone(desired)
	var gone []K
	for k := range m.held {
		if _, ok := desired[k]; !ok {
			gone = append(gone, k)
		}
	}
	put := map[K]V{}
	for k, v := range desired {
		if old, ok := m.held[k]; !ok || old != v {
			put[k] = v
		}
	}
	return m.write(put, gone)
}

// Set writes one entry, if it differs.
func (m *Mirror[K, V]) Set(k K, v V) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.desired[k] = v
	if old, ok := m.held[k]; ok && old == v {
		return nil
	}
	_, err := m.write(map[K]V{k: v}, nil)
	return err
}

// Delete removes one entry, if it is there.
func (m *Mirror[K, V]) Delete(k K) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.desired, k)
	if _, ok := m.held[k]; !ok {
		return nil
	}
	_, err := m.write(nil, []K{k})
	return err
}

// Write writes some entries and deletes others, and leaves the rest as it is:
// what the store holds already is not written. Entries that go, go first.
func (m *Mirror[K, V]) Write(put map[K]V, gone []K) (Changes, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	differs, there := make(map[K]V, len(put)), make([]K, 0, len(gone))
	for _, k := range gone {
		delete(m.desired, k)
		if _, ok := m.held[k]; ok {
			there = append(there, k)
		}
	}
	for k, v := range put {
		m.desired[k] = v
		if old, ok := m.held[k]; !ok || old != v {
			differs[k] = v
		}
	}
	if len(differs) == 0 && len(there) == 0 {
		return Changes{}, nil
	}
	return m.write(differs, there)
}

// Held returns what the store holds.
func (m *Mirror[K, V]) Held() map[K]V {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.held)
}

// Get returns what the store holds under k.
func (m *Mirror[K, V]) Get(k K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.held[k]
	return v, ok
}

// Desired returns what the store should hold.
func (m *Mirror[K, V]) Desired() map[K]V {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.desired)
}

// Len is how many entries the store holds.
func (m *Mirror[K, V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.held)
}

// Ops counts what was written.
func (m *Mirror[K, V]) Ops() Ops {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// Errors is the number of writes that failed at the last attempt.
func (m *Mirror[K, V]) Errors() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.errors
}

func (m *Mirror[K, V]) write(put map[K]V, gone []K) (c Changes, err error) {
	defer func() {
		m.ops.Updated += uint64(c.Added + c.Updated)
		m.ops.Deleted += uint64(c.Deleted)
		m.ops.Failed += uint64(m.errors)
	}()
	deleted, err := m.store.Delete(gone)
	for _, k := range deleted {
		delete(m.held, k)
		c.Deleted++
	}
	if err != nil {
		m.errors = len(gone) - len(deleted) + len(put)
		return c, fmt.Errorf("delete from %s: %w", m.name, err)
	}
	written, err := m.store.Put(put)
	for _, k := range written {
		if _, ok := m.held[k]; ok {
			c.Updated++
		} else {
			c.Added++
		}
		m.held[k] = put[k]
	}
	m.errors = len(put) - len(written)
	if err != nil {
		return c, fmt.Errorf("write %s: %w", m.name, err)
	}
	return c, nil
}
