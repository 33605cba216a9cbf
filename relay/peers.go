package relay

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"weir/api/observer"
	"weir/api/peer"
	"weir/api/wire"
)

// peers are the agents of the cluster, by name.
type peers struct {
	mu    sync.Mutex
	known map[string]*peerNode
}

// peerNode is one agent. It never changes; another address makes another.
type peerNode struct {
	name, address, serverName string
	tls                       bool
	conn                      *grpc.ClientConn // nil: why says why there is none
	why                       string
}

func (p *peerNode) client() observer.ObserverClient { return observer.NewObserverClient(p.conn) }

// away says why the agent cannot be asked; empty: it can, as far as is known.
func (p *peerNode) away() string {
	if p.conn == nil {
		return p.why
	}
	switch p.conn.GetState() {
	case connectivity.Idle:
		p.conn.Connect() // nobody has asked for long, or it was cut
	case connectivity.TransientFailure, connectivity.Shutdown:
		return "no connection to " + p.address
	}
	return ""
}

// all are sorted by name.
func (p *peers) all() []*peerNode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.known), func(a, b *peerNode) int { return strings.Compare(a.name, b.name) })
}

// has reports whether this very node is known still.
func (p *peers) has(n *peerNode) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[n.name] == n
}

// maxPeers is how many agents may be known: three times the nodes that Kubernetes is made for.
const maxPeers = 15000

// isFull reports whether there is no room for one more, by this name.
func (p *peers) isFull(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.known) >= maxPeers && p.known[name] == nil
}

// put replaces what was known by the name; nil forgets it.
func (p *peers) put(name string, n *peerNode) {
	p.mu.Lock()
	old := p.known[name]
	delete(p.known, name)
	if n != nil {
		p.known[name] = n
	}
	p.mu.Unlock()
	if old != nil && old.conn != nil {
		old.conn.Close()
	}
}

func (p *peers) close() {
	for _, n := range p.all() {
		p.put(n.name, nil)
	}
}

// settled is how long an agent may take to tell of all others.
const settled = 10 * time.Second

// follow takes what one agent tells until it ends, which is always an error. Whom it has
// not told of after a while is no more.
func (r *Relay) follow(ctx context.Context) error {
	certs := r.opts.Certificates
	if strings.HasPrefix(r.opts.PeerService, "unix:") {
		certs = nil
	}
	conn, err := wire.Dial(r.opts.PeerService, certs, r.opts.PeerServerName)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := peer.NewPeerClient(conn).Notify(ctx, &peer.NotifyRequest{})
	if err != nil {
		return err
	}
	var told sync.Map
	forget := time.AfterFunc(settled, func() {
		for _, n := range r.peers.all() {
			if _, ok := told.Load(n.name); !ok {
				r.log.Info("agent gone", "node", n.name)
				r.peers.put(n.name, nil)
			}
		}
	})
	defer forget.Stop()
	for {
		c, err := stream.Recv()
		if err != nil {
			return err
		}
		told.Store(c.Name, true)
		r.change(c)
		if !r.Ready() {
			r.log.Info("agents are known", "peer_service", r.opts.PeerService)
			r.ready(true)
		}
	}
}

// change takes one change. What is told again, by another agent, changes nothing.
func (r *Relay) change(c *peer.ChangeNotification) {
	if c.Type == peer.ChangeNotificationType_PEER_DELETED {
		r.log.Info("agent gone", "node", c.Name)
		r.peers.put(c.Name, nil)
		return
	}
	if r.peers.isFull(c.Name) {
		r.log.Warn("agent left out: more are known than a cluster has", "node", c.Name, "known", maxPeers)
		return
	}
	n := &peerNode{name: c.Name, address: c.Address, serverName: c.Tls.GetServerName(), tls: c.Tls != nil}
	r.peers.mu.Lock()
	old := r.peers.known[c.Name]
	r.peers.mu.Unlock()
	if old != nil && old.address == n.address && old.serverName == n.serverName && old.tls == n.tls {
		return
	}
	if n.conn, n.why = r.dial(n); n.conn != nil {
		n.conn.Connect()
	}
	r.log.Info("agent known", "node", n.name, "address", n.address, "err", n.why)
	r.peers.put(n.name, n)
}

// dial returns a connection, or why there is none.
func (r *Relay) dial(n *peerNode) (*grpc.ClientConn, string) {
	certs := r.opts.Certificates
	switch {
	case n.address == "":
		return nil, "its agent serves no flows on TCP: hubble.listenAddress is empty, or the node has no address"
	case !n.tls && !r.opts.Plain:
		return nil, "its agent serves flows without TLS, and the relay was not told to accept that"
	case n.tls && certs == nil:
		return nil, "its agent serves flows with TLS, and the relay has no certificate for it"
	case !n.tls:
		certs = nil
	}
	conn, err := wire.Dial(n.address, certs, n.serverName)
	if err != nil {
		return nil, fmt.Sprintf("%s: %v", n.address, err)
	}
	return conn, ""
}
