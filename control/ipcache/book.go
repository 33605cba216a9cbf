package ipcache

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"weir/state"
)

// strength orders the sources: the lowest wins a prefix.
var strength = map[state.IPSource]int{
	state.IPHost: 0, state.IPEndpoint: 1, state.IPNode: 2, state.IPPod: 3, state.IPPodCIDR: 4, state.IPWorld: 5,
}

// owner names the object that claims a prefix: a kind and a key.
type owner struct{ kind, key string }

type claim struct {
	owner owner
	life  life
	row   state.IP
}

// life is how the object that claims lives, if it is a pod: the address of one
// that ends may be another's already, and its object lingers.
type life struct {
	ending bool
	began  time.Time
}

// book holds who claims which prefix, so that a changed object costs the work
// of its own claims only. The winner depends on the claims, never on the order
// in which they came:
//
//	prefix        claims, best first
//	10.0.1.7/32   endpoint 3        pod default/web (a row that lags behind)
//	10.0.2.7/32   pod default/b     pod default/a (is being deleted)
//	10.0.1.0/24   node n1
type book struct {
	claims map[netip.Prefix][]claim
	by     map[owner][]netip.Prefix
}

func newBook() *book {
	return &book{claims: map[netip.Prefix][]claim{}, by: map[owner][]netip.Prefix{}}
}

// set makes these the claims of the owner, in place of any it had, and adds
// the prefixes that may have another winner to touched.
func (b *book) set(o owner, l life, rows []state.IP, touched map[netip.Prefix]bool) {
	for _, p := range b.by[o] {
		left := slices.DeleteFunc(b.claims[p], func(c claim) bool { return c.owner == o })
		if len(left) == 0 {
			delete(b.claims, p)
		} else {
			b.claims[p] = left
		}
		touched[p] = true
	}
	delete(b.by, o)
	for _, row := range rows {
		b.claims[row.Prefix] = append(b.claims[row.Prefix], claim{o, l, row})
		slices.SortFunc(b.claims[row.Prefix], compare)
		b.by[o] = append(b.by[o], row.Prefix)
		touched[row.Prefix] = true
	}
}

// compare puts the stronger source first; among equals the one that does not
// end, then the younger one, then the one whose owner sorts first.
func compare(a, b claim) int {
	return cmp.Or(cmp.Compare(strength[a.row.Source], strength[b.row.Source]), a.life.compare(b.life), cmp.Compare(a.row.Of, b.row.Of),
		cmp.Compare(a.owner.kind, b.owner.kind), cmp.Compare(a.owner.key, b.owner.key))
}

func (l life) compare(o life) int {
	switch {
	case l.ending == o.ending:
		return o.began.Compare(l.began)
	case l.ending:
		return 1
	}
	return -1
}

// winner returns the row of the prefix, if anybody claims it.
func (b *book) winner(p netip.Prefix) (state.IP, bool) {
	c := b.claims[p]
	if len(c) == 0 {
		return state.IP{}, false
	}
	return c[0].row, true
}
