package policytest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"weir/bpf"
	"weir/datapath"
	"weir/test/policy/generate"
	"weir/test/policy/oracle"
)

// spied writes entry by entry, in a random order within what it is given at once,
// and looks at the maps after each.
type spied[K, V comparable] struct {
	datapath.Store[K, V]
	look func(what string)
}

func (s spied[K, V]) Put(entries map[K]V) (written []K, err error) {
	for k, v := range entries {
		if _, err := s.Store.Put(map[K]V{k: v}); err != nil {
			return written, err
		}
		written = append(written, k)
		s.look(fmt.Sprintf("put %v: %v", k, v))
	}
	return written, nil
}

func (s spied[K, V]) Delete(keys []K) (deleted []K, err error) {
	for _, k := range keys {
		if _, err := s.Store.Delete([]K{k}); err != nil {
			return deleted, err
		}
		deleted = append(deleted, k)
		s.look(fmt.Sprintf("delete %v", k))
	}
	return deleted, nil
}

func spyOn(s datapath.PolicyStores, look func(string)) datapath.PolicyStores {
	return datapath.PolicyStores{
		Endpoints: spied[uint32, bpf.Policy]{s.Endpoints, look}, Peers: spied[uint32, uint32]{s.Peers, look},
		CIDRs: spied[bpf.IPCacheKey, uint32]{s.CIDRs, look}, Sets: spied[uint32, bpf.PolicySet]{s.Sets, look},
		Rows: spied[bpf.PolicyRowKey, bpf.PolicyRow]{s.Rows, look}, Rules: spied[bpf.PolicyRuleKey, bpf.PolicyRule]{s.Rules, look},
		Ranges: spied[bpf.PolicyRangeKey, uint32]{s.Ranges, look},
	}
}

// While the maps go from one state to the next, write by write, nothing passes
// that neither of the two lets through.
func TestNoWriteOpensWhatNeitherStateAllows(t *testing.T) {
	seed := number(t, envSeed, uint64(time.Now().UnixNano())>>16)
	t.Logf("%s=%d", envSeed, seed)
	dir := scratch(t)
	writes := 0
	for i := range uint64(20) {
		from, to := generate.Random(seed+i, 12), generate.Random(seed+i+1_000_003, 12)
		from.Settings.Orphans = nil
		if from.Settings.IPv4 != from.Settings.IPv6 {
			continue
		}
		a, err := newAgent(dir, from.Settings)
		if err != nil {
			t.Fatal(err)
		}
		packets := append(from.Packets, to.Packets...)
		var history []*Maps
		var done []string
		a.stores = spyOn(a.stores, func(what string) {
			m, err := a.maps()
			if err != nil {
				t.Fatal(err)
			}
			history, done = append(history, m), append(done, what)
		})
		if err := a.start(); err != nil {
			t.Fatal(err)
		}
		a.stepped = func() {
			if len(history) > 1 {
				opens(t, seed+i, history, done, packets)
			}
			writes += len(history)
			if len(history) > 0 {
				history, done = history[len(history)-1:], []string{"before"}
			}
		}
		r := rand.New(rand.NewPCG(seed, i))
		for range 4 {
			if err := a.apply(mixture(r, from, to).ObjectsYAML()); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d states in between", writes)
}

// mixture is a world with some objects of each.
func mixture(r *rand.Rand, from, to generate.Case) generate.Case {
	out := generate.Case{Settings: from.Settings}
	seen := map[string]bool{}
	for _, o := range append(append([]generate.Object{}, to.Objects...), from.Objects...) {
		if name := nameOf(o); !seen[name] && (r.IntN(3) > 0 || o["kind"] == "CiliumNode") {
			seen[name] = true
			out.Objects = append(out.Objects, o)
		}
	}
	return out
}

// opens compares every state with the first and the last. Who has an address is
// as in the last: that is not the policy's to say.
func opens(t *testing.T, seed uint64, history []*Maps, done []string, packets []oracle.Packet) {
	t.Helper()
	last := history[len(history)-1]
	ends := func(m *Maps, p oracle.Packet) [2]bool {
		now := *m
		now.IPCache, now.Endpoints = last.IPCache, last.Endpoints
		e, in := now.Judge(p)
		return [2]bool{!denies(e.Verdict), !denies(in.Verdict)}
	}
	for _, p := range packets {
		before, after := ends(history[0], p), ends(last, p)
		for i, m := range history {
			for side, passes := range ends(m, p) {
				if passes && !before[side] && !after[side] {
					e, in := m.Judge(p)
					t.Fatalf("%s=%d: %+v passes after write %d of %d (%s), and neither before nor after all of them\n  egress %s\n  ingress %s\n%s", envSeed, seed, p, i, len(history), done[i], e, in, explainMaps(m, p))
				}
			}
		}
	}
}
