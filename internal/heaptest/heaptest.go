// Package heaptest measures for tests what stays in memory.
package heaptest

import (
	"runtime"
	"testing"
	"time"
)

// Alive is how many octets are alive.
func Alive() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers have let go
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Within fails the test when more MiB than that have come to the heap, and stay.
func Within(t *testing.T, when string, before, mib uint64) {
	t.Helper()
	now := Alive()
	for end := time.Now().Add(5 * time.Second); now > before+mib<<20 && time.Now().Before(end); now = Alive() {
		time.Sleep(50 * time.Millisecond) // for what ends by itself
	}
	if now > before+mib<<20 {
		t.Errorf("%s: %.1f MiB are alive, %.1f before: want %d more at most", when, float64(now)/(1<<20), float64(before)/(1<<20), mib)
	}
}
