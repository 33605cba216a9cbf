package policylab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/datapath/link/linktest"
)

// shape is a kind of packet that must not pass; one that looks like an answer
// comes from the server's port.
type shape struct {
	name, proto, flags string
	answer             bool
}

var shapes = []shape{
	{"SYN", "tcp", "S", false}, {"UDP", "udp", "", false}, {"echo request", "icmp", "", false}, {"SCTP INIT", "sctp", "", false},
	{"SYN-ACK", "tcp", "SA", true}, {"RST", "tcp", "R", true}, {"ACK", "tcp", "A", true}, {"UDP answer", "udp", "", true}, {"echo reply", "icmp", "reply", true},
}

// forbidden begins the marks of packets that must not arrive. The rest of the
// mark says which shape and which prober it was.
const forbidden = mark + "F"

// prober sends packets that policy forbids, of all shapes, until it is stopped.
type prober struct {
	stop chan struct{}
	done sync.WaitGroup
	sent atomic.Uint64
}

// burst is how many packets go out in a millisecond.
const burst = 4

// probe starts a prober from a pod to addresses. serial tells probers apart.
func (c *cluster) probe(t *testing.T, from string, serial int, to ...netip.Addr) *prober {
	t.Helper()
	p := &prober{stop: make(chan struct{})}
	g := newGun(t, c.netns(t, from))
	var packets [][]byte
	var where []netip.Addr
	for _, dst := range to {
		for i, s := range shapes {
			// New ports in each, or a table that remembers would be asked about one connection.
			for n := range 16 {
				high, port := uint16(30000+i*64+n), uint16(80)
				out := shot{src: c.addr(t, from, dst.Is4()), dst: dst, proto: s.proto, flags: s.flags, sport: high, dport: port,
					payload: fmt.Sprintf("%s%02x%05x", forbidden, i, serial)}
				if s.answer && s.proto != "icmp" {
					out.sport, out.dport = port, high
				}
				b, err := out.bytes()
				if err != nil {
					t.Fatal(err)
				}
				packets, where = append(packets, b), append(where, dst)
			}
		}
	}
	p.done.Go(func() {
		beat := time.NewTicker(time.Millisecond)
		defer beat.Stop()
		step := 17 // coprime to the sizes: shapes and addresses take turns
		for i := 0; ; {
			select {
			case <-p.stop:
				return
			case <-beat.C:
			}
			for range burst {
				if g.fire(where[i], packets[i]) == nil {
					p.sent.Add(1)
				}
				i = (i + step) % len(packets)
			}
		}
	})
	t.Cleanup(p.end)
	return p
}

func (p *prober) end() {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.done.Wait()
}

// leaks names the forbidden packets that a tap has seen.
func (p *tap) leaks() string {
	n, which := p.begin(forbidden)
	if n == 0 {
		return ""
	}
	text := fmt.Sprintf("%d forbidden packets arrived:", n)
	for m, k := range which {
		var kind, serial int
		_, _ = fmt.Sscanf(m[len(forbidden):], "%02x%05x", &kind, &serial) // what we wrote ourselves
		text += fmt.Sprintf(" %d x %s of prober %d;", k, shapes[kind].name, serial)
	}
	return text
}

// stream is an allowed flow beside the forbidden ones: numbered records, each
// of which has to come back.
type stream struct {
	conn         net.Conn
	server       interface{ Close() error }
	stop         chan struct{}
	done         sync.WaitGroup
	sent, echoed atomic.Uint64
	failed       atomic.Pointer[error]
	tcp          bool
	served, back records // of datagrams: what the server got, and what came back
}

// records are numbers of records.
type records struct {
	mu   sync.Mutex
	seen map[uint64]bool
}

// add reports whether the record is new.
func (r *records) add(record []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[uint64]bool{}
	}
	n := binary.BigEndian.Uint64(record)
	fresh := !r.seen[n]
	r.seen[n] = true
	return fresh
}

