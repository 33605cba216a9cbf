package relay

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"weir/api/observer"
	"weir/api/wire"
)

// Options is where the relay finds the agents and how it speaks to them.
type Options struct {
	PeerService    string             // address of an agent that knows all others: "unix:///..." or "host:port"
	PeerServerName string             // in that agent's certificate
	Certificates   *wire.Certificates // of the relay as a client, and whose agents' may be
	Plain          bool               // agents may be spoken to without TLS
	Version        string
}

const (
	maxReaders  = 128         // at a time; each is one on every node
	patience    = time.Minute // with a reader who takes nothing
	askPatience = 5 * time.Second
	retryAfter  = 2 * time.Second
)

// Relay answers for all nodes of a cluster.
type Relay struct {
	observer.UnimplementedObserverServer
	log     *slog.Logger
	opts    Options
	started time.Time
	peers   peers
	readers *wire.Readers
	well    *health.Server
	told    tally
	silence time.Duration
	held    atomic.Int64 // flows that there has to be room for: see hold
}

// New returns a relay that knows no node yet.
func New(log *slog.Logger, opts Options) *Relay {
	r := &Relay{log: log, opts: opts, started: time.Now(), readers: wire.NewReaders(opts.Version, maxReaders, patience), well: health.NewServer(), silence: silence}
	r.peers.known = map[string]*peerNode{}
	r.ready(false)
	return r
}

// ready says whether the relay knows where the agents are.
func (r *Relay) ready(is bool) {
	status := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if is {
		status = grpc_health_v1.HealthCheckResponse_SERVING
	}
	for _, name := range []string{"", observer.Observer_ServiceDesc.ServiceName} {
		r.well.SetServingStatus(name, status)
	}
}

// Ready reports whether the relay knows where the agents are.
func (r *Relay) Ready() bool {
	reply, err := r.well.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	return err == nil && reply.Status == grpc_health_v1.HealthCheckResponse_SERVING
}

// Register makes a server answer for the cluster.
func (r *Relay) Register(s grpc.ServiceRegistrar) {
	observer.RegisterObserverServer(s, r)
	grpc_health_v1.RegisterHealthServer(s, r.well)
}

// Run follows where the agents are until ctx ends. What is known stays while nobody tells.
func (r *Relay) Run(ctx context.Context) error {
	defer r.peers.close()
	for said := ""; ctx.Err() == nil; {
		err := r.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if text := err.Error(); text != said {
			r.log.Warn("nobody tells where the agents are", "peer_service", r.opts.PeerService, "err", err)
			said = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
	return nil
}
