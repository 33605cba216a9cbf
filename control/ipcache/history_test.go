package ipcache

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/bpf"
	"weir/datapath"
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
	tables, store := state.New(), &datapath.Memory[bpf.IPCacheKey, bpf.IPCacheEntry]{}
	mirror, err := datapath.OpenMirror("m", store)
	if err != nil {
		t.Fatal(err)
	}
	c := New(slog.New(slog.DiscardHandler), Options{Cluster: "c", Underlay6: func() bool { return false }}, tables, mirror)
	for range edits {
		edit(r, tables)
		if r.IntN(3) > 0 {
			continue
		}
		store.Max = 0
		if r.IntN(10) == 0 {
			store.Max = 1 + r.IntN(8) // full: the step fails, and nothing may be lost by it
		}
		err := c.Step(t.Context())
		if store.Max == 0 && err != nil {
			t.Fatalf("seed %d: step: %v", seed, err)
		}
		if err == nil {
			agree(t, seed, tables, store)
		}
	}
}

func agree(t *testing.T, seed uint64, tables *state.Tables, store *datapath.Memory[bpf.IPCacheKey, bpf.IPCacheEntry]) {
	t.Helper()
	want := compile(everything(tables))
	got := map[netip.Prefix]state.IP{}
	for p, row := range tables.IPs.All() {
		got[p] = row
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Fatalf("seed %d: table differs from oracle (-want +got):\n%s", seed, diff)
	}
	held, _ := store.Load()
	entries := map[bpf.IPCacheKey]bpf.IPCacheEntry{}
	for _, row := range want {
		k, v := entry(row)
		entries[k] = v
	}
	if diff := cmp.Diff(entries, held); diff != "" {
		t.Fatalf("seed %d: map differs from oracle (-want +got):\n%s", seed, diff)
	}
}

func everything(t *state.Tables) Rows {
	r := Rows{Cluster: "c", Identities: state.IdentityIndex(t.Identities.All())}
	for _, n := range t.Nodes.All() {
		r.Nodes = append(r.Nodes, n)
	}
	for _, p := range t.Pods.All() {
		r.Pods = append(r.Pods, p)
	}
	for _, e := range t.Endpoints.All() {
		r.Endpoints = append(r.Endpoints, e)
	}
	for _, d := range t.Devices.All() {
		for _, p := range d.Addrs {
			r.Host, r.Underlay = append(r.Host, p.Addr()), append(r.Underlay, p.Masked())
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
	app := map[string]string{"app": fmt.Sprint(r.IntN(3))}
	switch r.IntN(10) {
	case 0:
		t.Nodes.Put(state.Node{Name: node, Cluster: "c", Local: n == 0, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{172, 18, 0, byte(n + r.IntN(2))})},
			Routers: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(n), 1})}, PodCIDRs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), 0}), 24)}})
	case 1:
		t.Nodes.Delete(node)
	case 2, 3, 4:
		t.Pods.Put(state.Pod{Name: pod, Labels: app, Node: node, IPs: []netip.Addr{ip}, HostNetwork: r.IntN(8) == 0})
	case 5:
		t.Pods.Delete(pod)
	case 6:
		t.Identities.Put(state.Identity{ID: state.IdentityID(256 + i), Labels: state.PodLabels(state.Pod{Name: pod, Labels: app}, "c")})
	case 7:
		t.Identities.Delete(state.IdentityID(256 + i))
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
			pod := func(i int, app string) state.Pod {
				return state.Pod{Name: state.PodName{Namespace: "d", Name: fmt.Sprint(i)}, Node: "far",
					Labels: map[string]string{"app": app}, IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}}
			}
			for i := range pods {
				tables.Pods.Put(pod(i, "a"))
			}
			mirror, _ := datapath.OpenMirror("m", &datapath.Memory[bpf.IPCacheKey, bpf.IPCacheEntry]{})
			c := New(slog.New(slog.DiscardHandler), Options{Cluster: "c", Underlay6: func() bool { return false }}, tables, mirror)
			if err := c.Step(b.Context()); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				tables.Pods.Put(pod(i%pods, fmt.Sprint(i)))
				if err := c.Step(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
