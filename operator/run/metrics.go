package run

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weir/api/client"
	"weir/internal/version"
	"weir/observe/metrics"
)

// metricsPrefix is that of names which dashboards of the field know.
const metricsPrefix = "cilium_operator"

// What the operator tells. A replica that stands by knows nothing of the cluster:
// its values are 0, and weir_operator_leader says why.
var (
	buildIs      = metrics.Gauge("cilium_operator_version", "Always 1: the labels say which build this is.", "version", "revision")
	leads        = metrics.Gauge("weir_operator_leader", "Whether this replica leads.")
	unmanaged    = metrics.Gauge("cilium_operator_unmanaged_pods", "Pods that another plugin connects.")
	nodesBy      = metrics.Gauge("cilium_operator_ipam_nodes", "Nodes: all, and those that have no pod CIDR or another's.", "category")
	identitiesBy = metrics.Gauge("cilium_operator_identity_gc_entries", "Identities of the cluster, by whether anybody has them.", "status", "identity_type")
	dutyRuns     = metrics.Counter("cilium_operator_controllers_group_runs_total", "Runs of each duty.", "group_name", "status")
	dutiesFail   = metrics.Gauge("weir_operator_duties_failing", "Duties whose last run failed.")
	allFamilies  = []*metrics.Family{buildIs, leads, unmanaged, nodesBy, identitiesBy, dutyRuns, dutiesFail}
)

// measure makes the registry of all metrics.
func (o *Operator) measure() {
	client.TellCalls(o.recorder)
	o.registry.MustRegister(o.recorder, reportCollector(o.report.status))
}

func withRecorder(log *slog.Logger, r *metrics.Recorder) *slog.Logger {
	return slog.New(r.Log(log.Handler()))
}

func (o *Operator) did(duty string, took time.Duration, err error) {
	o.recorder.Run(duty, took, err)
	o.report.did(duty, err)
}

// reportCollector reads what the replica tells of itself.
func reportCollector(status func() Status) prometheus.Collector {
	return metrics.Collector(allFamilies, func(out metrics.Out) {
		s := status()
		out.Put(buildIs, 1, version.Version, version.Commit)
		leading := 0.0
		if s.Leader == s.Name {
			leading = 1
		}
		out.Put(leads, leading)
		out.Put(unmanaged, float64(len(s.Unmanaged)))
		out.Put(nodesBy, float64(s.Nodes), "total")
		out.Put(nodesBy, float64(len(s.Problems)), "in-deficit")
		out.Put(identitiesBy, float64(s.Identities-s.Unused), "alive", "crd")
		out.Put(identitiesBy, float64(s.Unused), "unused", "crd")
		failing := 0
		for name, d := range s.Duties {
			if d.Error != "" {
				failing++
			}
			out.Put(dutyRuns, float64(d.Runs-d.Failed), name, "success")
			out.Put(dutyRuns, float64(d.Failed), name, "failure")
		}
		out.Put(dutiesFail, float64(failing))
	})
}
