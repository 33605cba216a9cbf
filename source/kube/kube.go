// Package kube is the source that follows a cluster's API server: its objects
// become rows, and the rows follow as objects change.
//
// It holds no objects. What a server tells is trimmed, kept on disk (journal) and
// put into the tables. While no server answers, or after a start without one, the
// last known objects stay in force: nothing but a server that says so removes a
// row, and one that says it of very many is asked twice. What each fault does
// stands in docs/kubernetes.md. The package writes nothing into the cluster.
package kube

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2" //nolint:depguard // what client-go logs is not wanted

	"weir/internal/journal"
	"weir/internal/run"
	"weir/source/convert"
	"weir/source/kube/connect"
	"weir/state"
)

// Options is the source's part of the configuration.
type Options struct {
	Scope   convert.Scope
	Connect connect.Options
	Dir     string // where the last known objects are kept

	Patience time.Duration // a start waits so long for a server before it uses what is known; default 500 ms
	Confirm  time.Duration // a list that lacks more than a quarter is asked for again so much later; default 5 s
	Grace    time.Duration // what the list of a restored server lacks stays so long; default 5 min
}

// Source keeps the tables in step with a cluster.
type Source struct {
	log    *slog.Logger
	opts   Options
	tables *state.Tables
	conn   *connect.Conn

	journal *journal.Journal
	stores  []*store
	shared  sharer
	ears    ears
	untold  atomic.Int32  // kinds whose tables do not know all yet
	all     chan struct{} // closed when there are none
}

// New returns a source that fills the tables.
func New(log *slog.Logger, o Options, tables *state.Tables) *Source {
	if o.Patience == 0 {
		o.Patience = 500 * time.Millisecond
	}
	if o.Confirm == 0 {
		o.Confirm = 5 * time.Second
	}
	if o.Grace == 0 {
		o.Grace = 5 * time.Minute
	}
	o.Connect.StateDir = o.Dir
	s := &Source{log: log, opts: o, tables: tables, conn: connect.New(log, o.Connect), all: make(chan struct{})}
	out := sinks(tables)
	for _, k := range kinds() {
		s.stores = append(s.stores, newStore(s, k, s.learning(k, out[k.name])))
		s.untold.Add(1)
	}
	return s
}

// Connection carries requests of others to the server that answers.
func (s *Source) Connection() http.RoundTripper { return s.conn }

// Run follows the cluster until ctx ends. It fails when what is known cannot be
// kept on disk at all; that no server answers is no failure.
func (s *Source) Run(ctx context.Context) error {
	var err error
	if s.journal, err = journal.Open(s.log, filepath.Join(s.opts.Dir, "journal")); err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	s.tables.Problems.MarkSynced()
	g := run.New(klog.NewContext(ctx, klog.New(nil))) // what reflectors say of failures is in the table of problems
	g.Go("journal", s.journal.Run)
	g.Go("connection", s.conn.Run)
	for _, st := range s.stores {
		f := &follower{store: st}
		if err := f.connect(s.conn); err != nil {
			g.Stop()
			return fmt.Errorf("client of %s: %w", st.where(), err)
		}
		g.Go(st.name, func(ctx context.Context) error { f.run(ctx); return nil })
	}
	g.Go("last known", func(ctx context.Context) error { s.fallBack(ctx); return nil })
	g.Go("memory", func(ctx context.Context) error { s.shrink(ctx); return nil })
	return g.Wait()
}

// retry is how a kind that fails is asked for again: soon, and then not too often.
var retry = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 20, Cap: 10 * time.Second}

func (f *follower) run(ctx context.Context) {
	backoff := retry
	lw := &cache.ListWatch{ListWithContextFunc: f.ListWithContext, WatchFuncWithContext: f.WatchWithContext}
	r := cache.NewReflectorWithOptions(lw, &entry{}, f.store, cache.ReflectorOptions{Name: f.where(), Backoff: &backoff})
	var wg sync.WaitGroup
	wg.Go(func() { f.runConfirm(ctx, f.entries) })
	r.RunWithContext(ctx)
	wg.Wait()
}

// load puts the rows of the journal into the tables.
func (s *Source) load() error {
	began := time.Now()
	rows := map[*store][]any{}
	byKind := map[string]*store{}
	for _, st := range s.stores {
		byKind[st.name] = st
	}
	err := s.journal.Load(func(r journal.Record) {
		st := byKind[r.Kind]
		if st == nil {
			return // of a build that read more
		}
		if r.Name == "" {
			st.complete = true
			return
		}
		namespace, name, _ := strings.Cut(r.Name, "/")
		row, err := st.restore(r, key{namespace, name})
		if err != nil {
			s.log.Warn("a known object is of no use to this build", "kind", r.Kind, "object", r.Name, "err", err)
			return
		}
		rows[st] = append(rows[st], row)
	})
	if err != nil {
		return err
	}
	n := 0
	for _, st := range s.stores {
		if len(rows[st]) > 0 {
			st.out.put(rows[st])
			n += len(rows[st])
		}
	}
	s.log.Info("known objects read", "objects", n, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// fallBack uses what is known when servers let a start wait.
func (s *Source) fallBack(ctx context.Context) {
	late := time.NewTimer(s.opts.Patience)
	defer late.Stop()
	select {
	case <-ctx.Done():
		return
	case <-late.C:
	case <-s.conn.Searched():
		if s.conn.State().OK {
			select {
			case <-ctx.Done():
				return
			case <-late.C:
			}
		}
	}
	var used []string
	for _, st := range s.stores {
		st.mu.Lock()
		if st.complete && !st.synced {
			st.mark()
			used = append(used, st.name)
		}
		st.mu.Unlock()
	}
	if len(used) > 0 {
		s.log.Info("the last known objects are in force until a server tells newer ones", "kinds", used)
	}
}

// shrink gives back what the first lists of a large cluster have left behind,
// which is more than the rows, once the journal has them.
func (s *Source) shrink(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-s.all:
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
		debug.FreeOSMemory()
	}
}

// Status is how the source is doing.
type Status struct {
	connect.State
	APIs []string // what is watched, sorted
	Kept error    // why what is known is not on disk, or nil
}

// Status returns how the source is doing now.
func (s *Source) Status() Status {
	out := Status{State: s.conn.State(), APIs: []string{}}
	for _, st := range s.stores {
		st.mu.Lock()
		if st.watched && out.OK {
			out.APIs = append(out.APIs, strings.Replace(st.label, st.group.Version, st.versions()[st.served].Version, 1))
		}
		st.mu.Unlock()
	}
	slices.Sort(out.APIs)
	if s.journal != nil {
		out.Kept = s.journal.Failed()
	}
	return out
}
