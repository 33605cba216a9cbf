package policy

import (
	"slices"
	"strings"

	"weir/state"
)

// labelled finds things by their labels: whom may a selector select?
type labelled[T comparable] struct {
	all   map[T]bool
	under map[string]map[T]bool // by label and by key
}

func newLabelled[T comparable]() *labelled[T] {
	return &labelled[T]{all: map[T]bool{}, under: map[string]map[T]bool{}}
}

func (l *labelled[T]) add(t T, labels state.Labels) {
	l.all[t] = true
	for _, label := range labels {
		key, _ := state.CutLabel(label)
		for _, k := range []string{label, key} {
			if l.under[k] == nil {
				l.under[k] = map[T]bool{}
			}
			l.under[k][t] = true
		}
	}
}

func (l *labelled[T]) remove(t T, labels state.Labels) {
	delete(l.all, t)
	for _, label := range labels {
		key, _ := state.CutLabel(label)
		for _, k := range []string{label, key} {
			if delete(l.under[k], t); len(l.under[k]) == 0 {
				delete(l.under, k)
			}
		}
	}
}

// candidates are groups among which everything is that the selector selects:
// the fewest that one requirement leaves.
func (l *labelled[T]) candidates(s state.Selector) []map[T]bool {
	best, least := []map[T]bool{l.all}, len(l.all)
	for _, r := range s {
		keys := hooks(r)
		if keys == nil {
			continue
		}
		var groups []map[T]bool
		n := 0
		for _, k := range keys {
			groups = append(groups, l.under[k])
			n += len(l.under[k])
		}
		if n < least {
			best, least = groups, n
		}
	}
	return best
}

// hooks are the labels and keys of which whatever meets the requirement has one;
// nil when it can be met by having none.
func hooks(r state.Requirement) []string {
	key := r.Key
	if name, any := strings.CutPrefix(key, "any:"); any {
		key = "k8s:" + name
	}
	switch r.Op {
	case state.In:
		out := make([]string, len(r.Values))
		for i, v := range r.Values {
			out[i] = key + "=" + v
			if v == "" && !strings.HasPrefix(key, "k8s:") {
				out[i] = key // a reserved label is written without "="
			}
		}
		return out
	case state.Exists:
		return []string{key}
	}
	return nil
}

// selecting finds selectors by the labels that they may select: each stands
// under the labels of one of its requirements.
type selecting[S comparable] struct {
	under map[string]map[S]bool
	rest  map[S]bool // without a requirement that could find them
	where map[S][]string
}

func newSelecting[S comparable]() *selecting[S] {
	return &selecting[S]{under: map[string]map[S]bool{}, rest: map[S]bool{}, where: map[S][]string{}}
}

// add enters s, which selects whatever one of the alternatives selects.
func (x *selecting[S]) add(s S, alternatives []state.Selector) {
	for _, a := range alternatives {
		keys := x.rarest(a)
		if keys == nil {
			x.rest[s] = true
		}
		for _, k := range keys {
			if x.under[k] == nil {
				x.under[k] = map[S]bool{}
			}
			x.under[k][s] = true
		}
		x.where[s] = append(x.where[s], keys...)
	}
}

func (x *selecting[S]) remove(s S) {
	for _, k := range x.where[s] {
		if delete(x.under[k], s); len(x.under[k]) == 0 {
			delete(x.under, k)
		}
	}
	delete(x.where, s)
	delete(x.rest, s)
}

// rarest is the requirement under whose labels fewest selectors stand; labels
// that all pods of a namespace or of the cluster have come last.
func (x *selecting[S]) rarest(s state.Selector) []string {
	var best []string
	least := -1
	for _, r := range s {
		keys := hooks(r)
		if keys == nil {
			continue
		}
		n := 0
		for _, k := range keys {
			n += len(x.under[k])
		}
		if r.Key == state.LabelCluster || r.Key == state.LabelNamespace || strings.HasPrefix(r.Key, state.LabelNamespacePrefix) {
			n += 1 << 20
		}
		if r.Op == state.Exists {
			n += 1 << 10
		}
		if least < 0 || n < least {
			best, least = keys, n
		}
	}
	return best
}

// each calls f for every selector that may select the labels, some more than
// once.
func (x *selecting[S]) each(labels state.Labels, f func(S)) {
	for _, label := range labels {
		key, _ := state.CutLabel(label)
		for s := range x.under[label] {
			f(s)
		}
		if key != label {
			for s := range x.under[key] {
				f(s)
			}
		}
	}
	for s := range x.rest {
		f(s)
	}
}

// insert adds m to a sorted list, once.
func insert[T ~uint32](list []T, m T) []T {
	i, found := slices.BinarySearch(list, m)
	if found {
		return list
	}
	return slices.Insert(list, i, m)
}

// without removes m from a sorted list.
func without[T ~uint32](list []T, m T) []T {
	if i, found := slices.BinarySearch(list, m); found {
		return slices.Delete(list, i, i+1)
	}
	return list
}
