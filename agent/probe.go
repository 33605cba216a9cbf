package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link"
	"weir/state"
)

// sendProbe sends one packet, or opens a connection, in a pod's place, and has the
// programs tell of it from its first packet on. It says what was sent, and what came
// of it.
func (a *Agent) sendProbe(ctx context.Context, p plan, begin func(bpf.Walk) error) (sent, answer string, err error) {
	cookie := p.pod.NetnsCookie
	if cookie == 0 { // its file is older than cookies
		if cookie, err = link.NetnsCookie(p.pod.Netns); err != nil {
			return "", "", err
		}
	}
	err = link.Within(p.pod.Netns, cookie, func() error {
		fd, from, err := probeSocket(p)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		w := bpf.Walk{On: 1, Netns: cookie}
		w.Filter[0] = bpf.WalkFilter{Used: 1, A: bpf.AddrFrom(p.src), PortA: bpf.Network(from), Proto: p.proto}
		if err := begin(w); err != nil {
			return err
		}
		sent = fmt.Sprintf("%s from %s to %s", state.ProtoName(p.proto), netip.AddrPortFrom(p.src, from), p.dst)
		if p.proto == unix.IPPROTO_ICMP || p.proto == unix.IPPROTO_ICMPV6 {
			sent = fmt.Sprintf("%s echo request from %s to %s", state.ProtoName(p.proto), p.src, p.dst.Addr())
		}
		answer, err = send(ctx, fd, from, p)
		return err
	})
	return sent, answer, err
}

// probeSocket is bound to the pod's address; from is its port, or what identifies its
// echoes.
func probeSocket(p plan) (fd int, from uint16, err error) {
	kind, proto := unix.SOCK_STREAM, int(p.proto)
	switch p.proto {
	case unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		kind = unix.SOCK_DGRAM
	case unix.IPPROTO_TCP:
	default:
		return 0, 0, fmt.Errorf("no probe of %s can be sent: use TCP, UDP or ICMP, or --live", state.ProtoName(p.proto))
	}
	family := unix.AF_INET6
	if p.src.Is4() {
		family = unix.AF_INET
	}
	if kind == unix.SOCK_DGRAM && proto != unix.IPPROTO_UDP {
		defer allowPing()()
	}
	if fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto); err != nil {
		return 0, 0, fmt.Errorf("make a socket for the probe: %w", err)
	}
	if err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(p.src, 0))); err == nil {
		var name unix.Sockaddr
		if name, err = unix.Getsockname(fd); err == nil {
			return fd, portOf(name), nil
		}
	}
	unix.Close(fd)
	return 0, 0, fmt.Errorf("bind the probe to %s: %w", p.src, err)
}

// allowPing lets every group of this thread's namespace send echo requests by a
// datagram socket, which needs no capability and no port of ours, until it is forbidden: the
// namespace is a pod's, and whoever is in it may not have been allowed to.
func allowPing() (forbid func()) {
	const path = "/proc/sys/net/ipv4/ping_group_range"
	before, err := os.ReadFile(path)
	if err == nil {
		// Where it cannot be written, the socket says so.
		err = os.WriteFile(path, []byte("0 2147483647"), 0o644)
	}
	return func() {
		if err == nil {
			_ = os.WriteFile(path, before, 0o644) // it could be written a moment ago
		}
	}
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

func portOf(s unix.Sockaddr) uint16 {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return uint16(s.Port)
	case *unix.SockaddrInet6:
		return uint16(s.Port)
	}
	return 0
}

// send connects, or sends one datagram, and waits for what comes of it.
func send(ctx context.Context, fd int, from uint16, p plan) (string, error) {
	began := time.Now()
	err := unix.Connect(fd, sockaddr(p.dst))
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return "cannot be sent: " + err.Error(), nil
	}
	events := int16(unix.POLLOUT)
	if p.proto != unix.IPPROTO_TCP {
		events = unix.POLLIN
		if _, err := unix.Write(fd, payload(p, from)); err != nil {
			return "cannot be sent: " + err.Error(), nil
		}
	}
	for time.Since(began) < probeLimit && ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds, 20)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return "", fmt.Errorf("wait for the probe's answer: %w", err)
		}
		if n > 0 {
			return outcome(fd, p.proto, time.Since(began)), nil
		}
	}
	return fmt.Sprintf("no answer in %s", probeLimit), nil
}

// payload is what the probe carries: of an echo request its header, too.
func payload(p plan, id uint16) []byte {
	text := []byte("weir trace")
	switch p.proto {
	case unix.IPPROTO_ICMP:
		return append([]byte{8, 0, 0, 0, byte(id >> 8), byte(id), 0, 1}, text...)
	case unix.IPPROTO_ICMPV6:
		return append([]byte{128, 0, 0, 0, byte(id >> 8), byte(id), 0, 1}, text...)
	}
	return text
}

func outcome(fd int, proto uint8, took time.Duration) string {
	took = took.Round(10 * time.Microsecond)
	if e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && e != 0 {
		return fmt.Sprintf("%s after %s", unix.Errno(e), took)
	}
	if proto == unix.IPPROTO_TCP {
		return fmt.Sprintf("connected after %s", took)
	}
	return fmt.Sprintf("answered after %s", took)
}
