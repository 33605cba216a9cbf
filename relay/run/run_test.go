package run

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestThePageIsOffUnlessWanted(t *testing.T) {
	plain := []string{"--disable-client-tls", "--disable-server-tls"}
	c, err := Parse(plain, io.Discard)
	if err != nil || c.Page != "" {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = Parse(append(plain, "--page-address=127.0.0.1:4246", "--page-host=a", "--page-host=b"), io.Discard)
	if err != nil || c.Page != "127.0.0.1:4246" || !slices.Equal(c.Hosts, []string{"a", "b"}) {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestThePageIsServedAndEndsWithTheRelay(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	c, err := Parse([]string{"--disable-client-tls", "--disable-server-tls", "--listen-address=127.0.0.1:0", "--health-address=", "--page-address=" + address, "--peer-service=unix:///nowhere"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, slog.New(slog.NewTextHandler(io.Discard, nil)), c) }()
	var reply *http.Response
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if reply, err = http.Get("http://" + address + "/api/flows?follow=1"); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil || reply.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", reply, err)
	}
	defer reply.Body.Close()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the relay waits for who follows flows")
	}
}
