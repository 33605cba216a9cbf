package datapath

import (
	"fmt"
	"log/slog"
	"slices"

	"github.com/cilium/ebpf"

	"weir/bpf"
)

// ServiceMaps are the maps of services, which control/service writes.
type ServiceMaps struct {
	Services     *Mirror[bpf.ServiceKey, bpf.Service]
	Slots        SlotStore
	Backends     *Mirror[uint32, bpf.Backend]
	Frontends    *Mirror[uint32, bpf.Frontend]
	SourceRanges *Mirror[bpf.SourceRange, uint32]
}

// ServiceStores are where these maps' entries live.
type ServiceStores struct {
	Services     Store[bpf.ServiceKey, bpf.Service]
	Slots        SlotStore
	Backends     Store[uint32, bpf.Backend]
	Frontends    Store[uint32, bpf.Frontend]
	SourceRanges Store[bpf.SourceRange, uint32]
}

// DSR is the service that stands behind a number which the programs gave it.
func (d *Datapath) DSR(number uint32) (f bpf.Frontend, ok bool) {
	err := d.maps.maps[bpf.MapDSR].Lookup(number, &f)
	return f, err == nil
}

// SlotStore is weir_slots, or memory in tests. It has no mirror: tables of Maglev
// are large, and a row does not change while anything names it.
type SlotStore interface {
	// Rows returns every row there is, by index.
	Rows() ([]bpf.Slots, error)
	// Reserve makes room for that many rows, or says why there is none.
	Reserve(rows uint32) error
	// WriteRows writes rows that follow each other.
	WriteRows(first uint32, rows []bpf.Slots) error
}

// OpenServiceMaps reads the stores back.
func OpenServiceMaps(s ServiceStores) (*ServiceMaps, error) {
	m := ServiceMaps{Slots: s.Slots}
	var err error
	if m.Services, err = OpenMirror(bpf.MapServices, s.Services); err != nil {
		return nil, err
	}
	if m.Backends, err = OpenMirror(bpf.MapBackends, s.Backends); err != nil {
		return nil, err
	}
	if m.Frontends, err = OpenMirror(bpf.MapFrontends, s.Frontends); err != nil {
		return nil, err
	}
	m.SourceRanges, err = OpenMirror(bpf.MapSourceRanges, s.SourceRanges)
	return &m, err
}

// MemoryServiceStores are stores without a kernel, for tests.
func MemoryServiceStores() ServiceStores {
	return ServiceStores{
		Services:     &Memory[bpf.ServiceKey, bpf.Service]{},
		Slots:        &MemorySlots{},
		Backends:     &Memory[uint32, bpf.Backend]{},
		Frontends:    &Memory[uint32, bpf.Frontend]{},
		SourceRanges: &Memory[bpf.SourceRange, uint32]{},
	}
}

// MemorySlots is a SlotStore without a kernel, for tests. It holds at most Max
// rows when Max is not zero.
type MemorySlots struct {
	Max    int
	Writes int // rows written since it was made
	rows   []bpf.Slots
}

// Rows implements SlotStore.
func (s *MemorySlots) Rows() ([]bpf.Slots, error) { return slices.Clone(s.rows), nil }

// Reserve implements SlotStore.
func (s *MemorySlots) Reserve(rows uint32) error {
	if s.Max > 0 && int(rows) > s.Max {
		return fmt.Errorf("full: %d rows are wanted and there are %d", rows, s.Max)
	}
	if n := int(rows) - len(s.rows); n > 0 {
		s.rows = append(s.rows, make([]bpf.Slots, n)...)
	}
	return nil
}

// WriteRows implements SlotStore.
func (s *MemorySlots) WriteRows(first uint32, rows []bpf.Slots) error {
	if err := s.Reserve(first + uint32(len(rows))); err != nil {
		return err
	}
	s.Writes += copy(s.rows[first:], rows)
	return nil
}

// slots is weir_slots.
type slots struct{ *growing[uint32, bpf.Slots] }

// Rows implements SlotStore.
func (s slots) Rows() ([]bpf.Slots, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]bpf.Slots, s.inner.MaxEntries())
	err := batches(s.inner, func(keys []uint32, values []bpf.Slots) error {
		for i, k := range keys {
			out[k] = values[i]
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read back %s: %w", s.name, err)
	}
	return out, nil
}

// Reserve implements SlotStore.
func (s slots) Reserve(rows uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grow(uint64(rows))
}

// WriteRows implements SlotStore.
func (s slots) WriteRows(first uint32, rows []bpf.Slots) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.grow(uint64(first) + uint64(len(rows))); err != nil {
		return err
	}
	keys := make([]uint32, min(len(rows), batch))
	for chunk := range slices.Chunk(rows, batch) {
		for i := range chunk {
			keys[i] = first + uint32(i)
		}
		if _, err := s.store().update(keys[:len(chunk)], chunk); err != nil {
			return fmt.Errorf("write %s: %w", s.name, err)
		}
		first += uint32(len(chunk))
	}
	return nil
}

// serviceTables are the maps of services that grow.
type serviceTables struct {
	services  *growing[bpf.ServiceKey, bpf.Service]
	slots     slots
	backends  *growing[uint32, bpf.Backend]
	frontends *growing[uint32, bpf.Frontend]
}

func openServiceTables(log *slog.Logger, s *mapSet) (t serviceTables, err error) {
	if t.services, err = openGrowing[bpf.ServiceKey, bpf.Service](log, bpf.MapServices, s.maps[bpf.MapServices], s.specs[bpf.MapServices]); err != nil {
		return t, err
	}
	if t.slots.growing, err = openGrowing[uint32, bpf.Slots](log, bpf.MapSlots, s.maps[bpf.MapSlots], s.specs[bpf.MapSlots]); err != nil {
		return t, err
	}
	if t.backends, err = openGrowing[uint32, bpf.Backend](log, bpf.MapBackends, s.maps[bpf.MapBackends], s.specs[bpf.MapBackends]); err != nil {
		return t, err
	}
	t.frontends, err = openGrowing[uint32, bpf.Frontend](log, bpf.MapFrontends, s.maps[bpf.MapFrontends], s.specs[bpf.MapFrontends])
	return t, err
}

// open reads the maps back.
func (t serviceTables) open(ranges *ebpf.Map) (*ServiceMaps, error) {
	return OpenServiceMaps(ServiceStores{Services: t.services, Slots: t.slots, Backends: t.backends, Frontends: t.frontends,
		SourceRanges: kernel[bpf.SourceRange, uint32]{ranges}})
}

func (t serviceTables) close() {
	t.services.close()
	t.slots.close()
	t.backends.close()
	t.frontends.close()
}
