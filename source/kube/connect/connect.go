// Package connect finds an API server that answers, and keeps to it until it does
// not: an http.RoundTripper whose requests go to whichever server is well.
//
// All servers of a cluster have the same objects and versions, so a watch that
// breaks with one server goes on with the next where it was. The package knows
// nothing of objects.
package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

const (
	probeEvery   = 5 * time.Second        // a server that says nothing is asked so often
	retryEvery   = time.Second            // all are, while none answers
	probeTimeout = 3 * time.Second        // then a server does not answer
	preference   = 200 * time.Millisecond // the first answer waits so long for that of a better server
	patience     = 2 * time.Second        // a request waits so long for a server that is slow
	outage       = time.Minute            // and so long for one that is away
	staleAfter   = 10 * time.Second       // a connection that says nothing while probes fail is given up

	versionAtLeast = 5 * time.Minute // a server that hides its version is asked for it at least so often
)

// Conn is a connection to the cluster, by one server at a time.
type Conn struct {
	log  *slog.Logger
	opts Options

	known map[string]*server // by what they are made of; of Run alone
	poke  chan struct{}      // a request failed

	mu      sync.Mutex
	current *server
	version Version
	ok      bool
	away    bool // no server takes connections
	since   time.Time
	why     error
	first   chan struct{} // closed when the first search has ended
	changed chan struct{} // closed, and made anew, when ok or current changes
	streams context.Context
	cut     context.CancelFunc // ends all requests under way

	// Between two times that a server is asked which hides its version, and the next one; 0:
	// it has told it.
	versionPause time.Duration
	versionDue   time.Time
}

// Version is what a server says of itself.
type Version struct {
	Major, Minor, GitVersion, Platform string
}

// New returns a connection that is made by Run.
func New(log *slog.Logger, o Options) *Conn {
	c := &Conn{log: log, opts: o.filled(), known: map[string]*server{}, poke: make(chan struct{}, 1), first: make(chan struct{}),
		changed: make(chan struct{}), since: time.Now(), why: errors.New("not asked yet")}
	c.streams, c.cut = context.WithCancel(context.Background())
	return c
}

// Searched is closed when every server was asked once, or one has answered.
func (c *Conn) Searched() <-chan struct{} { return c.first }

// State is how the connection is.
type State struct {
	OK      bool
	Server  string    // that is used, or was last
	From    string    // who named it
	Version Version   // of the server that answered last
	Since   time.Time // of OK, or of its end
	Err     error     // why no server is used
}

// State returns how the connection is now.
func (c *Conn) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := State{OK: c.ok, Version: c.version, Since: c.since, Err: c.why}
	if c.current != nil {
		s.Server, s.From = c.current.url.String(), c.current.from
	}
	return s
}

// Run looks after the connection until ctx ends.
func (c *Conn) Run(ctx context.Context) error {
	defer func() { c.cut() }()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		case <-c.poke:
			asked = true
		}
		c.check(ctx, asked)
		if ctx.Err() != nil {
			return nil
		}
		wait.Reset(c.pause())
	}
}

// pause differs from node to node, so that they do not ask together.
func (c *Conn) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := retryEvery
	if c.ok {
		d = c.opts.Probe
	}
	return d/2 + rand.N(d/2)
}

// check asks the server in use, unless it said something a moment ago, and the
// others when it does not answer. asked means that a request has failed.
func (c *Conn) check(ctx context.Context, asked bool) {
	c.mu.Lock()
	s, ok := c.current, c.ok
	due := c.versionPause > 0 && time.Now().After(c.versionDue)
	c.mu.Unlock()
	if ok && !asked && !due && s.heard(c.opts.Probe) {
		return
	}
	if ok {
		v, err := s.probe(ctx)
		if err == nil {
			c.use(s, v)
			return
		}
		c.log.Warn("API server does not answer", "server", s.url, "err", err)
	}
	c.search(ctx)
}

// answer is what one server said to a probe.
type answer struct {
	rank    int
	server  *server
	version Version
	err     error
}

