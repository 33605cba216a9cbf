// Package operator holds the duties that a cluster has once: which node gets
// which pod CIDR, which labels get which identity; and, where no API server
// does it, which service gets which addresses and ports, and which endpoints.
//
// Everything here is a pure function from what is there to what should be
// there. It neither reads nor writes Kubernetes; operator/run and the lab do
// that, with the same functions.
package operator

import (
	"errors"
	"fmt"
	"net/netip"
)

// Pool is a range of pod addresses that is dealt out to the nodes in CIDRs of
// Mask bits.
type Pool struct {
	CIDR netip.Prefix
	Mask int
}

// DefaultPools returns the pools of a cluster that chose none.
func DefaultPools() []Pool {
	return []Pool{
		{CIDR: netip.MustParsePrefix("10.0.0.0/8"), Mask: 24},
		{CIDR: netip.MustParsePrefix("fd00::/104"), Mask: 120},
	}
}

// PodCIDRs returns the pod CIDRs of each of nodes: what it has in taken, and
// one out of a pool for each family of the pools it has none of. Pools of one
// family are used up in their order. Whatever is in taken is kept and never
// dealt out again, be its node among nodes or not: leave out what is free.
//
// When a pool is exhausted, the map still holds what could be given, and the
// error names the pool and the node that got nothing.
func PodCIDRs(pools []Pool, nodes []string, taken map[string][]netip.Prefix) (map[string][]netip.Prefix, error) {
	d, err := newDealer(pools, taken)
	if err != nil {
		return nil, err
	}
	out := map[string][]netip.Prefix{}
	var errs []error
	for _, node := range nodes {
		cidrs := append([]netip.Prefix(nil), taken[node]...)
		for _, is4 := range families {
			if len(d.pools[is4]) == 0 || has(cidrs, is4) {
				continue
			}
			p, ok := d.deal(is4)
			if !ok {
				errs = append(errs, fmt.Errorf("no pod CIDR left for node %s: %s; add a pool", node, d.full(is4)))
				continue
			}
			cidrs = append(cidrs, p)
		}
		out[node] = cidrs
	}
	return out, errors.Join(errs...)
}

// families are both, as keys of whatever is kept for each: true is IPv4.
var families = []bool{true, false}

// dealer deals out each pool from its beginning to its end.
type dealer struct {
	pools map[bool][]*pool      // by family, true is IPv4
	same  map[netip.Prefix]bool // taken, as a pool would deal it: one look-up
	odd   []netip.Prefix        // taken, outside of the pools or with another mask
}

type pool struct {
	Pool
	next netip.Prefix // invalid at the end
}

func newDealer(pools []Pool, taken map[string][]netip.Prefix) (*dealer, error) {
	d := &dealer{pools: map[bool][]*pool{}, same: map[netip.Prefix]bool{}}
	for i, p := range pools {
		if err := p.check(pools[:i]); err != nil {
			return nil, err
		}
		is4 := p.CIDR.Addr().Is4()
		d.pools[is4] = append(d.pools[is4], &pool{p, netip.PrefixFrom(p.CIDR.Addr(), p.Mask)})
	}
	for node, cidrs := range taken {
		for _, c := range cidrs {
			if !c.IsValid() {
				return nil, fmt.Errorf("node %s has an invalid pod CIDR: remove it from the node", node)
			}
			if d.dealt(c) {
				d.same[c] = true
				continue
			}
			d.odd = append(d.odd, c)
		}
	}
	return d, nil
}

// dealt reports whether c could have come out of one of the pools as they are.
func (d *dealer) dealt(c netip.Prefix) bool {
	for _, p := range d.pools[c.Addr().Is4()] {
		if p.CIDR.Contains(c.Addr()) {
			return p.Mask == c.Bits() && c == c.Masked()
		}
	}
	return false
}

func (p Pool) check(before []Pool) error {
	if !p.CIDR.IsValid() || p.CIDR != p.CIDR.Masked() {
		return fmt.Errorf("pool %s is not a CIDR: its address must have no bits set after the mask", p.CIDR)
	}
	if p.Mask < p.CIDR.Bits() || p.Mask > p.CIDR.Addr().BitLen() {
		return fmt.Errorf("pool %s: the nodes' mask /%d does not fit, use /%d to /%d", p.CIDR, p.Mask, p.CIDR.Bits(), p.CIDR.Addr().BitLen())
	}
	for _, b := range before {
		if b.CIDR.Overlaps(p.CIDR) {
			return fmt.Errorf("pools %s and %s overlap: keep one", b.CIDR, p.CIDR)
		}
	}
	return nil
}

func (d *dealer) deal(is4 bool) (netip.Prefix, bool) {
	for _, p := range d.pools[is4] {
		for p.next.IsValid() {
			c := p.next
			p.next = p.after(c)
			if !d.taken(c) {
				return c, true
			}
		}
	}
	return netip.Prefix{}, false
}

func (d *dealer) taken(c netip.Prefix) bool {
	if d.same[c] {
		return true
	}
	for _, t := range d.odd {
		if t.Overlaps(c) {
			return true
		}
	}
	return false
}

func (d *dealer) full(is4 bool) string {
	text := ""
	for i, p := range d.pools[is4] {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("pool %s with mask /%d is exhausted", p.CIDR, p.Mask)
	}
	return text
}

// after returns the CIDR of the same size that follows c, or an invalid one at
// the end of the pool.
func (p *pool) after(c netip.Prefix) netip.Prefix {
	b := c.Addr().AsSlice()
	carry := 1 << (7 - (p.Mask-1)&7)
	for i := (p.Mask - 1) / 8; i >= 0 && carry > 0; i-- {
		sum := int(b[i]) + carry
		b[i], carry = byte(sum), sum>>8
	}
	a, _ := netip.AddrFromSlice(b)
	if p.Mask == 0 || carry > 0 || !p.CIDR.Contains(a) {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, p.Mask)
}

func has(cidrs []netip.Prefix, is4 bool) bool {
	for _, c := range cidrs {
		if c.Addr().Is4() == is4 {
			return true
		}
	}
	return false
}
