package packets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weir/api/agent"
	"weir/bpf"
	"weir/lab"
)

// watching is what an agent tells of one pod's packets, from the moment that it
// listens.
type watching struct {
	mu   sync.Mutex
	all  []agent.Event
	lost agent.MonitorLoss
}

// watch follows the events of a node between two addresses.
func (c *cluster) watch(t *testing.T, node string, of string) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{}
	began, ended := make(chan struct{}), make(chan error, 1)
	client := agent.NewClient(c.node(t, node).Socket())
	go func() {
		ended <- agent.Stream(ctx, client, agent.PathMonitor+"?"+url.Values{"related": {of}}.Encode(), func(l agent.MonitorLine) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			switch {
			case l.Begin != nil:
				close(began)
			case l.Event != nil:
				w.all = append(w.all, *l.Event)
			case l.Lost != nil:
				w.lost.Unread += l.Lost.Unread
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, io.EOF) {
			t.Errorf("events of %s: %v", node, err)
		}
	})
	select {
	case <-began:
	case <-time.After(patience):
		t.Fatalf("%s: nothing about events within %s", node, patience)
	}
	return w
}

// between are the events of one protocol between two addresses, in words.
func (w *watching) between(proto string, one, other netip.Addr) (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.all {
		src, dst := hostOf(e.Source), hostOf(e.Dest)
		if e.Proto != proto || !(src == one && dst == other || src == other && dst == one) {
			continue
		}
		out = append(out, fmt.Sprintf("%s %s %s %s->%s %s", e.Kind, e.State, e.TCPFlags, short(e.SourceName), short(e.DestName), e.To))
	}
	return out
}

func hostOf(end string) netip.Addr {
	if a, err := netip.ParseAddrPort(end); err == nil {
		return a.Addr()
	}
	a, _ := netip.ParseAddr(end)
	return a
}

func short(pod string) string { return strings.TrimPrefix(pod, "default/") }

// Seed row B11: a connection is told of when it begins, is answered and ends, on
// each node that it crosses, whatever its packets.
func TestRowB11EventsAreWhatConnectionsDo(t *testing.T) {
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		elsewhere, back := "overlay", "overlay"
		if c.spec.Mode == "native" {
			elsewhere, back = "network", "network"
		}
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			a, b, d := c.addr(t, "a", is4), c.addr(t, "b", is4), c.addr(t, "c", is4)
			here, there := c.watch(t, "n1", "default/a"), c.watch(t, "n2", "default/c")
			for _, to := range []string{"b", "c"} {
				if err := c.exchange(t, "a", to, is4, 1<<20); err != nil {
					t.Fatal(err)
				}
			}
			life := func(from, to, way, back string) []string {
				return []string{"new new SYN " + from + "->" + to + " " + way, "going reply SYN,ACK " + to + "->" + from + " " + back,
					"going established FIN,ACK " + from + "->" + to + " " + way, "going reply FIN,ACK " + to + "->" + from + " " + back}
			}
			here.wantEnds(t, "to a pod of the node", a, b, life("a", "b", "endpoint", "endpoint"))
			here.wantEnds(t, "to a pod elsewhere", a, d, life("a", "c", elsewhere, "endpoint"))
			there.wantEnds(t, "from a pod elsewhere", a, d, life("a", "c", "endpoint", back))
		})
	})
}

