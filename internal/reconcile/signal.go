package reconcile

import "sync"

// Signal is an input that becomes synced once, and says so again whenever it is
// set again.
type Signal struct {
	mu   sync.Mutex
	on   bool
	wake map[chan<- struct{}]bool
}

// Set makes it synced, and wakes whoever is to be notified.
func (s *Signal) Set() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = true
	for w := range s.wake {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// Synced reports whether it was set.
func (s *Signal) Synced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on
}

// Notify sends to wake each time it is set, until stop is called.
func (s *Signal) Notify(wake chan<- struct{}) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake == nil {
		s.wake = map[chan<- struct{}]bool{}
	}
	s.wake[wake] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.wake, wake)
	}
}
