package ipcache

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/bpf"
	"weir/state"
)

// TestStepAgreesWithOracleAfterAnyHistory edits tables at random, steps now and
// then, and compares the table, the map and the oracle.
func TestStepAgreesWithOracleAfterAnyHistory(t *testing.T) {
	for seed := range uint64(200) {
		history(t, seed, 60)
	}
}

func FuzzStepAgreesWithOracle(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { history(t, seed, 200) })
}

func history(t *testing.T, seed uint64, edits int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	tables, k := state.New(), newKernel()
	k.size = 3 // of four addresses that nodes have
	rows := Rows{Dual: seed%2 == 0}
	c := k.control(t, rows, tables)
	old := map[netip.Prefix]state.IP{} // when generations were last looked at
	generations := k.generations
	for range edits {
		edit(r, tables)
		if r.IntN(3) > 0 {
			continue
		}
		if r.IntN(10) == 0 {
			c = k.control(t, rows, tables)
			tables.IPs.Replace(nil, nil)
			forgetOwners(old)
		}
		k.ipcache.Max, k.broken = 0, false
		switch r.IntN(10) {
		case 0:
			k.ipcache.Max = 1 + r.IntN(8) // full: the step fails, and nothing may be lost by it
		case 1:
			k.broken = true
		}
		err := c.Step(t.Context())
		if k.ipcache.Max == 0 && !k.broken && err != nil {
			t.Fatalf("seed %d: step: %v", seed, err)
		}
		if err != nil {
			continue
		}
		want := everything(tables)
		want.Dual = rows.Dual
		now := agree(t, seed, compile(want), tables, k)
		voided(t, seed, old, now, generations, k)
		old, generations = now, k.generations
	}
}

// agree compares the table and the maps with what the oracle says.
func agree(t *testing.T, seed uint64, want map[netip.Prefix]state.IP, tables *state.Tables, k *kernel) map[netip.Prefix]state.IP {
	t.Helper()
	got := map[netip.Prefix]state.IP{}
	for p, row := range tables.IPs.All() {
		got[p] = row
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Fatalf("seed %d: table differs from oracle (-want +got):\n%s", seed, diff)
	}
	held, _ := k.ipcache.Load()
	nodes, _ := k.nodes.Load()
	entries, named := map[bpf.IPCacheKey]bpf.IPCacheEntry{}, map[bpf.Addr]bool{}
	for _, row := range want {
		key, _ := entry(row, 0)
		number := held[key].Node // any that is right
		if number != 0 && nodes[uint32(number)].Addr != bpf.AddrFrom(numbered(row)) {
			t.Fatalf("seed %d: %s has node %d, which is %s", seed, row.Prefix, number, nodes[uint32(number)].Addr)
		}
		_, value := entry(row, number)
		entries[key] = value
		if row.Leaves && number == 0 { // without a number nobody leaves with it, and nobody has to be judged anew
			row.Leaves = false
			got[row.Prefix] = row
		}
		if a := numbered(row); a.IsValid() {
			named[bpf.AddrFrom(a)] = true
		}
	}
	if diff := cmp.Diff(entries, held); diff != "" {
		t.Fatalf("seed %d: map differs from oracle (-want +got):\n%s", seed, diff)
	}
	for id, n := range nodes {
		if !named[n.Addr] {
			t.Fatalf("seed %d: node %d is %s, which no row names", seed, id, n.Addr)
		}
	}
	if len(nodes) != min(len(named), k.size-1) {
		t.Fatalf("seed %d: %d nodes have a number, want %d of %d", seed, len(nodes), min(len(named), k.size-1), len(named))
	}
	return got
}

// forgetOwners does what a restart does: the map does not tell owners.
func forgetOwners(rows map[netip.Prefix]state.IP) {
	for p, row := range rows {
		row.Of = ""
		rows[p] = row
	}
}

// voided checks that whoever changed had his connections voided.
func voided(t *testing.T, seed uint64, old, now map[netip.Prefix]state.IP, before [bpf.Generations]uint32, k *kernel) {
	t.Helper()
	changed := func(a, b state.IP) bool {
		if a.Of != "" && a.Prefix.IsSingleIP() && (a.Of != b.Of || a.UID != b.UID) {
			return true
		}
		return a.Identity != b.Identity || a.Endpoint != b.Endpoint || a.TunnelEndpoint != b.TunnelEndpoint || a.Leaves && !b.Leaves
	}
	check := func(p netip.Prefix) {
		_, all := k.bumped(before)
		slot := bpf.AddrSlot(p.Addr())
		if !all && (!p.IsSingleIP() || k.generations[slot] == before[slot]) {
			t.Fatalf("seed %d: %s changed from %+v to %+v, and its generation did not", seed, p, old[p], now[p])
		}
	}
	for p, row := range now {
		if was, ok := old[p]; !ok || changed(was, row) {
			check(p)
		}
	}
	for p := range old {
		if _, ok := now[p]; !ok {
			check(p)
		}
	}
}

