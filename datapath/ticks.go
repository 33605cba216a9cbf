package datapath

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"weir/bpf"
)

// Ticks is the number of the kernel's jiffies in a second.
type Ticks float64

// of converts a time; no timeout is shorter than a tick.
func (t Ticks) of(d time.Duration) uint32 { return uint32(max(d.Seconds()*float64(t), 1)) }

// Of converts a time.
func (t Ticks) Of(d time.Duration) uint32 { return t.of(d) }

// Since converts back: how long ago a connection was seen.
func (t Ticks) Since(now, seen uint32) time.Duration {
	return time.Duration(float64(max(int32(now-seen), 0)) / float64(t) * float64(time.Second))
}

func (t Ticks) limits(o Timeouts) bpf.CTExpire {
	return bpf.CTExpire{TCPNew: t.of(o.TCPNew), TCPEstablished: t.of(o.TCPEstablished), TCPClosing: t.of(o.TCPClosing),
		UDPNew: t.of(o.UDPNew), UDPEstablished: t.of(o.UDPEstablished), ICMP: t.of(o.ICMP)}
}

// Now returns the low bits of jiffies.
func (c *Connections) Now() (uint32, error) {
	run := &expiry{program: c.program(bpf.ProgExpire)}
	if run.program == nil {
		return 0, errNotLoaded
	}
	err := run.flush()
	return run.now, err
}

// known are the rates that kernels are built with.
var known = []Ticks{100, 250, 300, 1000}

// measure is how long MeasureTicks watches: long enough to tell 250 from 300.
const measure = 100 * time.Millisecond

// MeasureTicks finds out how fast jiffies run, by a program of its own: the kernel
// tells nobody.
func MeasureTicks() (Ticks, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "weir_jiffies", Type: ebpf.SocketFilter, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.FnJiffies64.Call(), asm.Return()}})
	if err != nil {
		return 0, fmt.Errorf("load a program that reads jiffies: %w", err)
	}
	defer p.Close()
	return measureTicks(func() (uint32, error) {
		return p.Run(&ebpf.RunOptions{Data: make([]byte, ethernet)})
	})
}

// MeasureTicks is the same by a program that is loaded already.
func (c *Connections) MeasureTicks() (Ticks, error) { return measureTicks(c.Now) }

func measureTicks(now func() (uint32, error)) (Ticks, error) {
	from, err := now()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	time.Sleep(measure)
	to, err := now()
	if err != nil {
		return 0, err
	}
	rate := float64(to-from) / time.Since(start).Seconds()
	for _, t := range known {
		if r := rate / float64(t); r > 0.9 && r < 1.09 {
			return t, nil
		}
	}
	return 0, fmt.Errorf("jiffies run at %.0f in a second, which is none of %v", rate, known)
}
