package identity

import (
	"maps"
	"time"

	"weir/state"
)

// sight is which labels are visible.
type sight struct {
	wanted  state.Visible        // by the policies as they are
	visible state.Visible        // those, and what they saw a moment ago
	blind   map[string]time.Time // since when a visible key is not wanted
}

func newSight() sight {
	return sight{wanted: state.Visible{}, visible: state.Visible{}, blind: map[string]time.Time{}}
}

// follow makes wanted keys visible at once, and others invisible when their
// time is up.
func (s *sight) follow(now time.Time) (grown, dropped state.Visible) {
	grown, dropped = state.Visible{}, state.Visible{}
	for key := range s.wanted {
		delete(s.blind, key)
		if !s.visible[key] {
			s.visible[key], grown[key] = true, true
		}
	}
	for key := range s.visible {
		if s.wanted[key] {
			continue
		}
		since, ok := s.blind[key]
		if !ok {
			s.blind[key] = now
		} else if now.Sub(since) >= linger {
			dropped[key] = true
		}
	}
	maps.DeleteFunc(s.visible, func(key string, _ bool) bool { return dropped[key] })
	maps.DeleteFunc(s.blind, func(key string, _ time.Time) bool { return dropped[key] })
	return grown, dropped
}
