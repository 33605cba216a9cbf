// Package probe finds out when a change lets a pod's connections through, or no
// longer: it opens one after the other and notes which arrive.
//
// A connection is a datagram from a port of its own. Both sockets belong to this
// process, so that one clock says when it was sent.
package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"weir/bench/topo"
)

const (
	// pause is the time between two connections: how exact the result is.
	pause = 200 * time.Microsecond
	// patience is how long a datagram may be under way.
	patience = 10 * time.Millisecond
	// confirm is how many more must not arrive.
	confirm = 10
	limit   = 10 * time.Second
)

// Probe sends from one pod to another.
type Probe struct {
	client topo.Netns
	to     unix.Sockaddr
	rx     int
	sent   []time.Time // by number
}

// New makes a probe to a port of the server's pod.
func New(client, server topo.Netns, addr netip.Addr, port int) (*Probe, error) {
	p := &Probe{client: client, to: &unix.SockaddrInet4{Port: port, Addr: addr.As4()}, rx: -1}
	err := server.Inside(func() (err error) {
		p.rx, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("make socket: %w", err)
		}
		return unix.Bind(p.rx, &unix.SockaddrInet4{Port: port})
	})
	return p, err
}

// Close closes its socket.
func (p *Probe) Close() error {
	if p.rx < 0 {
		return nil
	}
	return unix.Close(p.rx)
}

// Change makes a change, and returns the time from before it until connections
// that are opened from then on are let through, or no longer are.
func (p *Probe) Change(ctx context.Context, change func() error, allowed bool) (took time.Duration, err error) {
	err = p.client.Inside(func() error {
		p.sent = p.sent[:0]
		if err := p.drain(); err != nil {
			return err
		}
		began := time.Now()
		if err := change(); err != nil {
			return err
		}
		first := p.refused
		if allowed {
			first = p.accepted
		}
		n, err := first(ctx, began)
		if err == nil {
			took = p.sent[n].Sub(began)
		}
		return err
	})
	return took, err
}

// accepted is the number of the first connection that arrives.
func (p *Probe) accepted(ctx context.Context, began time.Time) (int, error) {
	for {
		if err := over(ctx, began, "no connection arrives"); err != nil {
			return 0, err
		}
		if _, err := p.send(); err != nil {
			return 0, err
		}
		if n, err := p.receive(pause); err != nil || n >= 0 {
			return n, err
		}
	}
}

// refused is the number of the first connection after which none arrives.
func (p *Probe) refused(ctx context.Context, began time.Time) (int, error) {
	suspect, silent := 0, 0 // the first of silent that did not arrive
	for silent <= confirm {
		if err := over(ctx, began, "connections go on arriving"); err != nil {
			return 0, err
		}
		n, err := p.send()
		if err != nil {
			return 0, err
		}
		got, err := p.receive(patience)
		for ; err == nil && got >= 0 && got < n; got, err = p.receive(patience) { // one that was late
			if got >= suspect {
				silent = 0
			}
		}
		switch {
		case err != nil:
			return 0, err
		case got == n:
			silent = 0
			time.Sleep(pause)
		case silent == 0:
			suspect, silent = n, 1
		default:
			silent++
		}
	}
	return suspect, nil
}

func over(ctx context.Context, began time.Time, what string) error {
	if time.Since(began) > limit {
		return fmt.Errorf("%s, %s after the change", what, limit)
	}
	return ctx.Err()
}

// send opens another connection and returns its number.
func (p *Probe) send() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	n := len(p.sent)
	p.sent = append(p.sent, time.Now())
	if err := unix.Sendto(fd, binary.LittleEndian.AppendUint32(nil, uint32(n)), 0, p.to); err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	return n, nil
}

// receive returns the number of a connection that arrived, or -1.
func (p *Probe) receive(wait time.Duration) (int, error) {
	for until := time.Now().Add(wait); ; {
		var b [8]byte
		n, _, err := unix.Recvfrom(p.rx, b[:], 0)
		if err == nil && n == 4 {
			return int(binary.LittleEndian.Uint32(b[:])), nil
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			return -1, fmt.Errorf("receive: %w", err)
		}
		left := time.Until(until)
		if left <= 0 {
			return -1, nil
		}
		t := unix.NsecToTimespec(left.Nanoseconds())
		if _, err := unix.Ppoll([]unix.PollFd{{Fd: int32(p.rx), Events: unix.POLLIN}}, &t, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return -1, fmt.Errorf("wait: %w", err)
		}
	}
}

// drain forgets what is left of the change before.
func (p *Probe) drain() error {
	for {
		if n, err := p.receive(pause); err != nil || n < 0 {
			return err
		}
	}
}
