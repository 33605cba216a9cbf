package lab

import (
	"cmp"
	"maps"
	"slices"
)

// numbers chooses which pods of a Deployment there shall be, in order. Those
// that are there stay as far as there is room: the ones without a network go
// first, then those that do not run, then the youngest. The lowest numbers that
// are free fill up.
func (w *workload) numbers(have []Pod, hash string) []int {
	var old []Pod
	for _, p := range have {
		if p.Owner == w.owner && p.Hash == hash {
			old = append(old, p)
		}
	}
	slices.SortFunc(old, func(a, b Pod) int { return cmp.Or(a.trouble()-b.trouble(), a.Index-b.Index) })
	taken := map[int]bool{}
	for _, p := range old[:min(len(old), w.replicas)] {
		taken[p.Index] = true
	}
	for i := 0; len(taken) < w.replicas; i++ {
		taken[i] = true
	}
	return slices.Sorted(maps.Keys(taken))
}

// trouble is 2 for a pod without a network, 1 for one that does not run.
func (p Pod) trouble() int {
	switch podStatus(p).State {
	case "NetworkError":
		return 2
	case "Running":
		return 0
	}
	return 1
}
