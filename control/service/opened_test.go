package service

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"weir/bpf"
	"weir/state"
)

// bumps are the slots that were bumped since the last look.
type bumps struct {
	slots  []uint32
	broken bool
}

func (b *bumps) Bump(slots ...uint32) error {
	if b.broken {
		return errors.New("broken")
	}
	b.slots = append(b.slots, slots...)
	return nil
}

// Whoever sends datagrams to an address that becomes a frontend is judged anew, of
// a NodePort at every node's address; and nobody else is.
func TestDatagramsAreJudgedAnewWhenAFrontendComes(t *testing.T) {
	k, tables, b := newKernel(t), state.New(), &bumps{}
	tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: addrs("172.18.0.2")},
		state.Node{Name: "n2", Addresses: addrs("172.18.0.3", "fd18::3"), Routers: addrs("10.0.2.1")})
	o := Options{IPv4: true, IPv6: true, Generations: b}
	c := k.control(o, tables)
	dns := simple("dns", "10.96.0.2")
	dns.Ports = []state.ServicePort{{Proto: state.ProtoUDP, Port: 53}}
	open := dns
	open.Kind, open.Ports = state.ServiceNodePort, []state.ServicePort{{Proto: state.ProtoUDP, Port: 53, NodePort: 30053}}
	for _, x := range []struct {
		what   string
		change func()
		want   []string
	}{
		{"of TCP", func() { tables.Services.Put(simple("web", "10.96.0.1")) }, nil},
		{"of UDP", func() { tables.Services.Put(dns) }, []string{"10.96.0.2"}},
		{"other backends", func() { tables.Slices.Put(of("dns", "10.0.0.1")) }, nil},
		{"a NodePort", func() { tables.Services.Put(open) }, []string{"172.18.0.2", "172.18.0.3", "10.0.2.1"}},
		{"a restart", func() { c = k.control(o, tables) }, nil},
		{"it goes", func() { tables.Services.Delete(dns.Name) }, nil},
		{"it comes again", func() { tables.Services.Put(dns) }, []string{"10.96.0.2"}},
	} {
		x.change()
		step(t, c)
		var want []uint32
		for _, a := range x.want {
			want = append(want, bpf.AddrSlot(netip.MustParseAddr(a)))
		}
		slices.Sort(want)
		if slices.Sort(b.slots); !slices.Equal(b.slots, want) {
			t.Errorf("%s: bumped %v, want %v, the slots of %v", x.what, b.slots, want, x.want)
		}
		b.slots = nil
	}
	b.broken = true
	tables.Services.Put(open)
	if err := c.Step(t.Context()); err == nil {
		t.Error("a step does not say that generations cannot be written")
	}
	b.broken = false
	step(t, c)
	if len(b.slots) == 0 {
		t.Error("what could not be voided never was")
	}
}
