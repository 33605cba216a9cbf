package policy

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

var quiet = slog.New(slog.DiscardHandler)

func options(seed uint64) Options {
	return Options{Mode: []Mode{ModeDefault, ModeDefault, ModeDefault, ModeAlways, ModeNever}[seed%5], HostFirewall: seed%2 == 0, IPv4: true, IPv6: true}
}

// After any history the maps mean what the rows say: by the oracle, packet by
// packet, and by maps that were derived from the same rows at once.
func TestMapsMeanTheRowsAfterAnyHistory(t *testing.T) {
	for seed := range uint64(1000) {
		history(t, seed, 25)
	}
}

func FuzzMapsMeanTheRowsAfterAnyHistory(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { history(t, seed, 100) })
}

func history(t *testing.T, seed uint64, edits int) {
	t.Helper()
	w := world{rand.New(rand.NewPCG(seed, 3))}
	tables, maps := state.New(), datapath.MemoryPolicyMaps(datapath.PolicyCapacity{})
	w.begin(tables)
	o := options(seed)
	c := New(quiet, o, tables, maps)
	for range edits {
		for range w.IntN(3) {
			w.edit(tables)
		}
		if err := c.Step(t.Context()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		agree(t, seed, w, c, 30)
		if w.IntN(10) == 0 {
			c = New(quiet, o, tables, maps) // a restart
		}
	}
	scratch := New(quiet, o, tables, datapath.MemoryPolicyMaps(datapath.PolicyCapacity{}))
	if err := scratch.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(meaning(scratch), meaning(c)); diff != "" {
		t.Fatalf("seed %d: incremental differs from scratch (-scratch +incremental):\n%s", seed, diff)
	}
}

func agree(t *testing.T, seed uint64, w world, c *Control, packets int) {
	t.Helper()
	m, o := heldImage(c.maps), oracle{in: c.read(), opts: c.opts}
	for range packets {
		p := w.packet()
		got, rule := mapVerdict(m, p)
		if want := o.allowed(p); got != want {
			t.Fatalf("seed %d: %+v: the maps say allowed=%v (rule %d), the rows %v", seed, p, got, rule, want)
		}
		if said := c.e.judge(Party{Endpoint: p.endpoint, Local: true}, Party{Identity: p.identity, Addr: p.addr}, p.direction, p.proto, p.port); said.Known && (said.Verdict != Denied) != got {
			t.Fatalf("seed %d: %+v: allowed=%v, explained by %+v", seed, p, got, said)
		}
	}
	for id := range m.endpoints {
		row, ok := c.tables.EndpointPolicies.Get(state.EndpointID(id))
		if !ok || row.Class != m.endpoints[id].PolicyClass || row.Epoch != m.endpoints[id].Epoch || row.Epoch == 0 {
			t.Fatalf("seed %d: endpoint %d has %+v in the map and %+v in the table", seed, id, m.endpoints[id], row)
		}
	}
	if got := c.tables.EndpointPolicies.Len(); got != len(m.endpoints) {
		t.Fatalf("seed %d: %d rows in the table, %d in the map", seed, got, len(m.endpoints))
	}
}

// meaning is the content of the maps without the numbers that it is written in.
func meaning(c *Control) []string {
	m := heldImage(c.maps)
	var out []string
	selectors := signaturesOfPeers(m)
	members := map[uint32][]uint32{}
	for id, row := range m.endpoints {
		members[row.PolicyClass] = append(members[row.PolicyClass], id)
		out = append(out, fmt.Sprintf("endpoint %d flags %d", id, row.Flags))
	}
	spans := rangeTexts(m)
	for k, v := range m.rules {
		r := ruleFrom(k)
		slices.Sort(members[r.row.class])
		port := fmt.Sprint(r.row.port)
		if r.row.level == uint8(bpf.LevelRange) {
			port = spans[r.row]
		}
		if m.rows[k.Row].Selectors&(1<<(k.Selector&63)) == 0 {
			out = append(out, fmt.Sprintf("unreachable rule %+v", r))
		}
		who := "everybody"
		if k.Selector != 0 {
			who = c.e.byNumber[uint32(k.Selector)].key
		}
		out = append(out, fmt.Sprintf("class of %v: direction %d level %d proto %d port %s %s flags %d", members[r.row.class], r.row.direction, r.row.level, r.row.proto, port, who, v.Flags))
	}
	for n, who := range selectors {
		s := c.e.byNumber[n]
		if s == nil {
			out = append(out, fmt.Sprintf("set with unknown selector %d", n))
			continue
		}
		out = append(out, s.key+" selects "+who)
	}
	out = append(out, fmt.Sprintf("%d prefixes, %d peers, %d ranges, %d rows", len(m.cidrs), len(m.peers), len(m.ranges), len(m.rows)))
	slices.Sort(out)
	return out
}

// signaturesOfPeers says whom each selector selects.
func signaturesOfPeers(m image) map[uint32]string {
	m.rules = nil
	out := map[uint32]string{}
	for n, s := range signatures(m, func(n uint32) uint32 { return n }) {
		out[n] = s.String()
	}
	return out
}
