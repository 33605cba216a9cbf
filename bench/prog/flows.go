package prog

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"weir/bench/rules"
	"weir/bpf"
	"weir/datapath"
)

// Flows is from_pod with many connections, by the ways that a packet of a pod
// goes: to a pod beside it, and into the tunnel.
type Flows struct {
	Ways  []Way
	b     *Bench
	node  *loaded
	empty *ebpf.Program
	bare  *ebpf.Program // looks one entry of table up
	table *ebpf.Map
	picks picks
	told  uint64 // events, ever
}

// Told returns how many events there were since it was asked before.
func (f *Flows) Told() uint64 {
	n := f.told
	f.told = 0
	return n
}

// Way is where the flows go.
type Way struct {
	Name     string
	src, dst netip.Addr
	spread   uint32 // destinations
}

// MakeFlows prepares a node whose table has room for so many connections, and which
// tells of them what an agent asks for by default.
func (b *Bench) MakeFlows(dir string, connections uint32) (*Flows, error) {
	return b.MakeTold(dir, connections, bpf.MonitorMedium)
}

// MakeTold is MakeFlows with another level of events.
func (b *Bench) MakeTold(dir string, connections uint32, level bpf.Monitor) (*Flows, error) {
	f := &Flows{b: b}
	var err error
	if f.picks, err = newPicks(); err != nil {
		return f, err
	}
	spec := &ebpf.ProgramSpec{Name: "empty", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}}
	f.picks.wrap(spec)
	if f.empty, err = ebpf.NewProgram(spec); err != nil {
		return f, fmt.Errorf("load the program that only picks flows: %w", err)
	}
	if err := f.makeBare(connections); err != nil {
		return f, err
	}
	f.node, err = load(filepath.Join(dir, "flows"), overlay, connections, level, func(p *ebpf.ProgramSpec) {
		if p.Name == bpf.ProgFromPod {
			f.picks.wrap(p)
		}
	})
	for i, v := range []string{"IPv4", "IPv6"} {
		src, near, remote := netip.MustParseAddr(pods[i]), netip.MustParseAddr(beside[i]), netip.MustParseAddr(far[i])
		f.Ways = append(f.Ways, Way{"pod of this node, " + v, src, near, neighbours}, Way{"into the tunnel, " + v, src, remote, others})
	}
	return f, err
}

// Close removes what MakeFlows made.
func (f *Flows) Close() error {
	for _, p := range []*ebpf.Program{f.empty, f.bare} {
		if p != nil {
			p.Close()
		}
	}
	if f.table != nil {
		f.table.Close()
	}
	if f.picks.m != nil {
		f.picks.m.Close()
	}
	if f.node == nil {
		return nil
	}
	return f.node.close()
}

// Enforce puts n rules in force, of which one allows the flows.
func (f *Flows) Enforce(n int) error {
	rows, err := rules.Rows(rules.Objects(n))
	if err != nil {
		return err
	}
	return f.node.enforce(rows)
}

// First returns the nanoseconds of a connection's first packet, a TCP SYN, net:
// the mean of so many connections that an empty table did not know.
func (f *Flows) First(w Way, packets uint32) (float64, error) {
	if err := f.Forget(); err != nil {
		return 0, err
	}
	empty, err := f.run(f.empty, w, true, picker{Flows: packets}, packets)
	if err != nil {
		return 0, err
	}
	ns, err := f.run(f.node.programs[bpf.ProgFromPod], w, true, picker{Flows: packets}, packets)
	if err != nil {
		return 0, err
	}
	return ns - empty, f.expect(packets)
}

// Open makes connections that the table then knows.
func (f *Flows) Open(w Way, flows uint32) error {
	if err := f.Forget(); err != nil {
		return err
	}
	if _, err := f.run(f.node.programs[bpf.ProgFromPod], w, true, picker{Flows: flows}, flows); err != nil {
		return err
	}
	return f.expect(flows)
}

// Established returns the nanoseconds of a packet of one of the flows that Open
// has made, net: each packet is of a flow taken by chance.
func (f *Flows) Established(w Way, flows, packets uint32) (float64, error) {
	pick := picker{Random: 1, Flows: flows}
	empty, err := f.run(f.empty, w, false, pick, packets)
	if err != nil {
		return 0, err
	}
	ns, err := f.run(f.node.programs[bpf.ProgFromPod], w, false, pick, packets)
	if err != nil {
		return 0, err
	}
	return ns - empty, f.expect(flows)
}

// slice is how many packets one system call sends.
const slice = 10000

// run sends packets through a program, each of the flow that the picker says,
// and returns the mean time of one.
func (f *Flows) run(p *ebpf.Program, w Way, syn bool, v picker, packets uint32) (float64, error) {
	if v.Flows > w.spread*mostFlows {
		return 0, fmt.Errorf("%d flows: there are ports for %d", v.Flows, w.spread*mostFlows)
	}
	v.Spread, v.Base = w.spread, low16(w.dst)
	if err := f.picks.set(v); err != nil {
		return 0, err
	}
	packet, err := flowFrame(w.src, w.dst, syn)
	if err != nil {
		return 0, err
	}
	want := uint32(redirect)
	if p == f.empty || p == f.bare {
		want = pass
	}
	total, runs := 0.0, 0
	for done := uint64(0); done < uint64(packets); {
		n := min(slice, packets-uint32(done))
		ns, got, err := testRunOnce(p, packet, podIndex, n)
		if err != nil && !errors.Is(err, unix.EINTR) { // interrupted: the counter says how far it came
			return 0, err
		}
		if err == nil && got != want {
			return 0, fmt.Errorf("%s: the program returned %d, want %d: the packet went another way", w.Name, int32(got), int32(want))
		}
		if err == nil {
			total, runs = total+ns*float64(n), runs+int(n)
		}
		if done, err = f.picks.counter(); err != nil {
			return 0, err
		}
		f.told += uint64(f.node.events.Drain(datapath.Reader{Event: func(*bpf.Event) {}, Answer: func(*bpf.DNSAnswer) {}})) // as an agent would, or the ring is full
	}
	if runs == 0 {
		return 0, fmt.Errorf("%s: every run was interrupted", w.Name)
	}
	return total / float64(runs), nil
}

// Forget empties the table.
func (f *Flows) Forget() error {
	table, err := f.connections()
	if err != nil {
		return err
	}
	defer table.Close()
	const batch = 16384
	keys, values := make([]bpf.CTKey, batch), make([]bpf.CTEntry, batch)
	var cursor ebpf.MapBatchCursor
	for {
		_, err := table.BatchLookupAndDelete(&cursor, keys, values, nil)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("empty the connection table: %w", err)
		}
	}
}

// connections opens the map that is in use.
func (f *Flows) connections() (*ebpf.Map, error) {
	var id ebpf.MapID
	if err := f.node.maps[bpf.MapCT].Lookup(uint32(0), &id); err != nil {
		return nil, fmt.Errorf("find the connection table: %w", err)
	}
	return ebpf.NewMapFromID(id)
}

// expect makes sure that the table has exactly the flows that were meant.
func (f *Flows) expect(flows uint32) error {
	n, err := f.node.datapath.CT.Each(func(bpf.CTKey, bpf.CTEntry) {})
	if err == nil && n != int(flows) {
		err = fmt.Errorf("the table has %d connections, want %d", n, flows)
	}
	return err
}
