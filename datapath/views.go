package datapath

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cilium/ebpf"

	"weir/bpf"
)

// view is what people see of a map.
type view interface {
	// Count is the number of entries; -1 where counting means nothing.
	Count() int
	// Used is the same where it costs little, or -1.
	Used() int
	// Ops counts what the agent has written.
	Ops() Ops
	Dump() ([]MapRow, error)
	// Errors is the number of writes that failed at the last attempt.
	Errors() int
	// Mirrored reports whether the agent knows what the map should hold.
	Mirrored() bool
}

// shaped is a view of a map whose entries are in a map of their own.
type shaped interface {
	shape() (key, value, entries uint32, memory uint64)
	most() uint32 // entries, up to which it grows
}

// mirrored is a map that the agent writes.
type mirrored[K comparable, V comparable] struct {
	store  Store[K, V]
	mirror *Mirror[K, V]
	keys   func(K, V) []string
}

func (v mirrored[K, V]) Count() int              { return count(v.store) }
func (v mirrored[K, V]) Used() int               { return v.mirror.Len() }
func (v mirrored[K, V]) Ops() Ops                { return v.mirror.Ops() }
func (v mirrored[K, V]) Dump() ([]MapRow, error) { return dump(v.store, v.mirror.Desired(), v.keys) }
func (v mirrored[K, V]) Errors() int             { return v.mirror.Errors() }
func (v mirrored[K, V]) Mirrored() bool          { return true }

// written is a map that programs write, or whose content the agent does not keep.
type written[K comparable, V comparable] struct {
	store Store[K, V]
}

func (v written[K, V]) Count() int     { return count(v.store) }
func (v written[K, V]) Ops() Ops       { return Ops{} }
func (v written[K, V]) Errors() int    { return 0 }
func (v written[K, V]) Mirrored() bool { return false }

// Used reads a hash in batches. An array has nothing that could be scarce.
func (v written[K, V]) Used() int {
	s, ok := v.store.(kernel[K, V])
	if !ok || s.array() {
		return -1
	}
	n := 0
	if err := batches(s.m, func(keys []K, _ []V) error { n += len(keys); return nil }); err != nil {
		return -1
	}
	return n
}

func (v written[K, V]) Dump() ([]MapRow, error) {
	held, err := v.store.Load()
	var out []MapRow
	for k, value := range held {
		out = append(out, MapRow{Key: fmt.Sprint(k), Value: fmt.Sprint(value)})
	}
	return out, err
}

// listed is a map that is read in a way of its own.
type listed struct{ read func() ([]MapRow, error) }

func (v listed) Count() int              { return -1 }
func (v listed) Used() int               { return -1 }
func (v listed) Ops() Ops                { return Ops{} }
func (v listed) Errors() int             { return 0 }
func (v listed) Mirrored() bool          { return false }
func (v listed) Dump() ([]MapRow, error) { return v.read() }

// table is weir_ct.
type table struct{ ct *Connections }

func (v table) shape() (key, value, entries uint32, memory uint64) { return v.ct.shape() }

func (v table) Count() int     { return int(v.ct.Size().Entries) }
func (v table) Used() int      { return v.Count() }
func (v table) Ops() Ops       { return Ops{} }
func (v table) most() uint32   { return v.ct.Size().Limit }
func (v table) Errors() int    { return 0 }
func (v table) Mirrored() bool { return false }

func (v table) Dump() ([]MapRow, error) {
	var out []MapRow
	_, err := v.ct.Each(func(k bpf.CTKey, e bpf.CTEntry) { out = append(out, MapRow{Key: k.String(), Value: e.String()}) })
	return out, err
}

func text[K, V any](k K, _ V) []string { return []string{fmt.Sprint(k)} }

func (d *Datapath) view(name string) view {
	m := d.maps.maps[name]
	switch name {
	case bpf.MapEndpoints:
		return mirrored[uint32, bpf.Endpoint]{kernel[uint32, bpf.Endpoint]{m}, d.Endpoints, endpointKeys}
	case bpf.MapIPCache:
		return mirrored[bpf.IPCacheKey, bpf.IPCacheEntry]{kernel[bpf.IPCacheKey, bpf.IPCacheEntry]{m}, d.IPCache, text[bpf.IPCacheKey, bpf.IPCacheEntry]}
	case bpf.MapNodes:
		return mirrored[uint32, bpf.Node]{kernel[uint32, bpf.Node]{m}, d.Nodes, text[uint32, bpf.Node]}
	case bpf.MapGenerations:
		return written[uint32, uint32]{kernel[uint32, uint32]{m}}
	case bpf.MapFragments:
		return written[bpf.FragmentKey, bpf.Fragment]{kernel[bpf.FragmentKey, bpf.Fragment]{m}}
	case bpf.MapL2:
		return l2View{mirrored[bpf.L2Key, bpf.L2Entry]{kernel[bpf.L2Key, bpf.L2Entry]{m}, d.L2, text[bpf.L2Key, bpf.L2Entry]}}
	case bpf.MapCT:
		return table{d.CT}
	case bpf.MapMetrics:
		return listed{d.metricRows}
	case bpf.MapPolicyCounters:
		return listed{d.counterRows}
	case bpf.MapNATRetries:
		return listed{d.retryRows}
	case bpf.MapEvents, bpf.MapTraces, bpf.MapDNS, bpf.MapSteps, bpf.MapEventBudget:
		return listed{func() ([]MapRow, error) { return nil, nil }}
	case bpf.MapWalk:
		return written[uint32, bpf.Walk]{kernel[uint32, bpf.Walk]{m}}
	}
	if v := d.serviceView(name, m); v != nil {
		return v
	}
	return d.policyView(name, m)
}

