package datapath

import "weir/bpf"

// PolicyMaps are the maps of policy, which control/policy writes.
type PolicyMaps struct {
	Endpoints *Mirror[uint32, bpf.Policy]
	Peers     *Mirror[uint32, uint32]
	CIDRs     *Mirror[bpf.IPCacheKey, uint32]
	Sets      *Mirror[uint32, bpf.PolicySet]
	Rows      *Mirror[bpf.PolicyRowKey, bpf.PolicyRow]
	Rules     *Mirror[bpf.PolicyRuleKey, bpf.PolicyRule]
	Ranges    *Mirror[bpf.PolicyRangeKey, uint32]
}

// PolicyStores are where these maps' entries live.
type PolicyStores struct {
	Endpoints Store[uint32, bpf.Policy]
	Peers     Store[uint32, uint32]
	CIDRs     Store[bpf.IPCacheKey, uint32]
	Sets      Store[uint32, bpf.PolicySet]
	Rows      Store[bpf.PolicyRowKey, bpf.PolicyRow]
	Rules     Store[bpf.PolicyRuleKey, bpf.PolicyRule]
	Ranges    Store[bpf.PolicyRangeKey, uint32]
}

// PolicyCapacity is how many entries each of the maps takes; 0 is without bound.
type PolicyCapacity struct{ Endpoints, Peers, CIDRs, Sets, Rows, Rules, Ranges int }

// OpenPolicyMaps reads the stores back.
func OpenPolicyMaps(s PolicyStores) (*PolicyMaps, error) {
	var m PolicyMaps
	var err error
	open := func(f func() error) {
		if err == nil {
			err = f()
		}
	}
	open(func() (err error) { m.Endpoints, err = OpenMirror(bpf.MapPolicy, s.Endpoints); return })
	open(func() (err error) { m.Peers, err = OpenMirror(bpf.MapPolicyPeers, s.Peers); return })
	open(func() (err error) { m.CIDRs, err = OpenMirror(bpf.MapPolicyCIDRs, s.CIDRs); return })
	open(func() (err error) { m.Sets, err = OpenMirror(bpf.MapPolicySets, s.Sets); return })
	open(func() (err error) { m.Rows, err = OpenMirror(bpf.MapPolicyRows, s.Rows); return })
	open(func() (err error) { m.Rules, err = OpenMirror(bpf.MapPolicyRules, s.Rules); return })
	open(func() (err error) { m.Ranges, err = OpenMirror(bpf.MapPolicyRanges, s.Ranges); return })
	if err != nil {
		return nil, err
	}
	return &m, nil
}

// MemoryPolicyStores are stores without a kernel, for tests.
func MemoryPolicyStores(c PolicyCapacity) PolicyStores {
	return PolicyStores{
		Endpoints: &Memory[uint32, bpf.Policy]{Max: c.Endpoints},
		Peers:     &Memory[uint32, uint32]{Max: c.Peers},
		CIDRs:     &Memory[bpf.IPCacheKey, uint32]{Max: c.CIDRs},
		Sets:      &Memory[uint32, bpf.PolicySet]{Max: c.Sets},
		Rows:      &Memory[bpf.PolicyRowKey, bpf.PolicyRow]{Max: c.Rows},
		Rules:     &Memory[bpf.PolicyRuleKey, bpf.PolicyRule]{Max: c.Rules},
		Ranges:    &Memory[bpf.PolicyRangeKey, uint32]{Max: c.Ranges},
	}
}

// MemoryPolicyMaps are maps without a kernel, for tests.
func MemoryPolicyMaps(c PolicyCapacity) *PolicyMaps {
	m, err := OpenPolicyMaps(MemoryPolicyStores(c))
	if err != nil {
		panic(err) // memory has nothing to fail at
	}
	return m
}
