package relay

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"weir/relay/page"
)

// A browser is told the same as a client: of all nodes, and who is away.
func TestThePageShowsTheCluster(t *testing.T) {
	r, d, _ := startRelay(t, Options{Plain: true})
	dir := short(t)
	a, b := startNode(t, "a", "unix", filepath.Join(dir, "a"), nil), startNode(t, "b", "unix", filepath.Join(dir, "b"), nil)
	added(t, r, d, a, b, &node{name: "c", address: "127.0.0.1:1"})
	await(t, "c is known to be away", func() bool { return r.peers.all()[2].away() != "" })
	s := httptest.NewServer(page.Handler(r, nil))
	defer s.Close()
	reply, err := http.Get(s.URL + "/api/flows?follow=1")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	a.add(0, 1)
	b.add(0, 2)
	lines := bufio.NewScanner(reply.Body)
	for _, want := range []string{"NODE_CONNECTED", "NODE_UNAVAILABLE", `"ns-`, `"ns-`} {
		if !lines.Scan() || !strings.Contains(lines.Text(), want) {
			t.Fatalf("got %q (%v), want %q", lines.Text(), lines.Err(), want)
		}
	}
	if r.readers.Count() != 1 {
		t.Errorf("%d readers", r.readers.Count())
	}
	reply.Body.Close()
	await(t, "the page has gone", func() bool { return r.readers.Count() == 0 })
}
