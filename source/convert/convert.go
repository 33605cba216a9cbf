// Package convert turns Kubernetes objects into rows: pure functions, one for
// each kind, that every source shares.
//
// An object is either good as a whole or refused with an error that names its
// kind, name, field and value. The package reads no files and talks to no API
// server.
package convert

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Error refuses an object.
type Error struct {
	Object string // "Pod default/web"
	Field  string // "spec.ingress[0].fromCIDR[1]"
	Text   string // the value, what is wrong with it, and the way out
}

func (e *Error) Error() string { return e.Object + ": " + e.Field + ": " + e.Text }

// refuse builds the error of all functions here.
func refuse(object, field, format string, args ...any) error {
	return &Error{Object: object, Field: field, Text: fmt.Sprintf(format, args...)}
}

// where is a field of an object that is being looked at.
type where struct{ object, field string }

func (w where) in(field string) where {
	if w.field != "" {
		field = w.field + "." + field
	}
	return where{w.object, field}
}

func (w where) item(list string, i int) where { return w.in(fmt.Sprintf("%s[%d]", list, i)) }

// beyond returns the field's path as seen from another field that holds it.
func (w where) beyond(outer where) string { return strings.TrimPrefix(w.field, outer.field+".") }

func (w where) refuse(format string, args ...any) error {
	return refuse(w.object, w.field, format, args...)
}

func parseAddr(object, field, text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Is4In6() || a.Zone() != "" {
		return netip.Addr{}, refuse(object, field, "%q is not an IP address such as 10.0.1.7 or fd00::107", text)
	}
	return a, nil
}

// parseCIDRs takes what a node lists as its pod CIDRs.
func parseCIDRs(object, field string, texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, text := range texts {
		at := fmt.Sprintf("%s[%d]", field, i)
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Addr().Is4In6() {
			return nil, refuse(object, at, "%q is not a CIDR such as 10.0.1.0/24 or fd00::100/120", text)
		}
		if p != p.Masked() {
			return nil, refuse(object, at, "%q has host bits set: write %s", text, p.Masked())
		}
		for j, q := range out {
			if q.Overlaps(p) {
				return nil, refuse(object, at, "%q overlaps %s of %s[%d]: keep one", text, q, field, j)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// firstOfEach keeps the first address of each family, IPv4 first.
func firstOfEach(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, is4 := range []bool{true, false} {
		if i := slices.IndexFunc(addrs, func(a netip.Addr) bool { return a.Is4() == is4 }); i >= 0 {
			out = append(out, addrs[i])
		}
	}
	return out
}
