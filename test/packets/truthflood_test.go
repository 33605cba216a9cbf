package packets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/api/flow"
	"weir/bpf"
	"weir/datapath/link/linktest"
)

// The rates of this test. Each packet is an event on its own node, and two of five are one on
// the other, too.
const (
	promised = 100000 // events a second of a node, below which none is lost
	unpaced  = 1 << 30
	bursts   = 100     // packets that are sent in one go
	leastOf  = 1. / 2  // of the rate that the machine can send, what has to be reached
	attempts = 3       // to reach it without a loss, on a machine that has other things to do
	slack    = 9. / 10 // of that rate, what is asked for: a sender that never waits keeps none
)

// At a high rate the flows are the same truth. Up to 100,000 events a second nothing is
// missing; beyond that, and of an agent that stands still, of every packet that is one event
// there are all flows, or it is counted.
func TestFlowsAreTheTruthAtAHighRate(t *testing.T) {
	packets, _ := truthSize(t, 100000) // more than the ring of events has room for
	tr := raiseTruth(t, "vxlan")
	tr.prepareFlood(t)
	can := math.Inf(1)
	t.Run("while one stands still", func(t *testing.T) {
		told := tr.floodAndCompare(t, packets, unpaced, func() (resume func()) { return tr.stopAgent(t, "n2") })
		if told["n2"].missing == 0 && told["n2"].events >= 40000 {
			t.Error("n2: nothing is lost of what its ring has no room for")
		}
		can = told["n1"].rate
	})
	t.Run("while both agents read", func(t *testing.T) {
		rate := min(promised, slack*can)
		if rate < promised {
			t.Logf("this machine is too slow for %d events a second: it has sent %.0f packets a second, and %.0f are asked for", promised, can, rate)
		}
		reached, missing := 0., uint64(1)
		for n := 0; n < attempts && (reached < leastOf*rate || missing > 0) && !t.Failed(); n++ {
			told := tr.floodAndCompare(t, packets, rate, func() (resume func()) { return func() {} })
			reached, missing = told["n1"].rate, told["n1"].missing+told["n2"].missing
		}
		if missing > 0 { // each time: a machine that lets an agent wait for 300 ms now and then is not it
			t.Errorf("%d events are lost at %.0f a second: want none below %d", missing, reached, promised)
		}
		if reached < leastOf*rate {
			t.Errorf("%.0f events a second at most in %d floods; this machine has sent %.0f: that proves too little", reached, attempts, can)
		}
	})
}

// toldOf is what became of a flood on a node.
type toldOf struct {
	events, missing uint64
	rate            float64 // events a second
}

// floodAndCompare sends datagrams at a rate, while something may stand still, and compares
// each node's flows with what was sent.
func (tr *truth) floodAndCompare(t *testing.T, packets int, rate float64, stop func() (resume func())) map[string]toldOf {
	t.Helper()
	lost, spent := map[string]uint64{}, map[string]time.Duration{}
	for _, node := range []string{"n1", "n2"} {
		lost[node], spent[node] = tr.eventsLost(t, node), tr.agentTime(t, node)
	}
	resume, since := stop(), time.Now()
	took := tr.flood(t, packets, rate)
	for node, before := range spent {
		spent[node] = tr.agentTime(t, node) - before
	}
	resume()
	out := map[string]toldOf{}
	for node, before := range lost {
		x := tr.missing(t, node, since, before)
		x.rate = float64(x.events) / took.Seconds()
		t.Logf("%s: %d events in %s, %.0f a second; %d lost and counted; its agent took %.0f %% of a core meanwhile",
			node, x.events, took.Round(time.Millisecond), x.rate, x.missing, 100*spent[node].Seconds()/took.Seconds())
		out[node] = x
	}
	return out
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
// that is and how many are not there, which is what both counters have to say.
func (tr *truth) missing(t *testing.T, node string, since time.Time, before uint64) (x toldOf) {
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
		if len(want[node]) > 0 {
			x.events++
		}
		switch {
		case there == 0 && len(want[node]) > 0:
			x.missing++
		case there != size(want[node]):
			partly++
		}
	}
	if x.missing != counted || told != counted || partly+len(got) > 0 {
		t.Errorf("%s: of %d packets %d events are missing, %d are counted as lost, %d are told to be; %d packets have some of their flows; %d flows are of none: %.10v",
			node, len(tr.opened), x.missing, counted, told, partly, size(got), slices.Collect(maps.Keys(got)))
	}
	return x
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

// prepareFlood makes what sends datagrams to a pod without policies, to two whose policy denies
// them, one of them here and one on the other node, and to the world, which the sender's policy
// denies. Most are denied here, which costs least and so gives the most events.
func (tr *truth) prepareFlood(t *testing.T) {
	t.Helper()
	for _, is4 := range []bool{true, false} {
		world := tr.datagrams(t, "a", "world", is4, portOther, portDenied, portDenied+1, portDenied+2)
		tr.floods = append(tr.floods, []*datagrams{tr.datagrams(t, "x", "d", is4, portOpen, portOther, portDenied), world,
			tr.datagrams(t, "x", "c", is4, portOther, portDenied), tr.datagrams(t, "x", "b", is4, portOther, portDenied), world})
	}
}

// flood sends datagrams, each of which opens a connection: those of each family by a sender
// of its own, or one core would be the bound.
func (tr *truth) flood(t *testing.T, packets int, rate float64) time.Duration {
	t.Helper()
	begin, each := time.Now(), packets/len(tr.floods)
	sent, errs := make([][]*opened, len(tr.floods)), make([]error, len(tr.floods))
	var senders sync.WaitGroup
	for i, pairs := range tr.floods {
		senders.Go(func() { sent[i], errs[i] = sendAll(begin, pairs, each, rate/float64(len(tr.floods))) })
	}
	senders.Wait()
	took := time.Since(begin)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	tr.opened = slices.Concat(sent...)
	return took
}

// sendAll sends as many datagrams, of the pairs in turn. Who is late does not wait until it
// is where it should be.
func sendAll(begin time.Time, pairs []*datagrams, packets int, rate float64) ([]*opened, error) {
	sent := make([]*opened, 0, packets)
	for n := range packets {
		if n%bursts == 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(float64(n) / rate * float64(time.Second)))))
		}
		o, err := pairs[n%len(pairs)].next()
		if err != nil {
			return sent, err
		}
		sent = append(sent, o)
	}
	return sent, nil
}

// datagrams makes what sends from one pod to another end.
func (c *cluster) datagrams(t *testing.T, from, to string, is4 bool, ports ...uint16) *datagrams {
	t.Helper()
	d := &datagrams{intent: intent{from: from, to: to, proto: "udp", is4: is4, end: endSilent, times: 1}, src: c.addr(t, from, is4), dst: c.addr(t, to, is4), ports: ports}
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
	d.sumUp()
	err := linktest.Inside(c.netns(t, from), func() (err error) {
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

// sumUp is the checksum without what changes from one to the next.
func (d *datagrams) sumUp() {
	length := d.packet[d.at+4 : d.at+6]
	pseudo := append(append(append([]byte{0, 17}, d.src.AsSlice()...), d.dst.AsSlice()...), length...)
	d.sum = uint32(^onesComplement(append(pseudo, d.packet[d.at:]...)))
}

// toNobody makes another address of the node their destination, which no pod has.
func (d *datagrams) toNobody() {
	dst := d.dst.AsSlice()
	dst[len(dst)-1] = 250
	d.dst, _ = netip.AddrFromSlice(dst) // the length is right
	copy(d.packet[d.at-len(dst):], dst)
	d.sumUp()
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
