package convert

import (
	"net/netip"
)

// parsePrefix takes a CIDR, or with bare set an address, which is a CIDR of all
// its bits.
func parsePrefix(w where, text string, bare bool) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" && !a.Is4In6() {
		p := netip.PrefixFrom(a, a.BitLen())
		if !bare {
			return netip.Prefix{}, w.refuse("%q has no length: write %s", text, p)
		}
		return p, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, w.refuse("%q is not a CIDR such as 10.0.0.0/8 or fd00::/8", text)
	}
	if p != p.Masked() {
		return netip.Prefix{}, w.refuse("%q has host bits set: write %s", text, p.Masked())
	}
	return p, nil
}

// parseExcept takes what is left out of a CIDR, or of many (the zero Prefix).
func parseExcept(w where, cidr netip.Prefix, texts []string, bare bool) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, text := range texts {
		at := w.item("except", i)
		p, err := parsePrefix(at, text, bare)
		if err != nil {
			return nil, err
		}
		if cidr.IsValid() && (!cidr.Contains(p.Addr()) || p.Bits() < cidr.Bits()) {
			return nil, at.refuse("%q does not lie within %s: leave it out, or except a part of that", text, cidr)
		}
		out = append(out, p)
	}
	return out, nil
}
