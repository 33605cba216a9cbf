// Package monitoring tests deploy/monitoring with Prometheus' own code: rules are
// checked as promtool does, and every name in an expression, of rules and of
// dashboards, has to be one that an agent, an operator or the relay tells.
//
// It is a module of its own, so that Weir does not depend on Prometheus. It holds
// tests only.
package monitoring
