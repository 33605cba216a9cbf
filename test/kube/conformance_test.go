package kube

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/lab/kube"
)

// Upstream's tests of what a network must do, with nothing skipped.
func TestUpstreamConformance(t *testing.T) {
	need(t)
	if os.Getenv("WEIR_CONFORMANCE") != "" {
		t.Skip("part of TestUpstreamNetwork, which runs")
	}
	upstream(t, k, kube.E2E{Focus: `\[sig-network\].*\[Conformance\]`, Procs: 4, Timeout: 20 * time.Minute, Report: filepath.Join(results, "smoke")}, 40)
}

// All of upstream's tests of the network: `make conformance`, of which this and the
// next three are the parts. What is left out is about kube-proxy, or needs a later iperf
// than the image has, or SCTP where this kernel has none.
func TestUpstreamNetwork(t *testing.T) {
	needAll(t)
	skip := absent + "|" + balancers + "|" + zoned + "|" + restarted
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP); err != nil {
		t.Logf("tests of SCTP connections do not run: this kernel has none: %v", err)
		skip += `|\[Feature:SCTPConnectivity\]`
	} else {
		unix.Close(fd)
	}
	upstream(t, k, kube.E2E{Focus: `\[sig-network\]`, Skip: skip, Procs: 4, Timeout: 3 * time.Hour, Report: filepath.Join(results, "conformance")}, 150)
}

// Load balancers of a cloud are played, for these tests only: they write to services,
// as others of upstream's tests do themselves.
func TestUpstreamLoadBalancers(t *testing.T) {
	needAll(t)
	balance(t, k)
	upstream(t, k, kube.E2E{Focus: `\[sig-network\].*` + balancers, Procs: 6, Timeout: time.Hour, Report: filepath.Join(results, "conformance-balancers")}, 17)
}

// Three zones take two nodes each, beside the control plane. This lab also has what
// Kubernetes has off; its API server becomes a pod, and its nodes are reached by SSH.
func TestUpstreamZones(t *testing.T) {
	needAll(t)
	l, err := kube.Up(t.Context(), kube.Spec{Name: labName + "-z", Nodes: 7, Zones: 3, Gates: "RelaxedServiceNameValidation=true", Install: &install, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	upstream(t, l, kube.E2E{Focus: `\[sig-network\].*(` + zoned + ")", Procs: 4, Timeout: 20 * time.Minute, Report: filepath.Join(results, "conformance-zones")}, 8)
	podOfAPIServer(t, l)
	t.Setenv("KUBE_SSH_KEY_PATH", serveSSH(t, l))
	upstream(t, l, kube.E2E{Focus: `\[sig-network\].*` + "(" + restarted + ")", Provider: "local", Procs: 1, Timeout: 10 * time.Minute, Report: filepath.Join(results, "conformance-restart")}, 2)
}

// Marks of tests: those of what is not there, and those that need more than a lab of
// three nodes has by itself.
const (
	absent    = `KubeProxy|kube-proxy|IPerf2`
	balancers = `\[Feature:LoadBalancer\]`
	zoned     = `Traffic Distribution|Topology Hints|RelaxedServiceNameValidation`
	restarted = `restarting apiserver|recreate its iptables rules`
)

func needAll(t *testing.T) {
	t.Helper()
	need(t)
	if os.Getenv("WEIR_CONFORMANCE") == "" {
		t.Skip("takes an hour with its like: run make conformance")
	}
}

// upstream runs tests and wants at least so many of them.
func upstream(t *testing.T, l *kube.Lab, e kube.E2E, atLeast int) {
	t.Helper()
	l.Report(os.Stderr)
	ended := l.E2E(t.Context(), e)
	outcomes, err := kube.ReadReport(e.Report, regexp.MustCompile(e.Focus))
	if err != nil {
		t.Fatalf("%v; the run: %v", err, ended)
	}
	passed := 0
	for _, o := range outcomes {
		switch {
		case o.Failed != "":
			t.Errorf("%s\n%.2000s", o.Name, o.Failed)
		case o.NotRun != "":
			t.Logf("not run: %s: %s", o.Name, o.NotRun)
		default:
			passed++
		}
	}
	if ended != nil && !t.Failed() {
		t.Errorf("%v; see %s", ended, filepath.Join(e.Report, "e2e.log"))
	}
	if passed < atLeast {
		t.Errorf("%d tests passed, want at least %d", passed, atLeast)
	}
	t.Logf("%d of upstream's tests passed", passed)
}
