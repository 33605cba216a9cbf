package generate

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
)

// generator is where all choices come from.
type generator struct {
	*rand.Rand
	v4, v6 bool
	addrs  []netip.Addr // of everybody, by whom rules and packets are aimed
	local  []netip.Addr // of endpoints of this node, and of the node itself
	ports  []uint16     // that rules name, and their neighbours
	used   []string     // namespaces of pods, once for each
}

// percent is true that often.
func (g *generator) percent(p int) bool { return g.IntN(100) < p }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// some returns up to most of what make makes, at least least.
func some[T any](g *generator, least, most int, make func() T) []any {
	out := []any{}
	for range least + g.IntN(most-least+1) {
		out = append(out, make())
	}
	return out
}

// maybe sets a field that often.
func (g *generator) maybe(o Object, p int, field string, value func() any) {
	if g.percent(p) {
		o[field] = value()
	}
}

// prefixes returns a random CIDR around somebody.
func (g *generator) prefix() netip.Prefix {
	a := pick(g, g.addrs...)
	bits := []int{0, 8, 16, 24, 24, 28, 30, 31, 32, 32}
	if a.Is6() {
		bits = []int{0, 16, 32, 64, 64, 120, 124, 127, 128, 128}
	}
	p, _ := a.Prefix(pick(g, bits...))
	return p
}

// prefixIn returns a CIDR within another.
func (g *generator) prefixIn(outer netip.Prefix) netip.Prefix {
	a := outer.Addr()
	for range 8 {
		if b := pick(g, g.addrs...); outer.Contains(b) {
			a = b
			break
		}
	}
	bits := outer.Bits() + g.IntN(a.BitLen()-outer.Bits()+1)
	if g.percent(40) {
		bits = a.BitLen()
	}
	p, _ := a.Prefix(bits)
	return p
}

// port returns a number that rules and packets share, and remembers it.
func (g *generator) port() uint16 {
	return pick(g, uint16(80), 80, 81, 443, 53, 8080, 1, 65535)
}

// span returns a range of ports.
func (g *generator) span() (first, last uint16) {
	first = g.port()
	switch g.IntN(5) {
	case 0:
		last = 65535
	case 1:
		last = first
	case 2:
		last = first + uint16(g.IntN(int(min(10, 65535-first))+1))
	default:
		last = first + uint16(g.IntN(int(65535-first)+1))
	}
	g.aim(first)
	g.aim(last)
	return first, last
}

// aim makes packets go to a port and to its neighbours.
func (g *generator) aim(p uint16) {
	for _, n := range []int{int(p) - 1, int(p), int(p), int(p) + 1} {
		if n >= 1 && n <= 65535 {
			g.ports = append(g.ports, uint16(n))
		}
	}
}

// selector returns one out of labels that exist, as plain keys, or as those of
// a function that dresses keys up.
func (g *generator) selector(labels [][]string, dress func(string) string) Object {
	out := Object{}
	if g.percent(20) {
		return out
	}
	if g.percent(65) {
		l := pick(g, labels...)
		out["matchLabels"] = Object{dress(l[0]): pick(g, l[1:]...)}
	}
	if g.percent(45) || len(out) == 0 && g.percent(80) {
		out["matchExpressions"] = some(g, 1, 2, func() Object {
			l := pick(g, labels...)
			e := Object{"key": dress(l[0]), "operator": pick(g, "In", "NotIn", "Exists", "DoesNotExist")}
			if e["operator"] == "In" || e["operator"] == "NotIn" {
				e["values"] = some(g, 1, 2, func() any { return pick(g, l[1:]...) })
			}
			return e
		})
	}
	return out
}

func same(s string) string { return s }

// podLabels are the keys of pods' own labels with their values.
var podLabels = [][]string{{"app", "x", "y"}, {"tier", "1", "2"}, {"role", "", "db"}}

// namespaceLabels are those of namespaces.
var namespaceLabels = [][]string{{"team", "red", "blue"}, {"kubernetes.io/metadata.name", "a", "b", "c"}, {"env", "prod"}}

// object begins an object.
func object(apiVersion, kind, namespace, name string) Object {
	meta := Object{"name": name}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	return Object{"apiVersion": apiVersion, "kind": kind, "metadata": meta}
}

func meta(o Object) Object { return o["metadata"].(Object) }

// respond gives an object the annotation at times.
func (g *generator) respond(o Object) {
	if g.percent(20) {
		meta(o)["annotations"] = Object{"policy.weir.io/deny-response": pick(g, "drop", "reject")}
	}
}

func text[T any](v T) string { return fmt.Sprint(v) }
