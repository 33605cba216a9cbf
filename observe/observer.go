package observe

import (
	"fmt"
	"hash/fnv"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weir/api/flow"
	"weir/api/wire"
	"weir/bpf"
	"weir/observe/dns"
	"weir/state"
)

// Options is what an observer has to know of its node.
type Options struct {
	Cluster, Node string
	Version       string
	Bytes         int           // of the ring; rows that records name come on top
	Flows         int           // in the ring; 0: as many as fit Bytes
	Patience      time.Duration // with a reader who takes nothing; 0: a minute
	Count         []string      // what of flows is counted, of Countable
}

// Rules tells of policy's rules. Any goroutine may ask.
type Rules interface {
	// Version changes whenever answers may. Add asks for it, and must not wait.
	Version() uint64
	// Rule is one that allowed or denied, by its number.
	Rule(id uint32) Rule
	// Isolated names what isolates an endpoint in a direction, so that what no rule
	// allows is denied.
	Isolated(endpoint uint32, ingress bool) []state.PolicyKey
}

// Rule is where a rule comes from. Match is what flow.Flow has as policy_match_type.
type Rule struct {
	Policies []state.PolicyKey
	Match    uint8
}

// Observer keeps the latest flows of a node.
type Observer struct {
	opts    Options
	tables  *state.Tables
	started time.Time
	seed    uint64 // of uuids
	ring    *ring
	bell    bell
	agent   agentEvents
	readers *wire.Readers
	labels  atomic.Pointer[nodeLabels]
	devices DeviceNames

	// Of Add alone.
	names names
	heard *dns.Names
	rules ruleBook
	clock clock
	tally *tally // others read it
}

// New returns an observer of a node whose tables these are.
func New(opts Options, tables *state.Tables, rules Rules) *Observer {
	if opts.Flows <= 0 {
		opts.Flows = max(opts.Bytes/RecordBytes, 1)
	}
	if opts.Patience <= 0 {
		opts.Patience = time.Minute
	}
	started := time.Now()
	h := fnv.New64a()
	fmt.Fprint(h, opts.Cluster, "/", opts.Node, " ", started.UnixNano())
	o := &Observer{opts: opts, tables: tables, started: started, seed: h.Sum64(), agent: agentEvents{started: started}, ring: newRing(opts.Flows), bell: newBell(), readers: wire.NewReaders(opts.Version, maxReaders, opts.Patience),
		names: newNames(opts.Cluster, tables), heard: dns.NewNames(), rules: newRuleBook(rules), tally: newTally(opts.Count)}
	o.names.gone = o.heard.Forget
	return o
}

// RecordBytes is what a flow takes in the ring.
const RecordBytes = int(unsafe.Sizeof(record{}))

// Add takes an event: one flow, and one more for each direction in which a policy has
// judged. The event is copied. Calls come one after another, in the order of the events.
func (o *Observer) Add(e *bpf.Event) {
	o.names.refresh()
	r := record{when: o.clock.wall(e.Time)}
	r.event = *e
	o.names.join(&r)
	o.name(&r)
	for d := range r.event.Rule {
		ingress := d == 1
		switch judged(e, d) {
		case allowed:
			r.policies = o.rules.of(e.Rule[d])
		case denied:
			r.policies = o.denier(e, ingress)
		default:
			continue
		}
		r.part = verdictEgress
		if ingress {
			r.part = verdictIngress
		}
		o.keep(&r)
	}
	r.part, r.policies = trace, nil
	if bpf.EventKind(e.Kind) == bpf.EventDrop {
		r.part = drop
		if byPolicy(e) {
			r.policies = o.denier(e, e.Direction == 1)
		}
	}
	o.keep(&r)
}

func (o *Observer) keep(r *record) {
	o.ring.put(r)
	o.tally.count(r)
}

// Lost notes that programs had no room for n events.
func (o *Observer) Lost(n uint64) {
	o.tally.lost[lostByRings].Add(n)
	for n > 0 {
		part := min(n, 1<<32-1)
		o.ring.put(&record{when: time.Now().UnixNano(), part: lost, lost: uint32(part)})
		n -= part
	}
}

func (o *Observer) denier(e *bpf.Event, ingress bool) *policies {
	if id := e.Rule[e.Direction&1]; id != 0 {
		return o.rules.of(id)
	}
	return o.rules.isolated(e.Endpoint, ingress)
}

// What the policy of a direction has said.
const (
	nothing = iota
	allowed
	denied
)

// judged is what an event says of a direction. Only events that come of judging do.
func judged(e *bpf.Event, direction int) int {
	switch {
	case byPolicy(e) && int(e.Direction&1) == direction:
		return denied
	case (bpf.EventKind(e.Kind) == bpf.EventNew || byPolicy(e)) && e.Rule[direction] != 0:
		return allowed
	}
	return nothing
}

func byPolicy(e *bpf.Event) bool {
	reason := bpf.Reason(e.Reason)
	return bpf.EventKind(e.Kind) == bpf.EventDrop && (reason == bpf.DropPolicy || reason == bpf.DropPolicyDeny)
}

// clock turns times of events into those of the day.
type clock struct {
	offset  int64  // of the one to the other, nanoseconds
	checked uint64 // when that was found, as events have it
}

// wall is a time of CLOCK_MONOTONIC as nanoseconds since 1970. The day's clock is looked
// at again every second.
func (c *clock) wall(mono uint64) int64 {
	if c.checked == 0 || mono-c.checked > uint64(time.Second) {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
			return time.Now().UnixNano()
		}
		c.offset, c.checked = time.Now().UnixNano()-t.Nano(), max(mono, 1)
	}
	return int64(mono) + c.offset
}

// NodeName is how flows and peers name a node: alone in the cluster "default", which is
// what a cluster without a name of its own has.
func NodeName(cluster, node string) string {
	if cluster == "" || cluster == "default" {
		return node
	}
	return cluster + "/" + node
}

// emitter is in every flow.
func (o *Observer) emitter() *flow.Emitter {
	return &flow.Emitter{Name: "Weir", Version: o.opts.Version}
}
