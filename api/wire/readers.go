package wire

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// VersionKey is the key of a response's metadata that tells the server's version.
const VersionKey = "hubble-server-version"

// Readers are those who read streams of one server: there is room for so many, and who
// takes nothing for too long is let go.
type Readers struct {
	version  string
	patience time.Duration
	places   chan struct{}
}

// NewReaders makes room for most readers. Each may take nothing for as long as patience.
func NewReaders(version string, most int, patience time.Duration) *Readers {
	return &Readers{version: version, patience: patience, places: make(chan struct{}, most)}
}

// Guard runs what sends one message, and may be kept waiting by the reader.
type Guard func(send func() error) error

// Count is how many there are.
func (r *Readers) Count() int { return len(r.places) }

// Serve serves one reader, if there is room for it.
func (r *Readers) Serve(out grpc.ServerStream, serve func(context.Context, Guard) error) error {
	select {
	case r.places <- struct{}{}:
		defer func() { <-r.places }()
	default:
		return status.Errorf(codes.ResourceExhausted, "%d clients read here already, and more are not served: end one of them, or ask another server", cap(r.places))
	}
	if err := out.SetHeader(metadata.Pairs(VersionKey, r.version)); err != nil {
		return err
	}
	var blocked atomic.Int64 // since when a message is being sent, nanoseconds since 1970; 0: none is
	ended := make(chan error, 1)
	go func() {
		ended <- serve(out.Context(), func(send func() error) error {
			blocked.Store(time.Now().UnixNano())
			defer blocked.Store(0)
			return send()
		})
	}()
	tick := time.NewTicker(r.patience / 4)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
		}
		// Its goroutine ends with the stream, which ends with this function.
		if since := blocked.Load(); since != 0 && time.Since(time.Unix(0, since)) > r.patience {
			return status.Errorf(codes.ResourceExhausted, "the client has taken nothing for %s: read faster, or ask for less with filters", r.patience)
		}
	}
}
