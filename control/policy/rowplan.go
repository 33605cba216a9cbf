package policy

import (
	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

func endpointID(id uint32) state.EndpointID { return state.EndpointID(id) }

// endpointPlan is the changes of weir_policy.
type endpointPlan struct {
	gone              []uint32              // of endpoints that are gone, or are others than the row is about
	close, move, last map[uint32]bpf.Policy // who gets isolated; who gets another class; all that differ
}

const isolation = uint32(bpf.PolicyIngress | bpf.PolicyEgress)

func (p *plan) endpoints(held map[uint32]bpf.Policy) {
	x := endpointPlan{close: map[uint32]bpf.Policy{}, move: map[uint32]bpf.Policy{}, last: map[uint32]bpf.Policy{}}
	for id := range held {
		if end := p.e.endpoints[endpointID(id)]; end == nil || end.class == nil {
			x.gone = append(x.gone, id)
		}
	}
	for id, end := range p.e.endpoints {
		if end.class != nil {
			x.one(p, uint32(id), end, held[uint32(id)])
		}
	}
	if p.pause {
		for id := range held {
			x.gone = append(x.gone, id)
		}
		x.close, x.move = nil, nil
	}
	p.rowsOf = x
}

func (x *endpointPlan) one(p *plan, id uint32, end *endpoint, old bpf.Policy) {
	want := bpf.Policy{PolicyClass: end.class.number, Flags: end.flags, Epoch: old.Epoch}
	if end.stale && old != (bpf.Policy{}) {
		x.gone = append(x.gone, id)
		old = bpf.Policy{}
	}
	differs := old.PolicyClass != want.PolicyClass || old.Flags != want.Flags
	if old.Epoch == 0 || differs || p.e.dirtyEpochs[end] || p.dirty[want.PolicyClass] {
		want.Epoch = p.e.nextEpoch()
	}
	end.epoch = want.Epoch
	if want == old && !p.pause {
		return
	}
	x.last[id] = want
	switch {
	case old.PolicyClass == 0:
		x.move[id] = want
	case old.PolicyClass != want.PolicyClass:
		// Connections go on under the old verdict until all is done.
		x.move[id] = bpf.Policy{PolicyClass: want.PolicyClass, Flags: want.Flags, Epoch: old.Epoch}
	case want.Flags&isolation&^old.Flags != 0:
		x.close[id] = bpf.Policy{PolicyClass: old.PolicyClass, Flags: want.Flags | old.Flags&isolation, Epoch: old.Epoch}
	}
}

func (e *engine) nextEpoch() uint32 {
	if e.epoch++; e.epoch == 0 {
		e.epoch = 1
	}
	return e.epoch
}

// write does the plan.
func (p *plan) write() error {
	m := p.m
	for _, step := range []func() error{
		func() error { return write(m.Sets, p.setsPut, nil) },

		func() error { return write(m.Rules, p.complete, nil) },
		func() error { return write(m.Rules, p.deny, nil) },
		func() error { return write(m.Rows, p.rowsEarly, nil) },
		func() error { return write(m.Ranges, p.rangesComplete, nil) },

		func() error { return write(m.Rules, nil, p.close) },
		func() error { return p.writeCIDRs(p.cidrs.close) },
		func() error { return write(m.Peers, p.peersClose, nil) },
		func() error { return write(m.Endpoints, nil, p.rowsOf.gone) },
		func() error { return write(m.Endpoints, p.rowsOf.close, nil) },

		func() error { return write(m.Ranges, p.rangesSwitch, nil) },
		func() error { return write(m.Ranges, nil, p.rangesGone) },
		func() error { return write(m.Endpoints, p.rowsOf.move, nil) },

		func() error { return write(m.Rules, p.open, nil) },
		func() error { return p.writeCIDRs(p.cidrs.put) },
		func() error { return write(m.Peers, p.peersPut, nil) },

		func() error { return write(m.Peers, nil, p.peersGone) },
		func() error { return p.deleteCIDRs() },
		func() error { return write(m.Rules, nil, p.garbage) },
		func() error { return write(m.Rows, p.rowsLate, p.rowsGone) },
		func() error { return write(m.Ranges, nil, p.rangesGarbage) },
		func() error { return write(m.Sets, nil, p.setsGone) },

		func() error { return write(m.Endpoints, p.rowsOf.last, nil) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// deleteCIDRs deletes prefixes longest first.
func (p *plan) deleteCIDRs() error {
	for _, key := range p.cidrs.gone {
		if err := write(p.m.CIDRs, nil, []bpf.IPCacheKey{key}); err != nil {
			return err
		}
	}
	return nil
}

func write[K, V comparable](m *datapath.Mirror[K, V], put map[K]V, gone []K) error {
	_, err := m.Write(put, gone)
	return err
}
