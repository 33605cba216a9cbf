package bpftest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath"
)

// client is a socket of this process, in the node's namespace.
type client struct {
	name string
	fd   int
}

// connect connects a socket, and leaves it to connect when nobody answers.
func (n *node) connect(t testing.TB, name string, domain, kind int, to netip.AddrPort) client {
	t.Helper()
	var fd int
	var err error
	n.do(func() { fd, err = unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Connect(fd, sockaddr(domain, to)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatalf("%s: connect to %s: %v", name, to, err)
	}
	return client{name, fd}
}

// fate is what the process of the socket is told at its next call.
func (c client) fate() error {
	_, _, err := unix.Recvfrom(c.fd, make([]byte, 1), unix.MSG_DONTWAIT)
	return err
}

// want compares the fates of sockets.
func want(t *testing.T, when string, err error, clients ...client) {
	t.Helper()
	for _, c := range clients {
		if got := c.fate(); !errors.Is(got, err) {
			t.Errorf("%s: %s is told %v, want %v", when, c.name, got, err)
		}
	}
}

// listens takes connections, and says nothing.
func (n *node) listens(t testing.TB, at netip.AddrPort) {
	t.Helper()
	n.do(func() {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", at.String())
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { u.Close() })
	})
}

// enders are the programs that end sockets, once by the namespace that they are
// loaded in, and once by a path to it.
func enders(t *testing.T, n *node) (here, elsewhere func() int) {
	t.Helper()
	var path string
	var netns uint64
	end := func(e *datapath.SocketEnder, path string) int {
		ended, err := e.End(netns, path)
		if err != nil {
			t.Error(err)
		}
		return ended
	}
	open := func() *datapath.SocketEnder {
		e, err := datapath.OpenSocketEnder(n.maps)
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(e.Close)
		return e
	}
	var inside *datapath.SocketEnder
	n.do(func() {
		netns, path = cookie(t), fmt.Sprintf("/proc/%d/task/%d/ns/net", unix.Getpid(), unix.Gettid())
		inside = open()
	})
	outside := open()
	if inside == nil || outside == nil {
		t.FailNow()
	}
	return func() (ended int) { n.do(func() { ended = end(inside, "") }); return ended }, func() int { return end(outside, path) }
}

// A socket that found its backend by a service is ended when the row of the backend
// is another's or nobody's, and no other socket is.
func TestSocketsOfABackendThatIsGoneAreEnded(t *testing.T) {
	n := socketNode(t)
	here, elsewhere := enders(t, n)
	var gone, connecting, others []client
	for i, f := range families {
		first := uint32(10 + 10*i)
		a, b, silent := at(f.self, 8081), at(f.self, 8082), at(f.node, 8083)
		n.listens(t, a)
		n.listens(t, b)
		for k, backend := range []netip.AddrPort{a, b, silent} {
			row := first + uint32(k)
			n.backend(t, row, 5, backend, unix.IPPROTO_TCP)
			for p, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
				number := uint32(6*i + 2*k + p)
				n.add(t, service{id: 1 + number, at: at(vip[f.v6], servicePort+uint16(k)), proto: proto, first: 256 * number, backends: []uint32{row}})
			}
		}
		domains := []int{unix.AF_INET6}
		if !f.v6 {
			domains = append(domains, unix.AF_INET) // and by an IPv6 socket
		}
		for _, domain := range domains {
			for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
				name := fmt.Sprintf("%s, domain %d, type %d, ", f.name, domain, kind)
				gone = append(gone, n.connect(t, name+"of the one that goes", domain, kind, at(vip[f.v6], servicePort)))
				others = append(others, n.connect(t, name+"of the one that stays", domain, kind, at(vip[f.v6], servicePort+1)),
					n.connect(t, name+"without a service", domain, kind, a))
			}
			connecting = append(connecting, n.connect(t, f.name+", not connected yet", domain, unix.SOCK_STREAM, at(vip[f.v6], servicePort+2)))
		}
	}
	if ended := here() + elsewhere(); ended != 0 {
		t.Errorf("%d sockets were ended while all backends are there", ended)
	}
	want(t, "all are there", unix.EAGAIN, slices.Concat(gone, connecting, others)...)
	for i, f := range families {
		first := uint32(10 + 10*i)
		n.set(t, "inner "+bpf.MapBackends, first, bpf.Backend{Generation: 6})
		n.backend(t, first+2, 6, at(f.self, 8084), unix.IPPROTO_TCP) // its row is another's
	}
	if ended, want := elsewhere(), len(gone)+len(connecting); ended != want {
		t.Errorf("%d sockets were ended, want %d", ended, want)
	}
	want(t, "a backend is gone", unix.ECONNABORTED, slices.Concat(gone, connecting)...)
	want(t, "a backend is gone", unix.EAGAIN, others...)
	if ended := here() + elsewhere(); ended != 0 {
		t.Errorf("%d sockets were ended twice", ended)
	}
	if got, _ := n.countAt(bpf.PlaceSocket); !slices.ContainsFunc(got, func(c counted) bool {
		return c.Reason == bpf.ReasonSocketEnded && int(c.Packets) == len(gone)+len(connecting)
	}) {
		t.Errorf("counted %v", got)
	}
}

