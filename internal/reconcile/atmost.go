package reconcile

import (
	"slices"
	"time"
)

// AtMost is all inputs as one that wakes at most once in every d: for steps that look at
// everything, of what changes all the time. What changes after a quiet time wakes at once.
func AtMost(d time.Duration, inputs ...Input) Input { return atMost{d, inputs} }

type atMost struct {
	d      time.Duration
	inputs []Input
}

// Synced is true when all are.
func (a atMost) Synced() bool {
	return !slices.ContainsFunc(a.inputs, func(in Input) bool { return !in.Synced() })
}

// Notify sends to wake when one of them has changed.
func (a atMost) Notify(wake chan<- struct{}) (stop func()) {
	changed, done := make(chan struct{}, 1), make(chan struct{})
	var unlisten []func()
	for _, in := range a.inputs {
		unlisten = append(unlisten, in.Notify(changed))
	}
	go func() {
		defer func() {
			for _, f := range unlisten {
				f()
			}
		}()
		var next <-chan time.Time // when it may wake again; nil: now
		for {
			select {
			case <-done:
				return
			case <-changed:
			}
			if next != nil {
				select {
				case <-done:
					return
				case <-next:
				}
			}
			if a.Synced() { // before, nobody works yet
				next = time.After(a.d)
			}
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}()
	return func() { close(done) }
}
