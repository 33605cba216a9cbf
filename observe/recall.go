package observe

import (
	"net/netip"
	"time"

	"weir/bpf"
	"weir/state"
)

// Recalled is a packet of a connection, told as from who opened it, whichever way it went.
type Recalled struct {
	When     time.Time
	From, To RecalledEnd
	Proto    uint8  // IP protocol
	FromPort uint16 // host byte order; 0: the protocol has none
	Port     uint16 // of To; of ICMP the type
	Denied   bool   // by a policy; let through otherwise
}

// RecalledEnd is who an end was then.
type RecalledEnd struct {
	Addr     netip.Addr
	Identity uint32        // that the packet was judged by
	Endpoint uint32        // of this node; 0: it was not
	Pod      state.PodName // zero: it was none
	Workload state.Workload
}

// Recollection says what the ring could tell.
type Recollection struct {
	Reaches time.Time // no flow since then was overwritten
	Lost    uint64    // events that programs had no room for
	Apart   int       // packets that were dropped before, or not by, a policy
}

// Recall hands out what the ring has of connections since a time, oldest first. Packets of
// no connection (ICMP errors, mostly) are left out, and so are those that only passed a
// program which did not look whose they are: every connection has others.
func (o *Observer) Recall(since time.Time, see func(Recalled)) Recollection {
	at, end := o.ring.bounds()
	out := Recollection{Reaches: o.started}
	records := make([]record, readAtOnce)
	for next := at; next < end; {
		first, n := o.ring.read(next, records[:min(uint64(readAtOnce), end-next)])
		if n == 0 {
			break
		}
		if next == at && first > 0 || first > next { // what came before is overwritten
			out.Reaches = time.Unix(0, records[0].when)
		}
		next = first + uint64(n)
		for i := range records[:n] {
			if v := (view{record: records[i], o: o}); v.when >= since.UnixNano() {
				v.recall(&out, see)
			}
		}
	}
	return out
}

func (v *view) recall(out *Recollection, see func(Recalled)) {
	switch {
	case v.part == lost:
		out.Lost += uint64(v.lost)
	case v.part == drop && !byPolicy(&v.event):
		out.Apart++
	case (v.part == drop || v.part == trace) && v.ofConnection():
		see(v.recalled())
	}
}

// ofConnection reports whether it is known who opened the packet's connection.
func (v *view) ofConnection() bool {
	if v.event.Family == 0 {
		return false
	}
	return bpf.EventKind(v.event.Kind) != bpf.EventPacket || v.reply() || v.event.Flags != 0
}

func (v *view) recalled() Recalled {
	from, to := sender, receiver
	port := bpf.Host(v.event.Dport)
	if v.reply() {
		from, to = receiver, sender
		port = bpf.Host(v.event.Sport)
		switch v.event.Proto { // an echo reply was asked for by an echo request
		case protoICMP:
			port = 8
		case protoICMPv6:
			port = 128
		}
	}
	return Recalled{When: time.Unix(0, v.when), From: v.recalledEnd(from), To: v.recalledEnd(to), Proto: v.event.Proto,
		FromPort: v.port(from), Port: port, Denied: v.part == drop}
}

func (v *view) recalledEnd(end int) RecalledEnd {
	out := RecalledEnd{Addr: v.addr(end), Identity: v.identity(end)}
	if p := v.ends[end]; p != nil {
		out.Endpoint, out.Pod, out.Workload = p.endpoint, p.pod, p.workload
	}
	return out
}
