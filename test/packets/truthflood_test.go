package packets

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/api/flow"
	"weir/bpf"
	"weir/datapath/link/linktest"
)

// At a high rate the flows are the same truth, but for what the counters of loss say is
// missing: of every packet that is one event there are all flows, or it is counted.
func TestFlowsAreTheTruthAtAHighRate(t *testing.T) {
	const rate = 40000                // packets a second; each is an event on both nodes, or on the first
	packets, _ := truthSize(t, 50000) // more than the ring of events has room for
	tr := raiseTruth(t, "vxlan")
	tr.prepareFlood(t)
	for _, x := range []struct {
		name   string
		stands bool // the agent of n2, until all of them are sent
	}{{"while both agents read", false}, {"while one stands still", true}} {
		t.Run(x.name, func(t *testing.T) {
			before := map[string]uint64{"n1": tr.eventsLost(t, "n1"), "n2": tr.eventsLost(t, "n2")}
			resume := func() {}
			if x.stands {
				resume = tr.stopAgent(t, "n2")
			}
			tr.opened = nil
			since := time.Now()
			spent := map[string]time.Duration{"n1": tr.agentTime(t, "n1"), "n2": tr.agentTime(t, "n2")}
			took := tr.flood(t, packets, rate)
			for node, before := range spent {
				t.Logf("%s: its agent took %.0f %% of a core", node, 100*(tr.agentTime(t, node)-before).Seconds()/took.Seconds())
			}
			resume()
			for node, lost := range before {
				missing := tr.missing(t, node, since, lost)
				if x.stands && node == "n2" && packets >= 50000 && missing == 0 {
					t.Errorf("%s: nothing is lost of what its ring has no room for", node)
				}
				t.Logf("%s: %d packets, %.0f a second; %d events lost and counted", node, packets, float64(packets)/took.Seconds(), missing)
			}
		})
	}
}

// eventsLost is what the programs of a node have counted as lost.
func (c *cluster) eventsLost(t *testing.T, node string) uint64 {
	t.Helper()
	now := c.counters(t, node)
	return now[at(bpf.PlaceNone, bpf.ReasonEventLost)] + now[at(bpf.PlaceNone, bpf.ReasonTraceLost)]
}

// agentTime is the CPU time that an agent has taken.
func (c *cluster) agentTime(t *testing.T, node string) (sum time.Duration) {
	t.Helper()
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", c.node(t, node).Agent.PID)) // the pattern is right
	for _, file := range threads {
		text, err := os.ReadFile(file)
		var ns int64
		if _, bad := fmt.Sscan(string(text), &ns); err == nil && bad == nil { // else the thread has ended
			sum += time.Duration(ns)
		}
	}
	return sum
}

// stopAgent returns when no thread of an agent runs, with what lets it go on.
func (c *cluster) stopAgent(t *testing.T, node string) (resume func()) {
	t.Helper()
	pid := c.node(t, node).Agent.PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume = func() { syscall.Kill(pid, syscall.SIGCONT) } // fails when it is gone
	t.Cleanup(resume)
	if !await(patience, func() bool { return stands(pid) }) {
		t.Fatal("the agent goes on although it was told to stop")
	}
	return resume
}

// missing compares the flows of a node with what was opened, and returns how many events
// are not there, which is what both counters have to say.
func (tr *truth) missing(t *testing.T, node string, since time.Time, before uint64) (events uint64) {
	t.Helper()
	counted, told := tr.settled(t, node, since, before)
	got := bag{}
	tr.eachFlow(t, node, since, nil, func(f *flow.Flow) {
		if !isChatter(f) {
			got[words(f).String()]++
		}
	}, func(*flow.LostEvent) {})
	partly := 0
	for _, o := range tr.opened {
		want := map[string]bag{"n1": {}, "n2": {}}
		if err := tr.want(o, want); err != nil {
			t.Fatal(err)
		}
		there := 0
		for text, n := range want[node] {
			there += min(got[text], n)
			if got[text] -= n; got[text] <= 0 {
				delete(got, text)
			}
		}
		switch {
		case there == 0 && len(want[node]) > 0:
			events++
		case there != size(want[node]):
			partly++
		}
	}
	if events != counted || told != counted || partly+len(got) > 0 {
		t.Errorf("%s: of %d packets %d events are missing, %d are counted as lost, %d are told to be; %d packets have some of their flows; %d flows are of none: %.10v",
			node, len(tr.opened), events, counted, told, partly, size(got), slices.Collect(maps.Keys(got)))
	}
	return events
}

