package ipcache

import (
	"errors"
	"log/slog"
	"slices"
	"testing"

	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

// kernel is maps that outlive a Control. order is what was written, as far as
// the order of maps matters.
type kernel struct {
	ipcache     datapath.Memory[bpf.IPCacheKey, bpf.IPCacheEntry]
	nodes       datapath.Memory[uint32, bpf.Node]
	generations [bpf.Generations]uint32
	broken      bool // generations cannot be written
	size        int  // of the map of nodes
}

func newKernel() *kernel { return &kernel{size: 16} }

func (k *kernel) Bump(slots ...uint32) error {
	if k.broken {
		return errors.New("broken")
	}
	for _, s := range slots {
		k.generations[s]++
	}
	return nil
}

func (k *kernel) BumpAll() error {
	var all []uint32
	for s := range k.generations {
		all = append(all, uint32(s))
	}
	return k.Bump(all...)
}

// control is that of an agent that starts now.
func (k *kernel) control(t testing.TB, r Rows, tables *state.Tables) *Control {
	t.Helper()
	ipcache, err1 := datapath.OpenMirror(bpf.MapIPCache, &k.ipcache)
	nodes, err2 := datapath.OpenMirror(bpf.MapNodes, &k.nodes)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return New(slog.New(slog.DiscardHandler), Options{Dual: r.Dual, Nodes: k.size, Underlay6: func() bool { return r.Underlay6 }}, tables,
		Maps{IPCache: ipcache, Nodes: nodes, Generations: k})
}

// bumped returns the slots that differ from before: nil for none, and no list
// but true for all.
func (k *kernel) bumped(before [bpf.Generations]uint32) (slots []uint32, all bool) {
	for s := range k.generations {
		if k.generations[s] != before[s] {
			slots = append(slots, uint32(s))
		}
	}
	if len(slots) == len(k.generations) {
		return nil, true
	}
	return slots, false
}

// slotsOf are those of the addresses.
func slotsOf(texts ...string) []uint32 {
	var out []uint32
	for _, a := range addrs(texts...) {
		out = append(out, bpf.AddrSlot(a))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
