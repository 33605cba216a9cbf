package datapath

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"

	"weir/bpf"
)

// MapInfo is a pinned map as the kernel describes it.
type MapInfo struct {
	Name       string
	Type       string
	ID         uint32
	KeySize    uint32
	ValueSize  uint32
	MaxEntries uint32
	Limit      uint32 // up to which MaxEntries grows; 0: it does not
	Entries    int    // -1 where counting means nothing
	Memory     uint64 // bytes
	Errors     int    // writes that failed at the last attempt
	Pin        string
	Mirrored   bool
	Ops        Ops // by the agent
}

// Maps describes every map, sorted by name. Entries are counted in the kernel.
func (d *Datapath) Maps() ([]MapInfo, error) { return d.describe(view.Count) }

// MapUse is Maps for those who ask often: entries that a mirror knows are not
// counted again, and arrays that have none are not read.
func (d *Datapath) MapUse() ([]MapInfo, error) { return d.describe(view.Used) }

func (d *Datapath) describe(entries func(view) int) ([]MapInfo, error) {
	var out []MapInfo
	for _, name := range slices.Sorted(maps.Keys(d.maps.maps)) {
		m := d.maps.maps[name]
		info, err := m.Info()
		if err != nil {
			return nil, fmt.Errorf("read info of map %s: %w", name, err)
		}
		id, _ := info.ID()
		mem, _ := info.Memlock()
		v := d.view(name)
		i := MapInfo{Name: name, Type: m.Type().String(), ID: uint32(id), KeySize: m.KeySize(), ValueSize: m.ValueSize(),
			MaxEntries: m.MaxEntries(), Entries: entries(v), Errors: v.Errors(), Mirrored: v.Mirrored(), Memory: mem, Pin: d.tree.Map(name), Ops: v.Ops()}
		if v, ok := v.(shaped); ok {
			i.KeySize, i.ValueSize, i.MaxEntries, i.Memory = v.shape()
			i.Limit = v.most()
		}
		out = append(out, i)
	}
	return out, nil
}

func count[K, V comparable](s Store[K, V]) int {
	held, err := s.Load()
	if err != nil {
		return -1
	}
	return len(held)
}

// MapRow is one entry, read from the kernel and compared with what is wanted.
type MapRow struct{ Key, Value, State string }

// The states of a map row.
const (
	RowSync    = "sync"
	RowUpdate  = "to-be-updated"
	RowDelete  = "to-be-deleted"
	RowMissing = "missing"
)

// Dump reads a map from the kernel. Rows are in no order.
func (d *Datapath) Dump(name string) ([]MapRow, error) {
	if _, ok := d.maps.maps[name]; !ok {
		return nil, fmt.Errorf("no map named %q", name)
	}
	return d.view(name).Dump()
}

// endpointKeys names the row of a pod by its addresses, as people look for it:
// one line for each.
func endpointKeys(_ uint32, e bpf.Endpoint) []string {
	var out []string
	for _, a := range []bpf.Addr{e.IPv4, e.IPv6} {
		if ip := a.Netip(); ip.Is4() {
			out = append(out, ip.String()+":0")
		} else if ip.IsValid() {
			out = append(out, "["+ip.String()+"]:0")
		}
	}
	return out
}

func dump[K, V comparable](s Store[K, V], desired map[K]V, keys func(K, V) []string) ([]MapRow, error) {
	held, err := s.Load()
	if err != nil {
		return nil, fmt.Errorf("read map: %w", err)
	}
	var out []MapRow
	add := func(k K, v V, state string) {
		for _, key := range keys(k, v) {
			out = append(out, MapRow{Key: key, Value: fmt.Sprint(v), State: state})
		}
	}
	for k, v := range held {
		want, ok := desired[k]
		switch {
		case !ok:
			add(k, v, RowDelete)
		case want != v:
			add(k, v, RowUpdate)
		default:
			add(k, v, RowSync)
		}
	}
	for k, v := range desired {
		if _, ok := held[k]; !ok {
			add(k, v, RowMissing)
		}
	}
	return out, nil
}

// Counter is one row of weir_metrics, summed over the CPUs.
type Counter struct {
	Place   bpf.Place
	Reason  bpf.Reason
	Packets uint64
	Bytes   uint64
}

// Metrics reads every counter that is not zero.
func (d *Datapath) Metrics() ([]Counter, error) { return ReadMetrics(d.maps.maps[bpf.MapMetrics]) }

// ReadMetrics reads every counter that is not zero out of a weir_metrics map.
func ReadMetrics(m *ebpf.Map) ([]Counter, error) {
	var (
		out    []Counter
		index  uint32
		perCPU []bpf.Metric
		it     = m.Iterate()
	)
	for it.Next(&index, &perCPU) {
		c := Counter{Place: bpf.Place(index / uint32(bpf.Reasons)), Reason: bpf.Reason(index % uint32(bpf.Reasons))}
		for _, v := range perCPU {
			c.Packets += v.Packets
			c.Bytes += v.Bytes
		}
		if c.Packets > 0 {
			out = append(out, c)
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", bpf.MapMetrics, err)
	}
	return out, nil
}

// counted reads one counter out of a weir_metrics map.
func counted(m *ebpf.Map, place bpf.Place, reason bpf.Reason) (packets uint64, err error) {
	var perCPU []bpf.Metric
	if err := m.Lookup(bpf.MetricIndex(place, reason), &perCPU); err != nil {
		return 0, fmt.Errorf("read %s: %w", bpf.MapMetrics, err)
	}
	for _, v := range perCPU {
		packets += v.Packets
	}
	return packets, nil
}
