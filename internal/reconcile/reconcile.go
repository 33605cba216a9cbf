// Package reconcile drives the world towards the tables.
//
// A step reads tables and makes a target match them, whatever state both are
// in. The loop decides when to run it: after every change, once for a burst of
// changes, again with backoff when it failed. It does not know what a step does.
package reconcile

import (
	"context"
	"log/slog"
	"time"
)

// Input is a table, or anything else that can say it changed.
type Input interface {
	// Notify sends to wake after every change until stop is called.
	Notify(wake chan<- struct{}) (stop func())
	// Synced reports whether the input holds everything its writer knew at start.
	Synced() bool
}

// Observer is told how each run of a step went, and how long it took.
type Observer func(took time.Duration, err error)

type observerKey struct{}

// WithObserver returns a context whose loops report to the observer. It
// travels in the context so that a slice needs not know who watches it.
func WithObserver(ctx context.Context, o Observer) context.Context {
	return context.WithValue(ctx, observerKey{}, o)
}

const (
	settle   = 20 * time.Millisecond // between two steps, at least: a burst of commits is two
	minRetry = 100 * time.Millisecond
	maxRetry = 30 * time.Second
)

// Loop runs step once every input is synced, then after every change of an
// input, until ctx ends. A change after a quiet time is acted upon at once, what
// follows it closely together. Step must bring the target to match the inputs
// whatever state both are in; one that fails is run again, with backoff, and
// is logged at its first failure and whenever the error changes.
func Loop(ctx context.Context, log *slog.Logger, step func(context.Context) error, inputs ...Input) error {
	wake := make(chan struct{}, 1)
	for _, in := range inputs {
		defer in.Notify(wake)()
	}
	observe, _ := ctx.Value(observerKey{}).(Observer)
	again, retry, said := time.After(0), minRetry, ""
	var last time.Time // when a step ended
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again:
		case <-wake:
			if !rest(ctx, wake, settle-time.Since(last)) {
				return nil
			}
		}
		again = nil
		if !synced(inputs) {
			continue
		}
		began := time.Now()
		err := step(ctx)
		last = time.Now()
		if observe != nil {
			observe(last.Sub(began), err)
		}
		if err == nil {
			if said != "" {
				log.Info("reconcile recovered", "after", said)
			}
			retry, said = minRetry, ""
			continue
		}
		if err.Error() != said {
			log.Warn("reconcile failing", "err", err, "retry_in", retry)
			said = err.Error()
		}
		again, retry = time.After(retry), min(2*retry, maxRetry)
	}
}

// rest waits, and takes the changes of that time for one; false means that ctx
// ended first.
func rest(ctx context.Context, wake <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
	}
	select {
	case <-wake:
	default:
	}
	return true
}

func synced(inputs []Input) bool {
	for _, in := range inputs {
		if !in.Synced() {
			return false
		}
	}
	return true
}
