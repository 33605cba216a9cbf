package operator

import "net/netip"

// span returns the first and the last address of a range that can be given: not
// that of the network itself, nor IPv4's broadcast.
func span(r netip.Prefix) (first, last netip.Addr) {
	first, last = r.Masked().Addr(), lastAddr(r)
	if host := r.Addr().BitLen() - r.Bits(); host >= 2 {
		first = first.Next()
		if first.Is4() {
			last = last.Prev()
		}
	}
	return first, last
}

func lastAddr(r netip.Prefix) netip.Addr {
	b := r.Addr().AsSlice()
	for bit := r.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// size is how many addresses a range has to give, as far as it matters.
func size(r netip.Prefix) uint64 {
	first, last := span(r)
	return distance(first, last) + 1
}

// distance is how far apart two addresses are, at most a lot.
func distance(from, to netip.Addr) uint64 {
	a, b := from.As16(), to.As16()
	var d uint64
	for i := range a {
		if d > 1<<40 {
			return d
		}
		d = d<<8 + uint64(b[i]) - uint64(a[i])
	}
	return d
}

// ahead returns the address so many behind another.
func ahead(a netip.Addr, n uint64) netip.Addr {
	b := a.AsSlice()
	for i := len(b) - 1; i >= 0 && n > 0; i-- {
		n += uint64(b[i])
		b[i] = byte(n)
		n >>= 8
	}
	out, _ := netip.AddrFromSlice(b)
	return out
}
