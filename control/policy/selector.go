package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weir/state"
)

// selector is one way to say who is on the other side, as the maps know it: by
// a number. A peer that some rules allow and others deny makes two selectors,
// so that whoever gains or loses one gets only more, or only less, allowed.
type selector struct {
	key    string
	text   string // for people
	number uint32
	deny   bool
	peer   state.PolicyPeer // its Kind is empty: everybody
	list   []netip.Prefix   // of a long list of CIDRs all: peer is the first
	name   *namedPort       // only who has that port by that name

	alternatives []state.Selector // of identities
	members      map[*peer]bool   // that it selects
	cidrs        []netip.Prefix   // whose addresses it selects
	except       []netip.Prefix   // out of cidrs
	services     []state.Service  // that it names
	users        map[*class]int   // rules by class
	born         uint64           // the pass
}

func (s *selector) mark() mark { return mark(s.number) }

// cidrMark is how sets of prefixes hold it.
func (s *selector) cidrMark() mark {
	if (s.peer.Kind == state.PeerCIDR || s.peer.Kind == state.PeerCIDRGroups) && !s.peer.Cluster {
		return s.mark() | outside
	}
	return s.mark()
}

// matches reports whether the selector selects an identity.
func (s *selector) matches(p *peer) bool {
	if s.name != nil && !slices.Contains(p.named, *s.name) {
		return false
	}
	switch s.peer.Kind {
	case "":
		return true
	case state.PeerEntity:
		return entityHas(s.peer.Entity, p)
	case state.PeerEndpoints:
		if !p.endpoint() && !asksReserved(s.peer.Endpoints) {
			return false
		}
		return s.peer.Endpoints.Matches(p.labels)
	case state.PeerServices:
		return p.pod() && slices.ContainsFunc(s.alternatives, func(a state.Selector) bool { return a.Matches(p.labels) })
	}
	return false
}

// asksReserved reports whether a selector wants a reserved label, and so may
// select who is no endpoint. One that excludes such a label does not.
func asksReserved(s state.Selector) bool {
	return slices.ContainsFunc(s, func(r state.Requirement) bool {
		return strings.HasPrefix(r.Key, "reserved:") && (r.Op == state.In || r.Op == state.Exists)
	})
}

// entityHas reports whether the identity is part of an entity. Where one family
// is on alone, world has one number for it: see entityOf.
func entityHas(entity string, p *peer) bool {
	world := p.id == state.IdentityWorld || p.id == state.IdentityWorldIPv4 || p.id == state.IdentityWorldIPv6
	switch entity {
	case "world":
		return world
	case "world-ipv4":
		return p.id == state.IdentityWorldIPv4
	case "world-ipv6":
		return p.id == state.IdentityWorldIPv6
	case "cluster", "cluster-mesh":
		return !world && p.id != state.IdentityUnknown
	case "host":
		return p.id == state.IdentityHost
	case "remote-node":
		return p.id == state.IdentityRemoteNode || p.id == state.IdentityKubeAPI
	case "kube-apiserver":
		return p.id == state.IdentityKubeAPI
	case "health":
		return p.id == state.IdentityHealth
	case "init":
		return p.id == state.IdentityInit
	case "unmanaged":
		return p.id == state.IdentityUnmanaged
	case "ingress":
		return p.id == state.IdentityIngress
	}
	return false
}

// entityOf is the entity by which numbers are compared: with one family alone
// the world is of that family.
func (o Options) entityOf(entity string) string {
	switch {
	case entity == "world-ipv4" && !o.IPv6, entity == "world-ipv6" && !o.IPv4:
		return "world"
	case (entity == "world-ipv4" && !o.IPv4) || (entity == "world-ipv6" && !o.IPv6):
		return "none"
	}
	return entity
}

// peerText says whom a peer means. It is the same for peers that mean the same.
func peerText(p state.PolicyPeer) string {
	text := ""
	switch p.Kind {
	case "":
		text = "everybody"
	case state.PeerEndpoints:
		text = p.Endpoints.String()
		if len(p.Endpoints) == 0 {
			text = "all endpoints"
		}
	case state.PeerEntity:
		text = "entity " + p.Entity
	case state.PeerCIDR:
		text = "cidr " + p.CIDR.String()
	case state.PeerCIDRGroups:
		text = "cidr group " + p.CIDRGroups.String()
	case state.PeerNodes:
		text = "node " + p.Nodes.String()
	case state.PeerServices:
		text = "service " + p.Services.String()
	}
	if len(p.Except) > 0 {
		list := make([]string, len(p.Except))
		for i, x := range p.Except {
			list[i] = x.String()
		}
		slices.Sort(list)
		text += " except " + strings.Join(slices.Compact(list), ", ")
	}
	if p.Cluster {
		text += " (whoever has it)"
	}
	return text
}

// selectorOf returns the selector of a peer, and makes it when no rule had it.
func (e *engine) selectorOf(text string, p state.PolicyPeer, list []netip.Prefix, name *namedPort, deny bool) *selector {
	key := text
	if name != nil {
		text += fmt.Sprintf(" with port %s", name.name)
		key = fmt.Sprintf("%s|%d/%d", text, name.proto, name.port)
	}
	key = selectorKey(key, deny)
	if s, ok := e.selectors[key]; ok {
		return s
	}
	s := &selector{key: key, text: text, deny: deny, peer: p, list: list, name: name, members: map[*peer]bool{}, users: map[*class]int{}, born: e.pass}
	s.peer.Entity = e.opts.entityOf(p.Entity)
	s.number = e.selectorNumbers.claimOrTake(e.held.selector(s.key))
	e.selectors[key], e.byNumber[s.number] = s, s
	e.loose[s] = true
	e.resolve(s)
	return s
}

// selectorKey tells selectors apart.
func selectorKey(key string, deny bool) string {
	if deny {
		return "deny " + key
	}
	return key
}

// use counts the rules of a class that name the selector; nil is everybody.
func (e *engine) use(s *selector, c *class, by int) {
	if s == nil {
		return
	}
	if s.users[c] += by; s.users[c] == 0 {
		delete(s.users, c)
	}
	if len(s.users) == 0 {
		e.loose[s] = true
	}
}

// dropLoose forgets the selectors that no rule names.
func (e *engine) dropLoose() {
	for s := range e.loose {
		if len(s.users) > 0 {
			continue
		}
		for p := range s.members {
			e.leave(s, p)
		}
		e.prefixes.replace(s, nil, nil)
		e.selectorIndex.remove(s)
		delete(e.entities, s)
		delete(e.services, s)
		delete(e.stuck, s)
		delete(e.selectors, s.key)
		delete(e.byNumber, s.number)
		e.selectorNumbers.give(s.number)
	}
	clear(e.loose)
}
