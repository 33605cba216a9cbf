package policytest

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"weir/bpf"
	"weir/test/policy/oracle"
)

// Maps is the content of the maps that decide, as layout.h describes them. It
// is read the slow way: every lookup walks over a map.
type Maps struct {
	Config    bpf.Config // for what is never closed
	Endpoints map[uint32]bpf.Endpoint
	IPCache   map[bpf.IPCacheKey]bpf.IPCacheEntry
	Policies  map[uint32]bpf.Policy
	Peers     map[uint32]uint32
	CIDRs     map[bpf.IPCacheKey]uint32
	Sets      map[uint32]bpf.PolicySet
	Rows      map[bpf.PolicyRowKey]bpf.PolicyRow
	Rules     map[bpf.PolicyRuleKey]bpf.PolicyRule
	Ranges    map[bpf.PolicyRangeKey]uint32
}

// Judgement is what the maps say about one end.
type Judgement struct {
	Verdict oracle.Verdict
	Rule    uint32 // that decided, or 0
	Reject  bool   // the sender is told
	Others  bool   // another rule denies, too, and tells the sender
	Class   uint32
	Why     string
}

func (j Judgement) String() string {
	return fmt.Sprintf("%s (class %d, rule %d, reject %v%s)", j.Verdict, j.Class, j.Rule, j.Reject, j.Why)
}

// noPolicy says that an endpoint has no row in the maps: the programs drop.
const noPolicy oracle.Verdict = "no policy in force"

// Judge returns what the maps say about both ends.
func (m *Maps) Judge(p oracle.Packet) (egress, ingress Judgement) {
	src, _ := m.lookup(p.Src)
	dst, _ := m.lookup(p.Dst)
	return m.end(src, dst, p.Dst, oracle.Egress, p), m.end(dst, src, p.Src, oracle.Ingress, p)
}

// lookup is the longest prefix of weir_ipcache.
func (m *Maps) lookup(a netip.Addr) (best bpf.IPCacheEntry, found bool) {
	length := -1
	for k, v := range m.IPCache {
		if int(k.PrefixLen) > length && leads(k, a) {
			best, length = v, int(k.PrefixLen)
		}
	}
	return best, length >= 0
}

// leads reports whether the leading bits of an address are a key's.
func leads(k bpf.IPCacheKey, a netip.Addr) bool {
	want, got := mapped(k.Addr.W), a.As16()
	for i := range int(k.PrefixLen) {
		if (want[i/8]^got[i/8])&(0x80>>(i%8)) != 0 {
			return false
		}
	}
	return true
}