// A socket that is used again has nothing of its old connection; one whose connect
// failed later is still that of its old peer.
func TestASocketIsJudgedByTheConnectionThatItHas(t *testing.T) {
	n := socketNode(t)
	here, _ := enders(t, n)
	for i, f := range families {
		row := uint32(10 + 10*i)
		a, b, far := at(f.self, 8081), at(f.self, 8082), at(f.nowhere, 8083)
		n.listens(t, a)
		n.listens(t, b)
		for k, backend := range []netip.AddrPort{a, b, far} {
			n.backend(t, row+uint32(k), 1, backend, udp)
			n.add(t, service{id: row + uint32(k), at: at(vip[f.v6], servicePort+uint16(k)), proto: udp, first: 256 * uint32(3*i+k), backends: []uint32{row + uint32(k)}})
		}
		domain := unix.AF_INET
		if f.v6 {
			domain = unix.AF_INET6
		}
		c := n.connect(t, f.name, domain, unix.SOCK_DGRAM, at(vip[f.v6], servicePort))
		n.backend(t, row, 2, a, udp)
		if ended := here(); ended != 1 {
			t.Errorf("%s: %d sockets were ended, want 1", f.name, ended)
		}
		want(t, "its backend is gone", unix.ECONNABORTED, c)
		if err := unix.Connect(c.fd, sockaddr(domain, at(vip[f.v6], servicePort+1))); err != nil {
			t.Fatal(err)
		}
		if ended := here(); ended != 0 {
			t.Errorf("%s: it was ended when it had another backend", f.name)
		}
		if err := unix.Connect(c.fd, sockaddr(domain, at(vip[f.v6], servicePort+2))); err == nil {
			t.Fatalf("%s: there is a way to %s", f.name, far)
		}
		n.backend(t, row+2, 2, a, udp)
		if ended := here(); ended != 0 {
			t.Errorf("%s: it was ended for a backend that it could not connect to", f.name)
		}
	}
}

// Each datagram of a socket that is not connected finds a backend by itself.
func TestUnconnectedSocketChoosesAgainWhenItsBackendIsGone(t *testing.T) {
	n := socketNode(t)
	here, _ := enders(t, n)
	for i, f := range families {
		domain, row := unix.AF_INET, uint32(10+10*i)
		if f.v6 {
			domain = unix.AF_INET6
		}
		n.udpServer(t, at(f.self, 8081), "old")
		n.udpServer(t, at(f.self, 8082), "new")
		n.backend(t, row, 1, at(f.self, 8081), udp)
		s := service{id: 1 + uint32(i), at: at(vip[f.v6], 53), proto: udp, first: 256 * uint32(i), backends: []uint32{row}}
		n.add(t, s)
		var fd int
		n.do(func() { fd, _ = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) })
		defer unix.Close(fd)
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
		ask := func() string {
			if err := unix.Sendto(fd, []byte("?"), 0, sockaddr(domain, at(vip[f.v6], 53))); err != nil {
				return err.Error()
			}
			b := make([]byte, 10)
			size, _, err := unix.Recvfrom(fd, b, 0)
			if err != nil {
				return err.Error()
			}
			return string(b[:size])
		}
		if got := ask(); got != "old" {
			t.Errorf("%s: %q", f.name, got)
		}
		n.backend(t, row+1, 1, at(f.self, 8082), udp)
		s.first, s.backends = s.first+16, []uint32{row + 1}
		n.add(t, s)
		n.set(t, "inner "+bpf.MapBackends, row, bpf.Backend{Generation: 2})
		if ended := here(); ended != 0 {
			t.Errorf("%s: %d sockets were ended", f.name, ended)
		}
		if got := ask(); got != "new" {
			t.Errorf("%s: %q after its backend has gone", f.name, got)
		}
	}
}

