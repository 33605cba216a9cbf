package packets

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/datapath/link/linktest"
)

// How connections end.
const (
	endClosed         = "closed by the opener"
	endClosedByServer = "closed by the server"
	endReset          = "reset by the opener"
	endResetByServer  = "reset by the server"
	endSilent         = "goes on" // and of UDP: nobody answers
)

// truthServer is what a pod, or a host of the world, serves of one family.
type truthServer struct{ addr netip.Addr }

func serverKey(name string, is4 bool) string { return fmt.Sprint(name, is4) }

// serveTruth listens on all ports but the closed one. What a connection's first octet
// says is how the server is to end it.
func (tr *truth) serveTruth(t *testing.T, name string, is4 bool) *truthServer {
	t.Helper()
	s := &truthServer{tr.addr(t, name, is4)}
	for _, port := range []uint16{portOpen, portOther, portDenied} {
		l := listenAt(t, tr.netns(t, name), netip.AddrPortFrom(s.addr, port))
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return // the test ends
				}
				go serveConn(conn.(*net.TCPConn))
			}
		}()
	}
	err := linktest.Inside(tr.netns(t, name), func() error {
		// Each error is to be sent, or the truth is what kernels spare.
		for _, file := range []string{"ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"} {
			if err := os.WriteFile("/proc/sys/net/"+file, []byte("0"), 0); err != nil {
				return err
			}
		}
		for _, port := range []uint16{portOpen, portOther, portDenied} {
			conn, err := net.ListenPacket("udp", hostPort(s.addr, port))
			if err != nil {
				return err
			}
			t.Cleanup(func() { conn.Close() })
			go serveDatagrams(conn)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func serveConn(conn *net.TCPConn) {
	defer conn.Close()
	b := make([]byte, 1)
	if _, err := io.ReadFull(conn, b); err != nil {
		return
	}
	conn.Write(b) // an error the opener sees, too
	switch b[0] {
	case 'c':
		return
	case 'r':
		conn.SetLinger(0)
		return
	}
	io.Copy(io.Discard, conn) // until the opener ends it
}

func serveDatagrams(conn net.PacketConn) {
	b := make([]byte, 16)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		if b[0] != 's' {
			conn.WriteTo(b[:n], from)
		}
	}
}

// open makes a connection, or tries, and notes it.
func (tr *truth) open(t *testing.T, i intent) error {
	o := &opened{intent: i}
	to := tr.servers[serverKey(i.to, i.is4)].addr
	o.dst = netip.AddrPortFrom(to, i.port)
	if i.service != "" {
		to = pick(tr.clusterIPs[i.service], i.is4)
		i.port += 1000
	}
	o.src = netip.AddrPortFrom(pick(tr.pod(t, i.from).IPs, i.is4), tr.nextPort())
	allowed := tr.allowed(o)
	err := linktest.Inside(tr.netns(t, i.from), func() (err error) {
		at := netip.AddrPortFrom(to, i.port)
		switch {
		case i.proto == "icmp":
			o.came, err = o.ping(at.Addr(), allowed)
		case i.proto == "udp":
			o.came, err = o.ask(at, allowed)
		case allowed:
			o.came, err = o.converse(t, at)
		default:
			err = o.knock(at)
		}
		return err
	})
	if err == nil {
		tr.note(o)
	}
	return err
}

// knock sends SYNs that nobody will answer, each of them once.
func (o *opened) knock(at netip.AddrPort) error {
	for range o.times {
		family := map[bool]int{true: unix.AF_INET, false: unix.AF_INET6}[o.is4]
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, sockaddr(o.src)))
		if err == nil {
			if err = unix.Connect(fd, sockaddr(at)); errors.Is(err, unix.EINPROGRESS) {
				err = nil
			}
		}
		if err = errors.Join(err, unix.Close(fd)); err != nil {
			return err
		}
	}
	return nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// converse is a TCP connection that nobody denies.
func (o *opened) converse(t *testing.T, at netip.AddrPort) ([]packetOf, error) {
	syn, answer := packetOf{flags: "SYN"}, packetOf{reply: true, flags: "ACK,SYN"}
	d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(o.src)}
	d.SetMultipathTCP(false)
	c, err := d.DialContext(context.Background(), "tcp", at.String())
	if o.dst.Port() == portClosed {
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("a port that nobody has: %w", err)
		}
		return []packetOf{syn, {reply: true, flags: "RST"}}, nil
	}
	if err != nil {
		return nil, err
	}
	conn := c.(*net.TCPConn)
	if o.end == endSilent {
		t.Cleanup(func() { conn.Close() })
		return []packetOf{syn, answer}, nil
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte(map[string]string{endClosed: "e", endReset: "e", endClosedByServer: "c", endResetByServer: "r"}[o.end])); err != nil {
		return nil, err
	}
	came := []packetOf{syn, answer}
	_, err = io.ReadFull(conn, make([]byte, 1))
	switch o.end {
	case endReset:
		conn.SetLinger(0)
		return append(came, packetOf{flags: "RST"}), err
	case endResetByServer:
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			return nil, fmt.Errorf("want a reset: %w", err)
		}
		return append(came, packetOf{reply: true, flags: "RST"}), nil
	case endClosed:
		err = errors.Join(err, conn.CloseWrite())
	}
	if err != nil {
		return nil, err
	}
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("want the end: %d octets, %w", n, err)
	}
	return append(came, packetOf{flags: "FIN"}, packetOf{reply: true, flags: "FIN"}), nil
}

