package operator

import (
	"cmp"
	"maps"
	"slices"

	"weir/state"
)

// Identities returns the identity of every set of visible labels that the pods
// have, sorted by number. A set that is in taken keeps its number; another gets the
// next above the highest taken, so that the number of a set that went is not
// given to other labels while nodes may still remember it, and below that only
// when the range is used up. A set for which no number is left is not in the
// result: each node gives its pods a number of its own. Pods of the host network
// have none.
func Identities(pods []state.Pod, namespaces []state.Namespace, visible state.Visible, cluster string, taken []state.Identity) []state.Identity {
	known := map[string]state.IdentityID{}
	used := map[state.IdentityID]bool{}
	next := state.IdentityMin
	for _, t := range sorted(taken) {
		if used[t.ID] {
			continue
		}
		used[t.ID] = true
		if t.ID <= state.IdentityMax { // others are of other clusters
			next = max(next, t.ID+1)
		}
		if _, ok := known[t.Labels.Key()]; !ok {
			known[t.Labels.Key()] = t.ID
		}
	}
	labels := map[string]map[string]string{} // by namespace
	for _, n := range namespaces {
		labels[n.Name] = n.Labels
	}
	sets := map[string]state.Labels{}
	for _, p := range pods {
		if p.HostNetwork {
			continue
		}
		l := state.IdentityLabels(p, labels[p.Name.Namespace], cluster, visible)
		sets[l.Key()] = l
	}
	var out []state.Identity
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		id, ok := known[key]
		if !ok {
			id, ok = free(used, next)
			used[id], next = true, id+1
		}
		if ok {
			out = append(out, state.Identity{ID: id, Labels: sets[key]})
		}
	}
	return sorted(out)
}

// free returns the first free number from next on, then from the beginning.
func free(used map[state.IdentityID]bool, next state.IdentityID) (state.IdentityID, bool) {
	for id := max(next, state.IdentityMin); id <= state.IdentityMax; id++ {
		if !used[id] {
			return id, true
		}
	}
	for id := state.IdentityMin; id <= state.IdentityMax; id++ {
		if !used[id] {
			return id, true
		}
	}
	return 0, false
}

func sorted(ids []state.Identity) []state.Identity {
	return slices.SortedFunc(slices.Values(ids), func(a, b state.Identity) int { return cmp.Compare(a.ID, b.ID) })
}
