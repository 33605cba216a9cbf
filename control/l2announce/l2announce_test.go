package l2announce

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

var (
	mac  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	vip  = netip.MustParseAddr("172.18.200.1")
	vip6 = netip.MustParseAddr("fc00::200:1")
	ext  = netip.MustParseAddr("198.51.100.77")
	both = Options{IPv4: true, IPv6: true}
)

func web() state.Service {
	return state.Service{Name: state.ServiceName{Namespace: "default", Name: "web"}, LoadBalancerIPs: []netip.Addr{vip, vip6}, ExternalIPs: []netip.Addr{ext}}
}

// world is a node n1 with two devices, which holds the lease of web.
func world() input {
	return input{
		policies: []state.L2Policy{{Name: "all", LoadBalancerIPs: true}},
		services: []state.Service{web()},
		leases:   map[state.LeaseName]string{state.L2Lease(web().Name): "n1"},
		nodes:    []state.Node{{Name: "n1", Local: true, Addresses: []netip.Addr{netip.MustParseAddr("172.18.0.2")}}, {Name: "n2"}},
		devices: []state.Device{{Name: "eth1", Index: 3, MAC: mac, Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}},
			{Name: "eth0", Index: 2, MAC: mac}},
	}
}

func TestTheHolderAnswersOnTheDevicesThatPoliciesName(t *testing.T) {
	on := func(a netip.Addr, ifindex ...int) (out []bpf.L2Key) {
		for _, i := range ifindex {
			out = append(out, Key(a, i))
		}
		return out
	}
	for _, c := range []struct {
		name   string
		opts   Options
		change func(*input)
		want   []bpf.L2Key
	}{
		{"every device", both, func(*input) {}, append(on(vip, 2, 3), on(vip6, 2, 3)...)},
		{"IPv4 only", Options{IPv4: true}, func(*input) {}, on(vip, 2, 3)},
		{"IPv6 only", Options{IPv6: true}, func(*input) {}, on(vip6, 2, 3)},
		{"by a regular expression", Options{IPv4: true}, func(in *input) { in.policies[0].Interfaces = []string{"^wlan", "th0$"} }, on(vip, 2)},
		{"no device matches", both, func(in *input) { in.policies[0].Interfaces = []string{"^wlan"} }, nil},
		{"external addresses only", both, func(in *input) { in.policies[0] = state.L2Policy{ExternalIPs: true} }, on(ext, 2, 3)},
		{"another policy for another device", Options{IPv4: true}, func(in *input) {
			in.policies = []state.L2Policy{{LoadBalancerIPs: true, Interfaces: []string{"eth0"}}, {ExternalIPs: true, Interfaces: []string{"eth1"}}}
		}, append(on(vip, 2), on(ext, 3)...)},
		{"another node holds it", both, func(in *input) { in.leases[state.L2Lease(web().Name)] = "n2" }, nil},
		{"nobody holds it", both, func(in *input) { clear(in.leases) }, nil},
		{"the policy is for other nodes", both, func(in *input) {
			in.policies[0].Nodes = state.Selector{{Key: "any:edge", Op: state.Exists}}
		}, nil},
		{"a class of somebody else's", both, func(in *input) { in.services[0].Class = "example.com/lb" }, nil},
		{"our class", Options{IPv4: true}, func(in *input) { in.services[0].Class = state.ClassL2 }, on(vip, 2, 3)},
		{"an address of a node", Options{IPv4: true}, func(in *input) { in.nodes[1].Addresses = []netip.Addr{vip} }, nil},
		{"an address of a device", Options{IPv4: true}, func(in *input) { in.services[0].LoadBalancerIPs = []netip.Addr{netip.MustParseAddr("192.0.2.2")} }, nil},
		{"a device without Ethernet", Options{IPv4: true}, func(in *input) { in.devices[0].MAC = nil }, on(vip, 2)},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := world()
			c.change(&in)
			want := map[bpf.L2Key]bpf.L2Entry{}
			for _, k := range c.want {
				want[k] = bpf.L2Entry{MAC: bpf.MACFrom(mac)}
			}
			if diff := cmp.Diff(want, entries(derive(c.opts, in))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Each node takes the same of several leases for the one that counts.
func TestAnAddressOfSeveralServicesHasOneHolder(t *testing.T) {
	in := world()
	other := web()
	other.Name.Name = "api"
	in.services = append(in.services, other)
	in.leases[state.L2Lease(other.Name)] = "n2"
	got := derive(Options{IPv4: true}, in)
	if len(got) != 1 || got[0].Holder != "n2" || len(got[0].Devices) != 0 || !slices.Equal(got[0].Services, []state.ServiceName{other.Name, web().Name}) {
		t.Errorf("%+v, want the holder of the first service", got)
	}
	in.leases[state.L2Lease(other.Name)] = ""
	if got := derive(Options{IPv4: true}, in); got[0].Holder != "n1" || len(got[0].Devices) != 2 {
		t.Errorf("%+v, want the holder of the other when the first has none", got)
	}
}

// link notes what it is told.
type link struct {
	mu        sync.Mutex
	listens   []bpf.L2Key
	announced []bpf.L2Key
	err       error
}

func (l *link) Listen(keys []bpf.L2Key) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listens = keys
	return l.err
}

func (l *link) Announce(k bpf.L2Key, _ bpf.MAC) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.announced = append(l.announced, k)
	return l.err
}

// said returns how often each was announced since it was last asked.
func (l *link) said() map[bpf.L2Key]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[bpf.L2Key]int{}
	for _, k := range l.announced {
		out[k]++
	}
	l.announced = nil
	return out
}

