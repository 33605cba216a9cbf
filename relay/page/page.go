// Package page serves a browser the flows of a cluster: the files of package ui, and what
// their scripts ask for. It only reads, asks nobody who they are, and keeps nothing.
//
//	GET /                the page
//	GET /api/flows       flows, a JSON reply of observer.Observer on each line
//	GET /api/nodes       all nodes, and how they do
//	GET /api/namespaces  those of which a node keeps flows
package page

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weir/api/observer"
	"weir/ui"
)

// maxFollowers bounds the pages that are told of flows at a time. It leaves most of the
// relay's readers to others.
const maxFollowers = 32

// maxAsking bounds the requests at a time for which all nodes are asked.
const maxAsking = 16

// Cluster is what a page asks.
type Cluster interface {
	GetFlows(*observer.GetFlowsRequest, grpc.ServerStreamingServer[observer.GetFlowsResponse]) error
	GetNodes(context.Context, *observer.GetNodesRequest) (*observer.GetNodesResponse, error)
	GetNamespaces(context.Context, *observer.GetNamespacesRequest) (*observer.GetNamespacesResponse, error)
}

// page answers requests.
type page struct {
	cluster Cluster
	hosts   []string // that it may be called by, in lower case
	places  chan struct{}
	asking  chan struct{}
	waits   time.Duration // for a page that takes nothing
}

// Handler answers a browser. Hosts are the names that it may be called by, besides
// localhost and addresses.
func Handler(c Cluster, hosts []string) http.Handler { return handler(c, hosts, patience) }

func handler(c Cluster, hosts []string, waits time.Duration) http.Handler {
	p := &page{cluster: c, places: make(chan struct{}, maxFollowers), asking: make(chan struct{}, maxAsking), waits: waits}
	for _, h := range hosts {
		p.hosts = append(p.hosts, strings.ToLower(h))
	}
	m := http.NewServeMux()
	m.Handle("GET /", http.FileServerFS(ui.Files()))
	m.HandleFunc("GET /api/flows", p.flows)
	m.HandleFunc("GET /api/nodes", p.asks(func(ctx context.Context) (proto.Message, error) { return c.GetNodes(ctx, &observer.GetNodesRequest{}) }))
	m.HandleFunc("GET /api/namespaces", p.asks(func(ctx context.Context) (proto.Message, error) {
		return c.GetNamespaces(ctx, &observer.GetNamespacesRequest{})
	}))
	m.HandleFunc("GET /api/", http.NotFound)
	return p.guard(m)
}

// policy lets the page load what came with it, and nothing else; nor may it be framed.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard refuses what a page of somebody else could ask for, and tells browsers to do so.
func (p *page) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			w.Header().Set(name, value)
		}
		if !p.named(r.Host) {
			http.Error(w, "host: \""+printable(r.Host)+"\": the page answers to localhost, to addresses, and to names that --page-host gives", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// named reports whether the page may be called so. A name that is not known may be one
// that somebody else has pointed here, so that a browser lets their scripts read flows.
func (p *page) named(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" || slices.Contains(p.hosts, host)
}

// printable is text of a client as it may be told back.
func printable(text string) string {
	if len(text) > 100 {
		text = text[:100]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

var asJSON = protojson.MarshalOptions{UseProtoNames: true}

// asks answers with one reply, or why there is none.
func (p *page) asks(ask func(context.Context) (proto.Message, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case p.asking <- struct{}{}:
			defer func() { <-p.asking }()
		default:
			refuse(w, status.Errorf(codes.ResourceExhausted, "%d ask all nodes already: ask again", cap(p.asking)))
			return
		}
		reply, err := ask(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		text, err := asJSON.Marshal(reply)
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text) // who does not read has gone
	}
}

// refuse says why there is no reply.
func refuse(w http.ResponseWriter, err error) {
	said := status.Convert(err)
	code := http.StatusBadGateway
	switch said.Code() {
	case codes.InvalidArgument:
		code = http.StatusBadRequest
	case codes.ResourceExhausted, codes.Unavailable:
		code = http.StatusServiceUnavailable
	}
	http.Error(w, said.Message(), code)
}
