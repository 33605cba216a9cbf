package service

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/state"
)

// TestMapsAgreeWithOracleAfterAnyHistory edits tables at random, steps now and
// then, restarts, runs out of room, and compares what every frontend resolves to
// with what the oracle makes of the objects alone.
func TestMapsAgreeWithOracleAfterAnyHistory(t *testing.T) {
	n := uint64(1000)
	if testing.Short() {
		n = 100
	}
	for seed := range n {
		if history(t, seed, 60); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// world is a history under way.
type world struct {
	t      *testing.T
	r      *rand.Rand
	tables *state.Tables
	k      *kernel
	o      Options
	c      *Control
	owners map[string]string // frontend -> who has it
}

func history(t *testing.T, seed uint64, edits int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 11))
	w := &world{t: t, r: r, tables: state.New(), k: newKernel(t), owners: map[string]string{}}
	w.o = Options{IPv4: r.IntN(8) > 0, IPv6: r.IntN(3) > 0, Algorithm: pick(r, "random", "random", state.AlgorithmMaglev),
		Forwarding: pick(r, "", "snat", "dsr", "hybrid")}
	if r.IntN(4) == 0 {
		w.o.Addresses = []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")}
	}
	if r.IntN(4) == 0 {
		w.o.Ports = [2]uint16{32001, 32002}
	}
	w.k.hurry = seed%2 == 0
	w.c = w.k.control(w.o, w.tables)
	for range edits {
		edit(r, w.tables)
		w.k.now = w.k.now.Add(time.Duration(r.IntN(1500)) * time.Millisecond)
		switch r.IntN(6) {
		case 0, 1:
			w.step(false)
		case 2:
			w.step(r.IntN(2) == 0)
			if r.IntN(2) == 0 {
				w.restart()
			}
		}
	}
	w.step(false)
	w.restart()
}

