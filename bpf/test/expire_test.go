package bpftest

import (
	"net/netip"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"weir/bpf"
)

// expire runs the program with some keys and returns its output.
func (n *node) expire(t *testing.T, in bpf.CTExpire, keys ...bpf.CTKey) bpf.CTExpire {
	t.Helper()
	in.Count = uint32(len(keys))
	copy(in.Keys[:], keys)
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&in)), unsafe.Sizeof(in))
	data := append(make([]byte, 14), raw...)
	o := ebpf.RunOptions{Data: data, DataOut: make([]byte, len(data)+64)}
	verdict, err := n.programs[bpf.ProgExpire].Run(&o) // wherever this thread is
	if err != nil || verdict != 0 || len(o.DataOut) != len(data) {
		t.Fatalf("expire: verdict %d, %d octets, %v", verdict, len(o.DataOut), err)
	}
	return *(*bpf.CTExpire)(unsafe.Pointer(&o.DataOut[14]))
}

// Each state has a timeout of its own, to the tick.
func TestIdleConnectionsGoAfterTheTimeoutOfTheirState(t *testing.T) {
	n := filled(t, config())
	// Far apart: the clock ticks on while the test runs.
	timeouts := bpf.CTExpire{TCPNew: 10_000_000, TCPEstablished: 20_000_000, TCPClosing: 30_000_000, UDPNew: 40_000_000, UDPEstablished: 50_000_000, ICMP: 60_000_000}
	const slack = 1_000_000
	fin := uint8(bpf.CTFinOriginal | bpf.CTFinReply)
	for _, f := range families {
		for name, c := range map[string]struct {
			proto, flags uint8
			timeout      uint32
		}{
			"TCP, no answer":                {unix.IPPROTO_TCP, 0, timeouts.TCPNew},
			"TCP, answered":                 {unix.IPPROTO_TCP, uint8(bpf.CTReplied), timeouts.TCPNew},
			"TCP, established":              {unix.IPPROTO_TCP, uint8(bpf.CTReplied | bpf.CTEstablished), timeouts.TCPEstablished},
			"TCP, one end done":             {unix.IPPROTO_TCP, uint8(bpf.CTReplied | bpf.CTEstablished | bpf.CTFinOriginal), timeouts.TCPEstablished},
			"TCP, the other done":           {unix.IPPROTO_TCP, uint8(bpf.CTReplied | bpf.CTEstablished | bpf.CTFinReply), timeouts.TCPEstablished},
			"TCP, both done":                {unix.IPPROTO_TCP, uint8(bpf.CTReplied|bpf.CTEstablished) | fin, timeouts.TCPClosing},
			"TCP, both done, not answered":  {unix.IPPROTO_TCP, fin, timeouts.TCPClosing},
			"TCP, reset":                    {unix.IPPROTO_TCP, uint8(bpf.CTReset), timeouts.TCPClosing},
			"UDP":                           {unix.IPPROTO_UDP, 0, timeouts.UDPNew},
			"UDP, answered":                 {unix.IPPROTO_UDP, uint8(bpf.CTReplied), timeouts.UDPEstablished},
			"SCTP":                          {unix.IPPROTO_SCTP, 0, timeouts.UDPNew},
			"SCTP, answered":                {unix.IPPROTO_SCTP, uint8(bpf.CTReplied), timeouts.UDPEstablished},
			"a protocol without ports":      {47, 0, timeouts.UDPNew},
			"ping":                          {uint8(f.icmp()), 0, timeouts.ICMP},
			"ping, answered":                {uint8(f.icmp()), uint8(bpf.CTReplied), timeouts.ICMP},
			"TCP's flags on another":        {unix.IPPROTO_UDP, fin | uint8(bpf.CTReset), timeouts.UDPNew},
			"established is TCP's business": {unix.IPPROTO_UDP, uint8(bpf.CTEstablished), timeouts.UDPNew},
		} {
			n.forget(t)
			now := n.expire(t, timeouts).Now
			old := bpf.CTKey{A: bpf.AddrFrom(f.pod), B: bpf.AddrFrom(f.peer), PortA: 1, Proto: c.proto}
			young := old
			young.PortA = 2
			ahead := old // used after the clock was read, by another CPU
			ahead.PortA = 3
			n.put(t, n.table, old, bpf.CTEntry{Stamp: 1, Flags: c.flags, Seen: now - c.timeout - slack})
			n.put(t, n.table, young, bpf.CTEntry{Stamp: 1, Flags: c.flags, Seen: now - c.timeout + slack})
			n.put(t, n.table, ahead, bpf.CTEntry{Stamp: 1, Flags: c.flags, Seen: now + slack})
			if got := n.expire(t, timeouts, old, young, ahead).Count; got != 0 {
				t.Errorf("%s, %s: the first time %d deleted, want none", f.name, name, got)
			}
			if got := n.expire(t, timeouts, old, young, ahead).Count; got != 1 {
				t.Errorf("%s, %s: %d deleted, want one", f.name, name, got)
			}
			left := n.entries(t)
			_, goneOld := left[old]
			_, keptYoung := left[young]
			_, keptAhead := left[ahead]
			if goneOld || !keptYoung || !keptAhead {
				t.Errorf("%s, %s: left are %v", f.name, name, left)
			}
		}
	}
}

