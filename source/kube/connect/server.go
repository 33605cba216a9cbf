package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"weir/api/client"
)

var born = time.Now()

// uptime is how long this process has run, never 0. Clocks of nodes step, and one that is
// set back would make silence look like news.
func uptime() time.Duration { return time.Since(born) + 1 }

// server is one API server and how it is spoken to.
type server struct {
	from string // who named it: "k8sServiceHost"
	url  *url.URL
	rt   http.RoundTripper

	mu    sync.Mutex
	conns map[*conn]bool
	last  atomic.Int64 // when it said something, by uptime; 0: never
}

// newServer makes the transport to a server; cfg has its address and credentials.
func newServer(from string, cfg *rest.Config) (*server, error) {
	u, err := url.Parse(cfg.Host)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%s: %q is not the URL of an API server", from, cfg.Host)
	}
	s := &server{from: from, url: u, conns: map[*conn]bool{}}
	if cfg, err = client.FreshToken(cfg); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	cfg = rest.CopyConfig(cfg)
	cfg.Dial = s.dial
	if s.rt, err = rest.TransportFor(cfg); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", from, u, err)
	}
	return s, nil
}

func (s *server) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: probeTimeout, KeepAlive: probeEvery}
	inner, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, server: s}
	c.last.Store(int64(uptime()))
	s.mu.Lock()
	s.conns[c] = true
	s.mu.Unlock()
	return c, nil
}

// conn remembers when it said something.
type conn struct {
	net.Conn
	server *server
	last   atomic.Int64
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		now := int64(uptime())
		c.last.Store(now)
		c.server.last.Store(now)
	}
	return n, err
}

func (c *conn) Close() error {
	c.server.mu.Lock()
	delete(c.server.conns, c)
	c.server.mu.Unlock()
	return c.Conn.Close()
}

// heard reports whether the server said something within d.
func (s *server) heard(d time.Duration) bool {
	last := s.last.Load()
	return last != 0 && uptime()-time.Duration(last) < d
}

// taken reports whether the server has a connection with us.
func (s *server) taken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns) > 0
}

// close ends the connections that have said nothing for so long.
func (s *server) close(silent time.Duration) {
	s.mu.Lock()
	var list []*conn
	for c := range s.conns {
		if uptime()-time.Duration(c.last.Load()) >= silent {
			list = append(list, c)
		}
	}
	s.mu.Unlock()
	for _, c := range list {
		c.Close() // what reads from it learns so
	}
}

// rewrite gives a request the server's address.
func (s *server) rewrite(req *http.Request) *http.Request {
	req.URL.Scheme, req.URL.Host, req.Host = s.url.Scheme, s.url.Host, ""
	if s.url.Path != "" {
		req.URL.Path = s.url.Path + req.URL.Path
	}
	return req
}

// probe asks for the server's version: cheap, open to everybody by default, and
// an answer that only an API server gives.
func (s *server) probe(ctx context.Context) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	v, err := s.ask(ctx)
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %s", probeTimeout)
		}
		return v, fmt.Errorf("%s (%s): %w", s.url, s.from, err)
	}
	return v, nil
}

func (s *server) ask(ctx context.Context) (Version, error) {
	var v Version
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://server/version", http.NoBody)
	if err != nil {
		return v, err
	}
	resp, err := s.rt.RoundTrip(s.rewrite(req))
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return v, errors.New("the server refuses our credentials (401): is its service account's token, or the kubeconfig, of this cluster?")
	case http.StatusForbidden:
		return v, nil // it is there, and hides its version
	default:
		return v, fmt.Errorf("GET /version: %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&v); err != nil || v.GitVersion == "" {
		return v, fmt.Errorf("what answers GET /version is not an API server")
	}
	return v, nil
}

// body ends its request's context when it is closed.
type body struct {
	io.ReadCloser
	end func()
}

func (b *body) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
