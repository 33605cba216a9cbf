package state

import "net/netip"

// RouterAddrs returns the addresses of weir_host on a node with these pod CIDRs,
// at most one of each family, IPv4 first: the first usable address of the first
// CIDR of the family. Every agent derives them alike for a node whose object
// does not say.
func RouterAddrs(cidrs []netip.Prefix) []netip.Addr { return usable(cidrs, 0) }

// HealthAddrs returns the addresses of the node's health endpoint, as
// RouterAddrs does: the second usable ones.
func HealthAddrs(cidrs []netip.Prefix) []netip.Addr { return usable(cidrs, 1) }

// usable returns the nth usable address for each family. The zeroth address of
// a CIDR is never one: in IPv4 it names the network, in IPv6 it is the
// subnet-router anycast address (RFC 4291, section 2.6.1). CIDRs of one or two
// addresses have neither (RFC 3021, RFC 6164).
func usable(cidrs []netip.Prefix, nth int) []netip.Addr {
	var out []netip.Addr
	for _, is4 := range []bool{true, false} {
		for _, c := range cidrs {
			if c.Addr().Is4() != is4 {
				continue
			}
			if a := at(c.Masked(), nth); a.IsValid() {
				out = append(out, a)
			}
			break
		}
	}
	return out
}

func at(c netip.Prefix, nth int) netip.Addr {
	a := c.Addr()
	if a.BitLen()-c.Bits() > 1 {
		a = a.Next()
	}
	for range nth {
		a = a.Next()
	}
	if !a.IsValid() || !c.Contains(a) {
		return netip.Addr{}
	}
	return a
}
