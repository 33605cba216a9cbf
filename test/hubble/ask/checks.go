package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/cilium/cilium/api/v1/observer"
	"github.com/cilium/cilium/api/v1/peer"
	"github.com/cilium/cilium/api/v1/relay"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"weir/test/hubble"
)

// want is what a server has to know.
type want struct {
	pod                string
	tell, nodes, peers []string
}

type asker struct {
	conn     *grpc.ClientConn
	observer observer.ObserverClient
	want     want
}

// check asks for one thing, and says what came.
type check struct {
	name string
	ask  func(context.Context) (string, error)
}

func (a *asker) checks() []check {
	out := []check{{"Health", a.health}, {"ServerStatus", a.status}, {"GetNodes", a.nodes}, {"GetNamespaces", a.namespaces},
		{"GetFlows, number", a.last}, {"GetFlows, whitelist", a.filtered}, {"GetFlows, follow", a.follow}}
	if len(a.want.peers) > 0 {
		out = append(out, check{"Notify", a.peers})
	}
	return out
}

// known is an error where a message has what upstream does not know.
func known(m proto.Message) error {
	if x := hubble.Unknown(m); len(x) > 0 {
		return errors.New(strings.Join(x, "; "))
	}
	return nil
}

func (a *asker) health(ctx context.Context) (string, error) {
	r, err := grpc_health_v1.NewHealthClient(a.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "observer.Observer"})
	if err == nil && r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		err = fmt.Errorf("it is %s", r.Status)
	}
	return r.GetStatus().String(), err
}

func (a *asker) status(ctx context.Context) (string, error) {
	s, err := a.observer.ServerStatus(ctx, &observer.ServerStatusRequest{})
	if err != nil {
		return "", err
	}
	said := fmt.Sprintf("version %s, %d of %d flows, %d seen, %d nodes connected, %d unavailable", s.Version, s.NumFlows, s.MaxFlows, s.SeenFlows, s.NumConnectedNodes.GetValue(), s.NumUnavailableNodes.GetValue())
	connected := int(s.NumConnectedNodes.GetValue())
	if s.NumConnectedNodes == nil { // an agent tells of itself alone
		connected = 1
	}
	if s.Version == "" || s.NumFlows == 0 || s.MaxFlows < s.NumFlows || s.SeenFlows < s.NumFlows || connected != len(a.want.nodes) || s.NumUnavailableNodes.GetValue() > 0 {
		return "", fmt.Errorf("%s; want a version, flows and %d nodes", said, len(a.want.nodes))
	}
	return said, known(s)
}

func (a *asker) nodes(ctx context.Context) (string, error) {
	r, err := a.observer.GetNodes(ctx, &observer.GetNodesRequest{})
	if err != nil {
		return "", err
	}
	var names []string
	for _, n := range r.Nodes {
		names = append(names, n.Name)
		if _, port, err := net.SplitHostPort(n.Address); err != nil || port != "4244" || n.State != relay.NodeState_NODE_CONNECTED || !n.Tls.GetEnabled() || n.Tls.ServerName != serverName(n.Name) || n.NumFlows == 0 {
			return "", fmt.Errorf("%v: want it connected by TLS at port 4244, and with flows", n)
		}
	}
	return same(names, a.want.nodes, known(r))
}

// serverName is what the certificate of a node's agent names.
func serverName(node string) string {
	cluster, name := parts(node)
	return name + "." + cluster + ".hubble-grpc.cilium.io"
}

// parts of CLUSTER/NODE, of which the cluster is left out when it is called default.
func parts(node string) (cluster, name string) {
	if cluster, name, ok := strings.Cut(node, "/"); ok {
		return cluster, name
	}
	return "default", node
}

// same lists what there is, which has to be what is wanted.
func same(have, want []string, err error) (string, error) {
	slices.Sort(have)
	if err == nil && !slices.Equal(have, want) {
		err = fmt.Errorf("%q, want %q", have, want)
	}
	return strings.Join(have, ", "), err
}

func (a *asker) namespaces(ctx context.Context) (string, error) {
	r, err := a.observer.GetNamespaces(ctx, &observer.GetNamespacesRequest{})
	if err != nil {
		return "", err
	}
	var names []string
	for _, n := range r.Namespaces {
		names = append(names, n.Cluster+"/"+n.Namespace)
	}
	cluster, _ := parts(a.want.tell[0])
	namespace, _, _ := strings.Cut(a.want.pod, "/")
	if !slices.Contains(names, cluster+"/"+namespace) {
		return "", fmt.Errorf("%q, want %s/%s among them", names, cluster, namespace)
	}
	return strings.Join(names, ", "), known(r)
}

// peers wants each node once, with the address and the name that a relay goes by.
func (a *asker) peers(ctx context.Context) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := peer.NewPeerClient(a.conn).Notify(ctx, &peer.NotifyRequest{})
	if err != nil {
		return "", err
	}
	var names []string
	for len(names) < len(a.want.peers) {
		p, err := stream.Recv()
		if err != nil {
			return "", fmt.Errorf("after %q: %w", names, err)
		}
		if err := known(p); err != nil {
			return "", err
		}
		if _, port, err := net.SplitHostPort(p.Address); err != nil || port != "4244" || p.Type != peer.ChangeNotificationType_PEER_ADDED || p.Tls.GetServerName() != serverName(p.Name) {
			return "", fmt.Errorf("%v: want it added, at port 4244, by its own name", p)
		}
		names = append(names, p.Name)
	}
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		return "", fmt.Errorf("after the end: %v, want Canceled", err)
	}
	return same(names, a.want.peers, nil)
}
