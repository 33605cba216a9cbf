// Package journal keeps the last known objects of a cluster on disk, for an agent
// that starts while no API server answers, or that wants to know what the one before
// it knew.
//
// It appends a line for each change and rewrites itself when half of it is old.
// Every line has a sum, so that what a crash has left of one is told from a whole
// one. Objects are kept as JSON of the API and not as rows, whose form is another
// in the next build. The package does not know what the objects mean.
package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	flushEvery = 50 * time.Millisecond
	syncEvery  = time.Second // so much a power cut may cost; a crash of the agent costs one flush
	maxPending = 64 << 20    // of what cannot be written: beyond it the disk has older objects
	manyFiles  = 16          // each start begins one
)

// Record is one line: an object that is there, one that has gone (without
// Object), or, without Name, that all objects of the kind have been told.
type Record struct {
	Kind    string          `json:"k,omitempty"`
	Name    string          `json:"n,omitempty"` // "namespace/name", or "/name"
	Version uint64          `json:"v,omitempty"`
	Object  json.RawMessage `json:"o,omitempty"`
	Reset   bool            `json:"r,omitempty"` // what stands before counts no longer
}

var table = crc32.MakeTable(crc32.Castagnoli)

// line is a record as it is written.
func (r Record) line() []byte {
	data, err := json.Marshal(r)
	if err != nil {
		return nil // strings encode always, and objects come encoded
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(data, table), data)
}

// parse is the reverse; false means that the line is not whole.
func parse(line []byte) (Record, bool) {
	var r Record
	sum, data, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if !ok || string(sum) != fmt.Sprintf("%08x", crc32.Checksum(data, table)) {
		return r, false
	}
	return r, json.Unmarshal(data, &r) == nil
}

// Journal is a folder of such lines. One process writes it at a time.
type Journal struct {
	log *slog.Logger
	dir string

	wake    chan struct{} // something is pending
	mu      sync.Mutex
	pending bytes.Buffer // lines that are not written yet
	failed  error        // why they are not

	segment int // number of the file that is appended to
	file    *os.File
	size    int64 // of the file
	total   int64 // of all files
	files   int   // how many there are
	floor   int64 // what was left after the last rewriting
	synced  time.Time
	dirty   bool
}

// Open opens the journal of a folder, which it makes. What is in it is read by
// Load; what is appended goes into a file of its own.
func Open(log *slog.Logger, dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of known objects: %w", err)
	}
	j := &Journal{log: log, dir: dir, wake: make(chan struct{}, 1)}
	list, err := j.segments()
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		j.segment = n
		info, err := os.Stat(j.path(n))
		if err == nil && info.Size() == 0 && os.Remove(j.path(n)) == nil {
			continue // of a start that had nothing to add
		}
		j.files++
		if err == nil {
			j.total += info.Size()
		}
	}
	j.floor = j.total
	return j, j.next()
}

func (j *Journal) path(n int) string { return filepath.Join(j.dir, fmt.Sprintf("objects-%08d.log", n)) }

// segments are the numbers of the files, oldest first.
func (j *Journal) segments() ([]int, error) {
	list, err := os.ReadDir(j.dir) // in the order of names
	if err != nil {
		return nil, fmt.Errorf("read known objects: %w", err)
	}
	var out []int
	for _, e := range list {
		var n int
		if _, err := fmt.Sscanf(e.Name(), "objects-%d.log", &n); err == nil && j.path(n) == filepath.Join(j.dir, e.Name()) {
			out = append(out, n)
		}
	}
	return out, nil
}

// next begins a new file.
func (j *Journal) next() error {
	f, err := os.OpenFile(j.path(j.segment+1), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep known objects: %w", err)
	}
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.size = f, 0
	j.segment++
	j.files++
	return nil
}

// Put says that an object is there, or is another now.
func (j *Journal) Put(kind, name string, version uint64, object []byte) {
	j.add(Record{Kind: kind, Name: name, Version: version, Object: object})
}

// Delete says that an object has gone.
func (j *Journal) Delete(kind, name string) { j.add(Record{Kind: kind, Name: name}) }

// Complete says that every object of a kind has been told.
func (j *Journal) Complete(kind string) { j.add(Record{Kind: kind}) }

func (j *Journal) add(r Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.pending.Len() < maxPending {
		j.pending.Write(r.line())
	}
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// unsettled reports whether something is still to be written, or to reach the disk.
func (j *Journal) unsettled() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.pending.Len() > 0 || j.dirty
}

// Failed says why what is known is not on disk, or is nil.
func (j *Journal) Failed() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failed
}

// Run writes what is told until ctx ends, and then the rest of it. It sleeps while there
// is nothing to write.
func (j *Journal) Run(ctx context.Context) error {
	defer func() { j.file.Close() }()
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			j.flush(true)
			return nil
		case <-j.wake:
			if due == nil {
				due = time.After(flushEvery)
			}
			continue
		case <-due:
		}
		j.flush(false)
		if due = nil; j.unsettled() {
			due = time.After(flushEvery)
		}
		if j.total > 2*j.floor+minRewrite || j.files > manyFiles {
			if err := j.rewrite(); err != nil {
				j.log.Warn("known objects are not rewritten", "err", err)
				j.floor, j.files = j.total, 0 // not again at once
			}
		}
	}
}

// flush writes what is pending. When it cannot, it stays pending, and the file
// ends where it ended before.
func (j *Journal) flush(last bool) {
	j.mu.Lock()
	buffer := j.pending
	j.pending = bytes.Buffer{}
	j.mu.Unlock()
	var err error
	if buffer.Len() > 0 {
		var n int
		if n, err = j.file.Write(buffer.Bytes()); err == nil {
			j.size, j.total, j.dirty = j.size+int64(n), j.total+int64(n), true
			buffer = bytes.Buffer{}
		} else {
			err = errors.Join(err, j.file.Truncate(j.size))
			_, seek := j.file.Seek(j.size, 0)
			err = errors.Join(err, seek)
		}
	}
	if err == nil && j.dirty && (last || time.Since(j.synced) > syncEvery) {
		if err = j.file.Sync(); err == nil {
			j.synced, j.dirty = time.Now(), false
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		if j.failed == nil {
			j.log.Warn("known objects are not kept", "err", err)
		}
		buffer.Write(j.pending.Bytes()) // what came meanwhile stands behind what could not be written
		j.pending = buffer
	}
	j.failed = err
}

// remove deletes the files up to a number.
func (j *Journal) remove(list []int, upTo int) error {
	var errs []error
	for _, n := range list {
		if n <= upTo {
			if err := os.Remove(j.path(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
