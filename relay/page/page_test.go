package page

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"weir/api/flow"
	"weir/api/observer"
	"weir/bpf"
	"weir/observe"
	"weir/state"
	"weir/ui"
)

// rules are those of a node without policy.
type rules struct{}

func (rules) Version() uint64                         { return 1 }
func (rules) Rule(uint32) observe.Rule                { return observe.Rule{} }
func (rules) Isolated(uint32, bool) []state.PolicyKey { return nil }

// node is a node's flows, and who serves them.
type node struct {
	*observe.Observer
	observer.ObserverServer
}

// RegisterService takes the service that the node would answer by.
func (n *node) RegisterService(_ *grpc.ServiceDesc, s any) {
	if o, ok := s.(observer.ObserverServer); ok {
		n.ObserverServer = o
	}
}

// startNode returns a real node's flows: of shop/web to 10.0.0.7:80, and of bank/db,
// which are dropped.
func startNode(t *testing.T, kept int) *node {
	t.Helper()
	tables := state.New()
	tables.Nodes.Put(state.Node{Name: "n1", Local: true})
	tables.IPs.Put(state.IP{Prefix: netip.MustParsePrefix("10.0.0.5/32"), Identity: 1001, Source: state.IPPod, Of: "shop/web"})
	tables.IPs.Put(state.IP{Prefix: netip.MustParsePrefix("10.0.0.6/32"), Identity: 1002, Source: state.IPPod, Of: "bank/db"})
	o := observe.New(observe.Options{Node: "n1", Version: "1", Flows: kept}, tables, rules{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); o.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	n := &node{Observer: o}
	o.Register(n, observe.PeerOptions{})
	return n
}

func add(o *node, from string, number uint16, reason bpf.Reason) {
	var mono unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono)
	kind := bpf.EventNew
	if reason.Drop() {
		kind = bpf.EventDrop
	}
	o.Add(&bpf.Event{Time: uint64(mono.Nano()), Src: bpf.AddrFrom(netip.MustParseAddr(from)), Dst: bpf.AddrFrom(netip.MustParseAddr("10.0.0.7")),
		Sport: bpf.Network(number), Dport: bpf.Network(80), Family: 2, Proto: 6, Kind: uint8(kind), Reason: uint8(reason), Place: uint8(bpf.PlaceFromPod)})
}

func get(t *testing.T, h http.Handler, target, host string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// numbers are the source ports of the flows of a reply.
func numbers(t *testing.T, lines string) (out []int) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var m struct {
			Flow *struct {
				L4 struct {
					TCP struct {
						Port int `json:"source_port"`
					}
				} `json:"l4"`
			}
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if m.Flow != nil {
			out = append(out, m.Flow.L4.TCP.Port)
		}
	}
	return out
}

func TestFlowsAreFiltered(t *testing.T) {
	o := startNode(t, 5000)
	add(o, "10.0.0.5", 1, bpf.ReasonToOverlay)
	add(o, "10.0.0.6", 2, bpf.DropUnroutable)
	add(o, "10.0.0.5", 3, bpf.DropUnroutable)
	h := Handler(o, nil)
	for query, want := range map[string]string{
		"":                                "[1 2 3]",
		"last=1":                          "[3]",
		"namespace=shop":                  "[1 3]",
		"namespace=shop&verdict=dropped":  "[3]",
		"pod=bank/db":                     "[2]",
		"pod=d&namespace=bank":            "[2]",
		"verdict=FORWARDED":               "[1]",
		"text=Unroutable":                 "[2 3]",
		"text=STALE_OR":                   "[2 3]",
		"text=10.0.0.7:80&verdict=":       "[1 2 3]",
		"text=shop/web":                   "[1 3]",
		"text=nobody":                     "[]",
		"namespace=elsewhere&text=&last=": "[]",
	} {
		r := get(t, h, "/api/flows?"+query, "localhost:4246")
		if got := fmt.Sprint(numbers(t, text(t, r))); r.StatusCode != http.StatusOK || got != want {
			t.Errorf("%s: status %d, flows %s, want %s", query, r.StatusCode, got, want)
		}
	}
}

