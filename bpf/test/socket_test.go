package bpftest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath"
	"weir/datapath/link/linktest"
)

// vip is a service's address, and the ports of these tests.
var vip = map[bool]netip.Addr{false: netip.MustParseAddr("10.96.0.1"), true: netip.MustParseAddr("fd00:96::1")}

const (
	servicePort = 80
	nodePort    = 32000
)

// socketNode is a node whose programs see the sockets of this process.
func socketNode(t testing.TB) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to load BPF programs")
	}
	host(t)
	cfg := serving(config())
	done := make(chan struct{})
	linktest.Go(t, func() {
		defer close(done)
		linktest.Up(t, "lo")
		cfg.Netns = cookie(t)
	})
	<-done
	n := newNode(t, cfg)
	n.fill(t)
	n.services(t)
	cgroup := ownCgroup(t)
	for name, at := range bpf.SocketPrograms {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: at, Program: n.programs[name]})
		if err != nil {
			t.Fatalf("attach %s: %v", name, err)
		}
		t.Cleanup(func() { l.Close() })
	}
	return n
}

// cookie is that of this thread's network namespace.
func cookie(t testing.TB) uint64 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ownCgroup moves this process into a cgroup of its own for the test.
func ownCgroup(t testing.TB) string {
	t.Helper()
	root, err := datapath.CgroupRoot("")
	if err != nil {
		t.Skip(err)
	}
	dir := filepath.Join(root, "weir-test-"+strconv.Itoa(os.Getpid()))
	move := func(to string) error {
		return os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o600)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := move(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(move(root), os.Remove(dir)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// tcpServer answers each connection with its name, until the test ends.
func (n *node) tcpServer(t testing.TB, at netip.AddrPort, name string) {
	t.Helper()
	var l net.Listener
	var err error
	n.do(func() { l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", at.String()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte(name))
			c.Close()
		}
	}()
}

// udpServer answers each datagram with its name.
func (n *node) udpServer(t testing.TB, at netip.AddrPort, name string) {
	t.Helper()
	var c *net.UDPConn
	var err error
	n.do(func() { c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		for b := make([]byte, 100); ; {
			_, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort([]byte(name), from)
		}
	}()
}

// ask connects, in the node's namespace, and returns what is answered first and
// who the socket thinks that it talks to.
func (n *node) ask(t testing.TB, network string, to netip.AddrPort) (answer, peer string, err error) {
	t.Helper()
	var c net.Conn
	n.do(func() { c, err = net.DialTimeout(network, to.String(), time.Second) })
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if network == "udp" {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", "", err
		}
	}
	b := make([]byte, 100)
	size, err := c.Read(b)
	return string(b[:size]), getpeername(t, c.(syscall.Conn)), err
}

// getpeername asks the kernel again: Go remembers what connect was called with.
func getpeername(t testing.TB, c syscall.Conn) string {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var peer unix.Sockaddr
	if cerr := raw.Control(func(fd uintptr) { peer, err = unix.Getpeername(int(fd)) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return sockname(peer).String()
}

func sockname(s unix.Sockaddr) netip.AddrPort {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr), uint16(s.Port))
	}
	return netip.AddrPort{}
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

func TestSocketTalksToABackendAndSeesTheService(t *testing.T) {
	n := socketNode(t)
	for i, f := range families {
		n.tcpServer(t, at(f.self, 8081), "backend")
		n.udpServer(t, at(f.self, 8081), "backend")
		row := uint32(10 + i)
		n.backend(t, row, 1, at(f.self, 8081), unix.IPPROTO_TCP)
		n.add(t, service{id: 1 + uint32(i), at: at(vip[f.v6], servicePort), proto: unix.IPPROTO_TCP, first: 256 * uint32(i), backends: []uint32{row}},
			service{id: 3 + uint32(i), at: at(vip[f.v6], servicePort), proto: unix.IPPROTO_UDP, first: 256*uint32(i) + 512, backends: []uint32{row}})
		for _, network := range []string{"tcp", "udp"} {
			answer, peer, err := n.ask(t, network, at(vip[f.v6], servicePort))
			if want := at(vip[f.v6], servicePort).String(); err != nil || answer != "backend" || peer != want {
				t.Errorf("%s, %s: answer %q, the peer is %s, %v; want the backend, and %s", f.name, network, answer, peer, err, want)
			}
			if answer, peer, err := n.ask(t, network, at(f.self, 8081)); err != nil || answer != "backend" || peer != at(f.self, 8081).String() {
				t.Errorf("%s, %s, the backend itself: %q, %s, %v", f.name, network, answer, peer, err)
			}
		}
	}
	counted, err := n.countAt(bpf.PlaceSocket)
	if err != nil {
		t.Fatal(err)
	}
	if want := "[socket 78 (Socket connected to a service's backend): 4 packets socket 80 (Socket closed that was connected to a service's backend): 4 packets]"; fmt.Sprint(counted) != want {
		t.Errorf("counted %v, want %s", counted, want)
	}
}

// A resolver's socket: one for all servers, and the answer must come from who
// was asked. Also where an IPv6 socket names IPv4 addresses.
func TestUnconnectedSocketHearsFromTheServicesItHasAsked(t *testing.T) {
	n := socketNode(t)
	for i, f := range families {
		for k := range uint32(3) {
			port := 9000 + uint16(k)
			n.udpServer(t, at(f.self, port), fmt.Sprint("server ", k))
			n.backend(t, 20+10*uint32(i)+k, 1, at(f.self, port), udp)
			n.add(t, service{id: 1 + 10*uint32(i) + k, at: at(vip[f.v6], 53+uint16(k)), proto: udp, first: 16 * (8*uint32(i) + k), backends: []uint32{20 + 10*uint32(i) + k}})
		}
	}
	self := map[bool]netip.Addr{}
	for _, f := range families {
		self[f.v6] = f.self
	}
	for _, c := range []struct {
		name     string
		domain   int
		to, self netip.Addr // a service, and who stands for it
	}{
		{"IPv4", unix.AF_INET, vip[false], self[false]}, {"IPv6", unix.AF_INET6, vip[true], self[true]},
		{"IPv4 by an IPv6 socket", unix.AF_INET6, netip.AddrFrom16(vip[false].As16()), netip.AddrFrom16(self[false].As16())},
	} {
		var fd int
		n.do(func() {
			var err error
			if fd, err = unix.Socket(c.domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
				t.Error(err)
			}
		})
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
		for k := range uint16(3) {
			if err := unix.Sendto(fd, []byte("?"), 0, sockaddr(c.domain, at(c.to, 53+k))); err != nil {
				t.Errorf("%s: send: %v", c.name, err)
			}
		}
		heard := hear(t, c.name, fd, 3)
		for k := range uint16(3) {
			if from, want := at(c.to, 53+k).String(), fmt.Sprint("server ", k); heard[from] != want {
				t.Errorf("%s: %s has answered %q, want %q", c.name, from, heard[from], want)
			}
		}
		// Asked at its own address, a server is itself again.
		if err := unix.Sendto(fd, []byte("?"), 0, sockaddr(c.domain, at(c.self, 9001))); err != nil {
			t.Errorf("%s: send to a server: %v", c.name, err)
		}
		if heard := hear(t, c.name, fd, 1); heard[at(c.self, 9001).String()] != "server 1" {
			t.Errorf("%s: asked at %s: %q has answered", c.name, c.self, heard)
		}
		unix.Close(fd)
	}
}

// hear returns what so many datagrams say, by their senders.
func hear(t *testing.T, name string, fd, datagrams int) map[string]string {
	t.Helper()
	heard := map[string]string{}
	for range datagrams {
		b := make([]byte, 100)
		size, from, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			t.Fatalf("%s: receive: %v", name, err)
		}
		heard[sockname(from).String()] = string(b[:size])
	}
	return heard
}

func sockaddr(domain int, a netip.AddrPort) unix.Sockaddr {
	if domain == unix.AF_INET {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().Unmap().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func TestSocketIsRefusedAtOnceWhereThereIsNoBackend(t *testing.T) {
	n := socketNode(t)
	for i, f := range families {
		n.add(t, service{id: 1 + uint32(i), at: at(vip[f.v6], servicePort), proto: unix.IPPROTO_TCP})
		if _, _, err := n.ask(t, "tcp", at(vip[f.v6], servicePort)); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v, want %v", f.name, err, unix.ECONNREFUSED)
		}
	}
}

// Nobody on the node can listen where nothing would come, and everybody reaches
// a NodePort at the node's addresses, those of others, and on the node at lo.
func TestNodePortIsEveryNodesAndNobodyElsesOnTheNode(t *testing.T) {
	n := socketNode(t)
	for i, f := range families {
		any := netip.IPv4Unspecified()
		if f.v6 {
			any = netip.IPv6Unspecified()
		}
		n.tcpServer(t, at(f.self, 8081), "backend")
		n.backend(t, 10+uint32(i), 1, at(f.self, 8081), unix.IPPROTO_TCP)
		n.add(t, service{id: 1 + uint32(i), at: at(any, nodePort), proto: unix.IPPROTO_TCP, first: 256 * uint32(i), backends: []uint32{10 + uint32(i)}, flags: bpf.ServiceNodePort | bpf.ServiceExternal})
		n.know(t, netip.PrefixFrom(f.node, f.bits()), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityRemoteNode)})
		loopback := netip.MustParseAddr("127.0.0.1")
		if f.v6 {
			loopback = netip.IPv6Loopback()
		}
		for _, a := range []netip.Addr{f.self, f.node, loopback} {
			if answer, peer, err := n.ask(t, "tcp", at(a, nodePort)); err != nil || answer != "backend" || peer != at(a, nodePort).String() {
				t.Errorf("%s: %q, %s, %v", at(a, nodePort), answer, peer, err)
			}
		}
		n.do(func() {
			if l, err := net.Listen("tcp", at(f.self, nodePort).String()); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("%s: a process listens at the NodePort: %v", f.name, err)
				l.Close()
			}
			l, err := net.Listen("tcp", at(f.self, nodePort+1).String())
			if err != nil {
				t.Errorf("%s: another port: %v", f.name, err)
				return
			}
			l.Close()
		})
	}
}

