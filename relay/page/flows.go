package page

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"weir/api/observer"
)

const (
	// gathered is how long a flow waits for others to be sent with it.
	gathered = 100 * time.Millisecond
	// patience is how long a page may take nothing. It is shorter than that of the relay,
	// so that nobody writes any more once the request has ended.
	patience = 20 * time.Second
)

// flows sends flows as they come. A page that is slow makes its nodes' streams slow, and is
// told by each how much it had to leave out; one that takes nothing is let go.
func (p *page) flows(w http.ResponseWriter, r *http.Request) {
	q, err := read(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	default:
		refuse(w, status.Errorf(codes.ResourceExhausted, "%d pages are told of flows already, and more are not served: close one of them, or use weir observe", cap(p.places)))
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s := &stream{ctx: ctx, w: w, to: http.NewResponseController(w), buffer: bufio.NewWriterSize(w, 64<<10), wants: q, waits: p.waits}
	var wait sync.WaitGroup
	wait.Go(func() { s.flushNowAndThen(cancel) })
	err = p.cluster.GetFlows(q.request(), s)
	cancel()
	wait.Wait()
	s.end(err)
}

// stream is what the relay sends to, in a gRPC stream's stead.
type stream struct {
	grpc.ServerStream // there is none: what is not answered here is not asked
	ctx               context.Context
	w                 http.ResponseWriter
	to                *http.ResponseController
	wants             question
	waits             time.Duration

	mu      sync.Mutex
	buffer  *bufio.Writer
	started bool
	failed  error
	ended   bool
}

func (s *stream) Context() context.Context { return s.ctx }

// SetHeader is called once the relay has room for this reader.
func (s *stream) SetHeader(metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start()
	return s.flush()
}

// start says that lines follow.
func (s *stream) start() {
	if s.started {
		return
	}
	s.started = true
	s.w.Header().Set("Content-Type", "application/x-ndjson")
	s.w.WriteHeader(http.StatusOK)
}

// Send sends a line, unless it is a flow that the page does not want.
func (s *stream) Send(m *observer.GetFlowsResponse) error {
	if f := m.GetFlow(); f != nil && !s.wants.has(f) {
		return nil
	}
	text, err := asJSON.Marshal(m)
	if err != nil {
		return err
	}
	return s.line(text)
}

// line writes one. The buffer may be full, so that it waits for the page.
func (s *stream) line(text []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errors.New("the request has ended")
	}
	s.start()
	_ = s.to.SetWriteDeadline(time.Now().Add(s.waits))
	if _, err := s.buffer.Write(append(text, '\n')); err != nil {
		s.failed = err
	}
	return s.failed
}

func (s *stream) flush() error {
	_ = s.to.SetWriteDeadline(time.Now().Add(s.waits))
	if err := s.buffer.Flush(); err != nil {
		s.failed = err
	} else if err := s.to.Flush(); err != nil {
		s.failed = err
	}
	return s.failed
}

// flushNowAndThen ends the stream once the page does not take what is sent.
func (s *stream) flushNowAndThen(cancel func()) {
	tick := time.NewTicker(gathered)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		var err error
		if s.started && s.buffer.Buffered() > 0 {
			err = s.flush()
		}
		s.mu.Unlock()
		if err != nil {
			cancel()
			return
		}
	}
}

// end sends what is left, and why there is no more.
func (s *stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.failed != nil || errors.Is(err, context.Canceled) {
		return // nobody reads
	}
	if err != nil && !s.started {
		refuse(s.w, err)
		return
	}
	if err != nil {
		text, _ := json.Marshal(map[string]string{"error": status.Convert(err).Message()})
		_, _ = s.buffer.Write(append(text, '\n'))
	}
	s.start()
	s.flush()
}
