package bpftest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// Verdicts of tc programs.
const (
	next     = -1
	shot     = 2
	redirect = 7
)

// skb is struct __sk_buff, as far as a test may set it.
type skb struct {
	_       [10]uint32
	Ifindex uint32
	_       [30]uint32
	GSOSegs uint32
	_       [2]uint32
	GSOSize uint32
	_       [3]uint32
}

// node is the programs of one node with maps of its own.
type node struct {
	programs                    map[string]*ebpf.Program
	maps                        map[string]*ebpf.Map
	table                       *ebpf.Map // of connections
	endpoints, ipcache, metrics *ebpf.Map
	seen                        []uint64 // counters at the last look
	jobs                        chan func()
	epoch                       uint32
}

// newNode loads every object with constants, and maps that only this node has.
func newNode(t testing.TB, cfg bpf.Config) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to load BPF programs")
	}
	n := &node{programs: map[string]*ebpf.Program{}, seen: make([]uint64, bpf.Places*bpf.Reasons)}
	shared := map[string]*ebpf.Map{}
	for _, object := range bpf.Objects {
		spec, err := bpf.Spec(object)
		if errors.Is(err, bpf.ErrNotBuilt) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := spec.Variables["config"].Set(cfg); err != nil {
			t.Fatalf("set constants of %s: %v", object, err)
		}
		for name, size := range testSizes {
			if m := spec.Maps[name]; m != nil {
				m.MaxEntries = size
			}
		}
		// The program that expires connections has fewer maps than the others.
		used := map[string]*ebpf.Map{}
		for name := range spec.Maps {
			if shared[name] != nil {
				used[name] = shared[name]
			}
		}
		coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: used})
		if err != nil {
			t.Fatalf("load %s: %+v", object, err)
		}
		t.Cleanup(coll.Close)
		for name, m := range coll.Maps {
			if strings.HasPrefix(name, "weir_") {
				shared[name] = m
			}
		}
		for name, p := range coll.Programs {
			n.programs[name] = p
		}
	}
	// Subtests run on other threads, which are not in the node's namespace.
	n.jobs = make(chan func())
	linktest.Go(t, func() {
		for f := range n.jobs {
			f()
		}
	})
	t.Cleanup(func() { close(n.jobs) })
	n.maps = shared
	n.endpoints, n.ipcache, n.metrics = shared[bpf.MapEndpoints], shared[bpf.MapIPCache], shared[bpf.MapMetrics]
	n.newTable(t, 1024)
	for id := range testSizes[bpf.MapPolicy] {
		n.set(t, bpf.MapPolicy, id, bpf.Policy{PolicyClass: 1, Epoch: 1})
	}
	return n
}

// testSizes keep the maps of a test small.
var testSizes = map[string]uint32{bpf.MapEndpoints: 64, bpf.MapIPCache: 64, bpf.MapPolicy: 64, bpf.MapNodes: 64,
	bpf.MapPolicyCounters: 64, bpf.MapPolicyPeers: 1024, bpf.MapPolicySets: 64, bpf.MapSocketUsers: 64,
	bpf.MapEvents: 64 << 10, bpf.MapTraces: 64 << 10, bpf.MapDNS: 16 << 10}

// newTable gives the node an empty connection table.
func (n *node) newTable(t testing.TB, size uint32) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 40, ValueSize: 48, MaxEntries: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	n.set(t, bpf.MapCT, uint32(0), m)
	n.table = m
	return m
}

// set writes an entry of a map.
func (n *node) set(t testing.TB, name string, key, value any) {
	t.Helper()
	if err := n.maps[name].Put(key, value); err != nil {
		t.Fatalf("write %s %v: %v", name, key, err)
	}
}

// place is where a program counts: they are in the same order.
func place(program string) bpf.Place {
	for p := bpf.PlaceFromPod; p <= bpf.PlaceToHost; p++ {
		if p.String() == program {
			return p
		}
	}
	return bpf.PlaceNone
}

// result is what became of a packet.
type result struct {
	verdict int32
	out     []byte
	counted []counted
}

type counted struct {
	Place   bpf.Place
	Reason  bpf.Reason
	Packets uint64
}

func (c counted) String() string {
	return fmt.Sprintf("%s %d (%s): %d packets", c.Place, uint32(c.Reason), c.Reason, c.Packets)
}

// run sends one packet through a program.
func (n *node) run(program string, ctx skb, in []byte) (result, error) {
	o := ebpf.RunOptions{Data: arriving(program, in), DataOut: make([]byte, len(in)+256), Context: &ctx}
	verdict, err := n.exec(program, &o)
	if bytes.Equal(in, o.Data) {
		return result{verdict: int32(verdict), out: o.DataOut}, err
	}
	for at := range 2 { // as its receiver, and of an answer as its sender
		if mac := o.DataOut[6*at : 6*at+6]; bytes.Equal(mac, underlayMAC) {
			copy(mac, in)
		}
	}
	return result{verdict: int32(verdict), out: o.DataOut}, err
}

// arriving is a frame as it comes to the node's device, to which it is addressed:
// whatever is for one host alone is for this one, unless the test says stranger.
func arriving(program string, in []byte) []byte {
	if program != bpf.ProgFromNetdev && program != bpf.ProgFromXDP || len(in) < 14 || in[0]&1 != 0 || bytes.Equal(in[:6], strangerMAC) {
		return in
	}
	return with(in, 0, underlayMAC...)
}