// The agent has read the table, and then a packet came.
func TestConnectionUsedSinceItWasReadStays(t *testing.T) {
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		p := f.from(f.peer)
		n.want(t, "the opener", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		k, e := n.entry(t)
		idle := e
		idle.Seen -= 1000
		n.put(t, n.table, k, idle)
		n.want(t, "a packet", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		if got := n.expire(t, bpf.CTExpire{UDPNew: 900}, k).Count; got != 0 {
			t.Errorf("%d deleted", got)
		}
		_, e = n.entry(t)
		e.Seen -= 1000
		n.put(t, n.table, k, e)
		n.want(t, "a reply", bpf.ProgFromPod, p.reply(), bpf.ReasonToEndpoint)
		if got := n.expire(t, bpf.CTExpire{UDPNew: 900, UDPEstablished: 900}, k).Count; got != 0 {
			t.Errorf("%d deleted", got)
		}
		_, e = n.entry(t)
		e.Seen -= 1000
		n.put(t, n.table, k, e)
		idleNow := bpf.CTExpire{UDPNew: 900, UDPEstablished: 900}
		if got := n.expire(t, idleNow, k).Count; got != 0 {
			t.Errorf("%d deleted at once", got)
		}
		if _, e = n.entry(t); e.Stamp != 0 {
			t.Errorf("the idle one holds: %v", e)
		}
		n.want(t, "a reply", bpf.ProgFromPod, p.reply(), bpf.ReasonToEndpoint)
		_, e = n.entry(t)
		if e.Stamp == 0 || e.Packets != [2]uint32{2, 2} {
			t.Errorf("after a packet the idle one is %v, want it to hold and to have counted all", e)
		}
		e.Seen -= 1000
		n.put(t, n.table, k, e)
		n.expire(t, idleNow, k)
		if got := n.expire(t, idleNow, k).Count; got != 1 {
			t.Errorf("%d deleted, want the idle one", got)
		}
		n.noEntries(t, "the idle one is gone")
	})
}

func TestAsManyConnectionsExpireAsAreNamed(t *testing.T) {
	n := filled(t, config())
	now := n.expire(t, bpf.CTExpire{}).Now
	var keys []bpf.CTKey
	for port := range uint16(bpf.CTExpireMax) + 10 {
		k := bpf.CTKey{A: bpf.AddrFrom(netip.MustParseAddr("10.0.1.1")), B: bpf.AddrFrom(netip.MustParseAddr("10.0.1.2")), PortA: port, Proto: udp}
		keys = append(keys, k)
		n.put(t, n.table, k, bpf.CTEntry{Seen: now - 5000})
	}
	keys[3].PortB = 9 // is not in the table
	if got := n.expire(t, bpf.CTExpire{UDPNew: 100}, keys[:bpf.CTExpireMax]...).Count; got != uint32(bpf.CTExpireMax)-1 {
		t.Errorf("%d deleted, want %d", got, bpf.CTExpireMax-1)
	}
	if got := len(n.entries(t)); got != 11 {
		t.Errorf("%d left, want 11", got)
	}
}

// A packet that comes in the very moment in which its idle connection is deleted
// is not forgotten: it finds the entry and keeps it, or makes it anew.
func TestConnectionUsedWhileItIsDeletedIsThere(t *testing.T) {
	const rounds = 8000
	n := filled(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		p := f.from(f.peer)
		n.want(t, "the opener", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		k, e := n.entry(t)
		e.Stamp, e.Seen = 0, e.Seen-100000
		first := 0
		for round := range rounds {
			n.put(t, n.table, k, e)
			start, used := make(chan struct{}), make(chan error, 1)
			go func() {
				<-start
				_, err := n.run(bpf.ProgFromPod, skb{Ifindex: usualDevice(bpf.ProgFromPod)}, p.bytes())
				used <- err
			}()
			close(start)
			for range round % 30 { // the two meet at another moment each time
				n.expire(t, bpf.CTExpire{})
			}
			deleted := n.expire(t, bpf.CTExpire{UDPNew: 900, UDPEstablished: 900}, k).Count
			if err := <-used; err != nil {
				t.Fatal(err)
			}
			first += int(1 - deleted)
			var left bpf.CTEntry
			if err := n.table.Lookup(&k, &left); err != nil {
				t.Fatalf("round %d: a packet came, and its connection is gone", round)
			}
		}
		if _, err := n.count(); err != nil { // nobody else is to count these
			t.Fatal(err)
		}
		t.Logf("the packet was first %d times of %d", first, rounds)
		if first == 0 || first == rounds {
			t.Errorf("the packet was first %d times of %d: this test shows nothing", first, rounds)
		}
	})
}

