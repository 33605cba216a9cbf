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
	nodes      int
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
	Nodes      int                   `json:"nodes"`
	Problems   map[string]string     `json:"nodeProblems"`
	Identities int                   `json:"identities"`
	Unused     int                   `json:"unusedIdentities"`
}

// DutyStatus is how one loop is doing.
type DutyStatus struct {
	Runs   int       `json:"runs"`
	Failed int       `json:"failed"`          // of the runs
	Error  string    `json:"error,omitempty"` // of the last run
	Since  time.Time `json:"since,omitzero"`  // when it began to fail
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
	s := DutyStatus{Runs: r.duties[duty].Runs + 1, Failed: r.duties[duty].Failed}
	if err != nil {
		s.Failed++
		s.Error, s.Since = err.Error(), r.duties[duty].Since
		if s.Since.IsZero() {
			s.Since = time.Now()
		}
	}
	r.duties[duty] = s
}

// setNodes takes how many nodes there are, and what is wrong with some.
func (r *report) setNodes(all int, problems map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes, r.problems = all, problems
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
	return Status{Name: r.name, Leader: r.leader, Duties: maps.Clone(r.duties), Unmanaged: slices.Clone(r.unmanaged), Nodes: r.nodes, Problems: maps.Clone(r.problems),
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
	mux.Handle("GET /metrics", o.registry.Handler(o.log))
	return mux
}
