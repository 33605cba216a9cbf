package client

import (
	"context"
	"net/url"
	"time"

	"k8s.io/client-go/tools/metrics"
)

// Calls is told of every request to an API server that ended.
type Calls interface {
	// Call says how it ended: with an HTTP status, or "<error>" without an answer.
	Call(method, host, code string)
	// CallTook says how long it took. The path names kinds, never objects.
	CallTook(method, path string, took time.Duration)
}

// TellCalls tells c of all requests of this process from here on. Only the first
// who asks is told.
func TellCalls(c Calls) {
	metrics.Register(metrics.RegisterOpts{RequestLatency: latency{c}, RequestResult: result{c}})
}

type latency struct{ Calls }

// Observe implements metrics.LatencyMetric.
func (l latency) Observe(_ context.Context, verb string, u url.URL, took time.Duration) {
	l.CallTook(verb, u.Path, took)
}

type result struct{ Calls }

// Increment implements metrics.ResultMetric.
func (r result) Increment(_ context.Context, code, method, host string) { r.Call(method, host, code) }
