package datapath

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"weir/bpf"
)

const (
	ctKeySize   = uint32(unsafe.Sizeof(bpf.CTKey{}))
	ctEntrySize = uint32(unsafe.Sizeof(bpf.CTEntry{}))
	ethernet    = 14 // room that the program's input begins with
	// sweepBatch is the number of entries one system call reads.
	sweepBatch = 4096
)

// Timeouts are how long a connection may be idle.
type Timeouts struct {
	TCPNew, TCPEstablished, TCPClosing time.Duration
	UDPNew, UDPEstablished             time.Duration // UDP, SCTP and all others
	ICMP                               time.Duration
}

// DefaultTimeouts are those of the field; RFC 5382 wants 2 h 4 min of TCP.
func DefaultTimeouts() Timeouts {
	return Timeouts{TCPNew: time.Minute, TCPEstablished: 8000 * time.Second, TCPClosing: 10 * time.Second,
		UDPNew: time.Minute, UDPEstablished: time.Minute, ICMP: time.Minute}
}

// Of is the timeout that counts for a connection: as expire.c has it.
func (t Timeouts) Of(k bpf.CTKey, e bpf.CTEntry) time.Duration {
	has := func(f bpf.CTFlag) bool { return bpf.CTFlag(e.Flags)&f == f }
	if has(bpf.CTIsForward) || has(bpf.CTIsReverse) {
		return t.ofHalf(k, bpf.CTFlag(e.Flags))
	}
	switch k.Proto {
	case 1, 58:
		return t.ICMP
	case 6:
		switch {
		case has(bpf.CTReset), has(bpf.CTResetReply), has(bpf.CTFinOriginal | bpf.CTFinReply):
			return t.TCPClosing
		case has(bpf.CTEstablished):
			return t.TCPEstablished
		}
		return t.TCPNew
	}
	if has(bpf.CTReplied) {
		return t.UDPEstablished
	}
	return t.UDPNew
}

// ofHalf is the shortest that may count for a translated connection, of which
// this is one entry of two: the program knows the other, and decides.
func (t Timeouts) ofHalf(k bpf.CTKey, flags bpf.CTFlag) time.Duration {
	switch {
	case k.Proto == 1 || k.Proto == 58:
		return t.ICMP
	case k.Proto != 6:
		return min(t.UDPNew, t.UDPEstablished)
	case flags&(bpf.CTFinOriginal|bpf.CTFinReply|bpf.CTReset|bpf.CTResetReply) != 0:
		return t.TCPClosing
	}
	return t.TCPNew
}

// Swept is what a sweep found.
type Swept struct {
	Entries int // left
	Deleted int
	Idle    int    // made void: the next sweep deletes those that no packet has used since
	Now     uint32 // low bits of jiffies
}

// each reads a table, a few thousand entries at a time.
func each(m *ebpf.Map, see func([]bpf.CTKey, []bpf.CTEntry) error) error {
	keys, values := make([]bpf.CTKey, sweepBatch), make([]bpf.CTEntry, sweepBatch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("read connections: %w", err)
		}
		if err := see(keys[:n], values[:n]); err != nil {
			return err
		}
		if err != nil {
			return nil
		}
	}
}

// Sweep deletes idle connections. What looks idle here is looked at again by the
// program that deletes it, so that none goes that is in use.
func (c *Connections) Sweep(t Timeouts, ticks Ticks) (s Swept, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	run := &expiry{program: c.program(bpf.ProgExpire), in: ticks.limits(t)}
	if run.program == nil {
		return s, errNotLoaded
	}
	if err := run.flush(); err != nil { // asks for the time
		return s, err
	}
	err = each(c.table, func(keys []bpf.CTKey, values []bpf.CTEntry) error {
		for i := range keys {
			s.Entries++
			idle := int32(run.now - values[i].Seen)
			if idle <= 0 || uint32(idle) <= ticks.of(t.Of(keys[i], values[i])) {
				continue
			}
			if err := run.add(keys[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = run.flush()
	}
	s.Idle = run.named - run.deleted
	s.Deleted, s.Now = run.deleted, run.now
	s.Entries -= s.Deleted
	c.last = uint32(s.Entries)
	return s, err
}

// expiry gathers connections for the program.
type expiry struct {
	program *ebpf.Program
	in      bpf.CTExpire
	now     uint32
	named   int // keys that it was asked about
	deleted int
}

func (x *expiry) add(k bpf.CTKey) error {
	x.in.Keys[x.in.Count] = k
	x.in.Count++
	x.named++
	if int(x.in.Count) < len(x.in.Keys) {
		return nil
	}
	return x.flush()
}

func (x *expiry) flush() error {
	frame := make([]byte, ethernet+unsafe.Sizeof(x.in))
	copy(frame[ethernet:], unsafe.Slice((*byte)(unsafe.Pointer(&x.in)), unsafe.Sizeof(x.in)))
	code, out, err := x.program.Test(frame)
	if err != nil {
		return fmt.Errorf("run %s: %w", bpf.ProgExpire, err)
	}
	if code != 0 || len(out) != len(frame) {
		return fmt.Errorf("run %s: it returned %d and %d octets", bpf.ProgExpire, code, len(out))
	}
	var done bpf.CTExpire
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&done)), unsafe.Sizeof(done)), out[ethernet:])
	x.deleted += int(done.Count)
	x.now, x.in.Count = done.Now, 0
	return nil
}