func fill(t *state.Tables, in input) {
	t.L2Policies.Put(in.policies...)
	t.Services.Put(in.services...)
	t.Nodes.Put(in.nodes...)
	t.Devices.Put(in.devices...)
	for name, holder := range in.leases {
		t.Leases.Put(state.Lease{Name: name, Holder: holder})
	}
	for _, mark := range []func(){t.L2Policies.MarkSynced, t.Services.MarkSynced, t.Nodes.MarkSynced, t.Devices.MarkSynced, t.Leases.MarkSynced} {
		mark()
	}
}

func TestWhatANodeTakesOverIsAnnouncedThreeTimesUnlessItLosesItAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tables, l, store := state.New(), &link{}, &datapath.Memory[bpf.L2Key, bpf.L2Entry]{}
		in := world()
		in.devices = in.devices[1:]
		fill(tables, in)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		run := func() {
			rows, err := datapath.OpenMirror("weir_l2", store)
			if err != nil {
				t.Fatal(err)
			}
			go New(slog.New(slog.DiscardHandler), Options{IPv4: true}, tables, rows, l).Run(ctx)
			synctest.Wait()
		}
		want := func(what string, times int) {
			t.Helper()
			synctest.Wait()
			expect := map[bpf.L2Key]int{}
			if times > 0 {
				expect[Key(vip, 2)] = times
			}
			if diff := cmp.Diff(expect, l.said()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		run()
		want("taken over", 1)
		time.Sleep(5 * time.Second)
		want("later", 2)
		lease := state.Lease{Name: state.L2Lease(web().Name), Holder: "n2"}
		tables.Leases.Put(lease)
		synctest.Wait()
		if held, _ := store.Load(); len(held) != 0 {
			t.Errorf("the map has %v when another node holds the lease", held)
		}
		lease.Holder = "n1"
		tables.Leases.Put(lease)
		time.Sleep(500 * time.Millisecond)
		want("back again", 1)
		lease.Holder = "n2"
		tables.Leases.Put(lease)
		time.Sleep(5 * time.Second)
		want("lost again", 0)
		lease.Holder = "n1"
		tables.Leases.Put(lease)
		time.Sleep(5 * time.Second)
		l.said()
		cancel()
		synctest.Wait()
		ctx, cancel = context.WithCancel(t.Context())
		run()
		time.Sleep(5 * time.Second)
		want("the next agent finds it there", 0)
		cancel()
		synctest.Wait()
	})
}

// The map is written whether neighbours can be told or not.
func TestNeighboursThatCannotBeToldDoNotKeepAddressesFromBeingAnswered(t *testing.T) {
	tables, l, store := state.New(), &link{err: errors.New("no such device")}, &datapath.Memory[bpf.L2Key, bpf.L2Entry]{}
	fill(tables, world())
	rows, err := datapath.OpenMirror("weir_l2", store)
	if err != nil {
		t.Fatal(err)
	}
	c := New(slog.New(slog.DiscardHandler), both, tables, rows, l)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := c.step(ctx); err != nil {
		t.Fatal(err)
	}
	if held, _ := store.Load(); len(held) != 4 || len(l.listens) != 4 || len(c.List()) != 2 {
		t.Errorf("map %v, groups of %v, list %v", held, l.listens, c.List())
	}
}