func TestBadInputNamesTheParameter(t *testing.T) {
	h := Handler(startNode(t, 100), nil)
	for query, says := range map[string]string{
		"last=x":                    `last: "x": write a number from 0 to 5000`,
		"last=5001":                 `last: "5001"`,
		"last=-1":                   `last: "-1"`,
		"follow=perhaps":            `follow: "perhaps": write 1 or 0`,
		"verdict=lost":              `verdict: "lost": write forwarded or dropped`,
		"verdict=verdict_unknown":   `verdict: "verdict_unknown"`,
		"namespace=a/b":             `namespace: "a/b": write a name without a slash`,
		"namespace=a&pod=b/c":       `pod: "b/c": namespace is given, too`,
		"namespce=a":                "namespce: there is no such parameter: follow, last, namespace, pod, text, verdict",
		"text=a&text=b":             "text: given 2 times",
		"%00%0a=1":                  "??: there is no such parameter",
		"text=" + long(maxText+1):   "text: 201 octets: at most 200",
		"pod=%0d%0aSet-Cookie:+a/b": "", // a pod that nobody has
	} {
		r := get(t, h, "/api/flows?"+query, "localhost")
		got := text(t, r)
		if says == "" {
			if r.StatusCode != http.StatusOK || len(r.Header["Set-Cookie"]) > 0 || len(numbers(t, got)) > 0 {
				t.Errorf("%s: status %d, %q", query, r.StatusCode, got)
			}
		} else if r.StatusCode != http.StatusBadRequest || !strings.HasPrefix(got, says) {
			t.Errorf("%s: status %d, %q, want %q", query, r.StatusCode, got, says)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func TestEveryAnswerKeepsOthersOut(t *testing.T) {
	h := Handler(startNode(t, 100), []string{"Flows.Example"})
	for _, target := range []string{"/", "/main.js", "/reasons.json", "/nothing", "/api/nodes", "/api/namespaces", "/api/flows", "/api/flows?x=1", "/api/other"} {
		r := get(t, h, target, "localhost:4246")
		for name, want := range map[string]string{"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store"} {
			if got := r.Header.Get(name); got != want && (r.StatusCode == http.StatusOK || name != "Cache-Control") { // errors have none
				t.Errorf("%s: %s: %q", target, name, got)
			}
		}
		for name := range r.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s has %s", target, name)
			}
		}
	}
	if regexp.MustCompile(`unsafe|\*|https?:|data:`).MatchString(policy) {
		t.Errorf("the policy lets too much in: %s", policy)
	}
	for host, want := range map[string]int{"localhost": 200, "127.0.0.1:4246": 200, "[::1]:4246": 200, "flows.example:80": 200, "rebound.evil.example:4246": 403, "localhost.evil.example": 403, "": 403} {
		if r := get(t, h, "/api/flows", host); r.StatusCode != want {
			t.Errorf("host %q: status %d, want %d", host, r.StatusCode, want)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		r := httptest.NewRequest(method, "http://localhost/api/flows", nil)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d", method, w.Code)
		}
	}
}

func TestNodesAndNamespaces(t *testing.T) {
	o := startNode(t, 100)
	add(o, "10.0.0.5", 1, bpf.ReasonToOverlay)
	h := Handler(o, nil)
	for target, want := range map[string]string{"/api/nodes": `"n1"`, "/api/namespaces": `"shop"`} {
		r := get(t, h, target, "localhost")
		if got := text(t, r); r.StatusCode != 200 || !json.Valid([]byte(got)) || !strings.Contains(got, want) {
			t.Errorf("%s: status %d, %s", target, r.StatusCode, got)
		}
	}
}

// stuck is a cluster whose nodes do not answer.
type stuck struct {
	Cluster
	asked chan struct{}
}

func (s *stuck) GetNodes(ctx context.Context, _ *observer.GetNodesRequest) (*observer.GetNodesResponse, error) {
	s.asked <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestWhoAsksAllNodesIsBounded(t *testing.T) {
	c := &stuck{asked: make(chan struct{})}
	h := Handler(c, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for range maxAsking {
		wait.Go(func() {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/api/nodes", nil))
		})
		<-c.asked
	}
	if r := get(t, h, "/api/nodes", "localhost"); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more: status %d", r.StatusCode)
	}
	cancel()
	wait.Wait()
}

// What is followed comes while the request goes on, and the node is left when it ends.
func TestFlowsAreFollowed(t *testing.T) {
	o := startNode(t, 5000)
	s := httptest.NewServer(Handler(o, nil))
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.DefaultClient.Do(must(http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/api/flows?follow=1&last=0&namespace=shop", nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	// The reader's place is taken some time after the headers: until then flows pass it by.
	lines := bufio.NewScanner(r.Body)
	first := make(chan bool, 1)
	go func() { first <- lines.Scan() }()
	for there := false; !there; {
		add(o, "10.0.0.5", 99, bpf.ReasonToOverlay)
		select {
		case there = <-first:
			if !there {
				t.Fatal(lines.Err())
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
	for n := uint16(1); n <= 3; n++ {
		add(o, "10.0.0.6", 100+n, bpf.ReasonToOverlay)
		add(o, "10.0.0.5", n, bpf.ReasonToOverlay)
		for ok := true; ok; ok = fmt.Sprint(numbers(t, lines.Text())) == "[99]" {
			if !lines.Scan() {
				t.Fatal(lines.Err())
			}
		}
		if got := fmt.Sprint(numbers(t, lines.Text())); got != fmt.Sprintf("[%d]", n) {
			t.Errorf("got %s, want flow %d", got, n)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// endless is a cluster that has flows for as long as somebody takes them.
type endless struct {
	Cluster      // nobody asks it for the rest
	began, ended chan struct{}
	err          error // instead of flows
	sent         atomic.Int64
}

func (e *endless) GetFlows(_ *observer.GetFlowsRequest, out grpc.ServerStreamingServer[observer.GetFlowsResponse]) error {
	if e.err != nil {
		return e.err
	}
	defer func() { e.ended <- struct{}{} }()
	if err := out.SetHeader(metadata.MD{}); err != nil {
		return err
	}
	e.began <- struct{}{}
	big := &observer.GetFlowsResponse{ResponseTypes: &observer.GetFlowsResponse_Flow{Flow: &flow.Flow{Summary: long(64 << 10)}}}
	for out.Context().Err() == nil {
		if err := out.Send(big); err != nil {
			return err
		}
		e.sent.Add(1)
	}
	return out.Context().Err()
}

// Only so many follow, slow ones wait for themselves, and who vanishes makes room.
func TestFollowersAreBounded(t *testing.T) {
	c := &endless{began: make(chan struct{}, maxFollowers+1), ended: make(chan struct{}, maxFollowers+1)}
	s := httptest.NewServer(Handler(c, nil))
	defer s.Close()
	var pages []net.Conn
	open := func() net.Conn {
		conn := must(net.Dial("tcp", s.Listener.Addr().String()))
		fmt.Fprint(conn, "GET /api/flows?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n") // and reads nothing
		return conn
	}
	for range maxFollowers {
		pages = append(pages, open())
	}
	for range maxFollowers {
		<-c.began
	}
	r, err := http.Get(s.URL + "/api/flows?follow=1")
	if err != nil {
		t.Fatal(err)
	}
	if got := text(t, r); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(got, "32 pages are told of flows already") {
		t.Errorf("one more: status %d, %s", r.StatusCode, got)
	}
	for _, conn := range pages {
		conn.Close()
	}
	for range maxFollowers {
		select {
		case <-c.ended:
		case <-time.After(patience + 10*time.Second):
			t.Fatal("a page that is gone is told of flows still")
		}
	}
	conn := open()
	defer conn.Close()
	select {
	case <-c.began:
	case <-time.After(10 * time.Second):
		t.Fatal("no room for a new page")
	}
}

// One that takes nothing waits for itself: no more is held for it than fits the connection.
func TestAPageThatTakesNothingHoldsNothing(t *testing.T) {
	c := &endless{began: make(chan struct{}, 1), ended: make(chan struct{}, 1)}
	s := httptest.NewServer(handler(c, nil, 300*time.Millisecond))
	defer s.Close()
	conn := must(net.Dial("tcp", s.Listener.Addr().String()))
	defer conn.Close()
	fmt.Fprint(conn, "GET /api/flows?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	select {
	case <-c.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it was never let go")
	}
	if n := c.sent.Load(); n > 1000 {
		t.Errorf("%d flows of 64 KiB were taken for it", n)
	}
}

func TestWhatTheClusterRefusesIsSaid(t *testing.T) {
	for code, want := range map[codes.Code]int{codes.InvalidArgument: 400, codes.ResourceExhausted: 503, codes.Unavailable: 503, codes.Internal: 502} {
		r := get(t, Handler(&endless{err: status.Error(code, "that is why")}, nil), "/api/flows?follow=1", "localhost")
		if got := text(t, r); r.StatusCode != want || got != "that is why\n" {
			t.Errorf("%v: status %d, %q", code, r.StatusCode, got)
		}
	}
}

// unsafe is what makes markup or code of text, or asks somebody else.
var unsafe = regexp.MustCompile(`innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|srcdoc|https?://|//[a-z]+\.|\sstyle=|\son[a-z]+=|setAttribute\("(style|href|src)`)

// The page works without the internet, and text of flows stays text.
func TestThePageIsWhole(t *testing.T) {
	h := Handler(startNode(t, 100), nil)
	refers := regexp.MustCompile(`(?:src|href|from)[= ]"(?:\./)?([a-z.]+)"|ask\("([a-z]+\.json)"\)`)
	seen := 0
	err := fs.WalkDir(ui.Files(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		seen++
		have := must(fs.ReadFile(ui.Files(), name))
		if bad := unsafe.FindString(strings.ReplaceAll(string(have), "http://www.w3.org/2000/svg", "")); bad != "" && path.Ext(name) != ".json" {
			t.Errorf("%s has %q", name, bad)
		}
		for _, m := range refers.FindAllStringSubmatch(string(have), -1) {
			if r := get(t, h, "/"+m[1]+m[2], "localhost"); r.StatusCode != 200 {
				t.Errorf("%s wants %s: status %d", name, m[1]+m[2], r.StatusCode)
			}
		}
		return nil
	})
	if err != nil || seen < 10 {
		t.Errorf("%d files, %v", seen, err)
	}
	for name, want := range map[string]string{"/": "text/html", "/main.js": "javascript", "/style.css": "text/css", "/icon.svg": "image/svg"} {
		if r := get(t, h, name, "localhost"); !strings.Contains(r.Header.Get("Content-Type"), want) {
			t.Errorf("%s: %s", name, r.Header.Get("Content-Type"))
		}
	}
}
