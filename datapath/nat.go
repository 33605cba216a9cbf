package datapath

import (
	"fmt"

	"weir/bpf"
)

// NATRetries counts connections that needed a port of the node, by how many
// tries failed: none, 1, 2 to 3, 4 to 7 and so on; the last found none.
func (d *Datapath) NATRetries() ([]uint64, error) {
	out := make([]uint64, bpf.NATRetryRows)
	for i := range out {
		var perCPU []uint64
		if err := d.maps.maps[bpf.MapNATRetries].Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("read %s: %w", bpf.MapNATRetries, err)
		}
		for _, n := range perCPU {
			out[i] += n
		}
	}
	return out, nil
}

func (d *Datapath) retryRows() ([]MapRow, error) {
	var out []MapRow
	rows, err := d.NATRetries()
	for i, n := range rows {
		if n > 0 {
			out = append(out, MapRow{Key: fmt.Sprint(i), Value: fmt.Sprintf("connections=%d", n)})
		}
	}
	return out, err
}

// Affinities calls f for every client whose backend is remembered.
func (d *Datapath) Affinities(f func(bpf.AffinityKey, bpf.Affinity)) error {
	err := batches(d.maps.maps[bpf.MapAffinity], func(keys []bpf.AffinityKey, values []bpf.Affinity) error {
		for i, k := range keys {
			f(k, values[i])
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", bpf.MapAffinity, err)
	}
	return nil
}
