package policy

import (
	"slices"
	"strconv"
	"strings"

	"weir/state"
)

// peer is an identity, as the other end of a connection.
type peer struct {
	id     state.IdentityID
	labels state.Labels
	named  []namedPort
	marks  []mark // of the selectors that it meets, sorted
	over   bool   // it meets more selectors than a set takes
}

// namedPort is one value of a named port.
type namedPort struct {
	name  string
	proto uint8
	port  uint16
}

// pod reports whether the identity is of pods, not a reserved one.
func (p *peer) pod() bool { return p.id.Reserved() == "" }

// endpoint reports whether selectors of endpoints are asked about the identity.
func (p *peer) endpoint() bool {
	switch p.id {
	case state.IdentityHealth, state.IdentityInit, state.IdentityUnmanaged, state.IdentityIngress:
		return true
	}
	return p.pod()
}

// namedPorts reads the labels of named ports: "port:dns=TCP/53;UDP/53".
func namedPorts(labels state.Labels) []namedPort {
	var out []namedPort
	for _, label := range labels {
		key, value := state.CutLabel(label)
		name, ok := strings.CutPrefix(key, state.LabelNamedPortPrefix)
		if !ok {
			continue
		}
		for one := range strings.SplitSeq(value, ";") {
			proto, number, _ := strings.Cut(one, "/")
			port, err := strconv.ParseUint(number, 10, 16)
			n, known := state.ProtoNumber(proto)
			if err == nil && known {
				out = append(out, namedPort{name, n, uint16(port)})
			}
		}
	}
	return out
}

// setIdentity enters an identity, or takes its new labels.
func (e *engine) setIdentity(i state.Identity) {
	if i.ID == state.IdentityUnknown {
		return
	}
	old := e.peers[i.ID]
	if old != nil && slices.Equal(old.labels, i.Labels) {
		return
	}
	if old != nil {
		e.dropIdentity(i.ID)
	}
	p := &peer{id: i.ID, labels: i.Labels, named: namedPorts(i.Labels)}
	e.peers[i.ID] = p
	e.peerIndex.add(p, p.labels)
	for _, n := range p.named {
		e.countNamed(n, 1)
	}
	e.selectorIndex.each(p.labels, func(s *selector) { e.ask(s, p) })
	for s := range e.entities {
		e.ask(s, p)
	}
	e.dirtyPeers[i.ID] = true
	e.relabelled(i.ID)
}

func (e *engine) deleteIdentity(id state.IdentityID) {
	if e.peers[id] == nil {
		return
	}
	e.dropIdentity(id)
	delete(e.peers, id)
	e.dirtyPeers[id] = true
	e.relabelled(id)
}

// dropIdentity takes the identity out of what its labels put it into.
func (e *engine) dropIdentity(id state.IdentityID) {
	p := e.peers[id]
	for _, m := range p.marks {
		delete(e.byNumber[m.number()].members, p)
	}
	if p.over {
		e.over--
	}
	e.peerIndex.remove(p, p.labels)
	for _, n := range p.named {
		e.countNamed(n, -1)
	}
}

// countNamed counts who has a value of a named port: rules of egress by name
// have an entry for each value that some pod has.
func (e *engine) countNamed(n namedPort, by int) {
	was := e.named[n.name][n]
	if e.named[n.name] == nil {
		e.named[n.name] = map[namedPort]int{}
	}
	e.named[n.name][n] = was + by
	if was+by == 0 {
		delete(e.named[n.name], n)
	}
	if was == 0 || was+by == 0 {
		e.dirtyNames[n.name] = true
	}
}

// ask makes the peer a member of the selector when it is one.
func (e *engine) ask(s *selector, p *peer) {
	if s.matches(p) && !s.members[p] {
		s.members[p] = true
		p.marks = insert(p.marks, s.mark())
		e.dirtyPeers[p.id] = true
	}
}

// leave ends a membership.
func (e *engine) leave(s *selector, p *peer) {
	delete(s.members, p)
	p.marks = without(p.marks, s.mark())
	e.dirtyPeers[p.id] = true
}