// step runs a step and compares; with full, there is no room for some of it first.
func (w *world) step(full bool) {
	w.t.Helper()
	o := w.objects()
	want := oracle(o)
	w.own(want)
	if full {
		switch w.r.IntN(3) {
		case 0:
			w.k.services.Max = 1 + w.r.IntN(10)
		case 1:
			w.k.slots.Max = 1 + w.r.IntN(4)
		case 2:
			w.k.backends.Max = 1 + w.r.IntN(6)
		}
		w.c.Step(w.t.Context()) // whether it fails or not
		w.k.services.Max, w.k.slots.Max, w.k.backends.Max = 0, 0, 0
	}
	if err := w.c.Step(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	got, problems := w.k.read(w.ownerOf())
	for _, p := range problems {
		w.t.Error(p)
	}
	entries := map[string]meaning{}
	for at, by := range want.claims {
		entries[at] = by[w.owners[at]]
	}
	if diff := cmp.Diff(entries, got.entries); diff != "" {
		w.t.Fatalf("maps differ from the oracle (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.alive, got.alive); diff != "" {
		w.t.Fatalf("backends differ from the oracle (-want +got):\n%s", diff)
	}
}

// own follows who has what several want: who had it keeps it, otherwise the first
// by name.
func (w *world) own(want answer) {
	for at, by := range want.claims {
		if _, still := by[w.owners[at]]; !still {
			w.owners[at] = slices.Sorted(maps.Keys(by))[0]
		}
	}
	maps.DeleteFunc(w.owners, func(at, _ string) bool { return want.claims[at] == nil })
}

// ownerOf names ids as the agent gave them; two ports with one id would show.
func (w *world) ownerOf() func(uint32) string {
	names := map[uint32]string{}
	for id, p := range w.c.m.ids {
		fam := "4"
		if p.key.is6 {
			fam = "6"
		}
		names[id] = fmt.Sprintf("%s %d/%s v%s", p.of, p.key.port, protocol(p.key.proto), fam)
		if p.of.Pod {
			names[id] += fmt.Sprintf(" to %d", p.key.target)
		}
	}
	return func(id uint32) string { return names[id] }
}

// restart starts another agent; without a change it writes nothing.
func (w *world) restart() {
	w.t.Helper()
	w.c = w.k.control(w.o, w.tables)
	before := w.k.writes()
	if w.r.IntN(2) == 0 {
		for range 3 {
			edit(w.r, w.tables) // while no agent runs
		}
		w.step(false)
		return
	}
	if err := w.c.Step(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if n := w.k.writes() - before; n != 0 {
		w.t.Errorf("a restart without a change wrote %d entries", n)
	}
}

func (w *world) objects() objects {
	o := objects{IPv4: w.o.IPv4, IPv6: w.o.IPv6, Maglev: w.o.Algorithm == state.AlgorithmMaglev, Forwarding: w.o.Forwarding, Within: w.o.Addresses, Range: w.o.Ports}
	for _, s := range w.tables.Services.All() {
		o.Services = append(o.Services, s)
	}
	for _, s := range w.tables.Slices.All() {
		o.Slices = append(o.Slices, s)
	}
	for _, n := range w.tables.Nodes.All() {
		o.Nodes = append(o.Nodes, n)
	}
	for _, d := range w.tables.Devices.All() {
		o.Devices = append(o.Devices, d)
	}
	for _, i := range w.tables.IPs.All() {
		o.IPs = append(o.IPs, i)
	}
	for _, p := range w.tables.Pods.All() {
		o.Pods = append(o.Pods, p)
	}
	for _, e := range w.tables.Endpoints.All() {
		o.Endpoints = append(o.Endpoints, e)
	}
	return o
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// edit changes one thing. There are few names and addresses, so that frontends
// collide, slices move, and references dangle.
func edit(r *rand.Rand, t *state.Tables) {
	name := state.ServiceName{Namespace: "d", Name: fmt.Sprintf("s%d", r.IntN(5))}
	slice := state.SliceName{Namespace: "d", Name: fmt.Sprintf("x%d", r.IntN(8))}
	switch r.IntN(23) {
	case 0, 1, 2, 3, 4:
		t.Services.Put(randomService(r, name))
	case 5:
		t.Services.Delete(name)
	case 6, 7, 8, 9, 10, 11, 12:
		t.Slices.Put(randomSlice(r, slice))
	case 13, 14:
		t.Slices.Delete(slice)
	case 15:
		t.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: []netip.Addr{address(r, "172.18.0.", 3)},
			Labels: map[string]string{"topology.kubernetes.io/zone": pick(r, "a", "b")}})
	case 16:
		if r.IntN(3) == 0 {
			t.Nodes.Delete("n2")
		} else {
			t.Nodes.Put(state.Node{Name: "n2", Addresses: []netip.Addr{address(r, "10.96.0.", 6), address(r, "fd96::", 6)}})
		}
	case 17:
		t.Devices.Put(state.Device{Name: pick(r, "eth0", "eth1"), Addrs: []netip.Prefix{netip.PrefixFrom(address(r, "172.18.0.", 5), 16),
			netip.PrefixFrom(address(r, "fd18::", 3), 64)}})
	case 18:
		p := netip.PrefixFrom(address(r, "10.96.0.", 6), 32)
		t.IPs.Put(state.IP{Prefix: p, Source: pick(r, state.IPPod, state.IPEndpoint, state.IPHost), Of: "d/p"})
	case 20:
		t.Pods.Put(randomPod(r))
	case 21:
		t.Endpoints.Put(randomEndpoint(r))
	case 22:
		if r.IntN(2) == 0 {
			t.Pods.Delete(state.PodName{Namespace: "d", Name: fmt.Sprintf("s%d", r.IntN(3))})
		} else {
			t.Endpoints.Delete(state.EndpointID(1 + r.IntN(3)))
		}
	case 19:
		t.IPs.Delete(netip.PrefixFrom(address(r, "10.96.0.", 6), 32))
	}
}

// address is one of n addresses that begin alike.
func address(r *rand.Rand, prefix string, n int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("%s%d", prefix, 1+r.IntN(n)))
}

func randomService(r *rand.Rand, name state.ServiceName) state.Service {
	s := state.Service{Name: name, Kind: pick(r, state.ServiceNone, state.ServiceClusterIP, state.ServiceNodePort, state.ServiceLoadBalancer, state.ServiceLoadBalancer),
		Affinity: pick(r, 0, 0, 10*time.Second), ExternalLocal: r.IntN(3) == 0, InternalLocal: r.IntN(4) == 0, PublishUnready: r.IntN(8) == 0,
		Algorithm: pick(r, "", "", state.AlgorithmRandom, state.AlgorithmMaglev), Forwarding: pick(r, "", "", "snat", "dsr", "hybrid")}
	if r.IntN(6) > 0 {
		s.ClusterIPs = append(s.ClusterIPs, address(r, "10.96.0.", 12))
	}
	if r.IntN(2) > 0 {
		s.ClusterIPs = append(s.ClusterIPs, address(r, "fd96::", 12))
	}
	for range r.IntN(3) {
		s.LoadBalancerIPs = append(s.LoadBalancerIPs, address(r, pick(r, "10.96.0.", "fd96::"), 8))
	}
	for range r.IntN(2) {
		s.ExternalIPs = append(s.ExternalIPs, address(r, "10.96.0.", 8))
	}
	for range r.IntN(3) {
		s.SourceRanges = append(s.SourceRanges, pick(r, netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")))
	}
	seen := map[uint16]bool{}
	for range 1 + r.IntN(2) {
		p := state.ServicePort{Name: pick(r, "", "http", "dns"), Proto: pick[uint8](r, 6, 6, 17, 132), Port: uint16(80 + r.IntN(3))}
		if s.Kind != state.ServiceClusterIP && r.IntN(2) == 0 {
			p.NodePort = uint16(32000 + r.IntN(4))
		}
		if !seen[p.Port] {
			s.Ports = append(s.Ports, p)
		}
		seen[p.Port] = true
	}
	return s
}

func randomSlice(r *rand.Rand, name state.SliceName) state.Slice {
	s := state.Slice{Name: name, Service: state.ServiceName{Namespace: "d", Name: fmt.Sprintf("s%d", r.IntN(6))}}
	if r.IntN(10) == 0 {
		s.Service = state.ServiceName{}
	}
	for _, n := range []string{"", "http", "dns"} {
		if r.IntN(4) > 0 {
			s.Ports = append(s.Ports, state.SlicePort{Name: n, Proto: pick[uint8](r, 6, 6, 17), Port: uint16(pick(r, 8080, 8080, 8081, 0))})
		}
	}
	hinted := r.IntN(2) == 0
	prefix := pick(r, "10.0.0.", "10.0.0.", "fd00::")
	for range r.IntN(20) {
		e := state.SliceEndpoint{Addr: address(r, prefix, 40), Ready: r.IntN(3) > 0, Node: pick(r, "", "n1", "n2"), Terminating: r.IntN(4) == 0}
		e.Serving = e.Ready || r.IntN(2) == 0
		if hinted {
			e.HintZones = []string{pick(r, "a", "b")}
			if r.IntN(4) > 0 {
				e.HintNodes = []string{pick(r, "n1", "n2")}
			}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

// randomPod is called like services are, and wants ports that NodePorts have, too.
func randomPod(r *rand.Rand) state.Pod {
	p := state.Pod{Name: state.PodName{Namespace: "d", Name: fmt.Sprintf("s%d", r.IntN(3))}, Node: pick(r, "n1", "n1", "n2"), UID: pick(r, "", "u1", "u2")}
	if r.IntN(3) > 0 {
		p.IPs = append(p.IPs, address(r, "10.0.1.", 40), address(r, "fd00:1::", 40))
	}
	for range r.IntN(4) {
		h := state.HostPort{Proto: pick[uint8](r, 6, 6, 17, 132), Port: uint16(32000 + r.IntN(4)), Target: uint16(8080 + r.IntN(2))}
		switch r.IntN(6) {
		case 0:
			h.IP = address(r, pick(r, "172.18.0.", "10.96.0."), 6)
		case 1:
			h.IP = address(r, "fd18::", 4)
		case 2:
			h.IP = netip.MustParseAddr(pick(r, "0.0.0.0", "::", "127.0.0.1", "::1"))
		}
		p.HostPorts = append(p.HostPorts, h)
	}
	return p
}

func randomEndpoint(r *rand.Rand) state.Endpoint {
	id := 1 + r.IntN(3)
	e := state.Endpoint{ID: state.EndpointID(id), Pod: state.PodName{Namespace: "d", Name: fmt.Sprintf("s%d", id-1)}, PodUID: pick(r, "", "u1", "u2")}
	if r.IntN(5) > 0 {
		e.IPv4 = address(r, "10.0.0.", 40)
	}
	if r.IntN(3) > 0 {
		e.IPv6 = address(r, "fd00::", 40)
	}
	return e
}
