package run

import (
	"strings"

	grpcmetrics "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"google.golang.org/grpc"

	"weir/internal/version"
	"weir/observe/metrics"
	"weir/relay"
)

// What a relay tells. Names that begin with hubble_ or grpc_ are those of the field.
var (
	buildIs = metrics.Gauge("weir_relay_version", "Always 1: the labels say which build this is.", "version", "revision")
	peers   = metrics.Gauge("hubble_relay_pool_peer_connection_status", "Agents by the state of the connection to them; NIL_CONNECTION: there is no way to ask them.", "status")
	readers = metrics.Gauge("weir_relay_readers", "Clients and browsers that are being told flows.")
	told    = metrics.Counter("weir_relay_flows_total", "Flows that readers were told.")
	lost    = metrics.Counter("weir_relay_lost_flows_total", "Flows that are missing in what readers were told, by where: perf_event_ring_buffer is the rings of nodes' programs, hubble_ring_buffer nodes whose flows were taken too slowly. Each reader counts by itself.", "source")

	relayFamilies = []*metrics.Family{buildIs, peers, readers, told, lost}
)

// measures are the metrics of a relay.
type measures struct {
	registry metrics.Registry
	requests *grpcmetrics.ServerMetrics
}

func newMeasures(r *relay.Relay) measures {
	m := measures{registry: metrics.New(""), requests: grpcmetrics.NewServerMetrics(grpcmetrics.WithServerHandlingTimeHistogram())}
	m.registry.MustRegister(m.requests, metrics.Collector(relayFamilies, func(out metrics.Out) { tell(r.Stats(), out) }))
	return m
}

// interceptors measure a server's requests.
func (m measures) interceptors() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(m.requests.UnaryServerInterceptor()), grpc.ChainStreamInterceptor(m.requests.StreamServerInterceptor())}
}

func tell(s relay.Stats, out metrics.Out) {
	out.Put(buildIs, 1, version.Version, version.Commit)
	for state, n := range s.Peers {
		out.Put(peers, float64(n), state)
	}
	out.Put(readers, float64(s.Readers))
	out.Put(told, float64(s.Flows))
	for source, n := range s.Lost {
		out.Put(lost, float64(n), strings.ToLower(source.String()))
	}
}
