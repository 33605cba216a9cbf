// Package metrics tells Prometheus how a node or the operator is doing.
//
// A value is read from the thing itself when somebody scrapes, so that none can
// be stale and an agent that nobody scrapes does nothing for it. Only what is
// gone when it is over, such as how long a request took, is kept by a Recorder.
//
// Names that begin with cilium_ or hubble_ are those that dashboards of the field ask
// for; what is Weir's alone begins with weir_. docs/metrics.md lists all. Flows are
// counted by whoever sees them (package observe); here are only the names for it.
package metrics