// A HostPort is the node's alone: no other node's address leads to it, a pod that asks
// at its own loopback addresses means itself, and whoever listens on the node may go on.
func TestHostPortIsThisNodesAndNoPodsLoopback(t *testing.T) {
	const hostPort = 8080
	n := socketNode(t)
	pod := linktest.New(t)
	linktest.In(t, pod, func() { linktest.Up(t, "lo") })
	for i, f := range families {
		any, loopback := netip.IPv4Unspecified(), netip.MustParseAddr("127.0.0.1")
		if f.v6 {
			any, loopback = netip.IPv6Unspecified(), netip.IPv6Loopback()
		}
		n.tcpServer(t, at(f.self, 8081), "backend")
		n.backend(t, 10+uint32(i), 1, at(f.self, 8081), unix.IPPROTO_TCP)
		for j, a := range []netip.Addr{any, loopback} { // the latter as of hostIP
			n.add(t, service{id: 1 + uint32(i), at: at(a, hostPort+uint16(j)), proto: unix.IPPROTO_TCP, first: 256 * uint32(i), backends: []uint32{10 + uint32(i)}, flags: bpf.ServiceExternal | bpf.ServiceKeepClient})
		}
		n.know(t, netip.PrefixFrom(f.self, f.bits()), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityHost), Flags: uint8(bpf.IPCacheHost)})
		n.know(t, netip.PrefixFrom(f.node, f.bits()), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityRemoteNode)})
		for _, to := range []netip.AddrPort{at(f.self, hostPort), at(loopback, hostPort), at(loopback, hostPort+1)} {
			if answer, peer, err := n.ask(t, "tcp", to); err != nil || answer != "backend" || peer != to.String() {
				t.Errorf("%s: %q, %s, %v", to, answer, peer, err)
			}
		}
		if answer, _, err := n.ask(t, "tcp", at(f.node, hostPort)); err == nil {
			t.Errorf("another node's address leads to %q", answer)
		}
		linktest.In(t, pod, func() {
			for _, to := range []netip.AddrPort{at(loopback, hostPort), at(loopback, hostPort+1)} {
				if _, err := net.DialTimeout("tcp", to.String(), time.Second); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("a pod that asks itself at %s: %v, want refused", to, err)
				}
			}
		})
		n.do(func() {
			l, err := net.Listen("tcp", at(f.self, hostPort).String())
			if err != nil {
				t.Errorf("%s: a process of the node may not listen: %v", f.name, err)
				return
			}
			l.Close()
		})
	}
}

