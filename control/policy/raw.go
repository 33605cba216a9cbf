package policy

import (
	"encoding/binary"
	"net/netip"

	"weir/bpf"
	"weir/datapath"
)

// image is the content of the maps, as the programs see it.
type image struct {
	endpoints map[uint32]bpf.Policy
	peers     map[uint32]uint32
	cidrs     map[bpf.IPCacheKey]uint32
	sets      map[uint32]bpf.PolicySet
	rows      map[bpf.PolicyRowKey]bpf.PolicyRow
	rules     map[bpf.PolicyRuleKey]bpf.PolicyRule
	ranges    map[bpf.PolicyRangeKey]uint32
}

func heldImage(m *datapath.PolicyMaps) image {
	return image{m.Endpoints.Held(), m.Peers.Held(), m.CIDRs.Held(), m.Sets.Held(), m.Rows.Held(), m.Rules.Held(), m.Ranges.Held()}
}

// image returns the content that the engine wants, without epochs.
func (e *engine) image() image {
	out := image{endpoints: map[uint32]bpf.Policy{}, peers: e.peerSets.now, cidrs: map[bpf.IPCacheKey]uint32{}, sets: e.sets.rows.now,
		rows: map[bpf.PolicyRowKey]bpf.PolicyRow{}, rules: map[bpf.PolicyRuleKey]bpf.PolicyRule{}, ranges: map[bpf.PolicyRangeKey]uint32{}}
	for id, p := range e.endpoints {
		if p.class != nil {
			out.endpoints[uint32(id)] = bpf.Policy{PolicyClass: p.class.number, Flags: p.flags}
		}
	}
	for p, n := range e.cidrs.now {
		out.cidrs[bpf.IPCacheKeyFrom(p)] = n
	}
	for k, mask := range e.rows.now {
		out.rows[k.raw()] = bpf.PolicyRow{Selectors: mask}
	}
	for k, v := range e.rules.now {
		out.rules[k.raw()] = v.raw()
	}
	for k, n := range e.ranges.now {
		out.ranges[k.raw()] = n
	}
	return out
}

// network turns a number into network byte order.
func network(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

func (k rowKey) raw() bpf.PolicyRowKey {
	level := k.level
	if k.direction == ingress {
		level += uint8(bpf.Levels)
	}
	return bpf.PolicyRowKey{PolicyClass: k.class, Port: network(uint16(k.port)), Proto: k.proto, Level: level}
}

func rowFrom(k bpf.PolicyRowKey) rowKey {
	return rowKey{k.PolicyClass, k.Level / uint8(bpf.Levels), k.Level % uint8(bpf.Levels), k.Proto, uint32(network(k.Port))}
}

func (k ruleKey) raw() bpf.PolicyRuleKey {
	return bpf.PolicyRuleKey{Row: k.row.raw(), Selector: uint16(k.selector)}
}

func ruleFrom(k bpf.PolicyRuleKey) ruleKey { return ruleKey{rowFrom(k.Row), uint32(k.Selector)} }

func (v ruleValue) raw() bpf.PolicyRule { return bpf.PolicyRule{ID: v.id, Flags: v.flags} }

func (k rangeKey) raw() bpf.PolicyRangeKey {
	return bpf.PolicyRangeKey{PrefixLen: 48 + uint32(k.bits), PolicyClass: k.class, Direction: k.direction, Proto: k.proto, Port: network(k.port)}
}

func rangeFrom(k bpf.PolicyRangeKey) rangeKey {
	return rangeKey{k.PolicyClass, k.Direction, k.Proto, uint8(k.PrefixLen - 48), network(k.Port)}
}

// cidrFrom converts a key back. One of IPv4 is a key of IPv4, however long.
func cidrFrom(k bpf.IPCacheKey) netip.Prefix { return k.Prefix() }

// trieBits is the length of a prefix as the map has it, where IPv4 lies within
// IPv6.
func trieBits(p netip.Prefix) int { return int(bpf.IPCacheKeyFrom(p).PrefixLen) }
