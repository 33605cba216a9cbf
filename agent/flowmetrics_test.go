package agent

import (
	"slices"
	"strings"
	"testing"

	"weir/agent/config"
	"weir/observe"
	"weir/observe/metrics"
)

// What the configuration can ask for is what can be counted, and each has its metric.
func TestEveryMetricOfFlowsCanBeAskedFor(t *testing.T) {
	if got, want := config.FlowMetrics(), observe.Countable(); !slices.Equal(got, want) {
		t.Errorf("the configuration has %q, flows can be counted by %q", got, want)
	}
	r := metrics.New("cilium")
	r.MustRegister(metrics.FlowCollector(func(put func(string, uint64, ...string)) {
		for what, labels := range map[string]int{observe.CountDrops: 2, observe.CountFlows: 4, observe.CountTCP: 2, observe.CountICMP: 2, observe.CountPorts: 2, observe.CountDNS: 3, observe.CountDNSQueries: 3, observe.CountDNSTypes: 2, observe.CountLost: 1} {
			put(what, 1, slices.Repeat([]string{"x"}, labels)...)
		}
	}))
	text, err := r.Text()
	if n := strings.Count(text, "# TYPE hubble_"); err != nil || n != len(observe.Countable())+3 {
		t.Errorf("%d metrics, %v", n, err)
	}
}
