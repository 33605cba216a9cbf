package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// retry is how long a port that could not be had is left alone.
const retry = 5 * time.Second

// Server answers GET /metrics on a TCP port of every address of the node.
type Server struct {
	log   *slog.Logger
	port  int
	where http.Handler
	fault atomic.Pointer[error]
}

// NewServer returns a server that Run starts.
func NewServer(log *slog.Logger, port int, r Registry) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", r.Handler(log))
	return &Server{log: log, port: port, where: mux}
}

// Failed says why nobody can scrape, or is nil.
func (s *Server) Failed() error {
	if p := s.fault.Load(); p != nil {
		return *p
	}
	return nil
}

// Run serves until ctx ends. A port that is another's ends nothing: it is asked
// for again now and then.
func (s *Server) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.serve(ctx)
		if ctx.Err() != nil {
			break
		}
		if old := s.Failed(); old == nil || old.Error() != err.Error() {
			s.log.Warn("metrics cannot be scraped", "err", err, "retry_in", retry)
		}
		s.fault.Store(&err)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
	return nil
}

func (s *Server) serve(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+strconv.Itoa(s.port))
	if err != nil {
		return fmt.Errorf("prometheus.port %d: %w: set another", s.port, err)
	}
	s.fault.Store(nil)
	server := &http.Server{Handler: s.where, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 2 * scrapeTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 1 << 16}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics at port %d: %w", s.port, err)
	}
	return nil
}
