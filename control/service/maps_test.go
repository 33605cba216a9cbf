package service

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

// kernel is the maps without a kernel. It looks at every write as a program might
// that runs at that moment.
type kernel struct {
	t         testing.TB
	services  *datapath.Memory[bpf.ServiceKey, bpf.Service]
	slots     *datapath.MemorySlots
	backends  *datapath.Memory[uint32, bpf.Backend]
	frontends *datapath.Memory[uint32, bpf.Frontend]
	ranges    *datapath.Memory[bpf.SourceRange, uint32]
	watch     bool // check each write
	hurry     bool // numbers do not rest for long
	now       time.Time
	last      map[uint32]bpf.Backend // who had a row last
}

func newKernel(t testing.TB) *kernel {
	return &kernel{t: t, watch: true, now: time.Unix(0, 0), last: map[uint32]bpf.Backend{}, services: &datapath.Memory[bpf.ServiceKey, bpf.Service]{}, slots: &datapath.MemorySlots{},
		backends: &datapath.Memory[uint32, bpf.Backend]{}, frontends: &datapath.Memory[uint32, bpf.Frontend]{},
		ranges: &datapath.Memory[bpf.SourceRange, uint32]{}}
}

// control starts an agent that reads the maps back.
func (k *kernel) control(o Options, tables *state.Tables) *Control {
	k.t.Helper()
	m, err := datapath.OpenServiceMaps(datapath.ServiceStores{Services: watchedServices{k.services, k}, Slots: watchedSlots{k.slots, k},
		Backends: watchedBackends{k.backends, k}, Frontends: k.frontends, SourceRanges: k.ranges})
	if err != nil {
		k.t.Fatal(err)
	}
	o.Now = func() time.Time { return k.now }
	c := New(slog.New(slog.DiscardHandler), o, tables, m)
	if k.hurry {
		if c.m, err = restore(m); err != nil {
			k.t.Fatal(err)
		}
		c.m.backends.numbers.rest, c.m.frontends.numbers.rest = 2, 2
	}
	return c
}

func (k *kernel) writes() int {
	return k.services.Writes + k.slots.Writes + k.backends.Writes + k.frontends.Writes + k.ranges.Writes
}

type watchedServices struct {
	*datapath.Memory[bpf.ServiceKey, bpf.Service]
	k *kernel
}

// Put checks that whatever an entry names is there already.
func (s watchedServices) Put(entries map[bpf.ServiceKey]bpf.Service) ([]bpf.ServiceKey, error) {
	if s.k.watch {
		backends, _ := s.k.backends.Load()
		frontends, _ := s.k.frontends.Load()
		rows, _ := s.k.slots.Rows()
		for key, v := range entries {
			for _, sel := range []bpf.Selection{v.Inside, v.Outside} {
				for _, n := range numbersOf(rows, sel) {
					if backends[n].Addr == (bpf.Addr{}) {
						s.k.t.Errorf("%s is written before backend %d", key, n)
					}
				}
			}
			if _, ok := frontends[v.Frontend]; !ok {
				s.k.t.Errorf("%s is written before frontend %d", key, v.Frontend)
			}
		}
	}
	return s.Memory.Put(entries)
}

type watchedSlots struct {
	*datapath.MemorySlots
	k *kernel
}

// WriteRows checks that nothing names the rows.
func (s watchedSlots) WriteRows(first uint32, rows []bpf.Slots) error {
	if s.k.watch {
		held, _ := s.k.services.Load()
		for key, v := range held {
			for _, sel := range []bpf.Selection{v.Inside, v.Outside} {
				a, b := sel.First/16, sel.First/16+rowsFor(sel.Count)
				if sel.Count > 0 && a < first+uint32(len(rows)) && first < b {
					s.k.t.Errorf("rows %d to %d are written, which %s names", first, first+uint32(len(rows))-1, key)
				}
			}
		}
	}
	return s.MemorySlots.WriteRows(first, rows)
}

type watchedBackends struct {
	*datapath.Memory[uint32, bpf.Backend]
	k *kernel
}

