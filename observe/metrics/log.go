package metrics

import (
	"context"
	"log/slog"
	"strings"
)

// Log returns a handler that counts warnings and errors on their way to another.
func (r *Recorder) Log(to slog.Handler) slog.Handler { return counting{to, r, "other"} }

type counting struct {
	slog.Handler
	recorder *Recorder
	room     string
}

// Handle implements slog.Handler.
func (c counting) Handle(ctx context.Context, record slog.Record) error {
	if record.Level >= slog.LevelWarn {
		level := "warning"
		if record.Level >= slog.LevelError {
			level = "error"
		}
		c.recorder.warnings.WithLabelValues(level, c.room).Inc()
	}
	return c.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler. The attribute "room" says whose messages
// follow.
func (c counting) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if a.Key == "room" || a.Key == "duty" {
			c.room = strings.ReplaceAll(a.Value.String(), " ", "-")
		}
	}
	c.Handler = c.Handler.WithAttrs(attrs)
	return c
}

// WithGroup implements slog.Handler.
func (c counting) WithGroup(name string) slog.Handler {
	c.Handler = c.Handler.WithGroup(name)
	return c
}