func everything(t *state.Tables) Rows {
	r := Rows{Identities: map[state.PodName]state.IdentityID{}}
	for name, i := range t.PodIdentities.All() {
		r.Identities[name] = i.ID
	}
	for _, n := range t.Nodes.All() {
		r.Nodes = append(r.Nodes, n)
	}
	for _, p := range t.Pods.All() {
		r.Pods = append(r.Pods, p)
	}
	for _, e := range t.Endpoints.All() {
		r.Endpoints = append(r.Endpoints, e)
	}
	var known netip.Addr // by which this node is known
	for _, n := range r.Nodes {
		if n.Local {
			known = n.Addresses[0]
		}
	}
	for _, d := range t.Devices.All() {
		for _, p := range d.Addrs {
			r.Host, r.Underlay = append(r.Host, p.Addr()), append(r.Underlay, p.Masked())
			if known.IsValid() && !slices.ContainsFunc(d.Addrs, func(q netip.Prefix) bool { return q.Addr() == known }) {
				r.Leaving = append(r.Leaving, p.Addr())
			}
		}
	}
	return r
}

// edit changes one thing. There are few names and addresses, so that claims
// collide, owners change, and references dangle.
func edit(r *rand.Rand, t *state.Tables) {
	n, i := r.IntN(3), r.IntN(6)
	ip := netip.AddrFrom4([4]byte{10, 0, byte(n), byte(i)})
	node := fmt.Sprintf("n%d", n)
	pod := state.PodName{Namespace: "d", Name: fmt.Sprintf("p%d", i)}
	switch r.IntN(12) {
	case 10:
		d := state.Device{Name: fmt.Sprintf("eth%d", r.IntN(2))}
		for range r.IntN(3) {
			d.Addrs = append(d.Addrs, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 18, 0, byte(r.IntN(3))}), 16))
		}
		t.Devices.Put(d)
	case 11:
		t.Devices.Delete(fmt.Sprintf("eth%d", r.IntN(2)))
	case 0:
		t.Nodes.Put(state.Node{Name: node, Cluster: "c", Local: n == 0, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{172, 18, 0, byte(n + r.IntN(2))})},
			Routers: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(n), 1})}, PodCIDRs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), 0}), 24)}})
	case 1:
		t.Nodes.Delete(node)
	case 2, 3, 4:
		t.Pods.Put(state.Pod{Name: pod, Node: node, IPs: []netip.Addr{ip}, HostIP: netip.AddrFrom4([4]byte{172, 18, 0, byte(r.IntN(5))}), HostNetwork: r.IntN(8) == 0,
			UID: fmt.Sprint(r.IntN(3)), Created: time.Unix(r.Int64N(3), 0), Deleting: r.IntN(3) == 0})
	case 5:
		t.Pods.Delete(pod)
	case 6:
		t.PodIdentities.Put(state.PodIdentity{Pod: pod, ID: state.IdentityID(256 + r.IntN(3))})
	case 7:
		t.PodIdentities.Delete(pod)
	case 8:
		t.Endpoints.Put(state.Endpoint{ID: state.EndpointID(1 + i), Pod: pod, IPv4: ip, Identity: state.IdentityID(r.IntN(300))})
	case 9:
		t.Endpoints.Delete(state.EndpointID(1 + i))
	}
}

// BenchmarkOnePodOfMany is the work of one changed pod in a large cluster.
func BenchmarkOnePodOfMany(b *testing.B) {
	for _, pods := range []int{100, 10_000} {
		b.Run(fmt.Sprint(pods), func(b *testing.B) {
			tables := state.New()
			tables.Nodes.Put(state.Node{Name: "far", Addresses: []netip.Addr{netip.MustParseAddr("172.18.0.9")}})
			pod := func(i int) state.PodName { return state.PodName{Namespace: "d", Name: fmt.Sprint(i)} }
			for i := range pods {
				tables.Pods.Put(state.Pod{Name: pod(i), Node: "far", IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}})
			}
			c := newKernel().control(b, Rows{}, tables)
			if err := c.Step(b.Context()); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				tables.PodIdentities.Put(state.PodIdentity{Pod: pod(i % pods), ID: state.IdentityID(256 + i)})
				if err := c.Step(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
