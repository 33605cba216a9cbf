package policytest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"weir/bpf"
	"weir/test/policy/generate"
	"weir/test/policy/oracle"
)

// Whatever the maps hold, also what no compiler would write: the programs read
// it as the layout says.
func TestTheProgramsReadTheMapsAsTheLayoutSays(t *testing.T) {
	k := theKernel(t)
	if k == nil {
		t.Skip("needs root and the objects")
	}
	seed := number(t, envSeed, uint64(time.Now().UnixNano())>>16)
	t.Logf("%s=%d", envSeed, seed)
	dir := scratch(t)
	seen := map[oracle.Verdict]int{}
	for i := range uint64(150) {
		c := generate.Random(seed+i, perCase)
		a, err := newAgent(dir, c.Settings)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.apply(c.ObjectsYAML()); err != nil {
			t.Fatal(err)
		}
		m, err := a.maps()
		if err != nil {
			t.Fatal(err)
		}
		randomPolicies(rand.New(rand.NewPCG(seed, i)), m, c)
		for _, p := range c.Packets {
			e, in := m.Judge(p)
			seen[e.Verdict]++
			seen[in.Verdict]++
			if err := k.agrees(m, p, e, in); err != nil {
				t.Fatalf("%s=%d: case %d: %+v: %v\n%s", envSeed, seed, i, p, err, explainMaps(m, p))
			}
		}
	}
	for _, v := range []oracle.Verdict{oracle.NotEnforced, oracle.Allowed, oracle.DefaultDeny, oracle.RuleDeny, noPolicy} {
		if t.Logf("%-20s %d", v, seen[v]); seen[v] < 50 {
			t.Errorf("%q came up %d times, want 50", v, seen[v])
		}
	}
}

// agrees runs the packet and compares with what the maps say of its ends.
func (k *kernel) agrees(m *Maps, p oracle.Packet, egress, ingress Judgement) error {
	got, err := k.run(m, p)
	if err != nil {
		return err
	}
	if got.program == "" {
		return nil
	}
	first := egress // what the sender's end refuses, the other is not asked about
	if !denies(egress.Verdict) {
		first = ingress
	}
	want := map[oracle.Verdict]bpf.Reason{oracle.DefaultDeny: bpf.DropPolicy, oracle.RuleDeny: bpf.DropPolicyDeny, noPolicy: bpf.DropNoPolicy}[first.Verdict]
	if got.denied != denies(first.Verdict) || got.reason != want || got.told && !first.Reject && !first.Others {
		return fmt.Errorf("the program says %s\n  maps: egress  %s\n  maps: ingress %s", got, egress, ingress)
	}
	return nil
}

func denies(v oracle.Verdict) bool {
	return v == oracle.DefaultDeny || v == oracle.RuleDeny || v == noPolicy
}

// randomPolicies fills the policy maps.
func randomPolicies(r *rand.Rand, m *Maps, c generate.Case) {
	m.Policies, m.Peers, m.CIDRs, m.Sets = map[uint32]bpf.Policy{}, map[uint32]uint32{}, map[bpf.IPCacheKey]uint32{}, map[uint32]bpf.PolicySet{}
	m.Rows, m.Rules, m.Ranges = map[bpf.PolicyRowKey]bpf.PolicyRow{}, map[bpf.PolicyRuleKey]bpf.PolicyRule{}, map[bpf.PolicyRangeKey]uint32{}
	selector := func() uint16 {
		return []uint16{1, 2, 3, 64, 65, 66, uint16(1 + r.IntN(200)), uint16(bpf.SelectorsMax)}[r.IntN(8)]
	}
	const sets, cidrs = 8, 16 // the latter's selectors may be marked
	for id := uint32(1); id <= cidrs; id++ {
		s := bpf.PolicySet{Count: uint16(1 + r.IntN(4))}
		if r.IntN(6) == 0 {
			s.Count = uint16(bpf.SetSelectors)
		}
		for i := range s.Count {
			s.Selectors[i] = selector()
			if id > sets && r.IntN(3) == 0 {
				s.Selectors[i] |= uint16(bpf.SelectorOutside)
			}
		}
		if id%sets != 0 && r.IntN(2) == 0 {
			s.Next = uint16(id + 1)
		}
		m.Sets[id] = s
	}
	for _, id := range slices.Sorted(maps.Keys(m.Endpoints)) {
		m.Policies[id] = bpf.Policy{PolicyClass: uint32(r.IntN(4)), Epoch: 1 + r.Uint32N(1000), Flags: r.Uint32N(16)}
	}
	m.Policies[0] = bpf.Policy{PolicyClass: 1 + uint32(r.IntN(3)), Epoch: 7, Flags: r.Uint32N(16)}
	identities := map[uint32]bool{}
	for _, e := range m.IPCache {
		identities[e.Identity] = true
	}
	for _, id := range slices.Sorted(maps.Keys(identities)) {
		if r.IntN(3) > 0 {
			m.Peers[id] = 1 + r.Uint32N(sets)
		}
	}
	for range 12 {
		p := c.Packets[r.IntN(len(c.Packets))]
		a := []netip.Addr{p.Src, p.Dst}[r.IntN(2)]
		cidr, _ := a.Prefix(r.IntN(a.BitLen() + 1))
		m.CIDRs[bpf.IPCacheKeyFrom(cidr)] = sets + 1 + r.Uint32N(cidrs-sets)
	}
	randomRules(r, m, c, selector)
}

