// Package wire is what servers and clients of flows agree on below gRPC: certificates that
// are read again when their files change, how many connections there may be, and how a
// dead one is found. It knows no messages.
package wire

import (
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	maxConnections = 512 // to one listener
	maxStreams     = 256 // on one connection
	handshakeTime  = 10 * time.Second
	idleProbe      = 30 * time.Second // after which a silent end is asked whether it is there
	probeTime      = 10 * time.Second

	// How many octets a request may have. Filters, of which 32 KiB are taken, are most of the
	// largest. In memory one that is empty is five hundred times what it is on the wire, and
	// it is there before anybody can count them.
	maxRequest = 48 << 10

	// How many octets a client takes before it has read them. Left to itself gRPC grows
	// both to megabytes for each stream that is not read.
	window     = 1 << 16
	connWindow = 1 << 20
)

// again is how often a server that does not answer is asked: gRPC's own most is two minutes,
// for which a node would be missing after it has come back.
var again = backoff.Config{BaseDelay: time.Second, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 10 * time.Second}

// Server returns a gRPC server with these bounds. Without certificates it speaks in the
// clear.
func Server(certs *Certificates, more ...grpc.ServerOption) *grpc.Server {
	options := append([]grpc.ServerOption{
		grpc.MaxConcurrentStreams(maxStreams), grpc.MaxRecvMsgSize(maxRequest), grpc.ConnectionTimeout(handshakeTime),
		grpc.ReadBufferSize(4096),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: idleProbe, Timeout: probeTime}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: probeTime, PermitWithoutStream: true}),
	}, more...)
	if certs != nil {
		options = append(options, grpc.Creds(certs.Server()))
	}
	return grpc.NewServer(options...)
}

// Limit bounds the connections that a listener has at a time. One more is closed at once.
func Limit(l net.Listener) net.Listener { return &limited{Listener: l} }

type limited struct {
	net.Listener
	mu   sync.Mutex
	open int
}

// Accept waits for a connection that there is room for.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		room := l.open < maxConnections
		if room {
			l.open++
		}
		l.mu.Unlock()
		if room {
			return &counted{Conn: c, of: l}, nil
		}
		c.Close()
	}
}

type counted struct {
	net.Conn
	once sync.Once
	of   *limited
}

// Close makes room for another.
func (c *counted) Close() error {
	c.once.Do(func() {
		c.of.mu.Lock()
		c.of.open--
		c.of.mu.Unlock()
	})
	return c.Conn.Close()
}

// Dial returns a connection that is made when it is first used. The address is
// "host:port" or "unix:///path". Without certificates it is in the clear.
func Dial(address string, certs *Certificates, serverName string) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if certs != nil {
		creds = certs.Client(serverName)
	}
	if !strings.HasPrefix(address, "unix:") {
		address = "passthrough:///" + address
	}
	return grpc.NewClient(address, grpc.WithTransportCredentials(creds), grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: idleProbe, Timeout: probeTime}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: handshakeTime}))
}
