package kube

import (
	"context"
	"strconv"
	"time"
)

// E2E says which of upstream's end-to-end tests to run.
type E2E struct {
	Focus, Skip string // regular expressions
	Report      string // folder of the JUnit report and the log
	Procs       int    // tests at once
	Timeout     time.Duration
	Provider    string // whose nodes they are told these are; empty: nobody's
}

// E2E runs upstream's end-to-end tests from outside of the cluster.
func (l *Lab) E2E(ctx context.Context, t E2E) error {
	return l.run(ctx, "e2e", t.Report, strconv.Itoa(max(1, t.Procs)), t.Timeout.String(), t.Focus, t.Skip, t.Provider)
}
