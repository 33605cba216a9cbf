package service

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func simple(name, clusterIP string) state.Service {
	return state.Service{Name: state.ServiceName{Namespace: "d", Name: name}, Kind: state.ServiceClusterIP, ClusterIPs: addrs(clusterIP),
		Ports: []state.ServicePort{{Proto: state.ProtoTCP, Port: 80}}}
}

func of(service string, ready ...string) state.Slice {
	s := state.Slice{Name: state.SliceName{Namespace: "d", Name: service + "-1"}, Service: state.ServiceName{Namespace: "d", Name: service},
		Ports: []state.SlicePort{{Proto: state.ProtoTCP, Port: 8080}}}
	for _, a := range addrs(ready...) {
		s.Endpoints = append(s.Endpoints, state.SliceEndpoint{Addr: a, Ready: true, Serving: true})
	}
	return s
}

func key(text string) bpf.ServiceKey { return bpf.ServiceKeyFrom(netip.MustParseAddrPort(text), 6) }

func step(t *testing.T, c *Control) {
	t.Helper()
	if err := c.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (k *kernel) entry(at string) bpf.Service {
	all, _ := k.services.Load()
	return all[key(at)]
}

func TestPortsWithTheSameBackendsShareTheirSlots(t *testing.T) {
	k, tables := newKernel(t), state.New()
	a, b := simple("a", "10.96.0.1"), simple("b", "10.96.0.2")
	a.Algorithm, b.Algorithm = state.AlgorithmMaglev, state.AlgorithmMaglev
	tables.Services.Put(a, b)
	tables.Slices.Put(of("a", "10.0.0.1", "10.0.0.2"), of("b", "10.0.0.2", "10.0.0.1"))
	c := k.control(Options{IPv4: true}, tables)
	step(t, c)
	one, other := k.entry("10.96.0.1:80"), k.entry("10.96.0.2:80")
	if one.Inside != other.Inside || one.Inside.Count != tableSize(2) || one.ID == other.ID {
		t.Errorf("%s and %s do not share a table", one, other)
	}
	tables.Services.Delete(a.Name)
	step(t, c)
	if got := k.entry("10.96.0.2:80"); got != other {
		t.Errorf("the other one became %s, was %s", got, other)
	}
}

// A backend that is not chosen any more has its row, and its generation, until no
// slice names it: connections to it go on.
func TestABackendLivesAsLongAsASliceNamesIt(t *testing.T) {
	k, tables := newKernel(t), state.New()
	tables.Services.Put(simple("a", "10.96.0.1"))
	s := of("a", "10.0.0.1", "10.0.0.2")
	tables.Slices.Put(s)
	c := k.control(Options{IPv4: true}, tables)
	step(t, c)
	before, _ := k.backends.Load()
	draining := of("a", "10.0.0.1", "10.0.0.2")
	draining.Endpoints[0] = state.SliceEndpoint{Addr: s.Endpoints[0].Addr, Terminating: true}
	tables.Slices.Put(draining)
	step(t, c)
	now, _ := k.backends.Load()
	if now[1] != before[1] || now[2] != before[2] || k.entry("10.96.0.1:80").Inside.Count != 1 {
		t.Errorf("backends are %v, were %v", now, before)
	}
	tables.Slices.Put(of("a", "10.0.0.2"))
	step(t, c)
	now, _ = k.backends.Load()
	if now[1] != (bpf.Backend{Generation: before[1].Generation + 1}) {
		t.Errorf("the row of the one that is gone is %s", now[1])
	}
	tables.Slices.Put(of("a", "10.0.0.2", "10.0.0.9"))
	step(t, c)
	if now, _ = k.backends.Load(); now[1].Addr != (bpf.Addr{}) || now[3].Addr == (bpf.Addr{}) {
		t.Errorf("the row was used again at once: %v", now)
	}
}

func TestTheRowOfAFrontendStaysForItsAnswersAndItsReturn(t *testing.T) {
	k, tables := newKernel(t), state.New()
	tables.Services.Put(simple("a", "10.96.0.1"))
	c := k.control(Options{IPv4: true}, tables)
	step(t, c)
	row := k.entry("10.96.0.1:80").Frontend
	tables.Services.Delete(state.ServiceName{Namespace: "d", Name: "a"})
	step(t, c)
	tables.Services.Put(simple("b", "10.96.0.2"))
	step(t, c)
	if all, _ := k.frontends.Load(); all[row] != frontendRow(key("10.96.0.1:80")) {
		t.Errorf("row %d is %s", row, all[row])
	}
	for _, c := range []*Control{c, k.control(Options{IPv4: true}, tables)} { // also after a restart
		tables.Services.Put(simple("a", "10.96.0.1"))
		step(t, c)
		if got := k.entry("10.96.0.1:80").Frontend; got != row {
			t.Errorf("it came back as %d, was %d", got, row)
		}
		tables.Services.Delete(state.ServiceName{Namespace: "d", Name: "a"})
		step(t, c)
	}
}

func TestNothingGoesBeforeEverythingIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, tables := newKernel(t), state.New()
		tables.Services.Put(simple("a", "10.96.0.1"))
		tables.Slices.Put(of("a", "10.0.0.1"))
		step(t, k.control(Options{IPv4: true}, tables))
		before, empty := k.writes(), state.New()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go k.control(Options{IPv4: true}, empty).Run(ctx)
		for _, mark := range []func(){empty.Services.MarkSynced, empty.Slices.MarkSynced, empty.Nodes.MarkSynced, empty.Devices.MarkSynced, empty.Pods.MarkSynced, empty.Endpoints.MarkSynced} {
			mark()
			synctest.Wait()
			if n := k.writes() - before; n != 0 {
				t.Fatalf("%d entries were written before all was synced", n)
			}
		}
		empty.IPs.MarkSynced()
		synctest.Wait()
		if k.entry("10.96.0.1:80").ID != 0 {
			t.Error("the service is still there")
		}
	})
}