func randomRules(r *rand.Rand, m *Maps, c generate.Case, selector func() uint16) {
	for range 120 {
		p := c.Packets[r.IntN(len(c.Packets))]
		key := bpf.PolicyRowKey{PolicyClass: uint32(1 + r.IntN(3)), Proto: p.Proto, Port: network(p.Port)}
		switch level := bpf.PolicyLevel(r.IntN(int(bpf.Levels))); level {
		case bpf.LevelRange:
			key.Port, key.Level = network(uint16(1+r.IntN(3))), uint8(level)
		case bpf.LevelProto:
			key.Port, key.Level = 0, uint8(level)
		case bpf.LevelAny:
			key.Port, key.Proto, key.Level = 0, 0, uint8(level)
		}
		if r.IntN(2) == 0 {
			key.Level += uint8(bpf.Levels)
		}
		s := selector()
		if r.IntN(6) == 0 {
			s = 0
		}
		rule := bpf.PolicyRule{ID: 1 + r.Uint32N(60000)}
		if r.IntN(5) == 0 {
			rule.Flags = uint32(bpf.RuleDeny) | uint32(r.IntN(2))*uint32(bpf.RuleReject)
		}
		if r.IntN(15) > 0 { // or a bit without a rule
			m.Rules[bpf.PolicyRuleKey{Row: key, Selector: s}] = rule
		}
		row := m.Rows[key]
		row.Selectors |= 1 << (s & 63)
		m.Rows[key] = row
	}
	for range 20 {
		p := c.Packets[r.IntN(len(c.Packets))]
		bits := r.IntN(17)
		port := p.Port >> (16 - bits) << (16 - bits)
		m.Ranges[bpf.PolicyRangeKey{PrefixLen: uint32(48 + bits), PolicyClass: uint32(1 + r.IntN(3)), Direction: uint8(r.IntN(2)), Proto: p.Proto, Port: network(port)}] = uint32(1 + r.IntN(3))
	}
}

// explainMaps is what a packet meets in the maps.
func explainMaps(m *Maps, p oracle.Packet) string {
	src, _ := m.lookup(p.Src)
	dst, _ := m.lookup(p.Dst)
	ofSrc, _ := m.selectors(bpf.Identity(src.Identity), p.Src)
	ofDst, _ := m.selectors(bpf.Identity(dst.Identity), p.Dst)
	return fmt.Sprintf("  source %+v policy %+v selectors %v\n  destination %+v policy %+v selectors %v\n", src, m.Policies[src.Endpoint], ofSrc,
		dst, m.Policies[dst.Endpoint], ofDst) + m.met(m.Policies[src.Endpoint], oracle.Egress, p, bpf.Identity(dst.Identity), p.Dst) +
		m.met(m.Policies[dst.Endpoint], oracle.Ingress, p, bpf.Identity(src.Identity), p.Src)
}

// met lists the rules that an end's policy finds.
func (m *Maps) met(policy bpf.Policy, d oracle.Direction, p oracle.Packet, peer bpf.Identity, addr netip.Addr) string {
	out := ""
	list, _ := m.selectors(peer, addr)
	for _, row := range m.levels(policy.PolicyClass, d, p) {
		for _, s := range list {
			if rule, ok := m.Rules[bpf.PolicyRuleKey{Row: row, Selector: s}]; ok {
				out += fmt.Sprintf("  %s: selector %d at %+v: %+v, bits %#x\n", d, s, row, rule, m.Rows[row].Selectors)
			}
		}
	}
	return out
}
