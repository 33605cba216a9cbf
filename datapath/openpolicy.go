package datapath

import (
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"weir/bpf"
)

// openPolicyMaps reads the policy maps back.
func openPolicyMaps(m map[string]*ebpf.Map) (*PolicyMaps, error) {
	return OpenPolicyMaps(PolicyStores{
		Endpoints: kernel[uint32, bpf.Policy]{m[bpf.MapPolicy]},
		Peers:     kernel[uint32, uint32]{m[bpf.MapPolicyPeers]},
		CIDRs:     kernel[bpf.IPCacheKey, uint32]{m[bpf.MapPolicyCIDRs]},
		Sets:      kernel[uint32, bpf.PolicySet]{m[bpf.MapPolicySets]},
		Rows:      kernel[bpf.PolicyRowKey, bpf.PolicyRow]{m[bpf.MapPolicyRows]},
		Rules:     kernel[bpf.PolicyRuleKey, bpf.PolicyRule]{m[bpf.MapPolicyRules]},
		Ranges:    kernel[bpf.PolicyRangeKey, uint32]{m[bpf.MapPolicyRanges]},
	})
}

// Generations returns the map weir_generations.
func (d *Datapath) Generations() Generations {
	return Generations{d.maps.maps[bpf.MapGenerations], &d.bumping}
}

// Generations are the numbers whose change makes connections of an address be
// judged anew.
type Generations struct {
	m *ebpf.Map

	// mu is held while numbers are read and written: of two who bump a slot at once,
	// each needs one that is after what it has changed.
	mu *sync.Mutex
}

// Bump gives the slots other numbers.
func (g Generations) Bump(slots ...uint32) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, slot := range slots {
		var n uint32
		if err := g.m.Lookup(slot, &n); err != nil {
			return fmt.Errorf("read generation %d: %w", slot, err)
		}
		if err := g.m.Put(slot, n+1); err != nil {
			return fmt.Errorf("write generation %d: %w", slot, err)
		}
	}
	return nil
}

// Get returns the number of a slot.
func (g Generations) Get(slot uint32) (n uint32, err error) {
	if err = g.m.Lookup(slot, &n); err != nil {
		err = fmt.Errorf("read generation %d: %w", slot, err)
	}
	return n, err
}

// BumpAll gives every slot another number.
func (g Generations) BumpAll() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	keys, values := make([]uint32, g.m.MaxEntries()), make([]uint32, g.m.MaxEntries())
	var cursor ebpf.MapBatchCursor
	n, err := g.m.BatchLookup(&cursor, keys, values, nil)
	if n != len(keys) {
		return fmt.Errorf("read generations: got %d of %d: %w", n, len(keys), err)
	}
	for i := range values {
		values[i]++
	}
	if _, err := g.m.BatchUpdate(keys, values, nil); err != nil {
		return fmt.Errorf("write generations: %w", err)
	}
	return nil
}
