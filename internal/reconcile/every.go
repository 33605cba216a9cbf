package reconcile

import (
	"context"
	"time"
)

// Every is an input that changes by itself every d until ctx ends, for targets
// that others can change without saying so.
func Every(ctx context.Context, d time.Duration) Input { return every{ctx, d} }

type every struct {
	ctx context.Context
	d   time.Duration
}

// Synced is always true.
func (every) Synced() bool { return true }

// Notify sends to wake every d.
func (e every) Notify(wake chan<- struct{}) (stop func()) {
	ctx, cancel := context.WithCancel(e.ctx)
	go func() {
		t := time.NewTicker(e.d)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				select {
				case wake <- struct{}{}:
				default:
				}
			}
		}
	}()
	return cancel
}