func mapped(words [4]uint32) (b [16]byte) {
	for i, w := range words {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return b
}

// end judges one end: an endpoint of this node by its number, or the host.
func (m *Maps) end(subject, peer bpf.IPCacheEntry, peerAddr netip.Addr, d oracle.Direction, p oracle.Packet) Judgement {
	host := subject.Flags&uint8(bpf.IPCacheHost) != 0
	switch {
	case !host && subject.Endpoint == 0, host && m.Config.HostFirewall == 0:
		return Judgement{Verdict: oracle.NotJudged}
	case host && m.neverClosed(d, p, peer):
		return Judgement{Verdict: oracle.Allowed, Why: ", fail-safe"}
	}
	policy := m.Policies[subject.Endpoint] // the host's number is 0
	if policy.PolicyClass == 0 {
		return Judgement{Verdict: noPolicy}
	}
	return m.verdict(policy, d, p, bpf.Identity(peer.Identity), peerAddr)
}

// neverClosed: the fail-safe ports of the constants, and the tunnel between
// nodes.
func (m *Maps) neverClosed(d oracle.Direction, p oracle.Packet, peer bpf.IPCacheEntry) bool {
	want := uint32(p.Proto)<<16 | uint32(p.Port)
	if d == oracle.Ingress {
		want |= 1 << 24
	}
	for _, f := range m.Config.Failsafe {
		if f == 0 {
			break
		}
		if f == want {
			return true
		}
	}
	return p.Proto == 17 && p.Port == tunnelPort && bpf.Identity(peer.Identity) == bpf.IdentityRemoteNode
}

const tunnelPort = 8472

// verdict: every candidate selector at every level; a denial beats all, then an
// allowance, then the endpoint's flags.
func (m *Maps) verdict(policy bpf.Policy, d oracle.Direction, p oracle.Packet, peer bpf.Identity, addr netip.Addr) Judgement {
	out := Judgement{Class: policy.PolicyClass, Verdict: oracle.NotEnforced}
	isolated, reject := bpf.PolicyEgress, bpf.PolicyRejectEgress
	if d == oracle.Ingress {
		isolated, reject = bpf.PolicyIngress, bpf.PolicyRejectIngress
	}
	if policy.Flags&uint32(isolated) != 0 {
		out.Verdict, out.Reject = oracle.DefaultDeny, policy.Flags&uint32(reject) != 0
	}
	candidates, whole := m.selectors(peer, addr)
	any := false
	for _, row := range m.levels(policy.PolicyClass, d, p) {
		any = any || m.Rows[row].Selectors != 0
		for _, s := range candidates {
			if m.Rows[row].Selectors&(1<<(s&63)) == 0 {
				continue
			}
			rule, ok := m.Rules[bpf.PolicyRuleKey{Row: row, Selector: s}]
			if !ok {
				continue
			}
			reject := rule.Flags&uint32(bpf.RuleReject) != 0
			switch {
			case rule.Flags&uint32(bpf.RuleDeny) == 0:
				if out.Verdict != oracle.Allowed && out.Verdict != oracle.RuleDeny {
					out.Verdict, out.Rule, out.Reject = oracle.Allowed, rule.ID, false
				}
			case out.Verdict == oracle.RuleDeny: // the first found says what the sender gets
				out.Others = out.Others || reject
			default:
				out.Verdict, out.Rule, out.Reject = oracle.RuleDeny, rule.ID, reject
			}
		}
	}
	if any && !whole && out.Verdict != oracle.RuleDeny { // what cannot be read might deny
		out.Verdict, out.Rule, out.Reject = oracle.RuleDeny, 0, false
	}
	return out
}

// levels are the rows that a packet's port is in.
func (m *Maps) levels(class uint32, d oracle.Direction, p oracle.Packet) []bpf.PolicyRowKey {
	row := func(level bpf.PolicyLevel, proto uint8, port uint16) bpf.PolicyRowKey {
		if d == oracle.Ingress {
			level += bpf.Levels
		}
		return bpf.PolicyRowKey{PolicyClass: class, Port: network(port), Proto: proto, Level: uint8(level)}
	}
	out := []bpf.PolicyRowKey{row(bpf.LevelPort, p.Proto, p.Port)}
	if n, ok := m.rangeOf(class, d, p); ok {
		out = append(out, row(bpf.LevelRange, p.Proto, uint16(n)))
	}
	return append(out, row(bpf.LevelProto, p.Proto, 0), row(bpf.LevelAny, 0, 0))
}

// network is a number in network byte order, as a field of the layout has it.
func network(n uint16) uint16 { return binary.NativeEndian.Uint16([]byte{byte(n >> 8), byte(n)}) }

// rangeOf is the longest prefix of weir_policy_ranges: 48 bits of class,
// direction and protocol, and the leading bits of the port.
func (m *Maps) rangeOf(class uint32, d oracle.Direction, p oracle.Packet) (number uint32, found bool) {
	way := uint8(0)
	if d == oracle.Ingress {
		way = 1
	}
	longest := uint32(0)
	for k, v := range m.Ranges {
		if k.PolicyClass != class || k.Direction != way || k.Proto != p.Proto || k.PrefixLen < 48 || found && k.PrefixLen < longest {
			continue
		}
		if differ := network(k.Port) ^ p.Port; bits.LeadingZeros16(differ) >= int(k.PrefixLen-48) {
			number, longest, found = v, k.PrefixLen, true
		}
	}
	return number, found
}

// selectors are those a peer meets: everybody's, its identity's, its address's.
// Of the last, those marked OUTSIDE count for who is no member of the cluster.
func (m *Maps) selectors(peer bpf.Identity, addr netip.Addr) (list []uint16, whole bool) {
	byIdentity, whole := m.chain(m.Peers[uint32(peer)])
	list = append([]uint16{uint16(bpf.SelectorEverybody)}, byIdentity...)
	set, length := uint32(0), -1
	for k, v := range m.CIDRs {
		if int(k.PrefixLen) > length && leads(k, addr) {
			set, length = v, int(k.PrefixLen)
		}
	}
	outside := peer == bpf.IdentityWorld || peer == bpf.IdentityWorldIPv4 || peer == bpf.IdentityWorldIPv6
	byAddress, all := m.chain(set)
	for _, s := range byAddress {
		if s&uint16(bpf.SelectorOutside) == 0 || outside {
			list = append(list, s&^uint16(bpf.SelectorOutside))
		}
	}
	return list, whole && all
}

// chain is the content of a set and of those that go on, and whether that is all.
func (m *Maps) chain(set uint32) (out []uint16, whole bool) {
	for range int(bpf.SetChain) {
		s, ok := m.Sets[set]
		if !ok {
			break
		}
		out = append(out, s.Selectors[:min(int(s.Count), len(s.Selectors))]...)
		set = uint32(s.Next)
	}
	return out, set == 0
}

// Check tells what of the maps breaks a promise of layout.h, whether or not a
// packet meets it.
func (m *Maps) Check() error {
	var bad []string
	wrong := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	for id, p := range m.Policies {
		if p != (bpf.Policy{}) && (p.PolicyClass == 0 || p.Epoch == 0) {
			wrong("endpoint %d: class %d, epoch %d: want neither 0", id, p.PolicyClass, p.Epoch)
		}
	}
	for k, r := range m.Rules {
		if r.ID == 0 {
			wrong("rule %+v has id 0", k)
		}
		if m.Rows[k.Row].Selectors&(1<<(k.Selector&63)) == 0 {
			wrong("rule %+v: its row lacks the selector's bit", k)
		}
		if r.Flags&uint32(bpf.RuleReject) != 0 && r.Flags&uint32(bpf.RuleDeny) == 0 {
			wrong("rule %+v rejects and does not deny", k)
		}
		if k.Selector > uint16(bpf.SelectorsMax) || k.Pad != 0 {
			wrong("rule %+v: selector or pad out of range", k)
		}
	}
	for k, set := range m.Peers {
		m.checkChain(fmt.Sprintf("identity %d", k), set, false, wrong)
	}
	for k, set := range m.CIDRs {
		m.checkChain(k.String(), set, true, wrong)
	}
	for k, n := range m.Ranges {
		if k.PrefixLen < 48 || k.PrefixLen > 64 || n == 0 || n > 0xffff {
			wrong("range %+v = %d", k, n)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("the maps break their layout:\n  %s", strings.Join(bad, "\n  "))
	}
	return nil
}

func (m *Maps) checkChain(who string, set uint32, outside bool, wrong func(string, ...any)) {
	seen := map[uint16]bool{}
	for n := 0; set != 0; n++ {
		s, ok := m.Sets[set]
		if !ok || n >= int(bpf.SetChain) || s.Count > uint16(bpf.SetSelectors) || s.Count == 0 {
			wrong("%s: set %d: missing, too long or empty: %+v", who, set, s)
			return
		}
		for _, sel := range s.Selectors[:s.Count] {
			if sel&^uint16(bpf.SelectorOutside) == 0 || !outside && sel&uint16(bpf.SelectorOutside) != 0 || seen[sel] {
				wrong("%s: set %d: selector %#x is everybody's, repeated, or marked outside", who, set, sel)
			}
			seen[sel] = true
		}
		set = uint32(s.Next)
	}
}
