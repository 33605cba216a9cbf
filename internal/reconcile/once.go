package reconcile

import "context"

// Once is an input that only says when another is synced: for steps that must
// not run before, and need not run again when it changes.
func Once(in Input) Input { return once{in} }

type once struct{ in Input }

// Synced is the other's.
func (o once) Synced() bool { return o.in.Synced() }

// Notify sends to wake when the other is synced.
func (o once) Notify(wake chan<- struct{}) (stop func()) {
	changed, done := make(chan struct{}, 1), make(chan struct{})
	unlisten := o.in.Notify(changed)
	go func() {
		defer unlisten()
		for !o.in.Synced() {
			select {
			case <-done:
				return
			case <-changed:
			}
		}
		select {
		case wake <- struct{}{}:
		default:
		}
	}()
	return func() { close(done) }
}

// Wait returns true when all inputs are synced, and false when ctx ends before.
func Wait(ctx context.Context, inputs ...Input) bool {
	for _, in := range inputs {
		wake := make(chan struct{}, 1)
		stop := Once(in).Notify(wake)
		select {
		case <-ctx.Done():
		case <-wake:
		}
		stop()
		if ctx.Err() != nil {
			return false
		}
	}
	return true
}
