//go:build kubeproxy

// Package kubeproxy names the kube-proxy that benchmarks and tests run beside
// Weir, in a module of its own so that ours does not depend on it. It is never
// compiled.
package kubeproxy

import _ "k8s.io/kubernetes/cmd/kube-proxy"
