package run

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
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
	tell  func(took time.Duration, err error) // how a request went; nil: nobody asks
	older rest.Interface                      // of an older version, where rest's is not served; nil: none
}

// run follows the kind until ctx ends, and from the start where history does.
func (w watch) run(ctx context.Context, h *history) error {
	tune := w.tune
	if tune == nil {
		tune = func(*metav1.ListOptions) {}
	}
	lw := w.told(w.served(tune))
	h.during(ctx, func(ctx context.Context) { // a reflector remembers versions
		cache.NewReflectorWithOptions(lw, w.of, w.store, cache.ReflectorOptions{Name: w.name}).RunWithContext(ctx)
	})
	return nil
}

// told tells of each list and the beginning of each watch how it went: duties that wait for
// the kind say nothing of why.
func (w watch) told(lw *cache.ListWatch) *cache.ListWatch {
	list, begin := lw.ListWithContextFunc, lw.WatchFuncWithContext
	if w.tell == nil {
		return lw
	}
	lw.ListWithContextFunc = func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		began := time.Now()
		out, err := list(ctx, o)
		w.tell(time.Since(began), w.wayOut(ctx, err))
		return out, err
	}
	lw.WatchFuncWithContext = func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
		began := time.Now()
		out, err := begin(ctx, o)
		w.tell(time.Since(began), w.wayOut(ctx, err))
		return out, err
	}
	return lw
}

// wayOut is an error that says what to do about it, where there is something, and nil
// where reflectors get over it by themselves.
func (w watch) wayOut(ctx context.Context, err error) error {
	where := w.name
	if group := w.rest.APIVersion().Group; group != "" {
		where += "." + group
	}
	switch {
	case err == nil || ctx.Err() != nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err):
		return nil
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: let the operator's ClusterRole get, list and watch %s", err, where)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s: %w: create its CustomResourceDefinition", where, err)
	}
	return fmt.Errorf("%s: %w", where, err)
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
