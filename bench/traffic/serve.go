package traffic

import (
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Serve answers every kind in the namespace at path ns, on one CPU, and says
// so on ready. It returns only on errors: end its process.
func Serve(ns string, cpu int, ready io.Writer) error {
	favour()
	errs := make(chan error, 4+Backends)  // one for each server
	up := make(chan struct{}, 4+Backends) // likewise
	run := func(serve func(chan<- struct{}) error) {
		go func() {
			if err := pin(ns, cpu); err != nil {
				errs <- err
				return
			}
			errs <- serve(up)
		}()
	}
	run(func(up chan<- struct{}) error { return accept(portRR, up, echo) })
	run(func(up chan<- struct{}) error { return accept(portCRR, up, answer) })
	run(func(up chan<- struct{}) error { return accept(portStream, up, sink) })
	run(count)
	for i := range Backends {
		run(func(up chan<- struct{}) error { return accept(ServicePort+i, up, echo) })
	}
	for range cap(up) {
		select {
		case <-up:
		case err := <-errs:
			return err
		}
	}
	fmt.Fprintln(ready, "ready")
	return <-errs
}

// accept serves one connection after the other.
func accept(port int, up chan<- struct{}, serve func(fd int)) error {
	l, err := tcpSocket()
	if err != nil {
		return err
	}
	_ = unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(l, &unix.SockaddrInet4{Port: port}); err != nil {
		return fmt.Errorf("bind port %d: %w", port, err)
	}
	if err := unix.Listen(l, 1024); err != nil {
		return fmt.Errorf("listen on port %d: %w", port, err)
	}
	up <- struct{}{}
	for {
		fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("accept on port %d: %w", port, err)
		}
		serve(fd)
		unix.Close(fd)
	}
}

func echo(fd int) {
	var b [1]byte
	for {
		if n, err := read(fd, &b[0], 1); n != 1 || err != nil {
			return
		}
		if _, err := write(fd, &b[0], 1); err != nil {
			return
		}
	}
}

// answer serves one request and waits until the client closes, so that the
// waiting state of the closed connection is at the client, as in netperf.
func answer(fd int) {
	var b [1]byte
	if n, err := read(fd, &b[0], 1); n != 1 || err != nil {
		return
	}
	if _, err := write(fd, &b[0], 1); err != nil {
		return
	}
	_, _ = read(fd, &b[0], 1)
}

// sink reads to the end and answers how much that was.
func sink(fd int) {
	buf := make([]byte, chunk)
	total := uint64(0)
	for {
		n, err := read(fd, &buf[0], len(buf))
		if err != nil {
			return
		}
		if n == 0 {
			break
		}
		total += uint64(n)
	}
	binary.LittleEndian.PutUint64(buf, total)
	_, _ = write(fd, &buf[0], 8)
}

// count receives datagrams and grants the sender more, so that none need be
// lost: the first byte of a datagram is 1 when it asks for the total.
func count(up chan<- struct{}) error {
	fd, err := udpSocket()
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: portUDP}); err != nil {
		return fmt.Errorf("bind UDP port %d: %w", portUDP, err)
	}
	up <- struct{}{}
	total, granted := uint64(0), uint64(0)
	m := messages(64)
	for {
		m.reset(true)
		n, err := m.receive(fd)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive datagrams: %w", err)
		}
		ask := false
		for i := range n {
			ask = ask || m.buf[i][0] == 1
		}
		total += uint64(n)
		if ask {
			m.reply(fd, total)
			total, granted = 0, 0
			continue
		}
		for ; total-granted >= credit; granted += credit {
			m.reply(fd, 0)
		}
	}
}
