package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// report is what the replica tells of itself.
type report struct {
	mu         sync.Mutex
	name       string
	leader     string
	duties     map[string]DutyStatus
	unmanaged  []string
	problems   map[string]string // by node
	identities int
	unused     int
}

// Status is the answer to /status.
type Status struct {
	Name       string                `json:"name"`
	Leader     string                `json:"leader"`
	Duties     map[string]DutyStatus `json:"duties"`
	Unmanaged  []string              `json:"unmanagedPods"`
	Problems   map[string]string     `json:"nodeProblems"`
	Identities int                   `json:"identities"`
	Unused     int                   `json:"unusedIdentities"`
}

// DutyStatus is how one loop is doing.
type DutyStatus struct {
	Runs  int       `json:"runs"`
	Error string    `json:"error,omitempty"` // of the last run
	Since time.Time `json:"since,omitzero"`  // when it began to fail
}

func newReport(name string) *report { return &report{name: name, duties: map[string]DutyStatus{}} }

func (r *report) leads(who string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leader = who
}

func (r *report) did(duty string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := DutyStatus{Runs: r.duties[duty].Runs + 1}
	if err != nil {
		s.Error, s.Since = err.Error(), r.duties[duty].Since
		if s.Since.IsZero() {
			s.Since = time.Now()
		}
	}
	r.duties[duty] = s
}

func (r *report) set(field *map[string]string, value map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*field = value
}

func (r *report) setUnmanaged(pods []name) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unmanaged = nil
	for _, p := range pods {
		r.unmanaged = append(r.unmanaged, p.String())
	}
}

func (r *report) setIdentities(all, unused int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.identities, r.unused = all, unused
}

func (r *report) status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Status{Name: r.name, Leader: r.leader, Duties: maps.Clone(r.duties), Unmanaged: slices.Clone(r.unmanaged), Problems: maps.Clone(r.problems),
		Identities: r.identities, Unused: r.unused}
}

// serve answers about the replica until ctx ends.
func (o *Operator) serve(ctx context.Context) error {
	l, err := net.Listen("tcp", o.cfg.HealthAddr)
	if err != nil {
		return fmt.Errorf("healthAddress: %w: choose another, or \"\"", err)
	}
	server := &http.Server{Handler: o.handler(), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler serves /healthz: the process answers; /readyz: it has found out who
// leads, so that it can when its time comes; /status and /metrics.
func (o *Operator) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if o.report.status().Leader == "" {
			http.Error(w, "no leader is known yet: the API server has not answered", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(o.report.status()) // the client went away
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, metrics(o.report.status()))
	})
	return mux
}

// metrics are in the text format of Prometheus, under the names that dashboards
// ask for.
func metrics(s Status) string {
	failing := 0
	for _, d := range s.Duties {
		if d.Error != "" {
			failing++
		}
	}
	leads := 0
	if s.Leader == s.Name {
		leads = 1
	}
	text := ""
	for _, m := range []struct {
		name, help string
		value      int
	}{
		{"cilium_operator_unmanaged_pods", "Pods that another plugin connects", len(s.Unmanaged)},
		{"cilium_operator_identity_gc_entries{identity_type=\"crd\",status=\"alive\"}", "Identities of the cluster", s.Identities - s.Unused},
		{"cilium_operator_identity_gc_entries{identity_type=\"crd\",status=\"unused\"}", "", s.Unused},
		{"weir_operator_leader", "Whether this replica leads", leads},
		{"weir_operator_duties_failing", "Duties whose last run failed", failing},
		{"weir_operator_node_problems", "Nodes without pod CIDRs, or with those of another", len(s.Problems)},
	} {
		plain, _, _ := strings.Cut(m.name, "{")
		if m.help != "" {
			text += fmt.Sprintf("# HELP %s %s\n# TYPE %s gauge\n", plain, m.help, plain)
		}
		text += fmt.Sprintf("%s %d\n", m.name, m.value)
	}
	return text
}
