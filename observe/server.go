package observe

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"weir/api/observer"
	"weir/api/peer"
	"weir/api/relay"
	"weir/api/wire"
)

// Register makes a server answer for this node: flows, peers, and whether it is well.
func (o *Observer) Register(s grpc.ServiceRegistrar, peers PeerOptions) {
	observer.RegisterObserverServer(s, &server{o: o, peers: peers})
	peer.RegisterPeerServer(s, &peerServer{o: o, opts: peers})
	well := health.NewServer()
	for _, name := range []string{"", observer.Observer_ServiceDesc.ServiceName, peer.Peer_ServiceDesc.ServiceName} {
		well.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	grpc_health_v1.RegisterHealthServer(s, well)
}

// Run does what readers need: it wakes those who wait, asks for the names of policies, and
// notes what the agent does.
func (o *Observer) Run(ctx context.Context) error {
	go o.bell.run(ctx, o.ring)
	go o.rules.run(ctx)
	return o.agent.run(ctx, o.tables)
}

type server struct {
	observer.UnimplementedObserverServer
	o     *Observer
	peers PeerOptions
}

func (s *server) GetFlows(q *observer.GetFlowsRequest, out grpc.ServerStreamingServer[observer.GetFlowsResponse]) error {
	r, err := s.o.parse(q)
	if err != nil {
		return err
	}
	return s.o.readers.Serve(out, func(ctx context.Context, guard wire.Guard) error {
		return s.o.flows(ctx, r, func(x *observer.GetFlowsResponse) error { return guard(func() error { return out.Send(x) }) })
	})
}

func (s *server) GetNodes(context.Context, *observer.GetNodesRequest) (*observer.GetNodesResponse, error) {
	st := s.o.Status()
	n := &observer.Node{Name: s.o.nodeName(), Version: st.Version, State: relay.NodeState_NODE_CONNECTED, UptimeNs: st.UptimeNs,
		NumFlows: st.NumFlows, MaxFlows: st.MaxFlows, SeenFlows: st.SeenFlows, Tls: &observer.TLS{}}
	if row, ok := s.o.tables.Nodes.Get(s.o.opts.Node); ok {
		n.Address = s.peers.address(row)
		if t := s.peers.tls(row); t != nil {
			n.Tls = &observer.TLS{Enabled: true, ServerName: t.ServerName}
		}
	}
	return &observer.GetNodesResponse{Nodes: []*observer.Node{n}}, nil
}

func (s *server) ServerStatus(context.Context, *observer.ServerStatusRequest) (*observer.ServerStatusResponse, error) {
	return s.o.Status(), nil
}

// rateOver is the time over which the rate of flows is taken.
const rateOver = time.Minute

// Status is how many flows there are.
func (o *Observer) Status() *observer.ServerStatusResponse {
	oldest, next := o.ring.bounds()
	return &observer.ServerStatusResponse{NumFlows: next - oldest, MaxFlows: o.ring.size, SeenFlows: next,
		UptimeNs: uint64(time.Since(o.started)), Version: o.opts.Version, FlowsRate: o.rate(time.Now())}
}

// rate is flows in a second: over the last minute, or as long as the ring or the observer
// goes back.
func (o *Observer) rate(now time.Time) float64 {
	oldest, next := o.ring.bounds()
	span := min(rateOver, now.Sub(o.started))
	since := now.Add(-span).UnixNano()
	one := make([]record, 1)
	from, to := oldest, next // the first that is not before since is among them
	for from < to {
		middle := from + (to-from)/2
		if _, n := o.ring.read(middle, one); n == 1 && one[0].when < since {
			from = middle + 1
		} else {
			to = middle
		}
	}
	if _, n := o.ring.read(oldest, one); from == oldest && n == 1 && oldest > 0 {
		span = now.Sub(time.Unix(0, one[0].when))
	}
	if span <= 0 {
		return 0
	}
	return float64(next-from) / span.Seconds()
}

// GetNamespaces lists those of which flows are kept.
func (s *server) GetNamespaces(ctx context.Context, _ *observer.GetNamespacesRequest) (*observer.GetNamespacesResponse, error) {
	seen := map[string]bool{}
	batch := make([]record, readAtOnce)
	from, to := s.o.ring.bounds()
	for from < to && ctx.Err() == nil {
		first, n := s.o.ring.read(from, batch)
		for _, r := range batch[:n] {
			for _, p := range r.ends {
				if p != nil && p.pod.Namespace != "" {
					seen[p.pod.Namespace] = true
				}
			}
		}
		from = first + uint64(max(n, 1))
	}
	out := &observer.GetNamespacesResponse{}
	for _, name := range slices.SortedFunc(maps.Keys(seen), strings.Compare) {
		out.Namespaces = append(out.Namespaces, &observer.Namespace{Cluster: s.o.opts.Cluster, Namespace: name})
	}
	return out, ctx.Err()
}

func (s *server) GetAgentEvents(q *observer.GetAgentEventsRequest, out grpc.ServerStreamingServer[observer.GetAgentEventsResponse]) error {
	return s.o.readers.Serve(out, func(ctx context.Context, guard wire.Guard) error {
		return s.o.agent.send(ctx, q, func(x *observer.GetAgentEventsResponse) error {
			x.NodeName = s.o.nodeName()
			return guard(func() error { return out.Send(x) })
		})
	})
}

func (s *server) GetDebugEvents(*observer.GetDebugEventsRequest, grpc.ServerStreamingServer[observer.GetDebugEventsResponse]) error {
	return status.Error(codes.Unimplemented, "Weir's programs send no debug events: weir trace and weir drops show what becomes of packets")
}