// What has no room is named, everything else is written, and what is there stays.
func TestAFullMapKeepsOthersWorking(t *testing.T) {
	k, tables := newKernel(t), state.New()
	tables.Services.Put(simple("a", "10.96.0.1"), simple("b", "10.96.0.2"))
	tables.Slices.Put(of("a", "10.0.0.1"))
	c := k.control(Options{IPv4: true}, tables)
	step(t, c)
	old := k.entry("10.96.0.1:80")
	k.slots.Max = 2
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("10.1.0.%d", i))
	}
	tables.Slices.Put(of("a", many...), of("b", "10.0.0.7"))
	if err := c.Step(t.Context()); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("got %v, want an error that says that it is full", err)
	}
	if got := k.entry("10.96.0.1:80"); got != old {
		t.Errorf("a became %s, was %s", got, old)
	}
	tables.Slices.Put(of("a", "10.0.0.1"))
	step(t, c)
	if k.entry("10.96.0.2:80").Inside.Count != 1 || k.entry("10.96.0.1:80").Inside.Count != 1 {
		t.Errorf("a is %s, b is %s", k.entry("10.96.0.1:80"), k.entry("10.96.0.2:80"))
	}
}

func TestAHundredThousandEndpointsOfOneService(t *testing.T) {
	k, tables := newKernel(t), state.New()
	k.watch = false
	s, _ := bigService(0, 0, state.AlgorithmRandom)
	tables.Services.Put(s)
	for i := range 1000 {
		tables.Slices.Put(bigSlice(s.Name, i, 100))
	}
	c := k.control(Options{IPv4: true}, tables)
	step(t, c)
	if got := k.entry("10.96.0.0:80").Inside.Count; got != 100_000 {
		t.Errorf("%d backends, want 100000", got)
	}
	before := k.slots.Writes + k.backends.Writes
	tables.Slices.Put(bigSlice(s.Name, 7, 99))
	step(t, c)
	if n := k.slots.Writes + k.backends.Writes - before; n > 6251 { // all rows of slots, and the backend that went
		t.Errorf("one endpoint less wrote %d rows", n)
	}
}

func TestConflictsAreNamedAndTheRestWorks(t *testing.T) {
	k, tables := newKernel(t), state.New()
	node := func(name, port string) state.Service {
		s := simple(name, port)
		s.Kind, s.Ports[0].NodePort = state.ServiceNodePort, 32000
		return s
	}
	tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: addrs("172.18.0.2")})
	tables.IPs.Put(state.IP{Prefix: netip.MustParsePrefix("10.0.0.77/32"), Source: state.IPPod, Of: "d/web"})
	tables.Services.Put(node("b", "10.96.0.2"))
	var log strings.Builder
	m, err := datapath.OpenServiceMaps(datapath.ServiceStores{Services: k.services, Slots: k.slots, Backends: k.backends, Frontends: k.frontends, SourceRanges: k.ranges})
	if err != nil {
		t.Fatal(err)
	}
	c := New(slog.New(slog.NewTextHandler(&log, nil)), Options{IPv4: true}, tables, m)
	step(t, c)
	late := node("a", "10.96.0.1")
	late.ExternalIPs, late.LoadBalancerIPs = addrs("172.18.0.2"), addrs("10.0.0.77", "fd00::9")
	tables.Services.Put(late)
	step(t, c)
	b, a := k.entry("172.18.0.2:32000"), k.entry("10.96.0.1:80")
	if a.ID == 0 || a.ID == b.ID || b.ID != k.entry("10.96.0.2:80").ID || k.entry("0.0.0.0:32000").ID != b.ID {
		t.Errorf("the NodePort is %s, a is %s", b, a)
	}
	if text := "172.18.0.2:32000/TCP is d/b port 80/TCP's, not d/a port 80/TCP's"; strings.Count(log.String(), text) != 1 {
		t.Errorf("the log does not name the conflict once: %s", &log)
	}
	notes := strings.Join(c.m.services[ofService(late.Name)].notes, "\n")
	for _, want := range []string{"ExternalIPs 172.18.0.2 is the address of node n1", "LoadBalancer 10.0.0.77 is the address of pod d/web", "LoadBalancer fd00::9 is of a family"} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes do not say %q:\n%s", want, notes)
		}
	}
	tables.Services.Delete(state.ServiceName{Namespace: "d", Name: "b"})
	tables.IPs.Delete(netip.MustParsePrefix("10.0.0.77/32"))
	step(t, c)
	if k.entry("172.18.0.2:32000").ID != a.ID || k.entry("10.0.0.77:80").ID != a.ID {
		t.Error("the other one has neither the NodePort nor the address")
	}
}
