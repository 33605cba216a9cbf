package service

import (
	"container/list"
	"maps"
	"slices"

	"weir/bpf"
)

// numbers gives out numbers from 1, each to one user at a time. One that was given
// back is used again after rest others were.
type numbers struct {
	rest int
	next uint32
	free *list.List // oldest first
	at   map[uint32]*list.Element
}

func newNumbers(rest int) *numbers {
	return &numbers{rest: rest, next: 1, free: list.New(), at: map[uint32]*list.Element{}}
}

func (n *numbers) take() uint32 {
	if n.free.Len() > n.rest {
		return n.claim(n.free.Front().Value.(uint32))
	}
	n.next++
	return n.next - 1
}

// claim takes one that is free.
func (n *numbers) claim(x uint32) uint32 {
	n.free.Remove(n.at[x])
	delete(n.at, x)
	return x
}

func (n *numbers) give(x uint32) { n.at[x] = n.free.PushBack(x) }

// adopt learns which numbers are in use, before any is given out.
func (n *numbers) adopt(taken map[uint32]bool) {
	for _, x := range slices.Sorted(maps.Keys(taken)) {
		for ; n.next < x; n.next++ {
			n.give(n.next)
		}
		n.next = max(n.next, x+1)
	}
}

// backend is a row of weir_backends. It lives as long as a slice names it, so that
// connections of one that is not chosen any more go on.
type backend struct {
	number     uint32
	generation uint32
	key        backendKey
	refs       int // ports whose endpoint it is, and sets that it is in
}

func (b *backend) row() bpf.Backend {
	at := b.key.at()
	return bpf.Backend{Generation: b.generation, Addr: bpf.AddrFrom(at.Addr()), Port: bpf.Network(at.Port()), Proto: uint8(b.key.proto)}
}

func keyOf(row bpf.Backend) backendKey {
	return backendAt(row.AddrPort(), row.Proto)
}

// backends gives each backend a row.
type backends struct {
	numbers *numbers
	of      map[backendKey]*backend
	slots   []backendSlot     // by number
	dirty   map[uint32]bool   // rows to be written
	idle    map[*backend]bool // may have no user any more
}

// backendSlot is who has a row, or the generation of one that is free.
type backendSlot struct {
	backend    *backend
	generation uint32
}

// backendRest is how many rows stay free: by then, whoever read the number of one
// that is gone has long looked at its row.
const backendRest = 256

func newBackends() *backends {
	return &backends{numbers: newNumbers(backendRest), of: map[backendKey]*backend{}, dirty: map[uint32]bool{}, idle: map[*backend]bool{}}
}

// slot is the one of a number.
func (b *backends) slot(n uint32) *backendSlot {
	for int(n) >= len(b.slots) {
		b.slots = append(b.slots, backendSlot{})
	}
	return &b.slots[n]
}

// by returns who has a row, or nil.
func (b *backends) by(n uint32) *backend {
	if int(n) >= len(b.slots) {
		return nil
	}
	return b.slots[n].backend
}

// use returns the row of a backend, with one user more.
func (b *backends) use(k backendKey) *backend {
	x := b.of[k]
	if x == nil {
		n := b.numbers.take()
		slot := b.slot(n)
		x = &backend{number: n, generation: slot.generation + 1, key: k}
		b.of[k], slot.backend = x, x
		b.dirty[n] = true
	}
	x.refs++
	return x
}

// leave takes a user from a backend.
func (b *backends) leave(x *backend) {
	if x.refs--; x.refs == 0 {
		b.idle[x] = true
	}
}

// sweep frees the rows that nobody uses.
func (b *backends) sweep() {
	for x := range b.idle {
		if x.refs > 0 {
			continue
		}
		delete(b.of, x.key)
		b.slots[x.number] = backendSlot{generation: x.generation + 1}
		b.numbers.give(x.number)
		b.dirty[x.number] = true
	}
	clear(b.idle)
}

// rows are those that are to be written.
func (b *backends) rows() map[uint32]bpf.Backend {
	out := make(map[uint32]bpf.Backend, len(b.dirty))
	for n := range b.dirty {
		if slot := b.slots[n]; slot.backend != nil {
			out[n] = slot.backend.row()
		} else {
			out[n] = bpf.Backend{Generation: slot.generation}
		}
	}
	return out
}

