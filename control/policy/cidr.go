package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// prefixes says for every prefix that a selector names, to include or to except
// it, which selectors an address meets whose longest prefix it is: those that
// include it or a wider one, without those that except it or a wider one.
type prefixes struct {
	nodes map[netip.Prefix]*prefixNode
	order []netip.Prefix // sorted: whatever lies within a prefix follows it
	fresh []netip.Prefix // not yet in order
	lens  map[int]int    // of the nodes, by length; IPv6 are 1000 more
	ever  map[int]bool   // lengths that were ever in the map
	dirty []netip.Prefix // whatever lies within these is to be derived again
}

type prefixNode struct {
	refs    int
	include map[*selector]int
	except  map[*selector]int
	marks   []mark
	set     uint32
	over    bool
}

var (
	allIPv4 = netip.MustParsePrefix("0.0.0.0/0")
	mapped  = netip.MustParseAddr("::ffff:0.0.0.0")
)

func newPrefixes() *prefixes {
	return &prefixes{nodes: map[netip.Prefix]*prefixNode{}, lens: map[int]int{}, ever: map[int]bool{}}
}

// canonical writes a prefix of mapped addresses as one of IPv4.
func canonical(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// replace makes these the addresses of a selector.
func (x *prefixes) replace(s *selector, cidrs, except []netip.Prefix) {
	var in, out []netip.Prefix
	for _, p := range cidrs {
		if p.IsValid() {
			in = append(in, canonical(p))
		}
	}
	if len(in) > 0 {
		for _, p := range except {
			out = append(out, canonical(p))
		}
	}
	if sameSet(in, s.cidrs) && sameSet(out, s.except) {
		return
	}
	for _, p := range in {
		x.node(p).include[s]++
	}
	for _, p := range out {
		x.node(p).except[s]++
	}
	for _, p := range s.cidrs {
		x.leave(p, func(n *prefixNode) map[*selector]int { return n.include }, s)
	}
	for _, p := range s.except {
		x.leave(p, func(n *prefixNode) map[*selector]int { return n.except }, s)
	}
	for _, list := range [][]netip.Prefix{in, out, s.cidrs, s.except} {
		x.dirty = append(x.dirty, list...)
	}
	s.cidrs, s.except = in, out
}

func sameSet(a, b []netip.Prefix) bool {
	return len(a) == len(b) && slices.Equal(slices.SortedFunc(slices.Values(a), comparePrefix), slices.SortedFunc(slices.Values(b), comparePrefix))
}

// node returns the prefix's node, with one more reference. In the map IPv4 lies
// within IPv6: where a prefix of the latter would catch addresses of the former,
// 0.0.0.0/0 stands before it.
func (x *prefixes) node(p netip.Prefix) *prefixNode {
	if catchesIPv4(p) {
		x.node(allIPv4)
	}
	n, ok := x.nodes[p]
	if !ok {
		n = &prefixNode{include: map[*selector]int{}, except: map[*selector]int{}}
		x.nodes[p] = n
		x.fresh = append(x.fresh, p)
		x.lens[lenKey(p)]++
		x.ever[lenKey(p)] = true
		x.dirty = append(x.dirty, p)
	}
	n.refs++
	return n
}

func catchesIPv4(p netip.Prefix) bool { return p.Addr().Is6() && p.Contains(mapped) }

func (x *prefixes) leave(p netip.Prefix, list func(*prefixNode) map[*selector]int, s *selector) {
	if catchesIPv4(p) {
		x.nodes[allIPv4].refs--
		x.dirty = append(x.dirty, allIPv4)
	}
	n := x.nodes[p]
	n.refs--
	if list(n)[s]--; list(n)[s] == 0 {
		delete(list(n), s)
	}
}

func lenKey(p netip.Prefix) int {
	if p.Addr().Is6() {
		return 1000 + p.Bits()
	}
	return p.Bits()
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// flush derives the marks of every prefix that may have others, and calls
// changed for it; gone for those that no selector names any more.
func (x *prefixes) flush(changed func(netip.Prefix, *prefixNode), gone func(netip.Prefix, *prefixNode)) {
	if len(x.dirty) == 0 {
		return
	}
	x.merge()
	seen := map[netip.Prefix]bool{}
	done := map[netip.Prefix]bool{}
	for _, d := range x.dirty {
		if done[d] {
			continue
		}
		done[d] = true
		i, _ := slices.BinarySearchFunc(x.order, d, comparePrefix)
		for ; i < len(x.order) && d.Contains(x.order[i].Addr()); i++ {
			seen[x.order[i]] = true
		}
	}
	x.dirty = nil
	removed := false
	for p := range seen {
		n := x.nodes[p]
		if n.refs == 0 {
			gone(p, n)
			delete(x.nodes, p)
			x.lens[lenKey(p)]--
			removed = true
			continue
		}
		if marks := x.marksOf(p); !slices.Equal(marks, n.marks) || !n.written() {
			n.marks = marks
			changed(p, n)
		}
	}
	if removed {
		x.order = slices.DeleteFunc(x.order, func(p netip.Prefix) bool { return x.nodes[p] == nil })
	}
}

// written is false for a node of this pass.
func (n *prefixNode) written() bool { return n.marks != nil }

func (x *prefixes) merge() {
	if len(x.fresh) > 32 {
		x.order = append(x.order, x.fresh...)
		slices.SortFunc(x.order, comparePrefix)
	} else {
		for _, p := range x.fresh {
			i, _ := slices.BinarySearchFunc(x.order, p, comparePrefix)
			x.order = slices.Insert(x.order, i, p)
		}
	}
	x.fresh = nil
}

// marksOf derives what an address meets whose longest prefix is p.
func (x *prefixes) marksOf(p netip.Prefix) []mark {
	in, out := []mark{}, map[*selector]bool{}
	var chain []*prefixNode
	for bits := p.Bits(); bits >= 0; bits-- {
		wider, _ := p.Addr().Prefix(bits)
		if x.lens[lenKey(wider)] == 0 {
			continue
		}
		if n, ok := x.nodes[wider]; ok {
			chain = append(chain, n)
			for s := range n.except {
				out[s] = true
			}
		}
	}
	for _, n := range chain {
		for s := range n.include {
			if !out[s] {
				in = append(in, s.cidrMark())
			}
		}
	}
	slices.Sort(in)
	return slices.Compact(in)
}

// longest returns the longest prefix that has the address.
func (x *prefixes) longest(a netip.Addr) *prefixNode {
	a = a.Unmap()
	for bits := a.BitLen(); bits >= 0; bits-- {
		p, _ := a.Prefix(bits)
		if n, ok := x.nodes[p]; ok {
			return n
		}
	}
	return nil
}
