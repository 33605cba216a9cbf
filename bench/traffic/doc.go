// Package traffic is the benchmark's load generator: requests and answers of
// one byte over one connection or over one connection each, a bulk stream, and
// datagrams, between two network namespaces.
//
// Sockets block and threads are locked, so that what is measured is the path
// and not Go's poller: Serve and Run are meant for processes of their own,
// started with Env, and pin themselves to the CPU they are told. IPv4 only:
// the ratio between paths is the same for IPv6, which the packet programs'
// figures cover.
package traffic

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kind is what is sent.
type Kind string

// The kinds.
const (
	RR     Kind = "TCP_RR"     // one byte each way, one connection
	CRR    Kind = "TCP_CRR"    // connect, one byte each way, close
	Stream Kind = "TCP_STREAM" // as much as goes through
	UDP    Kind = "UDP_PPS"    // 64 bytes, a window of datagrams under way
	Frames Kind = "FRAMES"     // of one connection, from no socket: package live sends them
)

// Kinds are those of sockets.
var Kinds = []Kind{RR, CRR, Stream, UDP}

// Unit of a kind's rate.
func (k Kind) Unit() string {
	switch k {
	case Stream:
		return "Gbit/s"
	case UDP, Frames:
		return "packets/s"
	case CRR:
		return "connections/s"
	}
	return "requests/s"
}

// Result is one measurement. Latencies are zero where a kind has none.
type Result struct {
	Rate float64 `json:"rate"` // per second; Stream: Gbit/s
	P50  float64 `json:"p50"`  // microseconds
	P99  float64 `json:"p99"`
	Lost uint64  `json:"lost,omitempty"` // datagrams
	CPU  float64 `json:"cpu,omitempty"`  // microseconds of the client for each request
	All  uint64  `json:"all,omitempty"`  // requests, those for warming up among them
}

// Env is added to the environment of processes that call Serve or Run: a
// signal or a collection in the middle of a request would be measured, too.
var Env = []string{"GODEBUG=asyncpreemptoff=1", "GOGC=off", "GOMAXPROCS=8"}

// Ports of the server, one for each kind.
const (
	portRR = 5001 + iota
	portCRR
	portStream
	portUDP
)

var ports = map[Kind]int{RR: portRR, CRR: portCRR, Stream: portStream, UDP: portUDP}

// ServicePort is the first of Backends ports at which a server answers requests,
// over one connection or over one each: as many backends of a service.
const (
	ServicePort = 5100
	Backends    = 10
)

const (
	payload = 64      // bytes of a datagram
	window  = 1024    // datagrams that may be under way
	credit  = 256     // datagrams that one credit stands for
	chunk   = 1 << 17 // bytes of one write of the stream
)

// pin locks the goroutine to a thread in the namespace and on the CPU.
func pin(ns string, cpu int) error {
	runtime.LockOSThread()
	f, err := os.Open(ns)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", ns, err)
	}
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	return nil
}

// favour puts the process into the front of the scheduler's queue where that
// is allowed: its session is an autogroup of its own, with a priority.
func favour() {
	_ = os.WriteFile("/proc/self/autogroup", []byte("-20"), 0) // a kernel without autogroups measures as it is
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
}

// tcpSocket is a plain TCP socket with cubic: other algorithms pace.
func tcpSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic"),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("set cubic: %w", err)
	}
	return fd, nil
}

// read and write are raw: the scheduler of Go never learns that the thread
// sleeps, and costs nothing.
func read(fd int, b *byte, n int) (int, error) {
	r, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(b)), uintptr(n))
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

func write(fd int, b *byte, n int) (int, error) {
	r, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(b)), uintptr(n))
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// histogram counts latencies in buckets of 1/64 of their power of two.
type histogram struct {
	n     uint64
	count [64 * 64]uint32
}

func (h *histogram) add(d time.Duration) {
	h.n++
	h.count[bucket(uint64(d))]++
}

func bucket(ns uint64) int {
	exp := 0
	for ns >= 128 {
		ns >>= 1
		exp++
	}
	return exp*64 + int(ns)
}

// percentile in microseconds.
func (h *histogram) percentile(p float64) float64 {
	want := uint64(float64(h.n) * p / 100)
	for i, c := range h.count {
		if uint64(c) > want {
			return value(i) / 1e3
		}
		want -= uint64(c)
	}
	return 0
}

func value(i int) float64 {
	if i < 128 {
		return float64(i)
	}
	exp := i/64 - 1
	return float64(uint64(i-exp*64)<<exp) + float64(uint64(1)<<exp)/2
}