// wantEnds is wantTold for a connection whose ends may close in any order, with or
// without data in their last packets.
func (w *watching) wantEnds(t *testing.T, what string, one, other netip.Addr, want []string) {
	t.Helper()
	sorted := func() []string {
		got := w.between("TCP", one, other)
		for i := range got {
			got[i] = strings.Replace(got[i], "FIN,PSH,ACK", "FIN,ACK", 1)
		}
		// A mark of time may fall within the life of the connection.
		if mark := slices.IndexFunc(got, func(s string) bool { return !strings.Contains(s, "SYN") && !strings.Contains(s, "FIN") }); mark >= 0 {
			got = slices.Delete(got, mark, mark+1)
		}
		slices.Sort(got)
		return got
	}
	slices.Sort(want)
	await(patience, func() bool { return len(sorted()) >= len(want) })
	await(100*time.Millisecond, func() bool { return len(sorted()) > len(want) })
	if got := sorted(); !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// Seed row G4: without aggregation there is one event for each packet.
func TestRowG4LevelsSayHowManyPacketsAreToldOf(t *testing.T) {
	for level, want := range map[string]int{"none": 20, "low": 20, "medium": 2, "maximum": 1, "off": 0} {
		t.Run(level, func(t *testing.T) {
			s := lab.Spec{Name: prefix + "events", Nodes: lab.Nodes(1), Agent: map[string]any{"health": map[string]any{"enabled": false}}}
			if level == "off" {
				s.Agent["hubble"] = map[string]any{"enabled": false}
			} else {
				s.Agent["bpf"] = map[string]any{"monitorAggregation": level, "monitorInterval": "1h"}
			}
			c := temporary(t, s, map[string]string{"a": "n1", "b": "n1"})
			a, b := c.addr(t, "a", true), c.addr(t, "b", true)
			w := c.watch(t, "n1", "default/a")
			c.run(t, "a", "ping", "-c", "10", "-i", "0.01", "-q", b.String())
			await(patience, func() bool { return len(w.between("ICMPv4", a, b)) >= want })
			await(100*time.Millisecond, func() bool { return len(w.between("ICMPv4", a, b)) > want })
			if got := w.between("ICMPv4", a, b); len(got) != want {
				t.Errorf("%d events of ten pings and their answers, want %d: %q", len(got), want, got)
			}
		})
	}
}

// Seed row G2: details are logged where they are asked for, and only there.
func TestRowG2DebugLinesAppear(t *testing.T) {
	for _, debug := range []bool{false, true} {
		s := lab.Spec{Name: prefix + "events", Nodes: lab.Nodes(1), Agent: map[string]any{"debug": map[string]any{"enabled": debug}}}
		t.Run(fmt.Sprint(debug), func(t *testing.T) {
			c := temporary(t, s, map[string]string{"a": "n1"})
			file := filepath.Join(c.node(t, "n1").Dir, "agent.log")
			var log []byte
			await(patience, func() bool {
				log, _ = os.ReadFile(file)
				return strings.Contains(string(log), "DEBUG")
			})
			if got := strings.Contains(string(log), "DEBUG"); got != debug || len(log) == 0 {
				t.Errorf("debug.enabled %v: lines of it %v in %d octets", debug, got, len(log))
			}
		})
	}
}

// Seed row B11: an agent that does not read costs events, and nothing else; each one
// that is lost is counted.
func TestRowB11AgentThatStandsStillLosesEventsAndNoPackets(t *testing.T) {
	c := on(t, vxlan)
	n := c.node(t, "n1")
	eventLost := at(bpf.PlaceNone, bpf.ReasonEventLost)
	unroutable := at(bpf.PlaceFromPod, bpf.DropUnroutable)
	before, seen, since := c.counters(t, "n1"), c.lastDrop(t), time.Now()
	if err := syscall.Kill(n.Agent.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awake := func() {
		if err := syscall.Kill(n.Agent.PID, syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	resume := sync.OnceFunc(awake)
	t.Cleanup(resume)
	// One of its threads has to run before all of them stand.
	if !await(patience, func() bool { return stands(n.Agent.PID) }) {
		t.Fatal("the agent goes on although it was told to stop")
	}
	const flood = 35000
	c.floodNobody(t, "a", flood)
	for _, is4 := range []bool{true, false} {
		if err := c.exchange(t, "a", "c", is4, 1<<20); err != nil {
			t.Errorf("while the agent stands still: %v", err)
		}
	}
	resume()
	c.wantCount(t, "n1", before, unroutable, flood)
	await(patience, func() bool { return c.lastDrop(t) > seen }) // the agent is back
	lost := c.counters(t, "n1")[eventLost] - before[eventLost]
	if lost == 0 {
		t.Fatalf("no event was lost of %d: the ring is larger than this test believes", flood)
	}
	// Readers of flows are told, too, before another test can take it for its own loss.
	if !await(patience, func() bool { return c.flowsLost(t, "n1", since) == lost }) {
		t.Errorf("flows tell that %d events are lost, want %d", c.flowsLost(t, "n1", since), lost)
	}
	// In a burst not every drop is explained, but each has its number: the next one shows
	// how many there were.
	told := uint64(0)
	await(patience, func() bool {
		c.floodNobody(t, "a", 1)
		again := c.lastDrop(t) - seen
		done := again == told+1
		told = again
		return done
	})
	told -= c.counters(t, "n1")[unroutable] - before[unroutable] - flood
	// The two connections have four events in the same ring, lost or not.
	if told+lost < flood || told+lost > flood+4 {
		t.Errorf("%d drops were told of and %d events lost, of %d drops", told, lost, flood)
	}
}

// stands reports whether every thread of a process is stopped.
func stands(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, file := range threads {
		stat, err := os.ReadFile(file)
		_, state, ok := strings.Cut(string(stat), ") ")
		if err != nil || !ok || state[0] != 'T' {
			return false
		}
	}
	return len(threads) > 0
}

// lastDrop is the number of the latest drop that n1 has told of.
func (c *cluster) lastDrop(t *testing.T) uint64 {
	t.Helper()
	var all []agent.Drop
	c.get(t, "n1", agent.PathDrops, &all)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].Seq
}

// floodNobody sends as many datagrams to an address of the pod CIDR that nobody has.
func (c *cluster) floodNobody(t *testing.T, from string, datagrams int) {
	t.Helper()
	nobody := c.addr(t, from, true).As4()
	nobody[3] = 250
	conn, err := dial(c.netns(t, from), "udp", netip.AddrPortFrom(netip.AddrFrom4(nobody), 9).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range datagrams {
		if _, err := conn.Write([]byte("x")); err != nil && !errors.Is(err, syscall.ENOBUFS) && !isRefused(err) {
			t.Fatal(err)
		}
	}
}

func isRefused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (errors.Is(op.Err, syscall.ECONNREFUSED) || errors.Is(op.Err, syscall.EHOSTUNREACH))
}
