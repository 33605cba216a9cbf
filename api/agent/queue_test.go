package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var errDown = &Unreachable{Socket: "/x", Err: syscall.ECONNREFUSED}

func down(context.Context) error { return errDown }

func drained(t *testing.T, dir string) []string {
	t.Helper()
	var got []string
	if _, err := DrainDeletes(dir, func(a Attachment) error {
		got = append(got, a.ContainerID+"/"+a.Interface+" "+a.Netns)
		return nil
	}); err != nil {
		t.Fatalf("drain: %v", err)
	}
	slices.Sort(got)
	return got
}

func enqueue(t *testing.T, dir string, a Attachment) {
	t.Helper()
	if err := EnqueueDelete(t.Context(), dir, a, down); err != nil {
		t.Fatalf("enqueue %v: %v", a, err)
	}
}

func TestQueuedDeletesAreDrainedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "deleteQueue")
	enqueue(t, dir, Attachment{ContainerID: "c1", Interface: "eth0", Netns: "/run/netns/a"})
	enqueue(t, dir, Attachment{ContainerID: "c1", Interface: "eth0", Netns: "/run/netns/a"})
	enqueue(t, dir, Attachment{ContainerID: "c1", Interface: "eth1", Netns: ""})
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Fatalf("got %d files (%v), want 2", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %v (%v), want 0600", f.Name(), info.Mode(), err)
		}
	}
	if diff := cmp.Diff([]string{"c1/eth0 /run/netns/a", "c1/eth1 "}, drained(t, dir)); diff != "" {
		t.Error(diff)
	}
	if got := drained(t, dir); got != nil {
		t.Errorf("second drain did %v", got)
	}
}

func TestDrainOfAQueueThatNeverWas(t *testing.T) {
	n, err := DrainDeletes(filepath.Join(t.TempDir(), "none"), func(Attachment) error { return nil })
	if n != 0 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestFailedDeleteStaysQueued(t *testing.T) {
	dir := t.TempDir()
	enqueue(t, dir, Attachment{ContainerID: "good", Interface: "eth0"})
	enqueue(t, dir, Attachment{ContainerID: "bad", Interface: "eth0"})
	n, err := DrainDeletes(dir, func(a Attachment) error {
		if a.ContainerID == "bad" {
			return errors.New("busy")
		}
		return nil
	})
	if n != 1 || err == nil {
		t.Errorf("got %d, %v; want 1 and an error", n, err)
	}
	if diff := cmp.Diff([]string{"bad/eth0 "}, drained(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestBrokenEntryIsSetAsideAndLeftoverRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"x.json", queueTemp + "1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	enqueue(t, dir, Attachment{ContainerID: "c", Interface: "eth0"})
	n, err := DrainDeletes(dir, func(Attachment) error { return nil })
	if n != 1 || err == nil {
		t.Errorf("got %d, %v; want 1 and an error", n, err)
	}
	left, _ := os.ReadDir(dir)
	if len(left) != 1 || left[0].Name() != "x.json.broken" {
		t.Errorf("left %v, want x.json.broken alone", left)
	}
	if got := drained(t, dir); got != nil {
		t.Errorf("second drain did %v", got)
	}
}

func TestNothingIsQueuedWhenTheAgentAnswers(t *testing.T) {
	for _, answer := range []error{nil, &Error{Code: CodeInternal, Message: "no"}} {
		dir := t.TempDir()
		err := EnqueueDelete(t.Context(), dir, Attachment{ContainerID: "c"}, func(context.Context) error { return answer })
		if !errors.Is(err, answer) {
			t.Errorf("got %v, want the answer %v", err, answer)
		}
		if got := drained(t, dir); got != nil {
			t.Errorf("queued %v", got)
		}
	}
}

func TestForgottenDeleteIsNotDone(t *testing.T) {
	dir, a := t.TempDir(), Attachment{ContainerID: "c", Interface: "eth0"}
	enqueue(t, dir, a)
	for range 2 {
		if err := ForgetDelete(dir, a); err != nil {
			t.Fatal(err)
		}
	}
	if got := drained(t, dir); got != nil {
		t.Errorf("did %v", got)
	}
}

func TestEnqueueGivesUpWhileTheQueueIsDrained(t *testing.T) {
	dir := t.TempDir()
	enqueue(t, dir, Attachment{ContainerID: "c"})
	_, err := DrainDeletes(dir, func(Attachment) error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*queuePoll)
		defer cancel()
		return EnqueueDelete(ctx, dir, Attachment{ContainerID: "d"}, down)
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
}

// An agent starts (it listens, then drains) while plugins that found none are
// on their way to the queue: each delete must be asked of the agent, drained
// by it, or both; none may stay behind.
func TestNoDeleteIsLostWhileAnAgentStarts(t *testing.T) {
	for round := range 30 {
		dir := t.TempDir()
		var listening atomic.Bool
		var served sync.Map
		var plugins sync.WaitGroup
		for i := range 16 {
			a := Attachment{ContainerID: fmt.Sprintf("c%d", i), Interface: "eth0"}
			plugins.Go(func() {
				ask := func(context.Context) error {
					if !listening.Load() {
						return errDown
					}
					served.Store(a.ContainerID, true)
					return nil
				}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				if err := EnqueueDelete(ctx, dir, a, ask); err != nil {
					t.Errorf("enqueue: %v", err)
				}
			})
		}
		listening.Store(true)
		if _, err := DrainDeletes(dir, func(a Attachment) error { served.Store(a.ContainerID, true); return nil }); err != nil {
			t.Fatal(err)
		}
		plugins.Wait()
		for i := range 16 {
			if _, ok := served.Load(fmt.Sprintf("c%d", i)); !ok {
				t.Errorf("round %d: delete of c%d was lost", round, i)
			}
		}
	}
}
