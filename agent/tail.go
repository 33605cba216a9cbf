package agent

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"

	api "weir/api/agent"
)

// linesKept is how many messages the agent remembers of its own log.
const linesKept = 2000

// tail remembers the last messages, so that whoever asks for them need not know
// where this host keeps logs.
type tail struct {
	mu    sync.Mutex
	lines []api.LogLine // at most linesKept; oldest first from next on
	next  int
}

func (t *tail) add(l api.LogLine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) < linesKept {
		t.lines = append(t.lines, l)
		return
	}
	t.lines[t.next] = l
	t.next = (t.next + 1) % linesKept
}

func (t *tail) all() []api.LogLine {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(slices.Clone(t.lines[t.next:]), t.lines[:t.next]...)
}

func (a *Agent) listLog(*http.Request) ([]api.LogLine, error) { return a.tail.all(), nil }

// tailed passes messages on, and remembers them.
type tailed struct {
	slog.Handler
	tail  *tail
	attrs []slog.Attr
}

// Handle implements slog.Handler.
func (h tailed) Handle(ctx context.Context, r slog.Record) error {
	line := api.LogLine{Time: r.Time, Level: r.Level.String(), Message: r.Message, Attributes: map[string]string{}}
	for _, a := range h.attrs {
		line.Attributes[a.Key] = a.Value.String()
	}
	r.Attrs(func(a slog.Attr) bool {
		line.Attributes[a.Key] = a.Value.String()
		return true
	})
	h.tail.add(line)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h tailed) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tailed{h.Handler.WithAttrs(attrs), h.tail, append(slices.Clone(h.attrs), attrs...)}
}

// WithGroup implements slog.Handler.
func (h tailed) WithGroup(name string) slog.Handler {
	return tailed{h.Handler.WithGroup(name), h.tail, h.attrs}
}