// The two entries of a translated connection live as long as either is used, and
// end when both ends have ended.
func TestEntriesOfATranslatedConnectionGoTogether(t *testing.T) {
	n := serviceNode(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		n.offer(t, f, 0, peerBackend)
		p := f.asks(unix.IPPROTO_TCP)
		back := p.destination(f.peer, 8080).reply().to(peerMAC, peerGW).then("SA")
		n.want(t, "SYN", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		n.sendFrame(t, bpf.ProgFromPod, device(peerID), back.bytes())
		n.want(t, "ACK", bpf.ProgFromPod, p.then("A"), bpf.ReasonToEndpoint)
		limits := bpf.CTExpire{TCPNew: 900, TCPEstablished: 5000, TCPClosing: 300, UDPNew: 1, UDPEstablished: 1}
		age := func(forward, reverse uint32) (keys []bpf.CTKey) {
			for k, e := range n.entries(t) {
				e.Seen = n.expire(t, limits).Now - reverse
				if _, ok := e.Forward(); ok {
					e.Seen += reverse - forward
				}
				n.put(t, n.table, k, e)
				keys = append(keys, k)
			}
			return keys
		}
		twice := func(keys []bpf.CTKey) (deleted uint32) {
			n.expire(t, limits, keys...)
			return n.expire(t, limits, keys...).Count
		}
		if got := twice(age(4000, 4000)); got != 0 {
			t.Errorf("established, idle for less than its timeout: %d deleted", got)
		}
		if got := twice(age(6000, 10)); got != 0 {
			t.Errorf("its answers still come: %d deleted", got)
		}
		if got := twice(age(10, 6000)); got != 0 {
			t.Errorf("its opener still sends: %d deleted", got)
		}
		n.want(t, "FIN", bpf.ProgFromPod, p.then("FA"), bpf.ReasonToEndpoint)
		if got := twice(age(400, 400)); got != 0 {
			t.Errorf("one end is done: %d deleted", got)
		}
		n.sendFrame(t, bpf.ProgFromPod, device(peerID), back.then("FA").bytes())
		if got := twice(age(400, 400)); got != 2 {
			t.Errorf("both ends are done: %d deleted, want both entries", got)
		}
		n.noEntries(t, "both")
	})
}

// A sender of datagrams that gets other backends leaves no entries behind.
func TestAnswersEntryOfALeftBackendExpiresWhileItsOpenerGoesOn(t *testing.T) {
	n := serviceNode(t, config())
	perFamily(t, n, func(t *testing.T, f family) {
		row := uint32(10 + f.pick(0, 1))
		n.add(t, service{id: 90 + row, at: at(vip[f.v6], servicePort), proto: unix.IPPROTO_UDP, first: 16 * 90, backends: []uint32{row}})
		p := f.asks(unix.IPPROTO_UDP)
		for i, a := range []netip.Addr{f.peer, f.remote} {
			n.backend(t, row, uint32(7+i), at(a, 8080), 0)
			n.send(t, bpf.ProgFromPod, p)
		}
		if got := len(n.entries(t)); got != 3 {
			t.Fatalf("%d entries, want that of the opener and one of each backend's answers", got)
		}
		limits := bpf.CTExpire{UDPNew: 900, UDPEstablished: 900}
		now := n.expire(t, limits).Now
		var keys []bpf.CTKey
		for k, e := range n.entries(t) {
			keys = append(keys, k)
			if _, ok := e.Reverse(); ok && (k.A == bpf.AddrFrom(f.peer) || k.B == bpf.AddrFrom(f.peer)) {
				e.Seen = now - 100_000
				n.put(t, n.table, k, e)
			}
		}
		n.expire(t, limits, keys...)
		if got := n.expire(t, limits, keys...).Count; got != 1 {
			t.Errorf("%d deleted, want the answers' entry of the first backend", got)
		}
	})
}
