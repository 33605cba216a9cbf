package datapath

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cilium/ebpf"

	"weir/bpf"
)

// ConnectionOptions sizes the connection table.
type ConnectionOptions struct {
	Size  uint32 // at first; 0: DefaultConnections
	Limit uint32 // up to which it grows; 0: Size
}

// DefaultConnections is the size of a new table: 10 MB.
const DefaultConnections = 65536

// Connections is the table of weir_ct: the map that is in use, and while it
// grows its predecessor, see bpf/maps.h.
type Connections struct {
	log     *slog.Logger
	outer   *ebpf.Map
	limit   uint32
	program func(name string) *ebpf.Program

	mu    sync.Mutex
	table *ebpf.Map
	last  uint32 // entries at the last sweep
}

// ConnectionSize is how full the table is.
type ConnectionSize struct {
	Entries  uint32 // as of the last sweep or listing
	Capacity uint32
	Limit    uint32 // up to which Capacity grows
}

// Pressure is the part of the limit that is in use, 0 to 1.
func (s ConnectionSize) Pressure() float64 { return float64(s.Entries) / float64(s.Limit) }

const (
	current     uint32 = 0
	predecessor uint32 = 1
)

// openConnections finds the table that an earlier agent left, or makes one. If
// that agent ended while it was moving entries over, this one goes on with it.
func openConnections(log *slog.Logger, outer *ebpf.Map, o ConnectionOptions, program func(string) *ebpf.Program) (*Connections, error) {
	if o.Size == 0 {
		o.Size = DefaultConnections
	}
	c := &Connections{log: log, outer: outer, limit: max(o.Limit, o.Size), program: program}
	var err error
	if c.table, err = inner(outer, bpf.MapCT, current); err != nil {
		return nil, err
	}
	if c.table == nil {
		if c.table, err = c.create(o.Size); err != nil {
			return nil, err
		}
		if err := outer.Put(current, c.table); err != nil {
			return nil, fmt.Errorf("put connection table in place: %w", err)
		}
	}
	c.limit = max(c.limit, c.table.MaxEntries())
	if err := c.takeOver(); err != nil {
		return nil, err
	}
	if c.table.MaxEntries() < o.Size {
		return c, c.Grow(o.Size)
	}
	return c, nil
}

// inner opens what a map of maps holds; nil when the slot is empty.
func inner(outer *ebpf.Map, name string, slot uint32) (*ebpf.Map, error) {
	var id ebpf.MapID
	err := outer.Lookup(slot, &id)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return nil, fmt.Errorf("open map %d of %s: %w", id, name, err)
	}
	return m, nil
}

func (c *Connections) create(size uint32) (*ebpf.Map, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "weir_ct_table", Type: ebpf.Hash, KeySize: ctKeySize, ValueSize: ctEntrySize, MaxEntries: size})
	if err != nil {
		return nil, fmt.Errorf("make a table of %d connections: %w", size, err)
	}
	return m, nil
}

// Size tells how full the table is.
func (c *Connections) Size() ConnectionSize {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ConnectionSize{Entries: c.last, Capacity: c.table.MaxEntries(), Limit: c.limit}
}

// Memory is what the table takes, as the kernel counts it.
func (c *Connections) Memory() uint64 {
	_, _, _, memory := c.shape()
	return memory
}

func (c *Connections) shape() (key, value, entries uint32, memory uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if info, err := c.table.Info(); err == nil {
		memory, _ = info.Memlock()
	}
	return ctKeySize, ctEntrySize, c.table.MaxEntries(), memory
}

// Grow replaces the table by a larger one. Programs find entries in either while
// they are moved over, so that no connection is lost.
func (c *Connections) Grow(size uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size <= c.table.MaxEntries() {
		return nil
	}
	next, err := c.create(size)
	if err != nil {
		return err
	}
	old := c.table
	if err := c.outer.Put(predecessor, old); err != nil {
		next.Close()
		return fmt.Errorf("keep the connection table: %w", err)
	}
	if err := c.outer.Put(current, next); err != nil {
		next.Close()
		return errors.Join(fmt.Errorf("put connection table in place: %w", err), c.outer.Delete(predecessor))
	}
	c.table = next
	c.log.Info("connection table grows", "from", old.MaxEntries(), "to", size)
	return errors.Join(old.Close(), c.takeOver())
}

// takeOver moves what is left in the predecessor, if there is one.
func (c *Connections) takeOver() error {
	old, err := inner(c.outer, bpf.MapCT, predecessor)
	if old == nil {
		return err
	}
	defer old.Close()
	moved := 0
	err = each(old, func(keys []bpf.CTKey, values []bpf.CTEntry) error {
		for i := range keys {
			// What a program has taken over already is newer.
			err := c.table.Update(&keys[i], &values[i], ebpf.UpdateNoExist)
			if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
				return fmt.Errorf("take over connection %s: %w", keys[i], err)
			}
			moved++
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.log.Info("connections taken over", "connections", moved)
	if err := c.outer.Delete(predecessor); err != nil {
		return fmt.Errorf("let go of the old connection table: %w", err)
	}
	return nil
}

// Each calls see for every connection and returns how many there are.
func (c *Connections) Each(see func(bpf.CTKey, bpf.CTEntry)) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = each(c.table, func(keys []bpf.CTKey, values []bpf.CTEntry) error {
		for i := range keys {
			see(keys[i], values[i])
		}
		n += len(keys)
		return nil
	})
	c.last = uint32(n)
	return n, err
}

func (c *Connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.table.Close()
}
