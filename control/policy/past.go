package policy

import (
	"maps"
	"slices"
	"time"

	"weir/bpf"
	"weir/state"
)

// Numbers that the maps know and no table does are those of an earlier agent. Its
// endpoints and addresses have them until they are given others, which happens after
// the first pass, since policy has to know those first. Until then such a number
// keeps what it met, as far as that is still in force. Nobody knows its labels any
// more, so it meets all that denies and is new.

// pastLimit is for how long at least, as identities that nobody has are kept.
const pastLimit = 30 * time.Second

// recall makes peers of them.
func (e *engine) recall(have image) {
	row := func(n uint32) (bpf.PolicySet, bool) { r, ok := have.sets[n]; return r, ok }
	for raw, head := range have.peers {
		id := state.IdentityID(raw)
		if e.peers[id] != nil || id == state.IdentityUnknown || id.Reserved() != "" {
			continue
		}
		p := &peer{id: id, past: true}
		e.peers[id], e.dirtyPeers[id] = p, true
		met, _ := readSet(row, head)
		for _, s := range e.selectors {
			does := e.held.does[s.number]
			if does && slices.Contains(met, s.mark()) || s.deny && !does && s.asks() {
				e.meet(s, p)
			}
			e.ask(s, p)
		}
	}
}

// asks reports whether the selector is about labels, which a peer of the past does
// not have any more.
func (s *selector) asks() bool {
	return s.name != nil || s.peer.Kind == state.PeerEndpoints || s.peer.Kind == state.PeerServices
}

// outlived returns the numbers of the past that nobody has any more, when it is time.
func (c *Control) outlived(now time.Time) []state.IdentityID {
	if c.e == nil || c.past.IsZero() || now.Sub(c.past) < pastLimit {
		return nil
	}
	gone := map[state.IdentityID]bool{}
	for id, p := range c.e.peers {
		if p.past {
			gone[id] = true
		}
	}
	if len(gone) == 0 {
		c.past = time.Time{}
		return nil
	}
	for _, e := range c.tables.Endpoints.All() {
		delete(gone, e.Identity)
	}
	for _, ip := range c.tables.IPs.All() {
		delete(gone, ip.Identity)
	}
	return slices.Sorted(maps.Keys(gone))
}
