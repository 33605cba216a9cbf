package run

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errBroken = errors.New("broken")

// untilDone is a goroutine's body that only waits for its end.
func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestTheFirstErrorEndsAll(t *testing.T) {
	g := New(t.Context())
	g.Go("idle", untilDone)
	g.Go("bad", func(context.Context) error { return errBroken })
	err := g.Wait()
	if !errors.Is(err, errBroken) || err.Error() != "bad: broken" {
		t.Errorf("got %v, want bad: broken and nothing of idle", err)
	}
	if cause := context.Cause(g.Context()); !errors.Is(cause, errBroken) {
		t.Errorf("cause %v, want the error", cause)
	}
}

func TestStopAndTheParentsEndAreNoErrors(t *testing.T) {
	g := New(t.Context())
	g.Go("idle", untilDone)
	g.Stop()
	if err := g.Wait(); err != nil {
		t.Errorf("stopped: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	g = New(ctx)
	g.Go("idle", untilDone)
	cancel()
	if err := g.Wait(); err != nil {
		t.Errorf("parent cancelled: %v", err)
	}
}

func TestOneThatReturnsNilLeavesTheOthersRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(t.Context())
		g.Go("short", func(context.Context) error { return nil })
		g.Go("long", untilDone)
		synctest.Wait()
		if err := g.Context().Err(); err != nil {
			t.Errorf("group ended: %v", err)
		}
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestWaitReturnsWhenAllHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(t.Context())
		var mu sync.Mutex
		var ended []string
		for name, d := range map[string]time.Duration{"slow": 2 * time.Second, "quick": time.Second} {
			g.Go(name, func(ctx context.Context) error {
				<-ctx.Done()
				<-time.After(d)
				mu.Lock()
				defer mu.Unlock()
				ended = append(ended, name)
				return nil
			})
		}
		g.Go("bad", func(context.Context) error { return errBroken })
		if err := g.Wait(); !errors.Is(err, errBroken) || !slices.Equal(ended, []string{"quick", "slow"}) {
			t.Errorf("err %v, ended %v before Wait returned; want both", err, ended)
		}
	})
}