// inside is a view of a map that grows.
type inside struct {
	view
	shaped
}

// serviceView returns nil for maps that are not of services.
func (d *Datapath) serviceView(name string, m *ebpf.Map) view {
	g, s := d.grow, d.Services
	switch name {
	case bpf.MapServices:
		return inside{mirrored[bpf.ServiceKey, bpf.Service]{g.services, s.Services, text[bpf.ServiceKey, bpf.Service]}, g.services}
	case bpf.MapSlots:
		return inside{written[uint32, bpf.Slots]{g.slots}, g.slots}
	case bpf.MapBackends:
		return inside{mirrored[uint32, bpf.Backend]{g.backends, s.Backends, text[uint32, bpf.Backend]}, g.backends}
	case bpf.MapFrontends:
		return inside{mirrored[uint32, bpf.Frontend]{g.frontends, s.Frontends, text[uint32, bpf.Frontend]}, g.frontends}
	case bpf.MapSourceRanges:
		return mirrored[bpf.SourceRange, uint32]{kernel[bpf.SourceRange, uint32]{m}, s.SourceRanges, text[bpf.SourceRange, uint32]}
	case bpf.MapUnmasqueraded:
		return mirrored[bpf.IPCacheKey, uint32]{kernel[bpf.IPCacheKey, uint32]{m}, d.Unmasqueraded, text[bpf.IPCacheKey, uint32]}
	case bpf.MapSocketUsers:
		return written[bpf.SocketUser, uint32]{kernel[bpf.SocketUser, uint32]{m}}
	case bpf.MapDSR:
		return written[uint32, bpf.Frontend]{kernel[uint32, bpf.Frontend]{m}}
	case bpf.MapAffinity:
		return written[bpf.AffinityKey, bpf.Affinity]{kernel[bpf.AffinityKey, bpf.Affinity]{m}}
	}
	return nil
}

func (d *Datapath) policyView(name string, m *ebpf.Map) view {
	p := d.Policy
	switch name {
	case bpf.MapPolicy:
		return mirrored[uint32, bpf.Policy]{kernel[uint32, bpf.Policy]{m}, p.Endpoints, text[uint32, bpf.Policy]}
	case bpf.MapPolicyPeers:
		return mirrored[uint32, uint32]{kernel[uint32, uint32]{m}, p.Peers, text[uint32, uint32]}
	case bpf.MapPolicyCIDRs:
		return mirrored[bpf.IPCacheKey, uint32]{kernel[bpf.IPCacheKey, uint32]{m}, p.CIDRs, text[bpf.IPCacheKey, uint32]}
	case bpf.MapPolicySets:
		return mirrored[uint32, bpf.PolicySet]{kernel[uint32, bpf.PolicySet]{m}, p.Sets, text[uint32, bpf.PolicySet]}
	case bpf.MapPolicyRows:
		return mirrored[bpf.PolicyRowKey, bpf.PolicyRow]{kernel[bpf.PolicyRowKey, bpf.PolicyRow]{m}, p.Rows, text[bpf.PolicyRowKey, bpf.PolicyRow]}
	case bpf.MapPolicyRules:
		return mirrored[bpf.PolicyRuleKey, bpf.PolicyRule]{kernel[bpf.PolicyRuleKey, bpf.PolicyRule]{m}, p.Rules, text[bpf.PolicyRuleKey, bpf.PolicyRule]}
	case bpf.MapPolicyRanges:
		return mirrored[bpf.PolicyRangeKey, uint32]{kernel[bpf.PolicyRangeKey, uint32]{m}, p.Ranges, text[bpf.PolicyRangeKey, uint32]}
	}
	return listed{func() ([]MapRow, error) { return nil, errors.New("no view of " + strconv.Quote(name)) }}
}

// metricRows are those of weir_metrics that counted anything.
func (d *Datapath) metricRows() ([]MapRow, error) {
	metrics, err := d.Metrics()
	var out []MapRow
	for _, c := range metrics {
		out = append(out, MapRow{Key: fmt.Sprintf("%s %q", c.Place, c.Reason), Value: fmt.Sprintf("packets=%d bytes=%d", c.Packets, c.Bytes)})
	}
	return out, err
}

// counterRows are those of weir_policy_counters whose rule is in force.
func (d *Datapath) counterRows() ([]MapRow, error) {
	var out []MapRow
	for _, rule := range d.Policy.Rules.Desired() {
		c, err := d.RuleCounter(rule.ID)
		if err != nil {
			return out, err
		}
		out = append(out, MapRow{Key: fmt.Sprint(rule.ID), Value: fmt.Sprintf("packets=%d bytes=%d", c.Packets, c.Bytes)})
	}
	return out, nil
}

// RuleCounter reads what a rule counted, on all CPUs together.
func (d *Datapath) RuleCounter(id uint32) (bpf.Metric, error) {
	var (
		perCPU []bpf.Metric
		sum    bpf.Metric
	)
	if err := d.maps.maps[bpf.MapPolicyCounters].Lookup(id, &perCPU); err != nil {
		return sum, fmt.Errorf("read counter of rule %d: %w", id, err)
	}
	for _, v := range perCPU {
		sum.Packets += v.Packets
		sum.Bytes += v.Bytes
	}
	return sum, nil
}
