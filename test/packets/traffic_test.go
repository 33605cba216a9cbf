package packets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/datapath/link/linktest"
)

// patience is how long anything that should happen at once may take on a busy
// machine.
const patience = 5 * time.Second

// await polls until done says yes, and reports whether that came in time.
func await(limit time.Duration, done func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(limit)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			return done()
		}
	}
	return true
}

// listen opens a TCP socket in a namespace, on a port of the kernel's choice.
func listen(t *testing.T, netns string, a netip.Addr) net.Listener {
	t.Helper()
	return listenAt(t, netns, netip.AddrPortFrom(a, 0))
}

func listenAt(t *testing.T, netns string, at netip.AddrPort) net.Listener {
	t.Helper()
	var l net.Listener
	err := linktest.Inside(netns, func() (err error) {
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(false)
		l, err = lc.Listen(context.Background(), "tcp", at.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// dial connects from a namespace.
func dial(netns, network, to string) (net.Conn, error) {
	var conn net.Conn
	err := linktest.Inside(netns, func() (err error) {
		conn, err = (&net.Dialer{Timeout: patience}).Dial(network, to)
		return err
	})
	return conn, err
}

// exchange sends size bytes over TCP and takes them back: whatever arrives
// changed, short or not at all is an error.
func (c *cluster) exchange(t *testing.T, from, to string, is4 bool, size int) error {
	t.Helper()
	l := listen(t, c.netns(t, to), c.addr(t, to, is4))
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return // the dialer says more
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(2 * patience))
		io.CopyN(conn, conn, int64(size))
	}()
	conn, err := dial(c.netns(t, from), "tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * patience))
	want := payload(size)
	sent := make(chan error, 1) // 1: the sender need not wait
	go func() {
		_, err := conn.Write(want)
		sent <- err
	}()
	got := make([]byte, size)
	if n, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("%d of %d bytes came back: %w", n, size, err)
	}
	if !bytes.Equal(got, want) {
		return errors.New("other bytes came back than were sent")
	}
	return <-sent
}

// payload is size bytes that do not repeat, the same each time.
func payload(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// datagram sends one UDP datagram and returns an error unless it arrives whole.
func (c *cluster) datagram(t *testing.T, from, to string, is4 bool, size int) error {
	t.Helper()
	var server net.PacketConn
	err := linktest.Inside(c.netns(t, to), func() (err error) {
		server, err = net.ListenPacket("udp", netip.AddrPortFrom(c.addr(t, to, is4), 0).String())
		return err
	})
	if err != nil {
		return err
	}
	defer server.Close()
	client, err := dial(c.netns(t, from), "udp", server.LocalAddr().String())
	if err != nil {
		return err
	}
	defer client.Close()
	want := payload(size)
	if _, err := client.Write(want); err != nil {
		return err
	}
	server.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, size+1)
	n, peer, err := server.ReadFrom(got)
	if err != nil {
		return err
	}
	if !bytes.Equal(got[:n], want) {
		return fmt.Errorf("%d bytes arrived, not the %d that were sent", n, size)
	}
	source := netip.MustParseAddrPort(peer.String()).Addr().Unmap()
	sender := c.addr(t, from, is4)
	if to == "world" && from == "a" {
		sender = c.addr(t, "n1", is4) // it leaves the cluster as its node
	}
	if _, err := c.Pod(from); err == nil && source != sender { // nodes have several addresses
		return fmt.Errorf("the datagram came from %s, not from %s", source, sender)
	}
	return nil
}

// echoes is what a ping saw.
type echoes struct {
	sent, received int
	ttl            int // of the last answer
	text           string
}

var (
	counted = regexp.MustCompile(`(\d+) packets transmitted, (\d+) (?:packets )?received`)
	hops    = regexp.MustCompile(`ttl=(\d+)`)
)

// ping runs ping with options of its own; it does not judge the outcome.
func (c *cluster) ping(t *testing.T, from string, to netip.Addr, options ...string) echoes {
	t.Helper()
	argv := append([]string{"ping", "-n", "-c", "3", "-i", "0.01", "-W", "2"}, options...)
	r := c.Exec(t.Context(), from, append(argv, to.String())...)
	out := echoes{text: r.Stdout + r.Stderr}
	if m := counted.FindStringSubmatch(r.Stdout); m != nil {
		out.sent, _ = strconv.Atoi(m[1])
		out.received, _ = strconv.Atoi(m[2])
	}
	if all := hops.FindAllStringSubmatch(r.Stdout, -1); len(all) > 0 {
		out.ttl, _ = strconv.Atoi(all[len(all)-1][1])
	}
	return out
}

// reach fails the test unless every echo is answered.
func (c *cluster) reach(t *testing.T, from string, to netip.Addr, options ...string) echoes {
	t.Helper()
	e := c.ping(t, from, to, options...)
	if e.sent == 0 || e.received != e.sent {
		t.Errorf("ping %s from %s to %s: %d of %d answered\n%s", strings.Join(options, " "), from, to, e.received, e.sent, e.text)
	}
	return e
}
