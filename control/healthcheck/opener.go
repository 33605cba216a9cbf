package healthcheck

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// limit is how long a request and its answer may take. Load balancers ask every few
// seconds, and whoever can reach the node can connect.
const limit = 5 * time.Second

// opener has sockets open in this network namespace. One goroutine uses it.
type opener struct {
	log     *slog.Logger
	handler func(place) http.Handler
	open    map[place]*http.Server
}

// set makes the places the only open ones, and returns why which of them are not. One
// that is open already is left alone. What goes is closed first: it may be in the way.
func (o *opener) set(places []place) map[place]error {
	want := map[place]bool{}
	for _, p := range places {
		want[p] = true
	}
	for p := range o.open {
		if !want[p] {
			o.stop(p)
		}
	}
	failed := map[place]error{}
	for _, p := range places {
		if o.open[p] != nil {
			continue
		}
		if err := o.serve(p); err != nil {
			failed[p] = err
		}
	}
	return failed
}

func (o *opener) serve(p place) error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), p.network, p.addr)
	if err != nil {
		return fmt.Errorf("health checks at %s/TCP: %w", p.addr, err)
	}
	s := &http.Server{
		Handler: o.handler(p), ReadTimeout: limit, WriteTimeout: limit, IdleTimeout: 6 * limit, MaxHeaderBytes: 4096,
		ErrorLog: slog.NewLogLogger(o.log.Handler(), slog.LevelDebug),
	}
	o.open[p] = s
	go func() { _ = s.Serve(l) }() // returns when stop closes the server
	return nil
}

func (o *opener) stop(p place) {
	o.open[p].Close()
	delete(o.open, p)
}

func (o *opener) close() {
	for p := range o.open {
		o.stop(p)
	}
}
