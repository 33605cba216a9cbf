// Package run starts named goroutines and waits for them.
//
// The first one that fails ends all; they are then waited for in the reverse
// order of their start. It does not restart anything: what can fail and go on
// handles that itself (package reconcile does).
package run

import (
	"context"
	"errors"
	"fmt"
)

// Group is a set of named goroutines that live and end together.
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	tasks  []task
}

type task struct {
	name string
	done chan error
}

// New returns an empty group whose goroutines end with ctx.
func New(ctx context.Context) *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	return g
}

// Context ends when the group does.
func (g *Group) Context() context.Context { return g.ctx }

// Go starts run in a goroutine of its own. An error other than
// context.Canceled ends the whole group. Call Go and Wait from one goroutine.
func (g *Group) Go(name string, run func(context.Context) error) {
	t := task{name: name, done: make(chan error, 1)}
	g.tasks = append(g.tasks, t)
	go func() {
		err := run(g.ctx)
		if err != nil && !errors.Is(err, context.Canceled) {
			err = fmt.Errorf("%s: %w", name, err)
			g.cancel(err)
		} else {
			err = nil
		}
		t.done <- err
	}()
}

// Stop ends the group without an error.
func (g *Group) Stop() { g.cancel(context.Canceled) }

// Wait blocks until every goroutine has returned, last started first, and
// returns the error that ended the group, if one did.
func (g *Group) Wait() error {
	var errs []error
	for i := len(g.tasks) - 1; i >= 0; i-- {
		if err := <-g.tasks[i].done; err != nil {
			errs = append(errs, err)
		}
	}
	g.cancel(context.Canceled)
	return errors.Join(errs...)
}
