package observe

import (
	"context"
	"maps"
	"net"
	"slices"
	"strconv"

	"google.golang.org/grpc"

	"weir/api/peer"
	"weir/api/wire"
	"weir/state"
)

// PeerOptions is where the agents of the cluster serve flows.
type PeerOptions struct {
	Port int  // TCP, on each node
	TLS  bool // with certificates
}

// address is where a node serves; empty: it has no address.
func (p PeerOptions) address(n state.Node) string {
	a := n.AnyAddress()
	if !a.IsValid() || p.Port == 0 {
		return ""
	}
	return net.JoinHostPort(a.String(), strconv.Itoa(p.Port))
}

func (p PeerOptions) tls(n state.Node) *peer.TLS {
	if !p.TLS || p.Port == 0 {
		return nil
	}
	return &peer.TLS{ServerName: wire.ServerName(n.Cluster, n.Name)}
}

type peerServer struct {
	peer.UnimplementedPeerServer
	o    *Observer
	opts PeerOptions
}

// Notify tells all nodes, this one too, and then every change.
func (s *peerServer) Notify(_ *peer.NotifyRequest, out grpc.ServerStreamingServer[peer.ChangeNotification]) error {
	return s.o.readers.Serve(out, func(ctx context.Context, guard wire.Guard) error {
		changed := make(chan struct{}, 1)
		defer s.o.tables.Nodes.Notify(changed)()
		told := map[string]*peer.ChangeNotification{}
		for {
			for _, c := range s.changes(told) {
				if err := guard(func() error { return out.Send(c) }); err != nil {
					return err
				}
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-changed:
			}
		}
	})
}

// changes is what makes of what was told what there is.
func (s *peerServer) changes(told map[string]*peer.ChangeNotification) []*peer.ChangeNotification {
	now := map[string]*peer.ChangeNotification{}
	for _, n := range s.o.tables.Nodes.All() {
		name := NodeName(n.Cluster, n.Name)
		now[name] = &peer.ChangeNotification{Name: name, Address: s.opts.address(n), Tls: s.opts.tls(n)}
	}
	var out []*peer.ChangeNotification
	for _, name := range slices.Sorted(maps.Keys(told)) {
		if now[name] == nil {
			gone := told[name]
			out = append(out, &peer.ChangeNotification{Name: name, Address: gone.Address, Tls: gone.Tls, Type: peer.ChangeNotificationType_PEER_DELETED})
			delete(told, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		next, old := now[name], told[name]
		switch {
		case old == nil:
			next.Type = peer.ChangeNotificationType_PEER_ADDED
		case old.Address == next.Address && old.Tls.GetServerName() == next.Tls.GetServerName():
			continue
		default:
			next.Type = peer.ChangeNotificationType_PEER_UPDATED
		}
		told[name] = next
		out = append(out, next)
	}
	return out
}
