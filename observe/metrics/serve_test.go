package metrics

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestAPortThatIsAnothersEndsNothing and is taken once it is free.
func TestAPortThatIsAnothersEndsNothing(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(slog.New(slog.DiscardHandler), port, New("cilium"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(time.Second)
		synctest.Wait()
		if err := s.Failed(); err == nil || !strings.Contains(err.Error(), "prometheus.port") {
			t.Errorf("failed: %v, want the key", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	l.Close()
}

func TestAScrapeIsAnsweredAndAllElseIsNot(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	s := NewServer(slog.New(slog.DiscardHandler), port, New("cilium"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	base := "http://" + l.Addr().String()
	for path, want := range map[string]int{"/metrics": 200, "/": 404, "/debug/pprof/": 404} {
		res, err := get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != want || want == 200 && !strings.Contains(string(body), "cilium_process_resident_memory_bytes ") {
			t.Errorf("%s: %s\n%s", path, res.Status, body)
		}
	}
}

// get asks until the server listens.
func get(url string) (res *http.Response, err error) {
	for range 100 {
		if res, err = http.Get(url); err == nil {
			return res, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, err
}
