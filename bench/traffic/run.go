package traffic

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Run measures one kind for about d from the namespace at path ns, on one CPU.
// A tenth of d is for warming up. Where there are several servers, connections go
// to one after the other. Port 0 is the kind's own.
func Run(ns string, cpu int, kind Kind, servers []netip.AddrPort, d time.Duration) (Result, error) {
	favour()
	var res Result
	done := make(chan error, 1) // 1: the goroutine need not wait for its reader
	go func() {
		err := pin(ns, cpu)
		if err == nil {
			res, err = run(kind, servers, d)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return res, fmt.Errorf("%s to %s: %w", kind, servers[0], err)
	}
	return res, nil
}

func run(kind Kind, servers []netip.AddrPort, d time.Duration) (Result, error) {
	var to []unix.Sockaddr
	for _, s := range servers {
		at := &unix.SockaddrInet4{Port: int(s.Port()), Addr: s.Addr().As4()}
		if at.Port == 0 {
			at.Port = ports[kind]
		}
		to = append(to, at)
	}
	switch kind {
	case RR:
		return requests(to[0], d)
	case CRR:
		return connections(to, d)
	case Stream:
		return stream(to[0], d)
	case UDP:
		return flood(to[0], d)
	}
	return Result{}, fmt.Errorf("no such kind")
}

func dial(to unix.Sockaddr) (int, error) {
	fd, err := tcpSocket()
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, to); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

// repeat calls once until d is over and sums up.
func repeat(d time.Duration, once func() error) (Result, error) {
	h := &histogram{}
	warmed := uint64(0)
	for warm := time.Now(); time.Since(warm) < d/10; {
		if err := once(); err != nil {
			return Result{}, err
		}
		warmed++
	}
	used := cpuTime()
	start := time.Now()
	last := start
	for last.Sub(start) < d {
		if err := once(); err != nil {
			return Result{}, err
		}
		end := time.Now()
		h.add(end.Sub(last))
		last = end
	}
	used = cpuTime() - used
	return Result{Rate: float64(h.n) / last.Sub(start).Seconds(), P50: h.percentile(50), P99: h.percentile(99),
		CPU: used.Seconds() * 1e6 / float64(h.n), All: h.n + warmed}, nil
}

// cpuTime is what this thread has used.
func cpuTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // every kernel has it
	return time.Duration(t.Nano())
}

func exchange(fd int, b *byte) error {
	if _, err := write(fd, b, 1); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	n, err := read(fd, b, 1)
	if err != nil || n != 1 {
		return fmt.Errorf("read %d bytes: %w", n, err)
	}
	return nil
}

func requests(to unix.Sockaddr, d time.Duration) (Result, error) {
	fd, err := dial(to)
	if err != nil {
		return Result{}, err
	}
	defer unix.Close(fd)
	b := new(byte)
	return repeat(d, func() error { return exchange(fd, b) })
}

func connections(to []unix.Sockaddr, d time.Duration) (Result, error) {
	b, next := new(byte), 0
	return repeat(d, func() error {
		fd, err := dial(to[next])
		if next++; next == len(to) {
			next = 0
		}
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return exchange(fd, b)
	})
}

// stream writes until d is over; the rate is that of what the server read.
func stream(to unix.Sockaddr, d time.Duration) (Result, error) {
	fd, err := dial(to)
	if err != nil {
		return Result{}, err
	}
	defer unix.Close(fd)
	buf := make([]byte, chunk)
	start := time.Now()
	for time.Since(start) < d {
		if _, err := write(fd, &buf[0], len(buf)); err != nil {
			return Result{}, fmt.Errorf("write: %w", err)
		}
	}
	if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
		return Result{}, fmt.Errorf("shut down: %w", err)
	}
	for got := 0; got < 8; {
		n, err := read(fd, &buf[got], 8-got)
		if err != nil || n == 0 {
			return Result{}, fmt.Errorf("read total: %w", err)
		}
		got += n
	}
	total := binary.LittleEndian.Uint64(buf)
	return Result{Rate: float64(total) * 8 / 1e9 / time.Since(start).Seconds()}, nil
}
