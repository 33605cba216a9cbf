// Package table holds rows of one type in memory: keyed, versioned, watchable.
//
// A table is the only thing that two features share: one writes rows, the
// others read them and are woken when they change. There are no transactions
// across tables; a reader must be right for any combination of versions.
//
// It does not persist anything and it knows nothing about the rows it holds.
package table

import (
	"iter"
	"maps"
	"slices"
	"sync"
)

// Row is what every table holds: an immutable value that can print itself.
type Row interface {
	// Columns returns the cells of the row, one for each of the table's headings.
	Columns() []string
}

// Table is a set of rows keyed by K. A row is never changed after Put; to
// update one, put a new row under the same key.
type Table[K comparable, R Row] struct {
	name string
	key  func(R) K

	mu      sync.RWMutex
	rows    map[K]R
	log     []change[K]              // who changed when, oldest first
	rev     uint64                   // bumped by every commit
	horizon uint64                   // changes up to this revision are forgotten
	synced  bool                     // the writer has put everything it knew at start
	wake    map[chan<- struct{}]bool // told, without blocking, of every commit
}

type change[K comparable] struct {
	key K
	rev uint64
}

// keep is how many changes are remembered at least, beside two for each row: a
// reader that lags further behind is told to read everything again.
const keep = 1024

// New returns an empty table. The key function names a row.
func New[K comparable, R Row](name string, key func(R) K) *Table[K, R] {
	return &Table[K, R]{
		name: name,
		key:  key,
		rows: map[K]R{},
		wake: map[chan<- struct{}]bool{},
	}
}

// Name is the table's name, as `weir table NAME` takes it.
func (t *Table[K, R]) Name() string { return t.name }

// Put inserts or replaces rows in one commit.
func (t *Table[K, R]) Put(rows ...R) {
	t.commit(func(rev uint64) {
		for _, r := range rows {
			t.put(t.key(r), r, rev)
		}
	})
}

// Delete removes rows in one commit. A missing key is not an error.
func (t *Table[K, R]) Delete(keys ...K) {
	t.commit(func(rev uint64) {
		for _, k := range keys {
			t.drop(k, rev)
		}
	})
}

// Replace makes the rows the whole content of the table in one commit. Rows
// for which same returns true keep their revision, so that readers of Changes
// see only what differs.
func (t *Table[K, R]) Replace(rows []R, same func(a, b R) bool) {
	t.commit(func(rev uint64) {
		next := make(map[K]bool, len(rows))
		for _, r := range rows {
			k := t.key(r)
			next[k] = true
			if old, ok := t.rows[k]; ok && same(old, r) {
				continue
			}
			t.put(k, r, rev)
		}
		for k := range t.rows {
			if !next[k] {
				t.drop(k, rev)
			}
		}
	})
}

// Get returns the row under k.
func (t *Table[K, R]) Get(k K) (R, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r, ok := t.rows[k]
	return r, ok
}

// Len is the number of rows.
func (t *Table[K, R]) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.rows)
}

// All iterates over the rows as they were when All was called, in no order.
func (t *Table[K, R]) All() iter.Seq2[K, R] {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return maps.All(maps.Clone(t.rows))
}

// Rows returns all rows, sorted by less.
func (t *Table[K, R]) Rows(less func(a, b R) int) []R {
	var out []R
	for _, r := range t.All() {
		out = append(out, r)
	}
	slices.SortFunc(out, less)
	return out
}

// Change is one row that was put, or one key that was deleted.
type Change[K comparable, R any] struct {
	Key     K
	Row     R // the zero value when Deleted
	Deleted bool
}

// Changes returns what differs between revision since and now, and the
// revision to ask from next time; its cost is that of the changes. When whole is
// true the table does not remember that far back (or since is 0): the changes
// then are all rows, and whatever they do not name is gone.
func (t *Table[K, R]) Changes(since uint64) (changes []Change[K, R], rev uint64, whole bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.rev > 0 && (since == 0 || since < t.horizon) {
		for k, r := range t.rows {
			changes = append(changes, Change[K, R]{Key: k, Row: r})
		}
		return changes, t.rev, true
	}
	seen := map[K]bool{}
	for i := len(t.log) - 1; i >= 0 && t.log[i].rev > since; i-- {
		k := t.log[i].key
		if seen[k] {
			continue
		}
		seen[k] = true
		r, ok := t.rows[k]
		changes = append(changes, Change[K, R]{Key: k, Row: r, Deleted: !ok})
	}
	return changes, t.rev, false
}

// MarkSynced says that the writer has put every row it knew when it started.
// Nothing derived from the table may be deleted before that.
func (t *Table[K, R]) MarkSynced() { t.commit(func(uint64) { t.synced = true }) }

// Synced reports whether MarkSynced was called.
func (t *Table[K, R]) Synced() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.synced
}

// Notify sends to wake after every commit that changes anything until stop is called. The send never
// blocks: give wake room for one, and a burst of commits is one wake-up.
func (t *Table[K, R]) Notify(wake chan<- struct{}) (stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wake[wake] = true
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.wake, wake)
	}
}

func (t *Table[K, R]) put(k K, r R, rev uint64) {
	t.rows[k] = r
	t.log = append(t.log, change[K]{k, rev})
}

func (t *Table[K, R]) drop(k K, rev uint64) {
	if _, ok := t.rows[k]; !ok {
		return
	}
	delete(t.rows, k)
	t.log = append(t.log, change[K]{k, rev})
}

// forget drops the older half of a log that has grown too long.
func (t *Table[K, R]) forget() {
	if len(t.log) <= keep+2*len(t.rows) {
		return
	}
	half := len(t.log) / 2
	t.horizon = t.log[half-1].rev
	t.log = slices.Clone(t.log[half:])
}

func (t *Table[K, R]) commit(fn func(rev uint64)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	entries, synced := len(t.log), t.synced
	fn(t.rev + 1)
	if len(t.log) == entries && t.synced == synced {
		return
	}
	t.rev++
	t.forget()
	for w := range t.wake {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}
