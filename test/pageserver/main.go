// Command pageserver serves the page of a cluster that there is not, for test/page: agents
// of three nodes whose flows the test makes, a real relay, and the page. It takes orders on
// its standard input, JSON on each line, answers each with "done" or why not, and ends when
// the input does.
//
//	pageserver FOLDER ADDRESS:PORT     sockets are in FOLDER, the page is at ADDRESS:PORT
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"weir/api/peer"
	"weir/api/wire"
	"weir/relay"
	"weir/relay/page"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: pageserver FOLDER ADDRESS:PORT")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "pageserver:", err)
		os.Exit(1)
	}
}

func run(folder, address string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := newCluster(folder)
	for _, n := range c.nodes {
		go func() { _ = n.observer.Run(ctx) }()
		if err := n.start(); err != nil {
			return err
		}
	}
	directory := filepath.Join(folder, "peers.sock")
	l, err := net.Listen("unix", directory)
	if err != nil {
		return err
	}
	s := wire.Server(nil)
	peer.RegisterPeerServer(s, c)
	go func() { _ = s.Serve(l) }()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	r := relay.New(log, relay.Options{PeerService: "unix://" + directory, Plain: true, Version: "1.2.3"})
	go func() { _ = r.Run(ctx) }()
	for end := time.Now().Add(10 * time.Second); !r.Ready(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("the relay has found nobody")
		}
	}
	web, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(web, page.Handler(r, nil)) }()
	fmt.Println(web.Addr())
	return c.obey(ctx)
}

// order is what the test wants.
type order struct {
	Do    string // send, flood, play, still, lost, away, back
	Flow  talk   // send
	Count int    // send, flood, lost: how many; none: one
	Node  int    // lost, away, back: which, from 0
}

func (c *cluster) obey(ctx context.Context) error {
	still := func() {}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var o order
		err := json.Unmarshal(in.Bytes(), &o)
		n := c.nodes[o.Node%len(c.nodes)]
		count := max(o.Count, 1)
		switch {
		case err != nil:
		case o.Do == "send":
			for range count {
				if err = c.say(o.Flow, time.Now()); err != nil {
					break
				}
			}
		case o.Do == "flood":
			err = c.flood(count)
		case o.Do == "play":
			still()
			still = c.play(ctx)
		case o.Do == "still":
			still()
		case o.Do == "lost":
			n.observer.Lost(uint64(count))
		case o.Do == "away":
			n.stop()
		case o.Do == "back":
			err = n.start()
		default:
			err = fmt.Errorf("do: %q", o.Do)
		}
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("done")
	}
	return nil
}

// Notify implements peer.PeerServer: it tells of all nodes, whoever is there.
func (c *cluster) Notify(_ *peer.NotifyRequest, out grpc.ServerStreamingServer[peer.ChangeNotification]) error {
	for _, n := range c.nodes {
		if err := out.Send(&peer.ChangeNotification{Name: "east/" + n.name, Address: "unix://" + n.socket, Type: peer.ChangeNotificationType_PEER_ADDED}); err != nil {
			return err
		}
	}
	<-out.Context().Done()
	return nil
}
