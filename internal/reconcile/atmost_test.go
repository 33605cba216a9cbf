package reconcile

import (
	"testing"
	"time"
)

// ticker is an input that changes when it is told to.
type ticker struct {
	synced bool
	wake   chan<- struct{}
}

func (i *ticker) Synced() bool { return i.synced }

func (i *ticker) Notify(wake chan<- struct{}) func() {
	i.wake = wake
	return func() {}
}

func (i *ticker) change() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

func TestWhatChangesAllTheTimeWakesSeldom(t *testing.T) {
	const d = 200 * time.Millisecond
	a, b := &ticker{synced: true}, &ticker{synced: true}
	in := AtMost(d, a, b)
	wake := make(chan struct{}, 1)
	defer in.Notify(wake)()
	began := time.Now()
	a.change()
	<-wake
	if took := time.Since(began); took > d/2 {
		t.Errorf("the first change after a quiet time woke after %s", took)
	}
	for woken := 0; woken < 2; {
		a.change()
		b.change()
		select {
		case <-wake:
			woken++
		case <-time.After(time.Millisecond):
		}
	}
	if took := time.Since(began); took < 2*d {
		t.Errorf("three wakes within %s, want one in %s at most", took, d)
	}
	if AtMost(d, a, &ticker{}).Synced() {
		t.Error("synced, and one of them is not")
	}
}
