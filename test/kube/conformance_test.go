package kube

import (
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
	upstream(t, kube.E2E{Focus: `\[sig-network\].*\[Conformance\]`, Procs: 4, Timeout: 20 * time.Minute, Report: filepath.Join(results, "smoke")}, 40)
}

// All of upstream's tests of the network: `make conformance`. What is left out
// needs a cloud provider or kube-proxy, or SCTP where this kernel has none.
func TestUpstreamNetwork(t *testing.T) {
	need(t)
	if os.Getenv("WEIR_CONFORMANCE") == "" {
		t.Skip("takes an hour: run make conformance")
	}
	skip := absent
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP); err != nil {
		t.Logf("tests of SCTP connections do not run: this kernel has none: %v", err)
		skip += `|\[Feature:SCTPConnectivity\]`
	} else {
		unix.Close(fd)
	}
	upstream(t, kube.E2E{Focus: `\[sig-network\]`, Skip: skip, Procs: 4, Timeout: 3 * time.Hour, Report: filepath.Join(results, "conformance")}, 150)
}

// absent are the marks of tests of what is not there: a cloud provider's load
// balancers and migrations, kube-proxy, features that Kubernetes has off, and a
// program of a later version than Debian's.
const absent = `\[Feature:LoadBalancer\]|KubeProxy|kube-proxy|\[Feature:OffByDefault\]|IPerf2`

// upstream runs tests and wants at least so many of them.
func upstream(t *testing.T, e kube.E2E, atLeast int) {
	k.Report(os.Stderr)
	ended := k.E2E(t.Context(), e)
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