// search asks all servers at once, and takes the best that answers.
func (c *Conn) search(ctx context.Context) {
	list, err := c.candidates()
	answers := make(chan answer, len(list))
	for i, s := range list {
		go func() {
			v, err := s.probe(ctx)
			answers <- answer{i, s, v, err}
		}()
	}
	errs := make([]error, len(list))
	var best *answer
	var late <-chan time.Time
	for range list {
		select {
		case a := <-answers:
			if errs[a.rank] = a.err; a.err == nil && (best == nil || a.rank < best.rank) {
				best = &a
			}
		case <-late:
			c.use(best.server, best.version)
			return
		}
		if best != nil && late == nil {
			late = time.After(preference)
		}
	}
	if best != nil {
		c.use(best.server, best.version)
		return
	}
	c.lose(list, errors.Join(append([]error{err}, errs...)...))
}

// use makes a server the one in use. Requests to another, and those that a
// silence of the same may have cut off, are ended: watches go on where they were.
func (c *Conn) use(s *server, v Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = v
	c.searched()
	same := c.ok && c.current == s
	c.planVersion(v, same)
	if same {
		return
	}
	if c.current != nil {
		c.cut()
		c.streams, c.cut = context.WithCancel(context.Background())
	}
	if c.current != s && c.current != nil {
		c.current.close(0)
	}
	c.current, c.ok, c.away, c.why, c.since = s, true, false, nil, time.Now()
	c.log.Info("API server answers", "server", s.url.String(), "from", s.from, "version", v.GitVersion)
	c.tell()
}

// planVersion says when a server that hides its version is asked for it again, however
// much it says of other things: one that has just started does so until it has loaded
// its roles, one that means it is asked ever more seldom.
func (c *Conn) planVersion(v Version, same bool) {
	now := time.Now()
	switch {
	case v.GitVersion != "":
		c.versionPause = 0
	case !same || c.versionPause == 0:
		c.versionPause, c.versionDue = c.opts.Probe, now.Add(c.opts.Probe)
	case !now.Before(c.versionDue): // it was asked before for other reasons
		c.versionPause = min(2*c.versionPause, versionAtLeast)
		c.versionDue = now.Add(c.versionPause)
	}
}

// lose says that no server answers. The one in use stays it: it may be slow only.
func (c *Conn) lose(list []*server, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.searched()
	if c.ok || c.current == nil && c.why.Error() != err.Error() {
		c.log.Warn("no API server answers: the last known objects stay in force", "err", err)
	}
	if c.ok {
		c.since = time.Now()
	}
	if c.current == nil && len(list) > 0 {
		c.current = list[0]
	}
	c.ok, c.why, c.away = false, err, true
	for _, s := range list {
		if s.taken() { // it is there, and slow
			c.away = false
		}
		if time.Since(c.since) > staleAfter {
			s.close(staleAfter)
		}
	}
	c.tell()
}

func (c *Conn) searched() {
	select {
	case <-c.first:
	default:
		close(c.first)
	}
}

func (c *Conn) tell() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// RoundTrip sends a request to the server in use. While there is none it waits,
// so that who asks goes on as soon as one is back.
func (c *Conn) RoundTrip(req *http.Request) (*http.Response, error) {
	s, streams, err := c.pick(req.Context())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(req.Context())
	stop := context.AfterFunc(streams, cancel)
	end := func() { stop(); cancel() }
	resp, err := s.rt.RoundTrip(s.rewrite(req.Clone(ctx)))
	if err != nil {
		end()
		if req.Context().Err() == nil {
			select {
			case c.poke <- struct{}{}:
			default:
			}
		}
		return nil, err
	}
	resp.Body = &body{resp.Body, end}
	return resp, nil
}

func (c *Conn) pick(ctx context.Context) (*server, context.Context, error) {
	began := time.Now()
	for {
		c.mu.Lock()
		s, ok, away, streams, changed, why := c.current, c.ok, c.away, c.streams, c.changed, c.why
		c.mu.Unlock()
		left := patience
		if away || s == nil {
			left = outage
		}
		if left -= time.Since(began); ok || s != nil && left <= 0 {
			return s, streams, nil
		}
		if left <= 0 {
			return nil, nil, fmt.Errorf("no API server answers: %w", why)
		}
		timer := time.NewTimer(left)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, nil, ctx.Err()
		}
		timer.Stop()
	}
}
