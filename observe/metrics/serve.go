package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// retry is how long a port that could not be had is left alone.
const retry = 5 * time.Second

// Server answers GET /metrics on a TCP port.
type Server struct {
	log     *slog.Logger
	address string
	key     string // where the address is set, for whoever has to
	where   http.Handler
	fault   atomic.Pointer[error]
}

// NewServer returns a server for every address of the node, that Run starts.
func NewServer(log *slog.Logger, port int, r Registry) *Server {
	return NewServerAt(log, "prometheus.port", ":"+strconv.Itoa(port), r)
}

// NewServerAt is NewServer at an address that the key says.
func NewServerAt(log *slog.Logger, key, address string, r Registry) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", r.Handler(log))
	return &Server{log: log, address: address, key: key, where: mux}
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
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("%s %s: %w: set another", s.key, strings.TrimPrefix(s.address, ":"), err)
	}
	s.fault.Store(nil)
	server := &http.Server{Handler: s.where, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 2 * scrapeTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 1 << 16}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics at %s: %w", s.address, err)
	}
	return nil
}
