package policylab

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"

	"weir/datapath/link/linktest"
)

func listenTCP(at string) (net.Listener, error) {
	lc := net.ListenConfig{}
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), "tcp", at)
}

// echo sends back what each connection brings, until the listener closes.
func echo(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() { defer conn.Close(); _, _ = io.Copy(conn, conn) }() // the client says what is missing
	}
}

// readFull reads one record: of TCP so many bytes, else one datagram.
func readFull(conn net.Conn, record []byte, tcp bool) (int, error) {
	if tcp {
		return io.ReadFull(conn, record)
	}
	return conn.Read(record)
}

// echoServer answers on a TCP port of a pod or node for as long as the test runs.
func (c *cluster) echoServer(t *testing.T, ref string, is4 bool, port uint16) netip.AddrPort {
	t.Helper()
	at := netip.AddrPortFrom(c.addr(t, ref, is4), port)
	var l net.Listener
	err := linktest.Inside(c.netns(t, ref), func() (err error) {
		l, err = listenTCP(at.String())
		return err
	})
	if err != nil {
		t.Fatalf("listen on %s: %v", at, err)
	}
	t.Cleanup(func() { l.Close() })
	go echo(l)
	return at
}

// dial connects from a pod or node.
func (c *cluster) dial(t *testing.T, from, network, to string) (net.Conn, error) {
	t.Helper()
	var conn net.Conn
	err := linktest.Inside(c.netns(t, from), func() (err error) {
		conn, err = (&net.Dialer{Timeout: patience}).Dial(network, to)
		return err
	})
	return conn, err
}