// adopt goes on with the rows of an earlier agent. Nobody uses them yet; those that
// are idle still after the first pass go.
func (b *backends) adopt(held map[uint32]bpf.Backend) {
	taken := map[uint32]bool{}
	for n := range held {
		taken[n] = n > 0
	}
	delete(taken, 0)
	b.numbers.adopt(taken)
	for _, n := range slices.Sorted(maps.Keys(taken)) {
		row, slot := held[n], b.slot(n)
		k, alive := keyOf(row), row.Addr != (bpf.Addr{})
		if alive && b.of[k] == nil {
			x := &backend{number: n, generation: row.Generation, key: k}
			b.of[k], slot.backend, b.idle[x] = x, x, true
			continue
		}
		if slot.generation = row.Generation; alive { // a second row of one backend
			slot.generation++
			b.dirty[n] = true
		}
		b.numbers.give(n)
	}
}

// frontends gives each frontend a row. One that goes leaves its row as it is until
// another needs it, so that answers of its connections still have its address; one
// that comes back finds it.
type frontends struct {
	numbers *numbers
	of      map[bpf.ServiceKey]uint32
	left    map[bpf.ServiceKey]uint32 // rows of frontends that are gone
	was     map[uint32]bpf.ServiceKey // the other way round
	dirty   map[bpf.ServiceKey]bool   // whose row is to be written
}

// frontendRest is how many rows of frontends that are gone keep their addresses.
const frontendRest = 4096

func newFrontends() *frontends {
	return &frontends{numbers: newNumbers(frontendRest), of: map[bpf.ServiceKey]uint32{}, left: map[bpf.ServiceKey]uint32{},
		was: map[uint32]bpf.ServiceKey{}, dirty: map[bpf.ServiceKey]bool{}}
}

func (f *frontends) use(k bpf.ServiceKey) uint32 {
	if n, ok := f.of[k]; ok {
		return n
	}
	n, back := f.left[k]
	if back {
		f.numbers.claim(n)
	} else {
		n = f.numbers.take()
		if old, ok := f.was[n]; ok {
			delete(f.left, old)
		}
		f.dirty[k] = true
	}
	delete(f.left, k)
	delete(f.was, n)
	f.of[k] = n
	return n
}

func (f *frontends) leave(k bpf.ServiceKey) {
	n, ok := f.of[k]
	if !ok {
		return
	}
	delete(f.of, k)
	f.numbers.give(n)
	if !f.dirty[k] {
		f.left[k], f.was[n] = n, k
	}
	delete(f.dirty, k)
}

// frontendRow has no address for those at every address of any node.
func frontendRow(k bpf.ServiceKey) bpf.Frontend {
	row := bpf.Frontend{Addr: k.Addr, Port: k.Port, Proto: k.Proto}
	if k.AddrPort().Addr().IsUnspecified() {
		row.Addr = bpf.Addr{}
	}
	return row
}

// rows are those that are to be written.
func (f *frontends) rows() map[uint32]bpf.Frontend {
	out := make(map[uint32]bpf.Frontend, len(f.dirty))
	for k := range f.dirty {
		out[f.of[k]] = frontendRow(k)
	}
	return out
}

// adopt goes on with the rows of an earlier agent: those that a service names, and
// those that it left.
func (f *frontends) adopt(held map[uint32]bpf.Frontend, services map[bpf.ServiceKey]bpf.Service) {
	taken := map[uint32]bool{}
	for k, s := range services {
		taken[s.Frontend] = true
		if row, ok := held[s.Frontend]; ok && row == frontendRow(k) && s.Frontend != 0 {
			f.of[k] = s.Frontend
		}
	}
	for n := range held {
		taken[n] = true
	}
	f.numbers.adopt(taken)
	used := map[uint32]bool{}
	for _, n := range f.of {
		used[n] = true
	}
	for _, n := range slices.Sorted(maps.Keys(taken)) {
		if used[n] || n == 0 {
			continue
		}
		f.numbers.give(n)
		row := held[n]
		k := bpf.ServiceKey{Addr: row.Addr, Port: row.Port, Proto: row.Proto}
		if _, twice := f.left[k]; row.Addr != (bpf.Addr{}) && !twice {
			if _, ok := f.of[k]; !ok {
				f.left[k], f.was[n] = n, k
			}
		}
	}
}
