package ipam

import (
	"math"
	"net/netip"
)

// block is one CIDR. It stores no bit for each address: an IPv6 CIDR may have
// more of them than there is memory, and the used ones are in the pool's map.
//
//	10.0.1.0   10.0.1.1 ...............10.0.1.254   10.0.1.255
//	network    first        next ->    last         broadcast
type block struct {
	cidr        netip.Prefix
	first, last netip.Addr // usable
	next        netip.Addr // where the search goes on
	taken       uint64     // usable addresses in use or reserved
}

// newBlock leaves out what is not usable: in IPv4 the network and broadcast
// address, in IPv6 the subnet-router anycast address (RFC 4291, section
// 2.6.1). CIDRs of one or two addresses have neither (RFC 3021, RFC 6164).
func newBlock(c netip.Prefix) *block {
	b := &block{cidr: c, first: c.Addr(), last: lastOf(c)}
	if c.Addr().BitLen()-c.Bits() > 1 {
		b.first = b.first.Next()
		if c.Addr().Is4() {
			b.last = b.last.Prev()
		}
	}
	b.next = b.first
	return b
}

// capacity is the number of usable addresses.
func (b *block) capacity() uint64 {
	free := b.cidr.Addr().BitLen() - b.cidr.Bits()
	switch {
	case free <= 1:
		return 1 << free
	case free >= 63:
		return math.MaxInt64
	case b.cidr.Addr().Is4():
		return 1<<free - 2
	default:
		return 1<<free - 1
	}
}

func (b *block) usable(a netip.Addr) bool {
	return a.BitLen() == b.first.BitLen() && !a.Less(b.first) && !b.last.Less(a)
}

// after returns the usable address behind a; the first follows the last.
func (b *block) after(a netip.Addr) netip.Addr {
	if a == b.last {
		return b.first
	}
	return a.Next()
}

func lastOf(c netip.Prefix) netip.Addr {
	bytes := c.Addr().AsSlice()
	for bit := c.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}