// Put checks that a row that becomes another's has another generation, and that
// none goes that an entry names.
func (s watchedBackends) Put(entries map[uint32]bpf.Backend) ([]uint32, error) {
	if s.k.watch {
		held, _ := s.k.backends.Load()
		services, _ := s.k.services.Load()
		rows, _ := s.k.slots.Rows()
		named := map[uint32]bool{}
		for _, v := range services {
			for _, sel := range []bpf.Selection{v.Inside, v.Outside} {
				for _, n := range numbersOf(rows, sel) {
					named[n] = true
				}
			}
		}
		for n, row := range entries {
			if old := s.k.last[n]; old.Generation >= row.Generation && (old.Addr != row.Addr || old.Port != row.Port || old.Proto != row.Proto) ||
				held[n].Generation > row.Generation {
				s.k.t.Errorf("backend %d goes from %s, last %s, to %s", n, held[n], old, row)
			}
			if row.Addr != (bpf.Addr{}) {
				s.k.last[n] = row
			}
			if named[n] && row.Addr == (bpf.Addr{}) {
				s.k.t.Errorf("backend %d goes although an entry names it", n)
			}
		}
	}
	return s.Memory.Put(entries)
}

func numbersOf(rows []bpf.Slots, sel bpf.Selection) []uint32 {
	var out []uint32
	for i := range sel.Count {
		out = append(out, rows[(sel.First+i)/16].Backends[(sel.First+i)%16])
	}
	return out
}

// resolved is what the maps mean, without numbers.
type resolved struct {
	entries map[string]meaning
	alive   map[string]bool
	ids     map[uint32]string
}

// read resolves every entry as a program would. owner names ports by id.
func (k *kernel) read(owner func(id uint32) string) (r resolved, problems []string) {
	r = resolved{entries: map[string]meaning{}, alive: map[string]bool{}, ids: map[uint32]string{}}
	services, _ := k.services.Load()
	rows, _ := k.slots.Rows()
	backends, _ := k.backends.Load()
	frontends, _ := k.frontends.Load()
	ranges, _ := k.ranges.Load()
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	used := map[uint32]string{}
	rangesOf := map[uint32][]string{}
	for x := range ranges {
		rangesOf[x.Service] = append(rangesOf[x.Service], strings.TrimPrefix(x.String(), fmt.Sprintf("service=%d ", x.Service)))
	}
	flagged := map[uint32]bool{}
	for key, v := range services {
		resolve := func(sel bpf.Selection) string {
			count := map[string]int{}
			for _, n := range numbersOf(rows, sel) {
				b := backends[n]
				if b.Addr == (bpf.Addr{}) {
					wrong("%s names backend %d, which is free", key, n)
				}
				count[text(b)]++
			}
			names := slices.Sorted(maps.Keys(count))
			out := strings.Join(names, " ")
			if bpf.ServiceFlag(v.Flags)&bpf.ServiceMaglev == 0 {
				if len(count) != int(sel.Count) {
					wrong("%s names a backend twice", key)
				}
				return out
			}
			if len(names) == 0 {
				return out
			}
			for _, n := range count {
				if float64(n)*float64(len(count)) > 1.01*float64(sel.Count) {
					wrong("%s: one of %d backends has %d of %d slots", key, len(count), n, sel.Count)
				}
			}
			if int(sel.Count) < 100*len(count) {
				wrong("%s: %d slots for %d backends", key, sel.Count, len(count))
			}
			return out + " maglev"
		}
		m := meaning{Of: owner(v.ID), Affinity: int(v.Affinity), Inside: resolve(v.Inside), Outside: resolve(v.Outside)}
		names := v.FlagNames()
		slices.Sort(names)
		m.Flags = strings.Join(names, ",")
		if bpf.ServiceFlag(v.Flags)&bpf.ServiceRanges != 0 {
			flagged[v.ID] = true
			slices.Sort(rangesOf[v.ID])
			m.Ranges = strings.Join(rangesOf[v.ID], " ")
		}
		f := frontends[v.Frontend]
		m.Frontend = f.String()
		if f.Addr == (bpf.Addr{}) {
			m.Frontend = "every " + m.Frontend[strings.LastIndex(m.Frontend, ":"):]
		}
		if other, twice := used[v.Frontend]; twice || v.Frontend == 0 {
			wrong("%s and %s have frontend %d", key, other, v.Frontend)
		}
		used[v.Frontend] = key.String()
		r.entries[key.String()] = m
	}
	for id := range rangesOf {
		if owner(id) == "" {
			wrong("there are ranges of service %d, which is nobody's", id)
		}
	}
	for _, b := range backends {
		if b.Addr == (bpf.Addr{}) {
			continue
		}
		if r.alive[text(b)] {
			wrong("%s has two rows", text(b))
		}
		r.alive[text(b)] = true
	}
	return r, problems
}

func text(b bpf.Backend) string {
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(b.Addr.Netip(), bpf.Host(b.Port)), protocol(b.Proto))
}
