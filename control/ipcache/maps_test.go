package ipcache

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"weir/bpf"
	"weir/state"
)

// fill puts the rows of two into tables.
func fill(rows Rows) *state.Tables {
	t := state.New()
	t.Nodes.Put(rows.Nodes...)
	t.Pods.Put(rows.Pods...)
	t.Endpoints.Put(rows.Endpoints...)
	for name, id := range rows.Identities {
		t.PodIdentities.Put(state.PodIdentity{Pod: name, ID: id})
	}
	return t
}

func step(t *testing.T, c *Control) {
	t.Helper()
	if err := c.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestARestartWritesNothing(t *testing.T) {
	k, rows := newKernel(), two()
	tables := fill(rows)
	step(t, k.control(t, rows, tables))
	before, writes := k.generations, k.ipcache.Writes+k.nodes.Writes
	if writes == 0 || before[0] == 0 {
		t.Error("the first step wrote nothing")
	}
	step(t, k.control(t, rows, tables))
	if n := k.ipcache.Writes + k.nodes.Writes - writes; n != 0 || before != k.generations {
		t.Errorf("a step of an agent that finds everything wrote %d entries, generations too: %v", n, before != k.generations)
	}
}

func TestAChangedAddressVoidsItsConnectionsAndNoOthers(t *testing.T) {
	rows := two()
	k, tables := newKernel(), fill(rows)
	c := k.control(t, rows, tables)
	step(t, c)
	web, db := rows.Endpoints[0], rows.Pods[0]
	cache := state.Pod{Name: state.PodName{Namespace: "default", Name: "cache"}, Node: "n2"}
	for _, change := range []struct {
		why  string
		do   func()
		want []uint32
		all  bool
	}{
		{"nothing", func() { tables.Pods.Put(db) }, nil, false},
		{"another identity", func() { tables.PodIdentities.Put(state.PodIdentity{Pod: db.Name, ID: 301}) }, slotsOf("10.0.1.9", "fd00::109"), false},
		{"an endpoint's identity", func() { web.Identity = 302; tables.Endpoints.Put(web) }, slotsOf("10.0.0.9", "fd00::9"), false},
		{"another endpoint", func() { tables.Endpoints.Delete(7); web.ID = 8; tables.Endpoints.Put(web) }, slotsOf("10.0.0.9", "fd00::9"), false},
		{"an address that goes", func() { db.IPs = addrs("10.0.1.9"); tables.Pods.Put(db) }, slotsOf("fd00::109"), false},
		{"an address that comes", func() { cache.IPs = addrs("fd00::109"); tables.Pods.Put(cache) }, slotsOf("fd00::109"), false},
		{"another identity of the new owner", func() {
			tables.PodIdentities.Put(state.PodIdentity{Pod: cache.Name, ID: 301})
		}, slotsOf("fd00::109"), false},
		{"another owner of the same identity at the same place", func() {
			tables.Pods.Delete(cache.Name)
			cache.Name.Name = "cache2"
			tables.Pods.Put(cache)
			tables.PodIdentities.Put(state.PodIdentity{Pod: cache.Name, ID: 301})
		}, slotsOf("fd00::109"), false},
		{"another pod of the same name, identity and place", func() { cache.UID = "2"; tables.Pods.Put(cache) }, slotsOf("fd00::109"), false},
		{"the same one again", func() { cache.Deleting = true; tables.Pods.Put(cache) }, nil, false},
		{"another node", func() {
			n := rows.Nodes[1]
			n.Addresses = addrs("172.18.0.33", "fc00::3")
			tables.Nodes.Put(n)
		}, nil, true}, // its CIDR is a wider prefix
		{"a host's address", func() {
			tables.Devices.Put(state.Device{Name: "eth1", Addrs: []netip.Prefix{prefix("192.0.2.7/24")}})
		}, slotsOf("192.0.2.7"), false},
	} {
		before := k.generations
		change.do()
		step(t, c)
		if slots, all := k.bumped(before); !slices.Equal(slots, change.want) || all != change.all {
			t.Errorf("%s: bumped %v, all %v; want %v, all %v", change.why, slots, all, change.want, change.all)
		}
	}
}

// What was written and not voided is voided as soon as that works again, in this
// agent or the next one.
func TestAVoidIsNeverLost(t *testing.T) {
	for _, killed := range []bool{false, true} {
		rows := two()
		k, tables := newKernel(), fill(rows)
		c := k.control(t, rows, tables)
		step(t, c)
		k.broken = true
		tables.PodIdentities.Put(state.PodIdentity{Pod: rows.Pods[0].Name, ID: 301})
		if err := c.Step(t.Context()); err == nil {
			t.Fatal("the step does not say that generations cannot be written")
		}
		if row, _ := tables.IPs.Get(prefix("10.0.1.9/32")); row.Identity == 301 {
			t.Error("the table has the new identity before connections are void")
		}
		k.broken = false
		before := k.generations
		if killed {
			c = k.control(t, rows, tables)
		}
		step(t, c)
		for _, s := range slotsOf("10.0.1.9", "fd00::109") {
			if k.generations[s] == before[s] {
				t.Errorf("killed %v: slot %d was not bumped", killed, s)
			}
		}
		before, writes := k.generations, k.ipcache.Writes
		step(t, k.control(t, rows, tables))
		if before != k.generations || k.ipcache.Writes != writes {
			t.Errorf("killed %v: the next start found something to do", killed)
		}
	}
}

// far is a node elsewhere, with one pod CIDR.
func far(i int) state.Node {
	return state.Node{Name: fmt.Sprint("far", i), Addresses: addrs(fmt.Sprintf("172.18.1.%d", i)), PodCIDRs: []netip.Prefix{prefix(fmt.Sprintf("10.9.%d.0/24", i))}}
}

// numberOf returns the number of a far node as the entries have it, which must
// be that of its address in the map of nodes.
func (k *kernel) numberOf(t *testing.T, i int) uint16 {
	t.Helper()
	entries, _ := k.ipcache.Load()
	nodes, _ := k.nodes.Load()
	e := entries[bpf.IPCacheKeyFrom(prefix(fmt.Sprintf("10.9.%d.0/24", i)))]
	if got := nodes[uint32(e.Node)].Addr.Netip(); e.Node != 0 && got != far(i).Addresses[0] {
		t.Fatalf("number %d of node %d is %s", e.Node, i, got)
	}
	return e.Node
}

func TestANodeKeepsItsNumberAndAFreedOneIsUsedLast(t *testing.T) {
	k, tables := newKernel(), state.New()
	k.size = 5 // 1 to 4
	c := k.control(t, Rows{}, tables)
	next := 1
	join := func() uint16 { // another node every time
		t.Helper()
		tables.Nodes.Put(far(next))
		step(t, c)
		next++
		return k.numberOf(t, next-1)
	}
	for want := uint16(1); want <= 3; want++ {
		if got := join(); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	tables.Nodes.Delete("far1")
	step(t, c)
	if nodes, _ := k.nodes.Load(); len(nodes) != 2 {
		t.Errorf("%d nodes have a number, want 2", len(nodes))
	}
	if got := join(); got != 4 {
		t.Errorf("got %d, want 4: 1 was freed a moment ago", got)
	}
	c = k.control(t, Rows{}, tables) // a restart keeps them all
	if got := join(); got != 1 {
		t.Errorf("got %d, want 1, the only one left", got)
	}
	if k.numberOf(t, 2) != 2 || k.numberOf(t, 3) != 3 || k.numberOf(t, 4) != 4 {
		t.Error("numbers of nodes that stayed have changed")
	}
	if got := join(); got != 0 {
		t.Errorf("got %d, want none: all are in use", got)
	}
	tables.Nodes.Delete("far3")
	step(t, c)
	if got := k.numberOf(t, 6); got != 3 {
		t.Errorf("got %d, want 3, which was freed", got)
	}
}

func TestTheFirstEntryOfANodeComesAfterItsNumber(t *testing.T) {
	k, tables := newKernel(), state.New()
	c := k.control(t, Rows{}, tables)
	step(t, c)
	k.nodes.Max = 1
	tables.Nodes.Put(far(1), far(2))
	if err := c.Step(t.Context()); err == nil {
		t.Fatal("the step does not say that a number cannot be written")
	}
	entries, _ := k.ipcache.Load()
	for key, e := range entries {
		if e.TunnelEndpoint != (bpf.Addr{}) {
			t.Errorf("%s names node %s, whose number could not be written", key, e.TunnelEndpoint)
		}
	}
	k.nodes.Max = 0
	step(t, c)
	if k.numberOf(t, 1) == 0 || k.numberOf(t, 2) == 0 {
		t.Error("a node has no number when it can be written again")
	}
}