// A connect notes its namespace once for each backend; without room it is counted,
// and works.
func TestConnectNotesWhoUsesABackend(t *testing.T) {
	n := socketNode(t)
	f := families[0]
	n.listens(t, at(f.self, 8081))
	var e *datapath.SocketEnder
	var netns uint64
	n.do(func() {
		netns = cookie(t)
		var err error
		if e, err = datapath.OpenSocketEnder(n.maps); err != nil {
			t.Error(err)
		}
	})
	if e == nil {
		return
	}
	defer e.Close()
	max := n.maps[bpf.MapSocketUsers].MaxEntries()
	for row := range max + 1 {
		n.backend(t, 1+row, 7, at(f.self, 8081), unix.IPPROTO_TCP)
		n.add(t, service{id: 1, at: at(vip[false], servicePort), proto: unix.IPPROTO_TCP, first: 256, backends: []uint32{1 + row}})
		for range 2 {
			n.connect(t, "client", unix.AF_INET, unix.SOCK_STREAM, at(vip[false], servicePort))
		}
		users, complete, err := e.Users()
		if noted := min(row+1, max); err != nil || len(users) != int(noted) || complete != (row < max) {
			t.Fatalf("backend %d: %v, complete %v, %v", 1+row, users, complete, err)
		}
		if u := (bpf.SocketUser{Netns: netns, BackendRow: 1 + row, Generation: 7}); row < max && !slices.Contains(users, u) {
			t.Errorf("%v has no %v", users, u)
		}
	}
	users, _, _ := e.Users()
	if err := e.Forget(users); err != nil {
		t.Fatal(err)
	}
	if users, _, err := e.Users(); err != nil || len(users) > 0 {
		t.Errorf("left are %v, %v", users, err)
	}
}

// BenchmarkEnd is what a namespace costs in which a backend that is gone was used:
// the walk over all its sockets, and the end of each that is meant.
func BenchmarkEnd(b *testing.B) {
	for _, sockets := range []int{0, 1000} {
		b.Run(fmt.Sprint(sockets, " sockets"), func(b *testing.B) {
			n := socketNode(b)
			f := families[0]
			n.listens(b, at(f.self, 8081))
			var e *datapath.SocketEnder
			n.do(func() { e, _ = datapath.OpenSocketEnder(n.maps) })
			if e == nil {
				b.Fatal("no programs to end sockets")
			}
			defer e.Close()
			fds := slices.Repeat([]int{-1}, sockets)
			for generation := uint32(1); b.Loop(); generation++ {
				b.StopTimer()
				n.backend(b, 1, generation, at(f.self, 8081), udp)
				n.add(b, service{id: 1, at: at(vip[false], servicePort), proto: udp, backends: []uint32{1}})
				n.do(func() {
					for i := range fds {
						unix.Close(fds[i])
						fds[i], _ = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
						if err := unix.Connect(fds[i], sockaddr(unix.AF_INET, at(vip[false], servicePort))); err != nil {
							b.Error(err)
						}
					}
				})
				n.set(b, "inner "+bpf.MapBackends, uint32(1), bpf.Backend{Generation: generation + 1})
				b.StartTimer()
				n.do(func() {
					if ended, err := e.End(e.Own(), ""); err != nil || ended != sockets {
						b.Errorf("%d sockets ended, %v; want %d", ended, err, sockets)
					}
				})
			}
		})
	}
}