// missing names the records below n that are not there, as ranges.
func (r *records) missing(n uint64) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for i := uint64(0); i < n; i++ {
		first := i
		for ; i < n && !r.seen[i]; i++ {
		}
		if i > first {
			out = append(out, fmt.Sprintf("%d-%d", first, i-1))
		}
	}
	return "[" + strings.Join(out, " ") + "]"
}

const recordLen = 64

// startStream opens a flow from a pod to a port of another, which echoes.
func (c *cluster) startStream(t *testing.T, network, from, to string, is4 bool, port int) *stream {
	t.Helper()
	s := &stream{stop: make(chan struct{}), tcp: network == "tcp"}
	at := netip.AddrPortFrom(c.addr(t, to, is4), uint16(port)).String()
	err := linktest.Inside(c.netns(t, to), func() error { return s.serve(network, at) })
	if err == nil {
		err = linktest.Inside(c.netns(t, from), func() (err error) {
			s.conn, err = (&net.Dialer{Timeout: patience}).Dial(network, at)
			if u, ok := s.conn.(*net.UDPConn); ok && err == nil {
				err = linktest.Roomy(u)
			}
			return err
		})
	}
	if err != nil {
		t.Fatalf("%s from %s to %s: %v", network, from, at, err)
	}
	s.done.Go(s.send)
	go s.receive()
	t.Cleanup(func() { s.halt(); s.conn.Close(); s.server.Close() })
	return s
}

func (s *stream) serve(network, at string) error {
	if network == "udp" {
		a := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at))
		u, err := net.ListenUDP("udp", a)
		if err != nil {
			return err
		}
		s.server = u
		go func() {
			buf := make([]byte, 2048)
			for {
				n, from, err := u.ReadFromUDPAddrPort(buf)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err != nil {
					continue // what is lost is counted by the sender
				}
				s.served.add(buf[:n])
				if _, err := u.WriteToUDPAddrPort(buf[:n], from); err != nil && !errors.Is(err, net.ErrClosed) {
					err = fmt.Errorf("answer: %w", err)
					s.failed.CompareAndSwap(nil, &err)
				}
			}
		}()
		return linktest.Roomy(u)
	}
	l, err := listenTCP(at)
	if err != nil {
		return err
	}
	s.server = l
	go echo(l)
	return nil
}

func (s *stream) send() {
	beat := time.NewTicker(2 * time.Millisecond)
	defer beat.Stop()
	record := make([]byte, recordLen)
	for {
		select {
		case <-s.stop:
			return
		case <-beat.C:
		}
		binary.BigEndian.PutUint64(record, s.sent.Load())
		if _, err := s.conn.Write(record); err != nil {
			s.failed.CompareAndSwap(nil, &err)
			return
		}
		s.sent.Add(1)
	}
}

func (s *stream) receive() {
	record := make([]byte, recordLen)
	for {
		if _, err := readFull(s.conn, record, s.tcp); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.failed.CompareAndSwap(nil, &err)
			if s.tcp {
				return
			}
			continue
		}
		n := binary.BigEndian.Uint64(record)
		if !s.back.add(record) || (s.tcp && n != s.echoed.Load()) {
			err := fmt.Errorf("record %d came twice or out of turn", n)
			s.failed.CompareAndSwap(nil, &err)
		}
		s.echoed.Add(1)
	}
}

func (s *stream) halt() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
		_ = s.conn.SetWriteDeadline(time.Now().Add(patience)) // a peer that is gone takes nothing any more
	}
	s.done.Wait()
}

// finish stops sending and reports what was lost.
func (s *stream) finish() error {
	s.halt()
	whole := await(patience, func() bool { return s.echoed.Load() >= s.sent.Load() })
	lost := ""
	if !whole && !s.tcp {
		n := s.sent.Load()
		lost = fmt.Sprintf(", not %s, of which the server did not get %s", s.back.missing(n), s.served.missing(n))
	}
	if err := s.failed.Load(); err != nil {
		return fmt.Errorf("%d of %d records came back%s: %w", s.echoed.Load(), s.sent.Load(), lost, *err)
	}
	if !whole {
		return fmt.Errorf("%d of %d records came back%s", s.echoed.Load(), s.sent.Load(), lost)
	}
	return nil
}
