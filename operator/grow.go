package operator

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// MorePodCIDRs returns for each node of full, which says the families whose
// addresses its pods use up, one CIDR more of these, behind what it has in taken.
// A node whose pool is exhausted keeps what it has, and the error names it.
func MorePodCIDRs(pools []Pool, full map[string][]bool, taken map[string][]netip.Prefix) (map[string][]netip.Prefix, error) {
	d, err := newDealer(pools, taken)
	if err != nil {
		return nil, err
	}
	out := map[string][]netip.Prefix{}
	var errs []error
	for _, node := range slices.Sorted(maps.Keys(full)) {
		out[node] = slices.Clone(taken[node])
		for _, is4 := range full[node] {
			p, ok := d.deal(is4)
			if !ok {
				errs = append(errs, fmt.Errorf("no more pod CIDR for node %s: %s; add a pool", node, d.full(is4)))
				continue
			}
			out[node] = append(out[node], p)
		}
	}
	return out, errors.Join(errs...)
}

// FullFamilies returns the families of which a node with these CIDRs has fewer
// than spare addresses left when pods of its have one each. A family without any
// CIDR is none of them.
func FullFamilies(cidrs []netip.Prefix, pods, spare int) []bool {
	var out []bool
	for _, is4 := range families {
		var room uint64
		for _, c := range cidrs {
			if c.Addr().Is4() == is4 {
				room = min(room+size(c), 1<<40)
			}
		}
		const own = 2 // of the router and the health endpoint
		if room > 0 && room < uint64(pods+spare+own) {
			out = append(out, is4)
		}
	}
	return out
}

// Admit returns the CIDRs of a node whose object says said: none that it has is taken from
// it, and none is added that is no new one, being another's already or part of what the
// node has. The error names those, which somebody else must have written. Of a node that
// has none yet everything counts, since nobody can tell who was first: see Overlaps.
func Admit(given map[string][]netip.Prefix, node string, said []netip.Prefix) ([]netip.Prefix, error) {
	has := given[node]
	out := slices.Clone(has)
	var errs []error
	for _, c := range said {
		if slices.Contains(out, c) {
			continue
		}
		if i := slices.IndexFunc(out, c.Overlaps); i >= 0 {
			errs = append(errs, fmt.Errorf("pod CIDR %s overlaps %s, which node %s has: it is taken out of the node's object", c, out[i], node))
			continue
		}
		if other, theirs := holder(given, node, c); len(has) > 0 && other != "" {
			errs = append(errs, fmt.Errorf("pod CIDR %s overlaps %s of node %s: it is taken out of the object of node %s", c, theirs, other, node))
			continue
		}
		out = append(out, c)
	}
	return out, errors.Join(errs...)
}

// holder is the first node but one, by name, that has a CIDR that overlaps c.
func holder(given map[string][]netip.Prefix, but string, c netip.Prefix) (node string, theirs netip.Prefix) {
	for name, cidrs := range given {
		if name == but || node != "" && name > node {
			continue
		}
		if i := slices.IndexFunc(cidrs, c.Overlaps); i >= 0 {
			node, theirs = name, cidrs[i]
		}
	}
	return node, theirs
}

const wayOut = "drain one of the two nodes, delete its Node, and wait until its CiliumNode is gone"

// Overlaps says for each node whose CIDRs are another's, too, whose they are.
// Nothing is taken away from either: pods use the addresses.
func Overlaps(taken map[string][]netip.Prefix) map[string]string {
	type of struct {
		cidr netip.Prefix
		node string
	}
	var all []of
	for node, cidrs := range taken {
		for _, c := range cidrs {
			all = append(all, of{c.Masked(), node})
		}
	}
	slices.SortFunc(all, func(a, b of) int {
		return cmp.Or(a.cidr.Addr().Compare(b.cidr.Addr()), cmp.Compare(a.cidr.Bits(), b.cidr.Bits()), cmp.Compare(a.node, b.node))
	})
	out := map[string]string{}
	var open []of // those that hold the one at hand
	for _, c := range all {
		open = slices.DeleteFunc(open, func(o of) bool { return !o.cidr.Overlaps(c.cidr) })
		for _, o := range open {
			if o.node == c.node {
				continue
			}
			out[c.node] = fmt.Sprintf("pod CIDR %s overlaps %s of node %s: %s", c.cidr, o.cidr, o.node, wayOut)
			out[o.node] = fmt.Sprintf("pod CIDR %s overlaps %s of node %s: %s", o.cidr, c.cidr, c.node, wayOut)
		}
		open = append(open, c)
	}
	return out
}
