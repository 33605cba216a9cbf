package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// listen is a place to answer at: an address of the host, or of the namespace
// kept at netns.
type listen struct {
	netns string
	addr  netip.AddrPort
}

// responder answers GET /hello wherever it is told to. One goroutine uses it.
type responder struct {
	log  *slog.Logger
	open map[listen]*http.Server
}

func newResponder(log *slog.Logger) *responder {
	return &responder{log: log, open: map[listen]*http.Server{}}
}

// set makes the places the only ones. A place that is answered at already is
// left alone.
func (r *responder) set(places []listen) error {
	want := map[listen]bool{}
	var errs []error
	for _, p := range places {
		want[p] = true
		if r.open[p] == nil {
			errs = append(errs, r.serve(p))
		}
	}
	for p := range r.open {
		if !want[p] {
			r.stop(p)
		}
	}
	return errors.Join(errs...)
}

// drop stops answering in one namespace.
func (r *responder) drop(netns string) {
	for p := range r.open {
		if p.netns == netns {
			r.stop(p)
		}
	}
}

func (r *responder) close() {
	for p := range r.open {
		r.stop(p)
	}
}

func (r *responder) serve(p listen) error {
	var l net.Listener
	bind := func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", p.addr.String())
		return err
	}
	err := error(nil)
	if p.netns == "" {
		err = bind()
	} else {
		err = within(p.netns, bind) // a socket stays in the namespace it was made in
	}
	if err != nil {
		return fmt.Errorf("answer health probes at %s: %w (is the port in use? set health.port on all nodes)", p.addr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello\n") })
	s := &http.Server{
		Handler: mux, ReadTimeout: limit, WriteTimeout: limit, IdleTimeout: limit, MaxHeaderBytes: 4096,
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	s.SetKeepAlivesEnabled(false)
	r.open[p] = s
	go func() { _ = s.Serve(l) }() // returns when stop closes the server
	return nil
}

func (r *responder) stop(p listen) {
	r.open[p].Close()
	delete(r.open, p)
}

// bound ends what is done with a connection when ctx ends, until stop is called.
func bound(ctx context.Context, conn net.Conn) (stop func() bool, err error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	return context.AfterFunc(ctx, func() { conn.Close() }), nil
}

// hello asks one address and returns how long the answer took. It does all in
// the calling goroutine: a connection for each question, as a new pod would.
func hello(ctx context.Context, addr netip.Addr, port int) (time.Duration, error) {
	began := time.Now()
	to := netip.AddrPortFrom(addr, uint16(port)).String()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop, err := bound(ctx, conn)
	if err != nil {
		return 0, err
	}
	defer stop()
	if _, err := fmt.Fprintf(conn, "GET /hello HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", to); err != nil {
		return 0, fmt.Errorf("ask %s: %w", to, err)
	}
	answer := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return 0, fmt.Errorf("read the answer of %s: %w", to, err)
	}
	if string(answer) != "HTTP/1.1 200" {
		return 0, fmt.Errorf("%s answered %q, not as a node does (does something else use port %d?)", to, answer, port)
	}
	return time.Since(began), nil
}
