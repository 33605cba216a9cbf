package datapath

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/cilium/ebpf"

	"weir/bpf"
)

// pending marks the pin of a map that is to replace another as soon as the
// programs that use it are in place.
const pending = "-pending" // bpffs allows no dot

// maps holds the open maps of the tree by name.
type mapSet struct {
	tree     Tree
	log      *slog.Logger
	maps     map[string]*ebpf.Map
	specs    map[string]*ebpf.MapSpec
	replaces []string // maps whose pin still is that of their predecessor
}

// openMaps opens every pinned map, makes those that are missing, and makes a
// successor for each whose shape changed. A successor of the same key and value
// takes over the entries; one of another layout starts empty and is filled from
// the tables. sizes overrides max_entries by map name.
func openMaps(log *slog.Logger, tree Tree, sizes map[string]uint32) (*mapSet, error) {
	specs, err := mapSpecs(sizes)
	if err != nil {
		return nil, err
	}
	s := &mapSet{tree: tree, log: log, maps: map[string]*ebpf.Map{}, specs: specs}
	for name, spec := range specs {
		m, err := s.open(name, spec)
		if err != nil {
			s.close()
			return nil, err
		}
		s.maps[name] = m
	}
	return s, nil
}

// mapSpecs collects the specs of all pinned maps out of all objects.
func mapSpecs(sizes map[string]uint32) (map[string]*ebpf.MapSpec, error) {
	out := map[string]*ebpf.MapSpec{}
	for _, object := range bpf.Objects {
		spec, err := bpf.Spec(object)
		if err != nil {
			return nil, err
		}
		for name, m := range spec.Maps {
			if !isOurs(name) {
				continue // .rodata: it belongs to its program
			}
			if n := sizes[name]; n > 0 {
				m.MaxEntries = n
			}
			out[name] = m
		}
	}
	return out, nil
}

func isOurs(name string) bool { return len(name) > 5 && name[:5] == "weir_" }

func (s *mapSet) open(name string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	pin := s.tree.Map(name)
	os.Remove(pin + pending) // of a start that did not finish
	old, err := ebpf.LoadPinnedMap(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return s.create(spec, pin)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w (not a map of Weir? remove it, or set bpf.root to another bpffs)", pin, err)
	}
	if err := belongs(old, name); err != nil {
		old.Close()
		return nil, fmt.Errorf("%s: %w", pin, err)
	}
	fits := innerFits(old, spec)
	if spec.Compatible(old) == nil && fits {
		return old, nil
	}
	defer old.Close()
	next, err := s.create(spec, pin+pending)
	if err != nil {
		return nil, err
	}
	s.replaces = append(s.replaces, name)
	if old.Type() == ebpf.RingBuf {
		s.log.Info("ring replaced, what nobody has read of it is gone", "map", name, "old_octets", old.MaxEntries(), "new_octets", next.MaxEntries())
		return next, nil
	}
	if old.KeySize() != next.KeySize() || old.ValueSize() != next.ValueSize() || old.Type() != next.Type() || !fits {
		s.log.Info("map has another layout, filling it from the tables", "map", name)
		return next, nil
	}
	n, err := copyEntries(next, old)
	if err != nil {
		next.Close()
		return nil, fmt.Errorf("take over entries of %s: %w", name, err)
	}
	s.log.Info("map replaced", "map", name, "old_entries", old.MaxEntries(), "new_entries", next.MaxEntries(), "copied", n)
	return next, nil
}

// belongs refuses a map at our pin that has another name: it is somebody else's.
func belongs(m *ebpf.Map, name string) error {
	info, err := m.Info()
	if err != nil {
		return fmt.Errorf("read map info: %w", err)
	}
	// The kernel keeps 15 characters of a name.
	if want := name[:min(len(name), 15)]; info.Name != want {
		return fmt.Errorf("a map named %q is pinned where %q belongs; it is left untouched: remove the pin, or set bpf.root to another bpffs", info.Name, want)
	}
	return nil
}

func (s *mapSet) create(spec *ebpf.MapSpec, pin string) (*ebpf.Map, error) {
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, fmt.Errorf("create map %s: %w", spec.Name, err)
	}
	if err := m.Pin(pin); err != nil {
		m.Close()
		return nil, fmt.Errorf("pin map at %s: %w", pin, err)
	}
	return m, nil
}

// copyEntries copies what fits: an array that shrinks loses its tail.
func copyEntries(to, from *ebpf.Map) (n int, err error) {
	it := from.Iterate()
	key := make([]byte, from.KeySize())
	perCPU := from.Type() == ebpf.PerCPUArray
	var value []byte
	var values [][]byte
	for {
		var ok bool
		if perCPU {
			ok = it.Next(&key, &values)
		} else {
			ok = it.Next(&key, &value)
		}
		if !ok {
			return n, it.Err()
		}
		if perCPU {
			err = to.Put(key, values)
		} else {
			err = to.Put(key, value)
		}
		if err != nil && !(to.Type() == ebpf.Array && to.MaxEntries() < from.MaxEntries()) {
			return n, err
		}
		n++
	}
}

// commit gives each successor its predecessor's pin. Called when no program
// uses a predecessor any more.
func (s *mapSet) commit() error {
	for _, name := range s.replaces {
		pin := s.tree.Map(name)
		// bpffs has no rename over an existing pin's inode that Map.Pin tracks.
		if err := os.Rename(pin+pending, pin); err != nil {
			return fmt.Errorf("put %s in place: %w", pin, err)
		}
	}
	s.replaces = nil
	return nil
}

func (s *mapSet) close() {
	for _, m := range s.maps {
		m.Close()
	}
}
