package reconcile

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/table"
)

type row string

func (r row) Columns() []string { return []string{string(r)} }

func newTable() *table.Table[row, row] {
	return table.New("rows", func(r row) row { return r })
}

// loop runs Loop over the inputs until the test ends, and returns its log.
func loop(t *testing.T, step func() error, inputs ...Input) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- Loop(ctx, slog.New(slog.NewTextHandler(&out, nil)), func(context.Context) error { return step() }, inputs...)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Loop: %v", err)
		}
	})
	return &out
}

// pass lets a bubble's time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestAChangeAfterQuietIsActedUponAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab, steps := newTable(), new(atomic.Int32)
		tab.MarkSynced()
		loop(t, func() error { steps.Add(1); return nil }, tab)
		pass(time.Second)
		tab.Put("a")
		synctest.Wait() // no time goes by
		if steps.Load() != 2 {
			t.Errorf("%d steps at once after a change, want 2", steps.Load())
		}
	})
}

func TestABurstIsTwoSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab, steps := newTable(), new(atomic.Int32)
		tab.MarkSynced()
		loop(t, func() error { steps.Add(1); return nil }, tab)
		pass(time.Second)
		tab.Put("first")
		synctest.Wait()
		for _, r := range []row{"a", "b", "c"} {
			tab.Put(r)
			pass(settle / 10)
		}
		if steps.Load() != 2 {
			t.Errorf("%d steps within the settling time, want 2", steps.Load())
		}
		pass(time.Second)
		if steps.Load() != 3 {
			t.Errorf("%d steps after a burst, want 3: at start, for the first change, for the rest", steps.Load())
		}
	})
}

func TestNoStepBeforeEveryInputIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, steps := newTable(), newTable(), new(atomic.Int32)
		loop(t, func() error { steps.Add(1); return nil }, one, two)
		one.Put("a")
		one.MarkSynced()
		pass(time.Minute)
		if steps.Load() != 0 {
			t.Fatalf("%d steps before the second input was synced", steps.Load())
		}
		two.MarkSynced()
		pass(time.Second)
		if steps.Load() != 1 {
			t.Errorf("%d steps after both were synced, want 1", steps.Load())
		}
	})
}

func TestAFailedStepIsRetriedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := newTable()
		tab.MarkSynced()
		var at []time.Duration
		began := time.Now()
		log := loop(t, func() error {
			at = append(at, time.Since(began))
			if len(at) <= 4 {
				return errors.New("device busy")
			}
			return nil
		}, tab)
		pass(time.Hour)
		want := []time.Duration{0, 100, 300, 700, 1500}
		if len(at) != len(want) {
			t.Fatalf("steps at %v, want %d of them", at, len(want))
		}
		for i := range want {
			if at[i] != want[i]*time.Millisecond {
				t.Errorf("step %d at %v, want %v", i, at[i], want[i]*time.Millisecond)
			}
		}
		if got := log.String(); strings.Count(got, "device busy") != 2 || strings.Count(got, "reconcile recovered") != 1 {
			t.Errorf("log says the error once and the recovery once, got:\n%s", got)
		}
	})
}

func TestBackoffIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab, steps := newTable(), new(atomic.Int32)
		tab.MarkSynced()
		loop(t, func() error { steps.Add(1); return errors.New("never") }, tab)
		pass(time.Hour)
		before := steps.Load()
		pass(10 * maxRetry)
		if got := steps.Load() - before; got != 10 {
			t.Errorf("%d steps in ten times the longest wait, want 10", got)
		}
	})
}

func TestAChangeDoesNotWaitForTheBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab, fail, steps := newTable(), true, new(atomic.Int32)
		tab.MarkSynced()
		loop(t, func() error {
			steps.Add(1)
			if fail {
				return errors.New("no such row")
			}
			return nil
		}, tab)
		pass(time.Hour + time.Second)
		fail = false
		before := steps.Load()
		tab.Put("a")
		pass(2 * settle)
		if steps.Load() != before+1 {
			t.Errorf("%d steps after the change, want 1", steps.Load()-before)
		}
	})
}

func TestTheObserverSeesEveryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []error
		var took []time.Duration
		busy := errors.New("busy")
		ctx, cancel := context.WithCancel(WithObserver(t.Context(), func(d time.Duration, err error) { seen, took = append(seen, err), append(took, d) }))
		steps := 0
		done := make(chan error)
		go func() {
			done <- Loop(ctx, slog.New(slog.DiscardHandler), func(context.Context) error {
				if steps++; steps == 1 {
					return busy
				}
				time.Sleep(3 * time.Second)
				return nil
			})
		}()
		pass(time.Minute)
		cancel()
		<-done
		if len(seen) != 2 || seen[0] != busy || seen[1] != nil || took[0] != 0 || took[1] != 3*time.Second {
			t.Errorf("seen %v, %v, want the failure and the success, after 0s and 3s", seen, took)
		}
	})
}

func TestOnceWakesWhenTheOtherIsSyncedAndNeverAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &manual{}
		wake := make(chan struct{}, 1)
		stop := Once(in).Notify(wake)
		defer stop()
		in.tell()
		synctest.Wait()
		if len(wake) != 0 {
			t.Fatal("woke before the other was synced")
		}
		in.synced.Store(true)
		in.tell()
		synctest.Wait()
		if len(wake) != 1 {
			t.Fatal("did not wake when the other was synced")
		}
		<-wake
		in.tell()
		synctest.Wait()
		if len(wake) != 0 {
			t.Error("woke again")
		}
	})
}

// manual is an input that a test moves by hand.
type manual struct {
	synced atomic.Bool
	wake   chan<- struct{}
}

func (m *manual) Synced() bool { return m.synced.Load() }

func (m *manual) Notify(wake chan<- struct{}) (stop func()) {
	m.wake = wake
	return func() {}
}

func (m *manual) tell() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
