package metrics

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

// Registry is all that one process tells.
type Registry struct{ *prometheus.Registry }

// New returns a registry that has the Go runtime (go_*) and the process itself
// (PREFIX_process_*) in it.
func New(prefix string) Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{Namespace: prefix}))
	return Registry{r}
}

const (
	atOnce     = 4                // scrapes; a further one is refused
	scrapeTime = 10 * time.Second // after which it is answered by an error
)

// Handler answers a scrape. What cannot be told leaves the rest as it is, and is
// logged.
func (r Registry) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: complaints{log}, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: atOnce, Timeout: scrapeTime,
	})
}

type complaints struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (c complaints) Println(v ...any) {
	c.log.Warn("some metrics cannot be told", "err", fmt.Sprint(v...))
}

// Text is what a scrape gets, in the text format. What can be told is in it also
// when there is an error.
func (r Registry) Text() (string, error) {
	families, err := r.Gather()
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return b.String(), fmt.Errorf("write metric %s: %w", f.GetName(), err)
		}
	}
	return b.String(), err
}
