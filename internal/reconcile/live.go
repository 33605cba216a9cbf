package reconcile

import (
	"context"
	"errors"
	"log/slog"
)

// Live is an input that only says that it changed while it is being run.
type Live interface {
	Input
	// Run listens until ctx ends.
	Run(ctx context.Context) error
}

// LoopLive is Loop over a live input beside others: it runs the input for as
// long as the loop, and the loop ends with it.
func LoopLive(ctx context.Context, log *slog.Logger, step func(context.Context) error, live Live, inputs ...Input) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := make(chan error, 1)
	go func() {
		defer cancel()
		heard <- live.Run(ctx)
	}()
	err := Loop(ctx, log, step, append([]Input{live}, inputs...)...)
	cancel()
	return errors.Join(err, <-heard)
}
