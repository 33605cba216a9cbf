package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is the kernel's struct mmsghdr (recvmmsg(2)).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   uint32
}

// batch is room for the datagrams of one system call.
type batch struct {
	hdr  []mmsghdr
	iov  []unix.Iovec
	buf  [][payload]byte
	from unix.RawSockaddrInet4 // of the last one received
}

func messages(n int) *batch {
	m := &batch{hdr: make([]mmsghdr, n), iov: make([]unix.Iovec, n), buf: make([][payload]byte, n)}
	for i := range n {
		m.iov[i] = unix.Iovec{Base: &m.buf[i][0], Len: payload}
		m.hdr[i].hdr.Iov, m.hdr[i].hdr.Iovlen = &m.iov[i], 1
	}
	m.reset(false)
	return m
}

// reset prepares the headers for receiving, with the sender's address if wanted.
func (m *batch) reset(from bool) {
	for i := range m.hdr {
		m.hdr[i].hdr.Name, m.hdr[i].hdr.Namelen = nil, 0
		if from {
			m.hdr[i].hdr.Name, m.hdr[i].hdr.Namelen = (*byte)(unsafe.Pointer(&m.from)), unix.SizeofSockaddrInet4
		}
	}
}

const msgWaitForOne = 0x10000

func (m *batch) receive(fd int) (int, error) {
	return m.call(unix.SYS_RECVMMSG, fd, len(m.hdr), msgWaitForOne)
}

func (m *batch) send(fd, n int) (int, error) { return m.call(unix.SYS_SENDMMSG, fd, n, 0) }

func (m *batch) call(nr uintptr, fd, n int, flags uintptr) (int, error) {
	r, _, errno := syscall.RawSyscall6(nr, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr[0])), uintptr(n), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// reply answers the sender of the last datagram.
func (m *batch) reply(fd int, total uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], total)
	to := unix.SockaddrInet4{Addr: m.from.Addr}
	p := (*[2]byte)(unsafe.Pointer(&m.from.Port))
	to.Port = int(p[0])<<8 | int(p[1])
	_ = unix.Sendto(fd, b[:], 0, &to) // a lost credit is made up for by the sender's timeout
}

func udpSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make UDP socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) // smaller: some are lost, and counted as lost
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20)
	return fd, nil
}

// flood keeps a window of datagrams under way.
func flood(to unix.Sockaddr, d time.Duration) (Result, error) {
	fd, err := udpSocket()
	if err != nil {
		return Result{}, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, to); err != nil {
		return Result{}, fmt.Errorf("connect UDP: %w", err)
	}
	tv := unix.NsecToTimeval(int64(100 * time.Millisecond))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return Result{}, fmt.Errorf("set timeout: %w", err)
	}
	m := messages(64)
	sent, granted := uint64(0), uint64(window)
	var b [8]byte
	start := time.Now()
	for time.Since(start) < d {
		for sent+64 > granted {
			if _, err := read(fd, &b[0], 8); err != nil {
				granted = sent + window // lost: begin a fresh window
				break
			}
			granted += credit
		}
		n, err := m.send(fd, 64)
		if err != nil && err != unix.ECONNREFUSED {
			return Result{}, fmt.Errorf("send datagrams: %w", err)
		}
		sent += uint64(n)
	}
	m.buf[0][0] = 1
	for range 20 {
		if _, err := m.send(fd, 1); err != nil {
			continue
		}
		for {
			if _, err := read(fd, &b[0], 8); err != nil {
				break
			}
			if total := binary.LittleEndian.Uint64(b[:]); total > 0 {
				got := total - 1
				return Result{Rate: float64(got) / time.Since(start).Seconds(), Lost: sent - min(sent, got)}, nil
			}
		}
	}
	return Result{}, errors.New("the receiver of datagrams does not answer")
}
