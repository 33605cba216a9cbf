package datapath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

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
	var (
		k bpf.AffinityKey
		v bpf.Affinity
	)
	m := d.maps.maps[bpf.MapAffinity]
	it := m.Iterate()
	for it.Next(&k, &v) {
		f(k, v)
	}
	return ignoreAborted(it.Err())
}

// ignoreAborted forgets that others have written while a map was read.
func ignoreAborted(err error) error {
	if errors.Is(err, ebpf.ErrIterationAborted) {
		return nil
	}
	return err
}
