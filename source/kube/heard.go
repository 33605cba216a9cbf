package kube

import (
	"cmp"
	"slices"
	"sync"
)

// Heard counts what servers told of one kind.
type Heard struct {
	Kind, Action string // "create", "update" or "delete"
	Valid        bool   // it became a row
	Equal        bool   // it said nothing new
	Count        uint64
}

// ears counts for all kinds.
type ears struct {
	mu  sync.Mutex
	all map[Heard]uint64 // by what it is, without its count; guarded by mu
}

func (e *ears) heard(h Heard) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all == nil {
		e.all = map[Heard]uint64{}
	}
	e.all[h]++
}

// Heard returns what was told since the start, in a fixed order.
func (s *Source) Heard() []Heard {
	s.ears.mu.Lock()
	defer s.ears.mu.Unlock()
	out := make([]Heard, 0, len(s.ears.all))
	for h, n := range s.ears.all {
		h.Count = n
		out = append(out, h)
	}
	slices.SortFunc(out, func(x, y Heard) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Action, y.Action), order(x.Valid, y.Valid), order(x.Equal, y.Equal))
	})
	return out
}

func order(x, y bool) int {
	switch {
	case x == y:
		return 0
	case y:
		return -1
	}
	return 1
}

// say is what a version of an object was.
func (s *store) say(known, equal bool, err error) {
	action := "create"
	if known {
		action = "update"
	}
	s.src.ears.heard(Heard{Kind: s.name, Action: action, Valid: err == nil, Equal: equal})
}
