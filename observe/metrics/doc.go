// Package metrics tells Prometheus how a node or the operator is doing.
//
// A value is read from the thing itself when somebody scrapes, so that none can
// be stale and an agent that nobody scrapes does nothing for it. Only what is
// gone when it is over, such as how long a request took, is kept by a Recorder.
//
// Names that begin with cilium_ are those that dashboards of the field ask for;
// what is Weir's alone begins with weir_. docs/metrics.md lists all. Metrics of
// flows are not here: whoever sees flows registers a collector of its own.
package metrics
