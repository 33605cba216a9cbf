package health

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errNoPing says that this process may not send echo requests.
var errNoPing = errors.New("not permitted: this needs net.ipv4.ping_group_range to have the agent's group in it, or CAP_NET_RAW")

// icmp is what the two families differ in (RFC 792, RFC 4443).
type icmp struct {
	domain, proto   int
	request, answer byte
}

func icmpOf(a netip.Addr) icmp {
	if a.Is4() {
		return icmp{unix.AF_INET, unix.IPPROTO_ICMP, 8, 0}
	}
	return icmp{unix.AF_INET6, unix.IPPROTO_ICMPV6, 128, 129}
}

// ping sends one echo request and returns how long the answer took.
func ping(ctx context.Context, a netip.Addr) (time.Duration, error) {
	family := icmpOf(a)
	conn, raw, err := family.dial(a)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop, err := bound(ctx, conn)
	if err != nil {
		return 0, err
	}
	defer stop()
	request := make([]byte, 16)
	request[0] = family.request
	binary.BigEndian.PutUint16(request[4:], uint16(rand.Uint32())) // the kernel puts its own where it tells sockets apart by it
	binary.BigEndian.PutUint64(request[8:], rand.Uint64())
	if family.domain == unix.AF_INET { // of ICMPv6 the kernel makes the checksum
		binary.BigEndian.PutUint16(request[2:], checksum(request))
	}
	began := time.Now()
	if _, err := conn.Write(request); err != nil {
		return 0, fmt.Errorf("ping %s: %w", a, err)
	}
	for buf := make([]byte, 256); ; {
		n, err := conn.Read(buf)
		if err != nil {
			return 0, fmt.Errorf("ping %s: %w", a, err)
		}
		if family.answers(buf[:n], raw, request[8:]) {
			return time.Since(began), nil
		}
	}
}

// dial opens a socket for echoes: one of those that need no right where the
// administrator allows it, else a raw one.
func (f icmp) dial(a netip.Addr) (conn net.Conn, raw bool, err error) {
	fd, err := unix.Socket(f.domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, f.proto)
	if err != nil {
		raw = true
		if fd, err = unix.Socket(f.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, f.proto); err != nil {
			return nil, raw, errNoPing
		}
	}
	var to unix.Sockaddr = &unix.SockaddrInet6{Addr: a.As16()}
	if a.Is4() {
		to = &unix.SockaddrInet4{Addr: a.As4()}
	}
	if err := unix.Connect(fd, to); err != nil {
		unix.Close(fd)
		return nil, raw, fmt.Errorf("ping %s: %w", a, err)
	}
	file := os.NewFile(uintptr(fd), "icmp")
	defer file.Close() // FileConn has a copy
	conn, err = net.FileConn(file)
	return conn, raw, err
}

// answers reports whether a packet is the answer to what was sent with these
// octets. A raw socket hears of everybody's, and has IPv4 headers.
func (f icmp) answers(packet []byte, raw bool, sent []byte) bool {
	if raw && f.domain == unix.AF_INET {
		if len(packet) < 20 {
			return false
		}
		packet = packet[min(int(packet[0]&15)*4, len(packet)):]
	}
	return len(packet) >= 16 && packet[0] == f.answer && string(packet[8:16]) == string(sent)
}

// checksum is the internet's (RFC 1071), of a message whose own is 0 and whose
// length is even.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
