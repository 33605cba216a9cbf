package packets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/datapath/link/linktest"
)

const (
	probePort   = 7300
	probePace   = 4 * time.Millisecond
	probeRecord = 64
)

// probe is a connection that carries numbered records from one pod to another, at a pace.
type probe struct {
	name         string
	client       net.Conn
	server       net.Conn
	stop         chan struct{}
	sender, done sync.WaitGroup
	sent, came   atomic.Uint64
	gap          atomic.Int64 // the longest between two that came, nanoseconds
	failed       atomic.Pointer[error]
	seen         map[uint64]bool // of the receiver, until it is done
}

// probes starts one of UDP and one of TCP, in both directions and families.
func (c *cluster) probes(t *testing.T, one, other string) (out []*probe) {
	t.Helper()
	for _, is4 := range []bool{true, false} {
		for _, network := range []string{"udp", "tcp"} {
			out = append(out, c.probe(t, network, one, other, is4), c.probe(t, network, other, one, is4))
		}
	}
	for _, p := range out {
		if !await(patience, func() bool { return p.came.Load() > 10 }) {
			t.Fatalf("%s: %d records of %d came", p.name, p.came.Load(), p.sent.Load())
		}
	}
	return out
}

func (c *cluster) probe(t *testing.T, network, from, to string, is4 bool) *probe {
	t.Helper()
	p := &probe{name: fmt.Sprintf("%s from %s to %s", network, from, c.addr(t, to, is4)), stop: make(chan struct{}), seen: map[uint64]bool{}}
	at := netip.AddrPortFrom(c.addr(t, to, is4), probePort)
	var err error
	if network == "tcp" {
		err = p.connectTCP(t, c, from, to, at)
	} else {
		err = p.connectUDP(t, c, from, to, at)
	}
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	t.Cleanup(func() { p.halt(); p.client.Close(); p.server.Close() })
	p.sender.Go(p.send)
	p.done.Go(p.receive)
	return p
}

func (p *probe) connectTCP(t *testing.T, c *cluster, from, to string, at netip.AddrPort) (err error) {
	l := listenAt(t, c.netns(t, to), at)
	if p.client, err = dial(c.netns(t, from), "tcp", at.String()); err == nil {
		p.server, err = l.Accept()
	}
	return err
}

func (p *probe) connectUDP(t *testing.T, c *cluster, from, to string, at netip.AddrPort) (err error) {
	err = linktest.Inside(c.netns(t, to), func() error {
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil {
			return err
		}
		p.server = u
		return linktest.Roomy(u)
	})
	if err == nil {
		p.client, err = dial(c.netns(t, from), "udp", at.String())
	}
	return err
}

func (p *probe) send() {
	beat := time.NewTicker(probePace)
	defer beat.Stop()
	record := make([]byte, probeRecord)
	for {
		select {
		case <-p.stop:
			return
		case <-beat.C:
		}
		binary.BigEndian.PutUint64(record, p.sent.Load())
		if _, err := p.client.Write(record); err != nil {
			p.fail(fmt.Errorf("record %d is not sent: %w", p.sent.Load(), err))
			return
		}
		p.sent.Add(1)
	}
}

func (p *probe) receive() {
	record, last := make([]byte, probeRecord), time.Now()
	for {
		if _, err := io.ReadFull(p.server, record); err != nil {
			if !errors.Is(err, net.ErrClosed) {
				p.fail(err)
			}
			return
		}
		p.gap.Store(max(p.gap.Load(), int64(time.Since(last))))
		last = time.Now()
		n := binary.BigEndian.Uint64(record)
		if p.seen[n] || n != p.came.Load() && p.ordered() {
			p.fail(fmt.Errorf("record %d comes twice or out of turn", n))
		}
		p.seen[n] = true
		p.came.Add(1)
	}
}

func (p *probe) ordered() bool {
	_, is := p.server.(*net.TCPConn)
	return is
}

func (p *probe) fail(err error) { p.failed.CompareAndSwap(nil, &err) }

func (p *probe) halt() {
	select {
	case <-p.stop:
	default:
		close(p.stop)
		p.client.SetWriteDeadline(time.Now().Add(patience)) // a stream that stands still takes nothing
	}
	p.sender.Wait()
}

// wantAll ends a probe; every record must have come, once, and no pause have been longer.
func (p *probe) wantAll(t *testing.T, longest time.Duration) {
	t.Helper()
	p.halt()
	await(patience, func() bool { return p.came.Load() >= p.sent.Load() })
	p.server.Close()
	p.done.Wait()
	var missing []uint64
	for n := range p.sent.Load() {
		if !p.seen[n] {
			missing = append(missing, n)
		}
	}
	gap := time.Duration(p.gap.Load())
	t.Logf("%s: %d of %d records came, longest pause %s", p.name, p.came.Load(), p.sent.Load(), gap.Round(time.Millisecond))
	if err := p.failed.Load(); err != nil {
		t.Errorf("%s: %v", p.name, *err)
	}
	if len(missing) > 0 || p.came.Load() != p.sent.Load() {
		t.Errorf("%s: %d records did not come, the first %d", p.name, len(missing), missing[:min(len(missing), 20)])
	}
	if gap > longest {
		t.Errorf("%s: nothing came for %s, want %s at most", p.name, gap, longest)
	}
}
