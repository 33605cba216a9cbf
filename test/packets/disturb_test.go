package packets

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/api/agent"
	"weir/api/observer"
	"weir/bpf"
	"weir/lab"
)

const (
	subscribers = 10000 // who want all flows of a node, of whom 256 are served with the idle ones
	idlers      = 64    // whose filters let nothing through
	floodRate   = 12000 // drops a second
	floodLeast  = 20000 // drops while the crowd is there, twice what the flows' ring has room for

	// MiB that an agent may grow by: beside requests that mean nothing, clients that vanish and
	// drops; beside readers that do not read, for each of whom there is a bounded queue, and as
	// much again until it is collected; and when all of it comes again.
	grownByNoise   = 48
	grownByReaders = 160
	grownAgain     = 32
)

// fromAOnly is what c and b take.
const fromAOnly = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-a-only, namespace: default}
spec:
  podSelector: {matchExpressions: [{key: app, operator: In, values: [b, c]}]}
  ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]
`

// Readers who do not read, more than there is room for; clients that are killed; requests and
// octets that mean nothing; and meanwhile a flood of drops, of policy and of what has no
// route. Beside that an established connection loses no record, the agent grows by no more
// than it says, and not again when all that comes again; it answers who asks well, and tells
// readers what they have missed.
func TestReadersAndFloodsDoNotDisturbTraffic(t *testing.T) {
	c := temporary(t, lab.Spec{Name: prefix + "disturb", Mode: "vxlan", Nodes: lab.Nodes(2), Agent: map[string]any{
		"health": map[string]any{"enabled": false}, "hubble": map[string]any{"eventBufferCapacity": 8192},
		// Marks of time are flows that only the clock decides of.
		"bpf": map[string]any{"monitorInterval": "1h"}}}, map[string]string{"a": "n1", "b": "n1", "x": "n1", "c": "n2"})
	if err := c.ApplyYAML(t.Context(), "policy.yaml", []byte(fromAOnly)).Err(); err != nil {
		t.Fatal(err)
	}
	probes := c.probes(t, "a", "c")
	f := c.prepareDrops(t)
	m := c.measure(t, "n1")
	var peaks []uint64
	var noise uint64
	for n := range 2 {
		begin, spent := time.Now(), c.agentTime(t, "n1")
		quiet := c.disturb(t, f, m)
		if n == 0 {
			noise = quiet // later there is what readers have left
		}
		peaks = append(peaks, m.peak.Swap(0))
		took := time.Since(begin)
		t.Logf("time %d: %s; the agent of n1 has %.0f MiB at most, %.0f before there are readers, %.0f before all of it; it took %.0f %% of a core", n+1, took.Round(time.Millisecond),
			mib(peaks[n]), mib(quiet), mib(m.before), 100*(c.agentTime(t, "n1")-spent).Seconds()/took.Seconds())
	}
	for _, p := range probes {
		p.wantAll(t, patience)
	}
	wantGrown(t, "beside noise and drops", noise, m.before, grownByNoise)
	wantGrown(t, "beside readers who do not read", peaks[0], m.before, grownByReaders)
	wantGrown(t, "the second time", peaks[1], peaks[0], grownAgain)
}

// wantGrown: no more MiB than most have come.
func wantGrown(t *testing.T, when string, now, before, most uint64) {
	t.Helper()
	if now > before+most<<20 {
		t.Errorf("%s the agent has %.0f MiB, %.0f before: want %d more at most", when, mib(now), mib(before), most)
	}
}

// disturb does all of it to the agent of n1, once, and returns what the agent had at most
// before the crowd came.
func (c *cluster) disturb(t *testing.T, f *dropFlood, m *memory) (noise uint64) {
	t.Helper()
	const node = "n1"
	before, there, lost := c.counters(t, node), c.counters(t, "n2"), c.eventsLost(t, node)
	f.sent = dropsSent{}
	goroutines := c.runtimeOf(t, node)["go_goroutines"]
	normal := c.readAlong(t, node)

	end := f.run(0)
	c.vanish(t, node, 20)
	c.askBogus(t, node, 50)
	c.noise(t, node, 1000)
	end(t)
	noise = m.peak.Load()

	w := c.gather(t, node, subscribers, idlers, 20)
	if len(w.served) != 256-idlers-1 || w.refused != subscribers-len(w.served) || len(w.monitors) != 16 || w.monitorsRefused != 4 {
		t.Errorf("%d readers are served and %d refused, %d follow events and %d are refused: want 191 and the others, 16 and 4",
			len(w.served), w.refused, len(w.monitors), w.monitorsRefused)
	}
	f.run(floodLeast)(t)
	c.wantFull(t, node)
	c.wantCount(t, node, before, at(bpf.PlaceFromPod, bpf.DropPolicy), f.sent.denied)
	c.wantCount(t, node, before, at(bpf.PlaceFromPod, bpf.DropUnroutable), f.sent.nowhere)
	c.wantCount(t, "n2", there, at(bpf.PlaceFromOverlay, bpf.DropPolicy), f.sent.far)
	t.Logf("%+v drops; %d events lost; %d readers served, %d refused", f.sent, c.eventsLost(t, node)-lost, len(w.served), w.refused)

	busy := c.runtimeOf(t, node)
	t.Logf("with all of them the agent has %.0f goroutines, a heap of %.0f MiB and stacks of %.0f", busy["go_goroutines"],
		busy["go_memstats_heap_inuse_bytes"]/(1<<20), busy["go_memstats_stack_inuse_bytes"]/(1<<20))

	seen := c.flowsSeen(t, node)
	now := func() uint64 { return c.flowsSeen(t, node) }
	for _, r := range w.served[:3] {
		w.wantTheRest(t, r, seen, now)
	}
	normal.wantAll(t, seen, now)
	w.leave()
	normal.end()
	c.wantAnswers(t, node)
	c.wantGone(t, node, goroutines)
	return noise
}

// dropsSent is how many packets were sent that are dropped: by policy on this node and on the
// other, and because they lead nowhere.
type dropsSent struct{ denied, far, nowhere uint64 }

// dropFlood sends them, from x, in both families.
type dropFlood struct {
	pairs []*datagrams
	sent  dropsSent
}

func (c *cluster) prepareDrops(t *testing.T) *dropFlood {
	t.Helper()
	f := &dropFlood{}
	for _, is4 := range []bool{true, false} {
		nowhere := c.datagrams(t, "x", "b", is4, 9)
		nowhere.toNobody()
		f.pairs = append(f.pairs, c.datagrams(t, "x", "b", is4, 9), c.datagrams(t, "x", "c", is4, 9), nowhere)
	}
	return f
}

// run sends at a pace, so many at least and until end is called.
func (f *dropFlood) run(least int) (end func(*testing.T)) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.send(ctx, least) }()
	return func(t *testing.T) {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

func (f *dropFlood) send(ctx context.Context, least int) error {
	begin := time.Now()
	counts := []*uint64{&f.sent.denied, &f.sent.far, &f.sent.nowhere}
	for n := 0; n < least || ctx.Err() == nil; n++ {
		if n%60 == 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / floodRate)))
		}
		d := f.pairs[n%len(f.pairs)]
		d.sent %= floodPorts
		if _, err := d.next(); err != nil {
			return fmt.Errorf("packet %d: %w", n, err)
		}
		*counts[n%len(counts)]++
	}
	return nil
}

// memory is what an agent has of it, looked at all the time.
type memory struct {
	before uint64
	peak   atomic.Uint64
}

func (c *cluster) measure(t *testing.T, node string) *memory {
	t.Helper()
	pid := c.node(t, node).Agent.PID
	m := &memory{before: residentOf(pid)}
	if m.before == 0 {
		t.Fatalf("what process %d has of memory is not known", pid)
	}
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-t.Context().Done():
				return
			case <-tick.C:
				m.peak.Store(max(m.peak.Load(), residentOf(pid)))
			}
		}
	}()
	return m
}

// residentOf is VmRSS, in octets; 0: there is no such process.
func residentOf(pid int) (octets uint64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if _, rest, ok := strings.Cut(string(text), "VmRSS:"); ok {
		fmt.Sscan(rest, &octets)
	}
	return octets << 10
}

// runtimeOf is what an agent's own metrics say of it.
func (c *cluster) runtimeOf(t *testing.T, node string) map[string]float64 {
	t.Helper()
	var e agent.Export
	c.get(t, node, agent.PathExport, &e)
	out := map[string]float64{}
	for line := range strings.Lines(e.Text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, "go_") {
			out[name], _ = strconv.ParseFloat(value, 64) // those of one word are numbers
		}
	}
	if out["go_goroutines"] == 0 {
		t.Fatalf("%s: how many goroutines there are is not told", node)
	}
	return out
}

// wantGone waits until nobody is served any more.
func (c *cluster) wantGone(t *testing.T, node string, before float64) {
	t.Helper()
	left := 0.
	if !await(2*patience, func() bool { left = c.runtimeOf(t, node)["go_goroutines"]; return left < before+20 }) {
		t.Errorf("%s: %.0f goroutines, %.0f before: somebody who has gone is served still", node, left, before)
	}
}

func mib(octets uint64) float64 { return float64(octets) / (1 << 20) }

// along is a reader as they should be.
type along struct {
	oldest, notAfter uint64
	told             atomic.Pointer[account]
	ended            chan error
	end              func()
}

// readAlong reads all flows of a node until end is called.
func (c *cluster) readAlong(t *testing.T, node string) *along {
	t.Helper()
	a := &along{oldest: c.oldestFlow(t, node), ended: make(chan error, 1)}
	client, end := c.observer(t, node)
	a.end = sync.OnceFunc(end)
	t.Cleanup(a.end)
	s, err := client.GetFlows(t.Context(), everything())
	var m *observer.GetFlowsResponse
	if err == nil {
		m, err = s.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	a.notAfter = c.oldestFlow(t, node)
	go func() {
		told := account{}
		for ; err == nil; m, err = s.Recv() {
			told.add(m)
			now := told
			a.told.Store(&now)
		}
		a.ended <- err
	}()
	return a
}

// wantAll waits until the reader has been told of so many records.
func (a *along) wantAll(t *testing.T, seen uint64, now func() uint64) {
	t.Helper()
	await(2*patience, func() bool { return a.notAfter+a.told.Load().records() >= seen || len(a.ended) > 0 })
	told := *a.told.Load()
	if a.notAfter+told.records() < seen || a.oldest+told.records() > now() || told.flows == 0 {
		t.Errorf("a reader that reads is told %+v of %d records", told, seen)
	}
	if len(a.ended) > 0 {
		t.Errorf("a reader that reads was given up: %v", <-a.ended)
	}
	t.Logf("a reader that reads is told %+v", told)
}

// wantFull: who asks for flows while there is no room is told so, and all else is answered.
func (c *cluster) wantFull(t *testing.T, node string) {
	t.Helper()
	r := c.Exec(t.Context(), node, "weir", "observe", "--last", "1")
	if r.OK() || !strings.Contains(r.Stderr, "256 clients read here already") {
		t.Errorf("weir observe while there is no room: exit code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if r := c.Exec(t.Context(), node, "weir", "status"); !r.OK() {
		t.Errorf("weir status: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// wantAnswers: once they are gone there is room, and a new connection is told of.
func (c *cluster) wantAnswers(t *testing.T, node string) {
	t.Helper()
	if err := c.exchange(t, "a", "c", true, 1000); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	said := lab.Result{}
	if !await(patience, func() bool {
		said = c.Exec(t.Context(), node, "weir", "observe", "--from-pod", "default/a", "--to-pod", "default/c", "--protocol", "tcp", "--last", "1")
		return said.OK() && strings.Contains(said.Stdout, "default/a")
	}) {
		t.Errorf("weir observe: exit code %d, %s%s", said.Code, said.Stdout, said.Stderr)
	}
	if r := c.Exec(t.Context(), node, "weir", "status"); !r.OK() {
		t.Errorf("weir status: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}
