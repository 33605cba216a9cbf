package run

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"weir/internal/table"
)

// kubeObject is what all objects can do.
type kubeObject interface {
	metav1.Object
	runtime.Object
}

// watch is one kind that a table follows. The table is synced after the first
// list that succeeded, and never emptied because one failed.
type watch struct {
	name  string
	rest  rest.Interface
	from  string // a namespace; empty: all
	tune  func(*metav1.ListOptions)
	of    runtime.Object
	store cache.ReflectorStore
}

// Run follows the kind until ctx ends.
func (w watch) Run(ctx context.Context) error {
	tune := w.tune
	if tune == nil {
		tune = func(*metav1.ListOptions) {}
	}
	lw := cache.NewFilteredListWatchFromClient(w.rest, w.name, w.from, tune)
	cache.NewReflectorWithOptions(lw, w.of, w.store, cache.ReflectorOptions{Name: w.name}).RunWithContext(ctx)
	return nil
}

// sink puts the objects of a reflector into a table.
type sink[K comparable, R table.Row, O kubeObject] struct {
	table *table.Table[K, R]
	key   func(O) K
	row   func(O) R
	same  func(a, b R) bool
}

// into is a sink of a table: it says what key and row an object has, and which rows
// are the same.
func into[K comparable, R table.Row, O kubeObject](t *table.Table[K, R], key func(O) K, row func(O) R, same func(a, b R) bool) sink[K, R, O] {
	return sink[K, R, O]{t, key, row, same}
}

// judged is into for objects that may be refused: the last version that was accepted
// counts, as it does on agents, and without one what bare says.
func judged[K comparable, R table.Row, O kubeObject](t *table.Table[K, R], key func(O) K, row func(O) (R, error), bare func(O) R, same func(a, b R) bool) sink[K, R, O] {
	return into(t, key, func(o O) R {
		r, err := row(o)
		if err == nil {
			return r
		}
		if old, ok := t.Get(key(o)); ok {
			return old
		}
		return bare(o)
	}, same)
}

func (s sink[K, R, O]) object(obj any) (O, error) {
	o, ok := obj.(O)
	if !ok {
		return o, fmt.Errorf("%s: the API server sent a %T", s.table.Name(), obj)
	}
	return o, nil
}

func (s sink[K, R, O]) put(obj any) error {
	o, err := s.object(obj)
	if err != nil {
		return err
	}
	r := s.row(o)
	if old, ok := s.table.Get(s.key(o)); ok && s.same(old, r) {
		return nil
	}
	s.table.Put(r)
	return nil
}

// Add implements cache.ReflectorStore.
func (s sink[K, R, O]) Add(obj any) error { return s.put(obj) }

// Update implements cache.ReflectorStore.
func (s sink[K, R, O]) Update(obj any) error { return s.put(obj) }

// Delete implements cache.ReflectorStore.
func (s sink[K, R, O]) Delete(obj any) error {
	o, err := s.object(obj)
	if err == nil {
		s.table.Delete(s.key(o))
	}
	return err
}

// Replace implements cache.ReflectorStore.
func (s sink[K, R, O]) Replace(list []any, _ string) error {
	rows := make([]R, 0, len(list))
	for _, obj := range list {
		o, err := s.object(obj)
		if err != nil {
			return err
		}
		rows = append(rows, s.row(o))
	}
	s.table.Replace(rows, s.same)
	s.table.MarkSynced()
	return nil
}

// Resync implements cache.ReflectorStore.
func (sink[K, R, O]) Resync() error { return nil }
