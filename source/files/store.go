package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"weir/source/convert"
)

// store keeps the last good version of every object on disk. Whoever starts
// anew, after whatever end, finds it there, also when the object was broken in
// the meantime. One file holds one object, as written: not its row, whose form
// is another in the next build.
type store struct {
	log    *slog.Logger
	dir    string // "": nothing is kept
	held   map[objectKey]held
	failed string // why a version could not be kept, "" when all are
}

// held is what is known of a version on disk without reading it.
type held struct {
	file string // of the source, in which the object stood
	sum  checksum
}

type checksum = [sha256.Size]byte

// label is the first line of a version; the object itself follows.
type label struct {
	File       string `json:"file"`
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
}

func (l label) key() objectKey { return objectKey{l.Kind, l.Namespace, l.Name} }

// version returns what the store writes of an object that stands in file.
func version(file string, o Object) []byte {
	head, err := json.Marshal(label{file, o.APIVersion, o.Kind, o.Namespace, o.Name})
	if err != nil {
		return nil // strings always encode
	}
	return append(append(head, '\n'), o.JSON...)
}

func parseVersion(data []byte) (label, Object, error) {
	var l label
	head, object, ok := bytes.Cut(data, []byte("\n"))
	if !ok {
		return l, Object{}, errors.New("has no object")
	}
	if err := json.Unmarshal(head, &l); err != nil {
		return l, Object{}, fmt.Errorf("has no label: %w", err)
	}
	return l, Object{APIVersion: l.APIVersion, Kind: l.Kind, Namespace: l.Namespace, Name: l.Name, JSON: object}, nil
}

// path names a version's file. Names of objects may be longer than those of
// files, and hold what these must not.
func (k *store) path(key objectKey) string {
	sum := sha256.Sum256([]byte(key.kind + "\x00" + key.namespace + "\x00" + key.name))
	return filepath.Join(k.dir, strings.ToLower(key.kind)+"-"+hex.EncodeToString(sum[:16])+".json")
}

// load finds out what is kept. What cannot be read is of no use to anybody, and
// is removed.
func (k *store) load() error {
	k.held = map[objectKey]held{}
	if k.dir == "" {
		return nil
	}
	list, err := os.ReadDir(k.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read last good versions: %w", err)
	}
	for _, e := range list {
		path := filepath.Join(k.dir, e.Name())
		data, err := os.ReadFile(path)
		if err == nil {
			var l label
			if l, _, err = parseVersion(data); err == nil && path == k.path(l.key()) {
				k.held[l.key()] = held{l.File, sha256.Sum256(data)}
				continue
			}
		}
		k.log.Warn("a kept version is no good, removing it", "file", path, "err", err)
		if err := os.Remove(path); err != nil {
			k.log.Warn("it stays", "file", path, "err", err)
		}
	}
	return nil
}

// row makes the row of a version on disk.
func (k *store) row(key objectKey, s convert.Scope) (row, bool) {
	h, ok := k.held[key]
	if !ok {
		return row{}, false
	}
	data, err := os.ReadFile(k.path(key))
	var o Object
	if err == nil {
		_, o, err = parseVersion(data)
	}
	var value any
	if err == nil {
		value, err = kinds[key.kind].toRow(o, s)
	}
	if err != nil {
		k.log.Warn("the last good version of an object is of no use to this build", "object", key.String(), "err", err)
		delete(k.held, key)
		return row{}, false
	}
	return row{file: h.file, value: value, version: data, sum: h.sum}, true
}

// save writes the versions that differ from those on disk, each in one step.
func (k *store) save(good map[objectKey]row) {
	if k.dir == "" {
		return
	}
	k.failed = ""
	for key, r := range good {
		if k.held[key].sum == r.sum {
			continue
		}
		if err := k.put(key, r); err != nil {
			k.failed = err.Error()
			return // the next one would fail as well
		}
	}
}

func (k *store) put(key objectKey, r row) error {
	path := k.path(key)
	tmp := path + ".tmp"
	err := os.WriteFile(tmp, r.version, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(k.dir, 0o700); err != nil {
			return fmt.Errorf("make folder of last good versions: %w", err)
		}
		err = os.WriteFile(tmp, r.version, 0o600)
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("keep version of %s: %w", key, err)
	}
	k.held[key] = held{r.file, r.sum}
	return nil
}

// prune removes the versions of objects that are gone.
func (k *store) prune(gone func(objectKey, held) bool) {
	for key, h := range k.held {
		if !gone(key, h) {
			continue
		}
		if err := os.Remove(k.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			k.log.Warn("version of an object that is gone stays", "object", key.String(), "err", err)
			continue
		}
		delete(k.held, key)
	}
}

// has reports whether a version is kept of any object of a file.
func (k *store) has(file string) bool {
	for _, h := range k.held {
		if h.file == file {
			return true
		}
	}
	return false
}