// exec runs a program in the node's namespace.
func (n *node) exec(program string, o *ebpf.RunOptions) (verdict uint32, err error) {
	n.do(func() { verdict, err = n.programs[program].Run(o) })
	return verdict, err
}

// do runs f in the node's namespace, whichever thread the caller is on.
func (n *node) do(f func()) {
	done := make(chan struct{})
	n.jobs <- func() {
		defer close(done)
		f()
	}
	<-done
}

// count tells which counters rose since it was last asked.
func (n *node) count() ([]counted, error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	var cursor ebpf.MapBatchCursor
	keys, values := make([]uint32, len(n.seen)), make([]bpf.Metric, len(n.seen)*cpus)
	got, err := n.metrics.BatchLookup(&cursor, keys, values, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	var out []counted
	for i, k := range keys[:got] {
		if k == bpf.MetricIndex(bpf.PlaceNone, bpf.ReasonEventLost) || k == bpf.MetricIndex(bpf.PlaceNone, bpf.ReasonTraceLost) ||
			k == bpf.MetricIndex(bpf.PlaceNone, bpf.ReasonDNSLost) {
			continue // nobody reads the events of a test
		}
		out = n.rose(out, k, values[i*cpus:(i+1)*cpus])
	}
	return out, nil
}

// countAt is count for the reasons that have a name, at one place: a thirtieth
// of the time.
func (n *node) countAt(p bpf.Place) (out []counted, err error) {
	var perCPU []bpf.Metric
	for r := range bpf.Reason(bpf.Reasons) {
		if strings.HasPrefix(r.String(), "Reason ") {
			continue
		}
		k := bpf.MetricIndex(p, r)
		if err := n.metrics.Lookup(k, &perCPU); err != nil {
			return nil, fmt.Errorf("read counter %d: %w", k, err)
		}
		out = n.rose(out, k, perCPU)
	}
	return out, nil
}

// rose adds counter k to out if it is not what it was.
func (n *node) rose(out []counted, k uint32, perCPU []bpf.Metric) []counted {
	var packets uint64
	for _, v := range perCPU {
		packets += v.Packets
	}
	if packets == n.seen[k] {
		return out
	}
	out = append(out, counted{bpf.Place(k / uint32(bpf.Reasons)), bpf.Reason(k % uint32(bpf.Reasons)), packets - n.seen[k]})
	n.seen[k] = packets
	return out
}

// fixture is one packet and its fate.
type fixture struct {
	name    string
	program string
	ifindex int // 0: that of the program's usual device
	gsoSize int
	in      []byte
	verdict int32
	out     []byte // nil: the packet as it was
	reason  bpf.Reason
	packets uint64 // 0: one
}

// check runs a fixture and compares everything. A packet is counted exactly
// once, with all its segments, at the program's place.
func (n *node) check(t *testing.T, f fixture) {
	t.Helper()
	ctx := skb{Ifindex: uint32(f.ifindex), GSOSize: uint32(f.gsoSize)}
	packets := max(f.packets, 1)
	if f.gsoSize > 0 {
		ctx.GSOSegs = uint32(packets)
	}
	if ctx.Ifindex == 0 {
		ctx.Ifindex = usualDevice(f.program)
	}
	got, err := n.run(f.program, ctx, f.in)
	if err != nil {
		t.Fatalf("run %s: %v", f.program, err)
	}
	got.counted, err = n.count()
	if err != nil {
		t.Fatal(err)
	}
	if got.verdict != f.verdict {
		t.Errorf("verdict: got %d, want %d", got.verdict, f.verdict)
	}
	if len(got.counted) != 1 {
		t.Fatalf("counted %v, want one counter", got.counted)
	}
	c := got.counted[0]
	if c.Place != place(f.program) || c.Reason != f.reason || c.Packets != packets {
		t.Errorf("counted %v, want %s %d (%s): %d packets", c, f.program, uint32(f.reason), f.reason, packets)
	}
	want := f.out
	if want == nil {
		want = f.in
	}
	if f.verdict != shot && !bytes.Equal(got.out, want) {
		t.Errorf("packet out (%d octets, want %d):\n got % x\nwant % x", len(got.out), len(want), head(got.out), head(want))
	}
}

// head is the part of a packet that forwarding may touch.
func head(b []byte) []byte { return b[:min(len(b), 90)] }

func usualDevice(program string) uint32 {
	switch program {
	case bpf.ProgFromPod, bpf.ProgToPod:
		return device(podID)
	}
	return underlayIfindex
}

func device(endpoint uint32) uint32 { return uint32(bpf.IfindexBase) + endpoint }

// each runs a table once for IPv4 and once for IPv6. Cases that a family does
// not have are left out by returning a fixture without a name.
func each(t *testing.T, n *node, cases func(f family) []fixture) {
	t.Helper()
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			for _, c := range slices.DeleteFunc(cases(f), func(c fixture) bool { return c.name == "" }) {
				t.Run(c.name, func(t *testing.T) { n.check(t, c) })
			}
		})
	}
}
