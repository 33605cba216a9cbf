package service

import (
	"maps"
	"slices"

	"weir/bpf"
	"weir/state"
)

// Generations are the numbers that connections compare, to be judged anew when
// something about an address of theirs changed: see weir_generations.
type Generations interface {
	Bump(slots ...uint32) error
}

// opened notes a frontend that has come. Who sends datagrams to its address already
// has a connection without a service, which would last for as long as it sends. TCP
// opens a connection to a service by another handshake, which is always judged.
func (c *Control) opened(k bpf.ServiceKey) {
	if k.Proto == state.ProtoTCP || c.opts.Generations == nil {
		return
	}
	at := k.AddrPort().Addr()
	addrs := c.others
	if !at.IsUnspecified() {
		addrs = append(addrs[:0:0], at)
	}
	for _, a := range addrs {
		if a.Is4() == at.Is4() {
			c.void[bpf.AddrSlot(a)] = true
		}
	}
}

// judgeAnew voids the verdicts of connections with addresses that have become
// frontends. What cannot be voided is as soon as that works again.
func (c *Control) judgeAnew() error {
	if len(c.void) == 0 {
		return nil
	}
	err := c.opts.Generations.Bump(slices.Sorted(maps.Keys(c.void))...)
	if err == nil {
		clear(c.void)
	}
	return err
}
