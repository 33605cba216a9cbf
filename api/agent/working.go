package agent

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"net/textproto"
	"time"
)

// WhileWorking returns a context for a request that ends when the agent has said nothing
// for as long as silence, and in any case after most. An agent that works at a long
// request says so every second (102, RFC 2518 section 10.1); few requests are long.
func WhileWorking(parent context.Context, silence, most time.Duration) (context.Context, context.CancelFunc) {
	bounded, release := context.WithTimeout(parent, most)
	ctx, end := context.WithCancelCause(bounded)
	silent := time.AfterFunc(silence, func() {
		end(fmt.Errorf("nothing was heard for %s: %w", silence, context.DeadlineExceeded))
	})
	working := func(int, textproto.MIMEHeader) error {
		silent.Reset(silence)
		return nil
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: working}), func() {
		silent.Stop()
		end(context.Canceled)
		release()
	}
}