// A client of a service with affinity stays with its backend while the service
// has it, whatever else changes.
func TestClientStaysWithItsBackendWhileItIsThere(t *testing.T) {
	n := socketNode(t)
	f := families[0]
	all := []uint32{11, 12, 13, 14}
	for _, row := range all {
		n.tcpServer(t, at(f.self, 8000+uint16(row)), fmt.Sprint(row))
		n.backend(t, row, 1, at(f.self, 8000+uint16(row)), unix.IPPROTO_TCP)
	}
	ask := func() string {
		t.Helper()
		answer, _, err := n.ask(t, "tcp", at(vip[false], servicePort))
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	s := service{id: 1, at: at(vip[false], servicePort), proto: unix.IPPROTO_TCP, backends: all, affinity: 100}
	n.add(t, s)
	first := ask()
	stays := func(when string) {
		t.Helper()
		for range 12 {
			if got := ask(); got != first {
				t.Fatalf("%s: backend %s after %s", when, got, first)
			}
		}
	}
	stays("at once")
	s.first, s.backends = 64, []uint32{14, 13, 12, 11}
	n.add(t, s)
	stays("in other slots")
	s.backends = nil
	for _, row := range all {
		if fmt.Sprint(row) != first {
			s.backends = append(s.backends, row)
		}
	}
	s.first = 16
	n.add(t, s)
	was := first
	if first = ask(); first == was {
		t.Fatalf("backend %s is not of the service any more", was)
	}
	stays("with another")
	row, _ := strconv.Atoi(first)
	n.backend(t, uint32(row), 2, at(f.self, 8000+uint16(row)), unix.IPPROTO_TCP) // its row has another's
	seen := map[string]bool{}
	for range 40 {
		seen[ask()] = true
		n.forgetClients(t)
	}
	if len(seen) != len(s.backends) {
		t.Errorf("of %d backends %d were chosen by chance", len(s.backends), len(seen))
	}
}

// forgetClients empties weir_affinity.
func (n *node) forgetClients(t testing.TB) {
	t.Helper()
	var k bpf.AffinityKey
	var v bpf.Affinity
	var keys []bpf.AffinityKey
	it := n.maps[bpf.MapAffinity].Iterate()
	for it.Next(&k, &v) {
		keys = append(keys, k)
	}
	for _, k := range keys {
		n.maps[bpf.MapAffinity].Delete(k)
	}
}
