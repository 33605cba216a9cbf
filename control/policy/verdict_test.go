package policy

import (
	"net/netip"

	"weir/bpf"
)

// mapVerdict judges a packet by nothing but the content of the maps, as the
// programs do: see bpf/policy.h.
func mapVerdict(m image, p packet) (allowed bool, rule uint32) {
	end := m.endpoints[uint32(p.endpoint)]
	if end.PolicyClass == 0 {
		return false, 0
	}
	rows := levels(m, end.PolicyClass, p)
	denied, allowedBy := false, uint32(0)
	try := func(selector uint16) bool {
		for _, k := range rows {
			if m.rows[k].Selectors&(1<<(selector&63)) == 0 {
				continue
			}
			r, ok := m.rules[bpf.PolicyRuleKey{Row: k, Selector: selector}]
			if ok && r.Flags&uint32(bpf.RuleDeny) != 0 {
				denied, rule = true, r.ID
				return true
			}
			if ok && allowedBy == 0 {
				allowedBy = r.ID
			}
		}
		return false
	}
	chain := func(head uint32) bool {
		for n := 0; head != 0 && n < int(bpf.SetChain); n++ {
			row := m.sets[head]
			for _, s := range row.Selectors[:row.Count] {
				world := p.identity == 2 || p.identity == 9 || p.identity == 10
				if s&uint16(bpf.SelectorOutside) != 0 && !world {
					continue
				}
				if try(s & uint16(bpf.SelectorsMax)) {
					return true
				}
			}
			head = uint32(row.Next)
		}
		return false
	}
	if try(0) || chain(m.peers[uint32(p.identity)]) || chain(longestMatch(m, p.addr)) {
		return false, rule
	}
	if allowedBy != 0 {
		return true, allowedBy
	}
	isolated := bpf.PolicyEgress
	if p.direction == ingress {
		isolated = bpf.PolicyIngress
	}
	return !denied && end.Flags&uint32(isolated) == 0, 0
}

func levels(m image, class uint32, p packet) []bpf.PolicyRowKey {
	up := p.direction * uint8(bpf.Levels)
	out := []bpf.PolicyRowKey{
		{PolicyClass: class, Port: network(p.port), Proto: p.proto, Level: uint8(bpf.LevelPort) + up},
		{PolicyClass: class, Proto: p.proto, Level: uint8(bpf.LevelProto) + up},
		{PolicyClass: class, Level: uint8(bpf.LevelAny) + up},
	}
	for bits := 16; bits >= 0; bits-- {
		masked := uint16(uint32(p.port) >> (16 - bits) << (16 - bits))
		n, ok := m.ranges[bpf.PolicyRangeKey{PrefixLen: 48 + uint32(bits), PolicyClass: class, Direction: p.direction, Proto: p.proto, Port: network(masked)}]
		if ok {
			return append(out, bpf.PolicyRowKey{PolicyClass: class, Port: network(uint16(n)), Proto: p.proto, Level: uint8(bpf.LevelRange) + up})
		}
	}
	return out
}

// longestMatch looks an address up as the trie does, where IPv4 lies within IPv6.
func longestMatch(m image, a netip.Addr) uint32 {
	wide := netip.AddrFrom16(a.As16())
	for bits := 128; bits >= 0; bits-- {
		p, _ := wide.Prefix(bits)
		if n, ok := m.cidrs[bpf.IPCacheKey{PrefixLen: uint32(bits), Addr: bpf.AddrFrom(p.Addr())}]; ok {
			return n
		}
	}
	return 0
}