// settled waits until a node's flows are as many as they were for a while, and what is
// lost is told, and returns how many events are counted as lost and how many are told.
func (tr *truth) settled(t *testing.T, node string, since time.Time, before uint64) (counted, told uint64) {
	t.Helper()
	last, same := uint64(0), 0
	await(4*patience, func() bool {
		now := tr.flowsSeen(t, node)
		if same++; now != last {
			same = 0
		}
		last = now
		if same < 20 {
			return false
		}
		counted, told = tr.eventsLost(t, node)-before, tr.flowsLost(t, node, since)
		return told == counted
	})
	return counted, told
}

// datagrams are those of one pair, each with ports of its own.
type datagrams struct {
	intent
	src, dst netip.Addr
	ports    []uint16 // of the destination
	packet   []byte   // with an IP header; its ports are written anew each time
	at       int      // where they are
	sum      uint32   // of what else the checksum is about
	fd       int
	sent     int
}

const (
	floodFirst = 1024
	floodPorts = 60000 // source ports, after which it is another destination port
)

// prepareFlood makes what sends datagrams to a pod without policies, to one whose policy
// denies them, and to the world, which the sender's policy denies.
func (tr *truth) prepareFlood(t *testing.T) {
	t.Helper()
	for _, is4 := range []bool{true, false} {
		free, denied := tr.datagrams(t, "x", "d", is4, portOpen, portOther, portDenied), tr.datagrams(t, "x", "c", is4, portOther, portDenied)
		tr.floods = append(tr.floods, free, denied, free, tr.datagrams(t, "a", "world", is4, portOther, portDenied), free)
	}
}

// flood sends datagrams, each of which opens a connection.
func (tr *truth) flood(t *testing.T, packets, rate int) time.Duration {
	t.Helper()
	begin := time.Now()
	for n := range packets {
		if n%200 == 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / time.Duration(rate))))
		}
		o, err := tr.floods[n%len(tr.floods)].next()
		if err != nil {
			t.Fatal(err)
		}
		tr.opened = append(tr.opened, o)
	}
	return time.Since(begin)
}

func (tr *truth) datagrams(t *testing.T, from, to string, is4 bool, ports ...uint16) *datagrams {
	t.Helper()
	d := &datagrams{intent: intent{from: from, to: to, proto: "udp", is4: is4, end: endSilent, times: 1}, src: tr.addr(t, from, is4), dst: tr.addr(t, to, is4), ports: ports}
	const payload = 2
	length := uint16(8 + payload)
	family := unix.AF_INET
	if is4 {
		d.at, d.packet = 20, make([]byte, 20+int(length))
		d.packet[0], d.packet[8], d.packet[9] = 0x45, 64, 17
		copy(d.packet[12:], d.src.AsSlice())
		copy(d.packet[16:], d.dst.AsSlice())
	} else {
		family = unix.AF_INET6
		d.at, d.packet = 40, make([]byte, 40+int(length))
		d.packet[0], d.packet[6], d.packet[7] = 0x60, 17, 64
		binary.BigEndian.PutUint16(d.packet[4:], length)
		copy(d.packet[8:], d.src.AsSlice())
		copy(d.packet[24:], d.dst.AsSlice())
	}
	binary.BigEndian.PutUint16(d.packet[d.at+4:], length)
	d.packet[d.at+8] = 's'
	pseudo := append(append(append([]byte{0, 17}, d.src.AsSlice()...), d.dst.AsSlice()...), byte(length>>8), byte(length))
	d.sum = uint32(^onesComplement(append(pseudo, d.packet[d.at:]...)))
	err := linktest.Inside(tr.netns(t, from), func() (err error) {
		if d.fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil || is4 {
			return err
		}
		return unix.SetsockoptInt(d.fd, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(d.fd) })
	return d
}

// next sends one more.
func (d *datagrams) next() (*opened, error) {
	from, to := uint16(floodFirst+d.sent%floodPorts), d.ports[d.sent/floodPorts] // beyond the last the test asks for too many
	d.sent++
	binary.BigEndian.PutUint16(d.packet[d.at:], from)
	binary.BigEndian.PutUint16(d.packet[d.at+2:], to)
	sum := d.sum + uint32(from) + uint32(to)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum = 0xffff &^ sum; sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(d.packet[d.at+6:], uint16(sum))
	o := &opened{intent: d.intent, src: netip.AddrPortFrom(d.src, from), dst: netip.AddrPortFrom(d.dst, to)}
	o.came = []packetOf{{}}
	return o, unix.Sendto(d.fd, d.packet, 0, sockaddr(netip.AddrPortFrom(d.dst, 0)))
}
