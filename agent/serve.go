package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	api "weir/api/agent"
)

// serve answers on the unix socket until ctx ends.
func (a *Agent) serve(ctx context.Context) error {
	l, err := listen(a.cfg.Socket)
	if err != nil {
		return err
	}
	s := server(a.recorder.Requests(a.mux(ctx), api.PathCNI))
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		short, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := s.Shutdown(short); err != nil {
			a.log.Warn("requests were cut off at the end", "err", err)
		}
		err = <-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", a.cfg.Socket, err)
}

// server bounds what clients may take to ask, and not what the answer takes.
func server(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second}
}

// listen makes the socket with mode 0600 from its first moment: it is bound
// under another name, which nobody knows, and renamed.
func listen(path string) (net.Listener, error) {
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	os.Remove(tmp)
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", tmp)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(tmp, 0o600); err != nil {
		return nil, fmt.Errorf("restrict %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, fmt.Errorf("put %s in place: %w", path, err)
	}
	return l, nil
}

// mux serves requests; those that last end with ctx.
func (a *Agent) mux(ctx context.Context) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST "+api.PathCNIAdd, handleLong(time.Second, a.cniAdd))
	m.HandleFunc("POST "+api.PathCNIDel, handle(a.cniDel))
	m.HandleFunc("POST "+api.PathCNICheck, handle(a.cniCheck))
	m.HandleFunc("POST "+api.PathCNIGC, handle(a.cniGC))
	m.HandleFunc("GET "+api.PathCNIStatus, read(a.cniStatus))
	m.HandleFunc("GET "+api.PathStatus, read(a.status))
	m.HandleFunc("GET "+api.PathConfig, read(a.config))
	m.HandleFunc("GET "+api.PathKeys, read(a.explainKeys))
	m.HandleFunc("GET "+api.PathEndpoints, read(a.listEndpoints))
	m.HandleFunc("GET "+api.PathNodes, read(a.listNodes))
	m.HandleFunc("GET "+api.PathIPs, read(a.listIPs))
	m.HandleFunc("GET "+api.PathMaps, read(a.listMaps))
	m.HandleFunc("GET "+api.PathMaps+"/{name}", read(a.dumpMap))
	m.HandleFunc("GET "+api.PathMetrics, read(a.listMetrics))
	m.HandleFunc("GET "+api.PathLog, read(a.listLog))
	m.HandleFunc("GET "+api.PathExport, read(a.exportMetrics))
	m.HandleFunc("GET "+api.PathTables, read(a.listTables))
	m.HandleFunc("GET "+api.PathTables+"/{name}", read(a.dumpTable))
	m.HandleFunc("GET "+api.PathNATRetries, read(a.natRetries))
	m.HandleFunc("GET "+api.PathL2, read(a.listL2))
	m.HandleFunc("GET "+api.PathAffinities, read(a.listAffinities))
	m.HandleFunc("GET "+api.PathIdentities, read(a.listIdentities))
	m.HandleFunc("GET "+api.PathPolicies, read(a.listPolicies))
	m.HandleFunc("GET "+api.PathPolicyOf+"/{endpoint}", read(a.endpointPolicy))
	m.HandleFunc("POST "+api.PathPolicyExplain, handle(a.explainPolicy))
	m.HandleFunc("POST "+api.PathPolicyTrace, handle(a.policyTrace))
	m.HandleFunc("POST "+api.PathPolicyReplay, handle(a.policyReplay))
	m.HandleFunc("GET "+api.PathServices, read(a.listServices))
	m.HandleFunc("GET "+api.PathServices+"/{namespace}/{name}", read(a.getService))
	m.HandleFunc("GET "+api.PathBackends, read(a.listBackends))
	m.HandleFunc("GET "+api.PathConnections, read(a.listConnections))
	m.HandleFunc("GET "+api.PathDrops, read(a.listDrops))
	m.HandleFunc("POST "+api.PathWalk, handle(a.walk))
	m.HandleFunc("POST "+api.PathWhy, handle(a.why))
	m.HandleFunc("GET "+api.PathMonitor, a.monitor(ctx))
	m.HandleFunc("GET "+api.PathHealth, read(a.listPeers))
	return m
}

// maxBody bounds a request: the largest is a GC list.
const maxBody = 8 << 20

// handle turns a function from request to reply into an HTTP handler.
func handle[Q, R any](f func(context.Context, Q) (R, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		if err := d.Decode(&q); err != nil {
			refuse(w, &api.Error{Code: api.CodeInternal, Message: "request is not the JSON this agent expects", Details: err.Error()})
			return
		}
		reply, err := f(r.Context(), q)
		answer(w, reply, err)
	}
}

// handleLong is handle for what may take long: until f has answered, it says now and again
// that the request is worked on (102, RFC 2518 section 10.1), so that who asked
// can tell a busy agent from one that hangs.
func handleLong[Q, R any](every time.Duration, f func(context.Context, Q) (R, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		handle(func(ctx context.Context, q Q) (R, error) {
			defer sayWorking(w, every)()
			return f(ctx, q)
		})(w, r)
	}
}

// sayWorking says it until stop is called. After that, w is the caller's again.
func sayWorking(w http.ResponseWriter, every time.Duration) (stop func()) {
	var saying sync.WaitGroup
	done := make(chan struct{})
	saying.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.WriteHeader(http.StatusProcessing)
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		saying.Wait()
	}
}

// read turns a function without request body into an HTTP handler.
func read[R any](f func(*http.Request) (R, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		reply, err := f(r)
		answer(w, reply, err)
	}
}

func answer(w http.ResponseWriter, reply any, err error) {
	if err != nil {
		refuse(w, asError(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(reply)
}

func refuse(w http.ResponseWriter, e *api.Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusConflict)
	json.NewEncoder(w).Encode(e)
}
