package bpftest

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"weir/bpf"
)

// serving is the configuration of a node that has services.
func serving(c bpf.Config) bpf.Config {
	c.Services, c.SetRetval = 1, 1
	c.NATFirst, c.NATLast = 1024, 29999
	return c
}

// services gives the node empty maps of services.
func (n *node) services(t testing.TB) {
	t.Helper()
	const inner = unix.BPF_F_INNER_MAP
	for name, spec := range map[string]ebpf.MapSpec{
		bpf.MapServices:  {Type: ebpf.Hash, KeySize: 20, ValueSize: 32, MaxEntries: 256, Flags: unix.BPF_F_NO_PREALLOC},
		bpf.MapSlots:     {Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: 256, Flags: inner},
		bpf.MapBackends:  {Type: ebpf.Array, KeySize: 4, ValueSize: 24, MaxEntries: 256, Flags: inner},
		bpf.MapFrontends: {Type: ebpf.Array, KeySize: 4, ValueSize: 24, MaxEntries: 256, Flags: inner},
	} {
		m, err := ebpf.NewMap(&spec)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		n.set(t, name, uint32(0), m)
		n.maps["inner "+name] = m
	}
}

// service is one as a test says it: numbers are those of rows.
type service struct {
	id       uint32
	at       netip.AddrPort
	proto    uint8
	flags    bpf.ServiceFlag
	affinity uint32   // seconds
	first    uint32   // slot; a multiple of 16
	backends []uint32 // for those inside, and outside when that is nil
	outside  []uint32
}

// add puts services into the maps.
func (n *node) add(t testing.TB, services ...service) {
	t.Helper()
	for _, s := range services {
		if s.outside == nil {
			s.outside = s.backends
		}
		v := bpf.Service{ID: s.id, Frontend: s.id, Affinity: s.affinity, Flags: uint32(s.flags)}
		v.Inside = n.slots(t, s.first, s.backends)
		v.Outside = n.slots(t, s.first+128, s.outside)
		n.set(t, "inner "+bpf.MapFrontends, s.id, bpf.Frontend{Addr: bpf.AddrFrom(s.at.Addr()), Port: bpf.Network(s.at.Port()), Proto: s.proto})
		n.set(t, "inner "+bpf.MapServices, key(s.at, s.proto), v)
	}
}

func key(at netip.AddrPort, proto uint8) bpf.ServiceKey {
	return bpf.ServiceKey{Addr: bpf.AddrFrom(at.Addr()), Port: bpf.Network(at.Port()), Proto: proto}
}

func (n *node) slots(t testing.TB, first uint32, backends []uint32) bpf.Selection {
	t.Helper()
	for at := 0; at < len(backends); at += int(bpf.RowSlots) {
		var row bpf.Slots
		copy(row.Backends[:], backends[at:])
		n.set(t, "inner "+bpf.MapSlots, (first+uint32(at))/uint32(bpf.RowSlots), row)
	}
	return bpf.Selection{First: first, Count: uint32(len(backends))}
}

// backend puts a backend into its row.
func (n *node) backend(t testing.TB, row, generation uint32, at netip.AddrPort, proto uint8) {
	t.Helper()
	n.set(t, "inner "+bpf.MapBackends, row, bpf.Backend{Addr: bpf.AddrFrom(at.Addr()), Port: bpf.Network(at.Port()), Proto: proto, Generation: generation})
}
