// Package fakeapi is a Kubernetes API server in memory, for tests and benchmarks:
// lists, watches (bookmarks, streamed lists, 410), writes with conflicts, status,
// patches, finalizers and leases, for the kinds that Weir reads and writes, and
// for those whose CustomResourceDefinition is created.
//
// It can be told to fail in the ways in which real ones do: see fault.go. It
// validates nothing, knows no users beyond one bearer token, and answers
// in JSON unless Protobuf is set; what it is sent may be either.
package fakeapi

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is the API server. Its zero value is of no use: see New.
type Server struct {
	mu        sync.Mutex
	version   uint64 // of the newest object: one counter for all kinds
	resources map[string]*resource
	changed   chan struct{} // closed, and made anew, with each change
	uids      int
	faults    faults

	Listen   func(addr string) (net.Listener, error) // such as one in another network namespace; net.Listen when nil
	Clock    func() time.Time                        // of creationTimestamp; time.Now when nil
	Protobuf bool                                    // watches of built-in kinds are told in protobuf to who takes it; set before Put

	addr   string
	cert   *tls.Certificate
	ca     []byte
	server *http.Server
}

// New returns a server of the built-in kinds and those of cilium.io/v2, without
// objects. It serves after Start.
func New() *Server {
	s := &Server{version: 1, resources: map[string]*resource{}, changed: make(chan struct{})}
	for _, k := range builtin() {
		s.serve(k)
	}
	return s
}

// Start listens on a port of the loopback device.
func (s *Server) Start() error { return s.listen("127.0.0.1:0") }

// StartAt listens at an address of the caller's choice.
func (s *Server) StartAt(addr string) error { return s.listen(addr) }

// StartTLS is Start with a certificate of its own, whose CA CA returns.
func (s *Server) StartTLS() error {
	var err error
	if s.cert, s.ca, err = certificate(); err != nil {
		return err
	}
	return s.listen("127.0.0.1:0")
}

// RenewCertificate gives a server that is down, and was started by StartTLS, a certificate
// of another CA.
func (s *Server) RenewCertificate() error {
	var err error
	s.cert, s.ca, err = certificate()
	return err
}

func (s *Server) listen(addr string) error {
	listen := s.Listen
	if listen == nil {
		listen = func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
	}
	l, err := listen(addr)
	if err != nil {
		return fmt.Errorf("fake API server: %w", err)
	}
	s.addr = l.Addr().String()
	if s.cert != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*s.cert}, NextProtos: []string{"http/1.1"}})
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return context.Background() }}
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	go func() { _ = server.Serve(l) }() // ends with Close
	return nil
}

// Close ends the server and every connection.
func (s *Server) Close() {
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.mu.Unlock()
	if server != nil {
		_ = server.Close() // nobody is left to be told
	}
}

// URL is where the server is.
func (s *Server) URL() string {
	if s.cert != nil {
		return "https://" + s.addr
	}
	return "http://" + s.addr
}

// Addr is its host and port.
func (s *Server) Addr() string { return s.addr }

// CA is the certificate by which clients know a server that StartTLS started.
func (s *Server) CA() []byte { return s.ca }

func (s *Server) now() time.Time {
	if s.Clock != nil {
		return s.Clock()
	}
	return time.Now()
}

// tell wakes whoever watches. The lock is held.
func (s *Server) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}
