package run

import (
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"weir/internal/goldentest"
	"weir/observe/metrics"
)

// TestWhatAReplicaTellsOfItself compares all of it with testdata/metrics.txt, and
// asks Prometheus' linter about the names.
func TestWhatAReplicaTellsOfItself(t *testing.T) {
	rep := newReport("a")
	rep.leads("a")
	rep.did("nodes", nil)
	rep.did("nodes", errors.New("no"))
	rep.did("marks", nil)
	rep.setNodes(3, map[string]string{"n3": "no pod CIDR is left"})
	rep.setIdentities(10, 4)
	rep.setUnmanaged([]name{{Namespace: "default", Name: "old"}})
	r, rec := metrics.New(metricsPrefix), metrics.NewRecorder(metricsPrefix)
	slog.New(rec.Log(slog.NewTextHandler(io.Discard, nil))).With("duty", "gone nodes").Warn("one")
	rec.Run("nodes", time.Millisecond, nil)
	rec.Call("PUT", "api:6443", "409")
	rec.CallTook("PUT", "/api/v1/nodes/{name}", time.Millisecond)
	r.MustRegister(rec, reportCollector(rep.status))
	problems, err := testutil.GatherAndLint(r)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, err %v", problems, err)
	}
	text, err := r.Text()
	if err != nil {
		t.Fatal(err)
	}
	goldentest.Compare(t, "metrics.txt", steady(text))
}

// steady leaves out what Go's own metrics say, and the values of the process's.
func steady(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !regexp.MustCompile(`^(# \w+ )?go_`).MatchString(line) {
			out.WriteString(regexp.MustCompile(`^(cilium_operator_process_\w+) .*`).ReplaceAllString(line, "$1 0"))
		}
	}
	return out.String()
}
