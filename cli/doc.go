// Package cli is the weir command for people on a node: `weir NOUN [list|get]`
// reads from the agent's socket and prints a table, or JSON with -o json.
//
// What it prints was read by the agent from the thing it speaks of; the cli
// computes nothing, keeps nothing and knows neither kernel nor Kubernetes.
// Formats follow the tools that Cilium users know, so that greps and eyes keep
// working; lines about features that do not exist are not printed.
package cli
