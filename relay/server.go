package relay

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir/api/observer"
	"weir/api/relay"
)

// maxNamed is how many unavailable nodes a status names.
const maxNamed = 10

// asked is what one node answered.
type asked[R any] struct {
	node  *peerNode
	reply R
	err   string // why there is none
}

// askAll asks every node at the same time. Those that do not answer soon have not.
func askAll[R any](ctx context.Context, r *Relay, ask func(context.Context, observer.ObserverClient) (R, error)) []asked[R] {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	nodes := r.peers.all()
	out := make([]asked[R], len(nodes))
	var wait sync.WaitGroup
	for i, n := range nodes {
		out[i].node = n
		if out[i].err = n.away(); out[i].err != "" {
			continue
		}
		wait.Go(func() {
			reply, err := ask(ctx, n.client())
			if out[i].reply = reply; err != nil {
				out[i].err = status.Convert(err).Message()
			}
		})
	}
	wait.Wait()
	return out
}

func nodeStatus(ctx context.Context, c observer.ObserverClient) (*observer.ServerStatusResponse, error) {
	return c.ServerStatus(ctx, &observer.ServerStatusRequest{})
}

// GetNodes lists all nodes, and how they do.
func (r *Relay) GetNodes(ctx context.Context, _ *observer.GetNodesRequest) (*observer.GetNodesResponse, error) {
	out := &observer.GetNodesResponse{}
	for _, a := range askAll(ctx, r, nodeStatus) {
		n := &observer.Node{Name: a.node.name, Address: a.node.address, Tls: &observer.TLS{Enabled: a.node.tls, ServerName: a.node.serverName}, State: relay.NodeState_NODE_CONNECTED}
		if s := a.reply; a.err == "" {
			n.Version, n.UptimeNs, n.NumFlows, n.MaxFlows, n.SeenFlows = s.Version, s.UptimeNs, s.NumFlows, s.MaxFlows, s.SeenFlows
		} else {
			n.State = relay.NodeState_NODE_UNAVAILABLE
		}
		out.Nodes = append(out.Nodes, n)
	}
	return out, nil
}

// ServerStatus is that of all nodes together.
func (r *Relay) ServerStatus(ctx context.Context, _ *observer.ServerStatusRequest) (*observer.ServerStatusResponse, error) {
	out := &observer.ServerStatusResponse{Version: r.opts.Version, UptimeNs: uint64(time.Since(r.started))}
	var there, away uint32
	for _, a := range askAll(ctx, r, nodeStatus) {
		if a.err != "" {
			if away++; len(out.UnavailableNodes) < maxNamed {
				out.UnavailableNodes = append(out.UnavailableNodes, a.node.name)
			}
			continue
		}
		there++
		out.NumFlows += a.reply.NumFlows
		out.MaxFlows += a.reply.MaxFlows
		out.SeenFlows += a.reply.SeenFlows
		out.FlowsRate += a.reply.FlowsRate
	}
	out.NumConnectedNodes, out.NumUnavailableNodes = wrapperspb.UInt32(there), wrapperspb.UInt32(away)
	return out, nil
}

// GetNamespaces lists those of which any node keeps flows.
func (r *Relay) GetNamespaces(ctx context.Context, _ *observer.GetNamespacesRequest) (*observer.GetNamespacesResponse, error) {
	out := &observer.GetNamespacesResponse{}
	for _, a := range askAll(ctx, r, func(ctx context.Context, c observer.ObserverClient) (*observer.GetNamespacesResponse, error) {
		return c.GetNamespaces(ctx, &observer.GetNamespacesRequest{})
	}) {
		out.Namespaces = append(out.Namespaces, a.reply.GetNamespaces()...)
	}
	same := func(a, b *observer.Namespace) int {
		return strings.Compare(a.Cluster+"/"+a.Namespace, b.Cluster+"/"+b.Namespace)
	}
	slices.SortFunc(out.Namespaces, same)
	out.Namespaces = slices.CompactFunc(out.Namespaces, func(a, b *observer.Namespace) bool { return same(a, b) == 0 })
	return out, nil
}

// GetAgentEvents is not merged.
func (r *Relay) GetAgentEvents(*observer.GetAgentEventsRequest, grpc.ServerStreamingServer[observer.GetAgentEventsResponse]) error {
	return status.Error(codes.Unimplemented, "a relay does not tell what agents do: ask the agent of a node at its socket or port 4244")
}

// GetDebugEvents is what Weir does not have.
func (r *Relay) GetDebugEvents(*observer.GetDebugEventsRequest, grpc.ServerStreamingServer[observer.GetDebugEventsResponse]) error {
	return status.Error(codes.Unimplemented, "Weir's programs send no debug events")
}
