package wire

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"google.golang.org/grpc/credentials"
)

// Certificates are files in PEM. They are read again when one of them has changed, so that
// they can be renewed without a restart. A broken one is refused when it is needed, and
// what was read before is used no longer.
type Certificates struct {
	CertFile, KeyFile string // of this end; of a client they may be empty
	CAFile            string // whose certificates the other end may have; empty: of a server that of anybody, of a client those the system trusts

	mu     sync.Mutex
	stamps string
	pair   *tls.Certificate
	pool   *x509.CertPool
}

// ServerName is what the certificate of a node's agent names, one label for the node and
// one for the cluster: *.CLUSTER.hubble-grpc.cilium.io is every node's.
func ServerName(cluster, node string) string {
	return strings.ReplaceAll(node, ".", "-") + "." + strings.ReplaceAll(cmp.Or(cluster, "default"), ".", "-") + ".hubble-grpc.cilium.io"
}

// Check reads the files.
func (c *Certificates) Check() error {
	_, _, err := c.read()
	return err
}

func (c *Certificates) read() (*tls.Certificate, *x509.CertPool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamps := ""
	for _, name := range []string{c.CertFile, c.KeyFile, c.CAFile} {
		if name == "" {
			continue
		}
		s, err := os.Stat(name)
		if err != nil {
			return nil, nil, fmt.Errorf("certificates: %w", err)
		}
		stamps += fmt.Sprint(name, s.Size(), s.ModTime().UnixNano(), " ")
	}
	if stamps == c.stamps {
		return c.pair, c.pool, nil
	}
	pair, pool, err := load(c.CertFile, c.KeyFile, c.CAFile)
	if err != nil {
		return nil, nil, err
	}
	c.pair, c.pool, c.stamps = pair, pool, stamps
	return pair, pool, nil
}

func load(certFile, keyFile, caFile string) (pair *tls.Certificate, pool *x509.CertPool, err error) {
	if (certFile == "") != (keyFile == "") {
		return nil, nil, fmt.Errorf("certificate %q and key %q: name both, or neither", certFile, keyFile)
	}
	if certFile != "" {
		p, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, nil, fmt.Errorf("read certificate %s with key %s: %w", certFile, keyFile, err)
		}
		pair = &p
	}
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return nil, nil, fmt.Errorf("read CA: %w", err)
		}
		if pool = x509.NewCertPool(); !pool.AppendCertsFromPEM(text) {
			return nil, nil, fmt.Errorf("read CA %s: there is no certificate in it", caFile)
		}
	}
	return pair, pool, nil
}

// Server is this end as a server. Clients need a certificate if CAFile says whose.
func (c *Certificates) Server() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			pair, pool, err := c.read()
			if err != nil {
				return nil, err
			}
			if pair == nil {
				return nil, errors.New("a server needs a certificate")
			}
			out := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{*pair}}
			if pool != nil {
				out.ClientAuth, out.ClientCAs = tls.RequireAndVerifyClientCert, pool
			}
			return out, nil
		}})
}

// Client is this end as a client of a server whose certificate names serverName; empty:
// the host of its address.
func (c *Certificates) Client(serverName string) credentials.TransportCredentials {
	return &client{TransportCredentials: credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, ServerName: serverName}), certs: c, name: serverName}
}

// client reads the files before each handshake.
type client struct {
	credentials.TransportCredentials
	certs *Certificates
	name  string
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *client) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	pair, pool, err := c.certs.read()
	if err != nil {
		return nil, nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: c.name, RootCAs: pool}
	if pair != nil {
		cfg.Certificates = []tls.Certificate{*pair}
	}
	return credentials.NewTLS(cfg).ClientHandshake(ctx, authority, raw)
}

// Clone implements credentials.TransportCredentials.
func (c *client) Clone() credentials.TransportCredentials {
	return &client{TransportCredentials: c.TransportCredentials.Clone(), certs: c.certs, name: c.name}
}
