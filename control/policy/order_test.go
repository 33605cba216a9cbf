package policy

import (
	"maps"
	"math/rand/v2"
	"testing"

	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

// recorder is a store that writes down what is done to it, entry by entry: one
// call's entries may reach the kernel in any order.
type recorder[K, V comparable] struct {
	datapath.Store[K, V]
	log  *[]func(*image)
	into func(*image) map[K]V
}

func (r recorder[K, V]) Put(entries map[K]V) ([]K, error) {
	for k, v := range entries {
		*r.log = append(*r.log, func(m *image) { r.into(m)[k] = v })
	}
	return r.Store.Put(entries)
}

func (r recorder[K, V]) Delete(keys []K) ([]K, error) {
	for _, k := range keys {
		*r.log = append(*r.log, func(m *image) { delete(r.into(m), k) })
	}
	return r.Store.Delete(keys)
}

func recordedStores(log *[]func(*image)) datapath.PolicyStores {
	s := datapath.MemoryPolicyStores(datapath.PolicyCapacity{})
	s.Endpoints = recorder[uint32, bpf.Policy]{s.Endpoints, log, func(m *image) map[uint32]bpf.Policy { return m.endpoints }}
	s.Peers = recorder[uint32, uint32]{s.Peers, log, func(m *image) map[uint32]uint32 { return m.peers }}
	s.CIDRs = recorder[bpf.IPCacheKey, uint32]{s.CIDRs, log, func(m *image) map[bpf.IPCacheKey]uint32 { return m.cidrs }}
	s.Sets = recorder[uint32, bpf.PolicySet]{s.Sets, log, func(m *image) map[uint32]bpf.PolicySet { return m.sets }}
	s.Rows = recorder[bpf.PolicyRowKey, bpf.PolicyRow]{s.Rows, log, func(m *image) map[bpf.PolicyRowKey]bpf.PolicyRow { return m.rows }}
	s.Rules = recorder[bpf.PolicyRuleKey, bpf.PolicyRule]{s.Rules, log, func(m *image) map[bpf.PolicyRuleKey]bpf.PolicyRule { return m.rules }}
	s.Ranges = recorder[bpf.PolicyRangeKey, uint32]{s.Ranges, log, func(m *image) map[bpf.PolicyRangeKey]uint32 { return m.ranges }}
	return s
}

func recordedMaps(t *testing.T, log *[]func(*image)) *datapath.PolicyMaps {
	t.Helper()
	m, err := datapath.OpenPolicyMaps(recordedStores(log))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m image) clone() image {
	return image{maps.Clone(m.endpoints), maps.Clone(m.peers), maps.Clone(m.cidrs), maps.Clone(m.sets), maps.Clone(m.rows), maps.Clone(m.rules), maps.Clone(m.ranges)}
}

// Whatever changes at once, and wherever the writing stops: what the maps allow
// was allowed before, or is afterwards.
func TestNoTransitionOpensAnything(t *testing.T) {
	for seed := range uint64(120) {
		transitions(t, seed, 20)
	}
}

func FuzzNoTransitionOpensAnything(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { transitions(t, seed, 50) })
}

func transitions(t *testing.T, seed uint64, steps int) {
	t.Helper()
	w := world{rand.New(rand.NewPCG(seed, 5))}
	var log []func(*image)
	tables, maps := state.New(), recordedMaps(t, &log)
	w.begin(tables)
	c := New(quiet, options(seed), tables, maps)
	for range steps {
		before := heldImage(maps).clone()
		for range w.IntN(6) {
			w.edit(tables)
		}
		log = nil
		if err := c.Step(t.Context()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		opensNothing(t, seed, w, before, heldImage(maps), log)
		if w.IntN(10) == 0 {
			c = New(quiet, options(seed), tables, maps)
		}
	}
}

func opensNothing(t *testing.T, seed uint64, w world, before, after image, log []func(*image)) {
	t.Helper()
	var closed []packet // before and after
	for range 60 {
		p := w.packet()
		was, _ := mapVerdict(before, p)
		is, _ := mapVerdict(after, p)
		if !was && !is {
			closed = append(closed, p)
		}
	}
	m := before.clone()
	for i, op := range log {
		op(&m)
		for _, p := range closed {
			if open, rule := mapVerdict(m, p); open {
				t.Fatalf("seed %d: after write %d of %d %+v is allowed by rule %d; neither before nor afterwards it is", seed, i+1, len(log), p, rule)
			}
		}
	}
}
