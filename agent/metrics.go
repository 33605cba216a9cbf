package agent

import (
	"cmp"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	api "weir/api/agent"
	"weir/api/client"
	"weir/control/policy"
	"weir/datapath"
	"weir/internal/version"
	"weir/observe/metrics"
)

// measure makes the registry of all metrics.
func (a *Agent) measure() {
	client.TellCalls(a.recorder)
	a.registry.MustRegister(a.recorder, a.metricSources().Collector(a.log.With("room", "metrics")))
	if a.flows != nil {
		a.registry.MustRegister(metrics.FlowCollector(a.flows.Counted))
	}
	if cfg := a.cfg.Prometheus; cfg.Enabled {
		a.scraped = metrics.NewServer(a.log.With("room", "metrics"), cfg.Port, a.registry)
	}
}

// withRecorder counts the warnings that a log gets.
func withRecorder(log *slog.Logger, r *metrics.Recorder) *slog.Logger {
	return slog.New(r.Log(log.Handler()))
}

func (a *Agent) metricSources() metrics.Node {
	return metrics.Node{
		Version: version.Version, Commit: version.Commit, Tables: a.tables,
		Packets: a.packetFacts, Maps: a.mapFacts, Programs: a.programFacts, Attached: a.attachedFacts, Searches: a.searchFacts,
		Connections: a.connectionFacts, Pools: a.poolFacts, Policies: a.policyFacts, Services: a.serviceFacts, Heard: a.heardFacts,
	}
}

// exportMetrics answers what a scrape would get, whether there is a port or not.
func (a *Agent) exportMetrics(*http.Request) (api.Export, error) {
	text, err := a.registry.Text()
	if err != nil && text == "" {
		return api.Export{}, err
	}
	return api.Export{Text: text}, nil
}

func (a *Agent) packetFacts() ([]metrics.Packets, error) {
	counters, err := a.dp.Metrics()
	out := make([]metrics.Packets, 0, len(counters))
	for _, c := range counters {
		out = append(out, metrics.Packets(c))
	}
	return out, err
}

func (a *Agent) mapFacts() ([]metrics.Map, error) {
	infos, err := a.dp.MapUse()
	out := make([]metrics.Map, 0, len(infos))
	for _, i := range infos {
		out = append(out, metrics.Map{Name: i.Name, Entries: i.Entries, Capacity: int(i.MaxEntries), Limit: int(max(i.Limit, i.MaxEntries)), Bytes: i.Memory,
			Updates: i.Ops.Updated, Deletes: i.Ops.Deleted, Failed: i.Ops.Failed})
	}
	return out, err
}

func (a *Agent) programFacts() ([]metrics.Program, error) {
	infos, err := a.dp.Programs()
	measuring := datapath.Measuring()
	out := make([]metrics.Program, 0, len(infos))
	for _, i := range infos {
		out = append(out, metrics.Program{Name: i.Name, Verified: i.Verified, Bytes: i.Memory, Measured: measuring || i.Runs > 0, Runs: i.Runs, Time: i.Time})
	}
	return out, err
}

func (a *Agent) attachedFacts() []metrics.Attached {
	by := map[string]metrics.Attached{}
	for _, at := range a.dp.Attachments() {
		x := by[at.Program]
		x.Program = at.Program
		if at.Err == nil {
			x.OK++
		} else {
			x.Lost++
		}
		by[at.Program] = x
	}
	var out []metrics.Attached
	for _, x := range by {
		out = append(out, x)
	}
	slices.SortFunc(out, func(x, y metrics.Attached) int { return cmp.Compare(x.Program, y.Program) })
	return out
}

func (a *Agent) searchFacts() ([]metrics.PortSearch, error) {
	rows, err := a.dp.NATRetries()
	var out []metrics.PortSearch
	for i, n := range rows {
		out = append(out, metrics.PortSearch{Tries: retriesText(i, len(rows)), Count: n})
	}
	return out, err
}

func (a *Agent) connectionFacts() metrics.Connections {
	size, swept := a.dp.CT.Size(), a.conntrack.Stats()
	return metrics.Connections{Entries: int(size.Entries), Capacity: int(size.Capacity), Limit: int(size.Limit),
		Sweeps: swept.Sweeps, Failed: swept.Failed, Deleted: swept.Deleted, Took: swept.Took}
}

func (a *Agent) poolFacts() []metrics.Pool {
	var out []metrics.Pool
	for _, p := range a.poolStatus() {
		out = append(out, metrics.Pool{Family: strings.ToLower(p.Family), CIDR: p.CIDR, Allocated: p.Allocated, Capacity: p.Capacity})
	}
	return out
}

func (a *Agent) policyFacts() map[string]int {
	out := map[string]int{policy.StateInForce: 0, policy.StateTooLarge: 0, policy.StateNotEnforced: 0, policy.StateWaiting: 0, stateRefused: 0}
	list, _ := a.listPolicies(nil) // reads tables, and cannot fail
	for _, p := range list {
		out[p.State]++
	}
	return out
}

func (a *Agent) serviceFacts() metrics.Services {
	n := a.services.Count()
	return metrics.Services{Services: n.Services, Frontends: n.Frontends, Backends: n.Backends, Problems: n.Problems}
}

func (a *Agent) heardFacts() []metrics.Heard {
	if a.kube == nil {
		return nil
	}
	var out []metrics.Heard
	for _, h := range a.kube.Heard() {
		out = append(out, metrics.Heard(h))
	}
	return out
}
