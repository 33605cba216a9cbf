// Package files is the source that reads a directory: the Kubernetes objects
// of every *.yaml, *.yml and *.json file in it become rows, and the rows follow
// when files change, appear or go. It serves the lab, and hosts without
// Kubernetes.
//
// A document that is wrong becomes a row of the table of problems; the last
// good version of its object stays, also after a restart, and every other object
// applies. Files whose name begins with a dot, and kinds that the agent does not
// use, are passed over. The package writes nothing into the directory and does
// not look into its folders.
package files

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/source/convert"
	"weir/state"
)

const (
	rescan = 5 * time.Second // catches what no event told, as on network file systems
	quiet  = time.Second     // a file that nobody said was closed is read when it rested so long
	limit  = 2 * time.Second // for how long a start waits for files to rest
)

// Source keeps the tables in step with a directory.
type Source struct {
	log    *slog.Logger
	dir    string
	scope  convert.Scope
	tables *state.Tables

	files  map[string]*file // by name
	good   map[objectKey]row
	store  store
	failed string // why the directory cannot be read, "" when it can

	young map[string]bool // files that the last scan left alone
	rests time.Duration   // until the first of them has rested
}

// file is what was last read from one file.
type file struct {
	stamp    stamp
	entries  []entry
	problems []state.Problem
	unsure   bool // it may hold objects that could not be told: keep those it had
}

// stamp differs when a file may have changed.
type stamp struct {
	size int64
	time time.Time
}

// New returns a source that reads dir.
func New(log *slog.Logger, dir string, scope convert.Scope, tables *state.Tables) *Source {
	return &Source{
		log:    log,
		dir:    dir,
		scope:  scope,
		tables: tables,
		files:  map[string]*file{},
		good:   map[objectKey]row{},
		store:  store{log: log},
	}
}

// Keep makes the source keep the last good version of every object in a folder
// of its own, to find it there when it is started anew. Without it, a start
// knows none. It is called before Run.
func (s *Source) Keep(dir string) { s.store.dir = dir }

// Run reads the directory, marks the tables synced and follows changes until
// ctx ends. It fails when the directory does not exist at start; when it goes
// later, the rows stay and a problem says so.
func (s *Source) Run(ctx context.Context) error {
	info, err := os.Stat(s.dir)
	if err != nil {
		return fmt.Errorf("read source.files: %w: create the directory, or set source.files to the one with the cluster's objects", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("read source.files: %s is not a directory: set source.files to the one with the cluster's objects", s.dir)
	}
	w, err := newWatch(s.dir)
	if err != nil {
		return err
	}
	defer w.close()
	events := w.follow(ctx)

	if err := s.store.load(); err != nil {
		s.log.Warn("objects that are refused now have no good version", "err", err)
	}
	s.start(ctx, events)
	s.publish()
	s.synced()
	s.log.Info("source read", "dir", s.dir, "files", len(s.files), "objects", len(s.good), "problems", s.tables.Problems.Len())

	tick := time.NewTicker(rescan)
	defer tick.Stop()
	for {
		changed := false
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			w.renew(s.log)
			changed = s.scan(false) || s.store.failed != ""
		case names := <-events:
			changed = s.follow(names)
		}
		if changed {
			s.publish()
		}
	}
}

// start reads the directory for the first time. A file that changed a moment ago
// is waited for, as in every scan: what is missing in half a file would go. When
// it does not rest, what an earlier agent knew of it counts until it does.
func (s *Source) start(ctx context.Context, events <-chan []string) {
	late := time.NewTimer(limit)
	defer late.Stop()
	for s.scan(false); len(s.young) > 0; s.scan(false) {
		select {
		case <-ctx.Done(): // what is wanted is what is there now
			s.scan(true)
			return
		case names := <-events:
			s.follow(names)
		case <-time.After(s.rests):
		case <-late.C:
			for name := range s.young {
				s.hurry(name)
			}
			return
		}
	}
}

// hurry makes do with a file that is still being written.
func (s *Source) hurry(name string) {
	switch {
	case s.files[name] != nil: // of an event
	case s.store.has(name):
		s.log.Info("file does not rest, its last good content counts meanwhile", "file", name)
		s.files[name] = &file{unsure: true}
	default:
		s.read(name)
	}
}

// follow reads the files that events named; no names means any may have changed.
func (s *Source) follow(names []string) (changed bool) {
	if len(names) == 0 {
		return s.scan(true)
	}
	for _, name := range names {
		changed = s.read(name) || changed
	}
	return changed
}

// scan compares the directory with what was read. Unless all is set, it leaves
// files alone that changed a moment ago: somebody may be writing them still,
// and half a file is a valid one in which objects are missing.
func (s *Source) scan(all bool) (changed bool) {
	s.young = map[string]bool{}
	list, err := os.ReadDir(s.dir)
	if err != nil {
		changed = s.failed != err.Error()
		s.failed = err.Error()
		return changed
	}
	changed = s.failed != ""
	s.failed = ""
	seen := map[string]bool{}
	for _, e := range list {
		name := e.Name()
		if !wanted(name) {
			continue
		}
		seen[name] = true
		info, err := os.Stat(filepath.Join(s.dir, name)) // follows a link, as in a mounted ConfigMap
		if err == nil && s.files[name] != nil && s.files[name].stamp == stampOf(info) {
			continue
		}
		if err == nil && !all {
			if age := time.Since(info.ModTime()); age >= 0 && age < quiet {
				if len(s.young) == 0 || quiet-age < s.rests {
					s.rests = quiet - age
				}
				s.young[name] = true
				continue
			}
		}
		changed = s.read(name) || changed
	}
	for name := range s.files {
		if !seen[name] {
			delete(s.files, name)
			changed = true
		}
	}
	return changed
}

// maxFile bounds what is read into memory: some 50,000 pods.
const maxFile = 64 << 20

// read parses one file; a missing one is forgotten with its objects.
func (s *Source) read(name string) (changed bool) {
	path := filepath.Join(s.dir, name)
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return false
	}
	var data []byte
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("is a %s, not a file: reading it could take for ever", info.Mode().Type())
	case info.Size() > maxFile:
		err = fmt.Errorf("has %d bytes, more than %d: split it", info.Size(), maxFile)
	default:
		data, err = os.ReadFile(path)
	}
	if os.IsNotExist(err) {
		_, had := s.files[name]
		delete(s.files, name)
		return had
	}
	if err != nil {
		p := state.Problem{Key: state.ProblemKey{File: name, Object: "file"}, Error: err.Error()}
		s.files[name] = &file{problems: []state.Problem{p}, unsure: true}
		return true
	}
	f := load(name, data, s.scope)
	f.stamp = stampOf(info)
	s.files[name] = f
	return true
}

func stampOf(info fs.FileInfo) stamp { return stamp{info.Size(), info.ModTime()} }

// wanted reports whether a file of this name holds objects.
func wanted(name string) bool {
	ext := filepath.Ext(name)
	return !strings.HasPrefix(name, ".") && (ext == ".yaml" || ext == ".yml" || ext == ".json")
}

// names returns the files in the order in which they count.
func (s *Source) names() []string { return slices.Sorted(maps.Keys(s.files)) }
