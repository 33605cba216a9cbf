package metrics

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Recorder keeps what is gone when it is over.
type Recorder struct {
	api      *prometheus.HistogramVec
	cni      *prometheus.HistogramVec
	runs     *prometheus.HistogramVec
	policy   *prometheus.HistogramVec
	calls    *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	warnings *prometheus.CounterVec
}

// requests are bounds of requests that take between no time and the patience of
// whoever asks, in seconds.
var requests = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// NewRecorder returns one whose names begin with prefix: cilium or
// cilium_operator.
func NewRecorder(prefix string) *Recorder {
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: requests}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &Recorder{
		api: histogram(prefix+"_agent_api_process_time_seconds", "How long requests at the agent's socket took.", "path", "method", "return_code"),
		cni: histogram("weir_cni_request_seconds", "How long the agent took for requests of the CNI plugin; outcome is ok or refused.", "operation", "outcome"),
		runs: histogram(prefix+"_controllers_runs_duration_seconds", "How long runs of reconcile loops took; status is success or failure.",
			"status"),
		policy: histogram(prefix+"_policy_incremental_update_duration", "How long it took to bring policy to its maps after a change, in seconds.", "scope"),
		calls: counter(prefix+"_k8s_client_api_calls_total", "Requests to API servers that ended, by HTTP status; return_code is <error> where there was no answer.",
			"host", "method", "return_code"),
		latency: histogram(prefix+"_k8s_client_api_latency_time_seconds", "How long requests to API servers took, watches apart.", "path", "method"),
		warnings: counter(prefix+"_errors_warnings_total", "Messages logged as warning or error, by part of the program.",
			"level", "subsystem"),
	}
}

// Describe implements prometheus.Collector.
func (r *Recorder) Describe(to chan<- *prometheus.Desc) {
	for _, c := range r.parts() {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (r *Recorder) Collect(to chan<- prometheus.Metric) {
	for _, c := range r.parts() {
		c.Collect(to)
	}
}

func (r *Recorder) parts() []prometheus.Collector {
	return []prometheus.Collector{r.api, r.cni, r.runs, r.policy, r.calls, r.latency, r.warnings}
}

// Run takes a run of a reconcile loop.
func (r *Recorder) Run(loop string, took time.Duration, err error) {
	if loop == "policy" {
		r.policy.WithLabelValues("global").Observe(took.Seconds())
	}
	status := "success"
	if err != nil {
		status = "failure"
	}
	r.runs.WithLabelValues(status).Observe(took.Seconds())
}

// Call takes the end of a request to an API server.
func (r *Recorder) Call(method, host, code string) { r.calls.WithLabelValues(host, method, code).Inc() }

// CallTook takes how long one took. The path names kinds, never objects.
func (r *Recorder) CallTook(method, path string, took time.Duration) {
	r.latency.WithLabelValues(path, method).Observe(took.Seconds())
}

// Requests measures what a mux is asked. Paths of the plugin begin with cni and
// are measured as its operations, too.
func (r *Recorder) Requests(mux http.Handler, cni string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		began := time.Now()
		seen := &answer{ResponseWriter: w, code: http.StatusOK}
		mux.ServeHTTP(seen, q)
		took := time.Since(began).Seconds()
		method, path, known := strings.Cut(q.Pattern, " ")
		if !known { // what was asked is anybody's choice, and no label
			method, path = "other", "other"
		}
		r.api.WithLabelValues(path, method, strconv.Itoa(seen.code)).Observe(took)
		if op, ok := strings.CutPrefix(path, cni); ok {
			r.cni.WithLabelValues(op, outcome(seen.code)).Observe(took)
		}
	})
}

func outcome(code int) string {
	if code == http.StatusOK {
		return "ok"
	}
	return "refused"
}

// answer remembers the status of an answer.
type answer struct {
	http.ResponseWriter
	code int
}

func (a *answer) WriteHeader(code int) {
	if code >= http.StatusOK { // what is below says that the answer is yet to come
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

// Unwrap lets a stream flush.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