// ask sends datagrams.
func (o *opened) ask(at netip.AddrPort, allowed bool) ([]packetOf, error) {
	c, err := (&net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(o.src)}).Dial("udp", at.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	word := []byte("e")
	if o.end == endSilent {
		word = []byte("s")
	}
	if !allowed {
		for range o.times {
			if _, err := c.Write(word); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	if _, err := c.Write(word); err != nil {
		return nil, err
	}
	came := []packetOf{{}}
	if o.dst.Port() != portClosed && o.end == endSilent {
		return came, nil
	}
	c.SetDeadline(time.Now().Add(patience))
	_, err = c.Read(make([]byte, 1))
	if o.dst.Port() != portClosed {
		return append(came, packetOf{reply: true}), err
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("a port that nobody has: %w", err)
	}
	return append(came, packetOf{reply: true, error: true, kind: map[bool]uint32{true: 3, false: 1}[o.is4]}), nil
}

// ping sends echo requests, and waits for the answers unless somebody denies them.
func (o *opened) ping(to netip.Addr, allowed bool) ([]packetOf, error) {
	network := map[bool]string{true: "ip4:icmp", false: "ip6:ipv6-icmp"}[o.is4]
	conn, err := net.ListenPacket(network, o.src.Addr().String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	for n := range o.times {
		b := make([]byte, 16)
		b[0] = byte(o.echo(false))
		binary.BigEndian.PutUint16(b[4:], o.src.Port())
		binary.BigEndian.PutUint16(b[6:], uint16(n))
		if o.is4 { // of ICMPv6 the kernel does it
			binary.BigEndian.PutUint16(b[2:], onesComplement(b))
		}
		if _, err := conn.WriteTo(b, &net.IPAddr{IP: to.AsSlice()}); err != nil {
			return nil, err
		}
		for answered := !allowed; !answered; {
			got := make([]byte, 64)
			size, _, err := conn.ReadFrom(got)
			if err != nil {
				return nil, err
			}
			answered = size >= 8 && got[0] == byte(o.echo(true)) && binary.BigEndian.Uint16(got[4:]) == o.src.Port() && binary.BigEndian.Uint16(got[6:]) == uint16(n)
		}
	}
	if !allowed {
		return nil, nil
	}
	return []packetOf{{kind: o.echo(false)}, {reply: true, kind: o.echo(true)}}, nil
}

// onesComplement is the checksum of RFC 1071.
func onesComplement(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
