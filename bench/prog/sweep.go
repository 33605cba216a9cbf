package prog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"weir/bench/rules"
	"weir/bpf"
	"weir/datapath"
)

// idleAfter is the timeout of all connections in the sweeps that are timed.
const idleAfter = 3 * time.Second

// Sweep is one sweep over a table of many connections.
type Sweep struct {
	Connections int           // before it
	Deleted     int           // by it
	CPU         time.Duration // of the thread that sweeps, in and out of the kernel
	Elapsed     time.Duration
	// While it ran, so many connections were used, Spared of which the sweep had
	// every reason to think idle. Those that it deleted after that are Lost.
	Used, Spared, Lost int
}

// Memory is what the connection table takes, as the kernel counts it, and the
// number of connections that it has room for.
func (f *Flows) Memory() (bytes uint64, connections uint32) {
	return f.node.datapath.CT.Memory(), f.node.datapath.CT.Size().Capacity
}

// Sweeps are one of each kind.
type Sweeps struct {
	Busy   Sweep // finds nothing idle
	Mark   Sweep // finds half of the connections idle, and makes them void
	Half   Sweep // deletes these
	Racing Sweep // deletes these while packets of them come
}

// Sweeps times one sweep of each kind.
func (f *Flows) Sweeps(w Way, flows uint32) (s Sweeps, err error) {
	d := f.node.datapath
	if _, err = d.Load(f.node.cfg); err != nil {
		return
	}
	ticks, err := d.CT.MeasureTicks()
	if err != nil {
		return
	}
	if err = f.Open(w, flows); err != nil {
		return
	}
	if s.Busy, err = f.sweep(ticks, flows, datapath.DefaultTimeouts()); err != nil {
		return
	}
	if err = f.halfIdle(w, flows); err != nil {
		return
	}
	if s.Mark, err = f.sweep(ticks, flows, allAfter(idleAfter)); err != nil {
		return
	}
	if s.Half, err = f.sweep(ticks, flows, allAfter(idleAfter)); err != nil {
		return
	}
	s.Racing, err = f.race(ticks, w, flows)
	return
}

func allAfter(d time.Duration) datapath.Timeouts {
	return datapath.Timeouts{TCPNew: d, TCPEstablished: d, TCPClosing: d, UDPNew: d, UDPEstablished: d, ICMP: d}
}

// halfIdle makes connections of which the first half is used again after the
// others have become idle.
func (f *Flows) halfIdle(w Way, flows uint32) error {
	if err := f.Open(w, flows); err != nil {
		return err
	}
	time.Sleep(idleAfter + idleAfter/10)
	_, err := f.run(f.node.programs[bpf.ProgFromPod], w, false, picker{Flows: flows}, flows/2)
	return err
}

func (f *Flows) sweep(ticks datapath.Ticks, flows uint32, t datapath.Timeouts) (Sweep, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, began := threadTime(), time.Now()
	swept, err := f.node.datapath.CT.Sweep(t, ticks)
	return Sweep{Connections: int(flows), Deleted: swept.Deleted, CPU: threadTime() - before, Elapsed: time.Since(began)}, err
}

// threadTime is the CPU time that this thread has used.
func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // every kernel has it
	return time.Duration(t.Nano())
}

// race sweeps while the idle half is used, one connection after the other. A
// packet finds its connection or makes it anew; in either case the connection
// has to be there afterwards.
func (f *Flows) race(ticks datapath.Ticks, w Way, flows uint32) (s Sweep, err error) {
	if err := f.halfIdle(w, flows); err != nil {
		return s, err
	}
	if _, err := f.sweep(ticks, flows, allAfter(idleAfter)); err != nil { // makes them void
		return s, err
	}
	stop, sent := make(chan struct{}), make(chan error, 1)
	go func() {
		sent <- f.b.Inside(func() error { return f.use(w, flows, stop) })
	}()
	s, err = f.sweep(ticks, flows, allAfter(idleAfter))
	close(stop)
	if serr := <-sent; err == nil {
		err = serr
	}
	if err != nil {
		return s, err
	}
	used, err := f.picks.counter()
	if err != nil {
		return s, err
	}
	return s, f.account(&s, w, flows, uint32(used))
}

// use sends one packet for each of the idle connections, until it is stopped.
// The counter goes on where halfIdle has left it.
func (f *Flows) use(w Way, flows uint32, stop chan struct{}) error {
	packet, err := flowFrame(w.src, w.dst, false)
	if err != nil {
		return err
	}
	const few = 64
	for done := flows / 2; done+few <= flows; done += few {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, _, err := testRunOnce(f.node.programs[bpf.ProgFromPod], packet, podIndex, few); err != nil && !errors.Is(err, unix.EINTR) { // the counter says how far it came
			return fmt.Errorf("use idle connections: %w", err)
		}
	}
	return nil
}

// account counts what became of the connections that were used: all that have a
// number below used.
func (f *Flows) account(s *Sweep, w Way, flows, used uint32) error {
	s.Used = int(used - flows/2)
	here := uint32(0)
	_, err := f.node.datapath.CT.Each(func(k bpf.CTKey, e bpf.CTEntry) {
		n := w.number(k)
		if n >= used {
			return
		}
		here++
		if n >= flows/2 && e.Packets[0] > 1 { // one that was made anew has one
			s.Spared++
		}
	})
	s.Lost = int(used - here)
	return err
}

// number is the flow's that has the key.
func (w Way) number(k bpf.CTKey) uint32 {
	addr, port := k.B, k.PortA
	if bpf.Host(k.PortA) == rules.Port && k.A.Netip().Unmap() == w.src || k.B.Netip().Unmap() == w.src {
		addr, port = k.A, k.PortB
	}
	b := addr.Netip().As16()
	return (uint32(bpf.Host(port))-firstPort)*w.spread + uint32(binary.BigEndian.Uint16(b[14:])) - low16(w.dst)
}
