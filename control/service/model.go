package service

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"weir/bpf"
	"weir/state"
)

// model is what is wanted, with the numbers that it has in the maps, and what of
// it is not written yet. It does no input or output.
type model struct {
	services map[Owner]*service
	slices   map[state.SliceName]*state.Slice
	of       map[state.ServiceName]map[state.SliceName]*state.Slice
	vips     map[netip.Addr][]state.ServiceName // who wants an address

	backends  *backends
	sets      *sets
	frontends *frontends
	ids       map[uint32]*port
	claims    map[bpf.ServiceKey]*claim
	ranges    map[bpf.SourceRange]bool // wanted

	fresh    []*port // without an id
	changed  []*port // whose plan, or whose part of the frontends, is another
	dirty    dirt
	disputed map[bpf.ServiceKey]string // what several want, in words
	news     []string                  // of these, what nobody was told of
}

// dirt is what may differ from the maps.
type dirt struct {
	keys   map[bpf.ServiceKey]bool
	ranges map[bpf.SourceRange]bool
}

// service is a service, or a pod with HostPorts, with ports in force or wanted.
type service struct {
	row   *state.Service // nil: it is a pod
	pod   *hosted        // nil: it is a service
	ports map[portKey]*port
	notes []string // what of it is left out, and why
	vips  []netip.Addr
}

func (s *service) publishUnready() bool { return s.row != nil && s.row.PublishUnready }

// ref names a port in the cluster.
type ref struct {
	of  Owner
	key portKey
}

func (r ref) compare(o ref) int {
	return cmp.Or(r.of.compare(o.of), cmp.Compare(r.key.port, o.key.port), cmp.Compare(r.key.proto, o.key.proto),
		cmp.Compare(r.key.target, o.key.target))
}

func (r ref) String() string {
	return fmt.Sprintf("%s port %d/%s", r.of, r.key.port, state.ProtoName(r.key.proto))
}

// id is the same on every start, so that what is remembered of a service's clients
// is never another's. Ports that collide have numbers that follow each other.
func (r ref) id() uint32 {
	h := uint32(2166136261)
	for _, text := range []string{r.of.Namespace, "/", r.of.Name} {
		for i := range len(text) {
			h = (h ^ uint32(text[i])) * 16777619
		}
	}
	if r.of.Pod { // no service is called like it: names have no slash
		h = (h ^ uint32(r.key.target)) * 16777619
	}
	family := uint64(0)
	if r.key.is6 {
		family = 1
	}
	return uint32(mix(uint64(h)<<32 | family<<24 | uint64(r.key.proto)<<16 | uint64(r.key.port)))
}

// port is a service's port in one family.
type port struct {
	ref
	id        uint32
	members   []*backend // of all its endpoints
	chosen    [2][]*backend
	maglev    bool
	sets      [2]*set // of those of chosen that a frontend needs
	frontends []frontend
	affinity  uint32
	prefixes  []netip.Prefix
	ranges    []bpf.SourceRange

	touched, gone bool
}

// frontend returns that of a key which the port claims.
func (p *port) frontend(k bpf.ServiceKey) frontend {
	i := slices.IndexFunc(p.frontends, func(f frontend) bool { return f.key == k })
	return p.frontends[i]
}

// set is that of a scope.
func (p *port) set(s scope) *set {
	if s == nobody {
		return nil
	}
	return p.sets[s-everywhere]
}

// claim is who wants a frontend. The first owner keeps it for as long as it wants
// it; of several that come at once, the one whose name sorts first gets it.
type claim struct {
	by     []*port // sorted
	owner  *port
	held   bool    // the map has it
	heldID uint32  // as an earlier agent left it
	named  [2]*set // what the map's entry names
}

func newModel() *model {
	b := newBackends()
	return &model{services: map[Owner]*service{}, slices: map[state.SliceName]*state.Slice{},
		of: map[state.ServiceName]map[state.SliceName]*state.Slice{}, vips: map[netip.Addr][]state.ServiceName{},
		backends: b, sets: newSets(b), frontends: newFrontends(), ids: map[uint32]*port{}, claims: map[bpf.ServiceKey]*claim{},
		ranges: map[bpf.SourceRange]bool{}, disputed: map[bpf.ServiceKey]string{},
		dirty: dirt{keys: map[bpf.ServiceKey]bool{}, ranges: map[bpf.SourceRange]bool{}}}
}

// setSlice takes a slice in; nil: it is gone. It returns the services that have
// other endpoints by it.
func (m *model) setSlice(name state.SliceName, row *state.Slice) (touched []state.ServiceName) {
	if old := m.slices[name]; old != nil {
		touched = append(touched, old.Service)
		delete(m.of[old.Service], name)
		if len(m.of[old.Service]) == 0 {
			delete(m.of, old.Service)
		}
		delete(m.slices, name)
	}
	if row == nil {
		return touched
	}
	m.slices[name] = row
	if m.of[row.Service] == nil {
		m.of[row.Service] = map[state.SliceName]*state.Slice{}
	}
	m.of[row.Service][name] = row
	return append(touched, row.Service)
}

// slicesOf are the slices of a service, in an order that does not depend on when
// they came.
func (m *model) slicesOf(name state.ServiceName) []*state.Slice {
	out := make([]*state.Slice, 0, len(m.of[name]))
	for _, s := range m.of[name] {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *state.Slice) int {
		return cmp.Or(cmp.Compare(a.Name.Namespace, b.Name.Namespace), cmp.Compare(a.Name.Name, b.Name.Name))
	})
	return out
}

// wish is what is to be in force of an owner. One without row and pod is gone.
type wish struct {
	row   *state.Service
	pod   *hosted
	plans []plan
	notes []string
}

// put makes it so. Settle has to follow when all are put.
func (m *model) put(of Owner, w wish) {
	gone := w.row == nil && w.pod == nil
	s := m.services[of]
	if s == nil {
		if gone {
			return
		}
		s = &service{ports: map[portKey]*port{}}
		m.services[of] = s
	}
	s.row, s.pod, s.notes = w.row, w.pod, w.notes
	if !of.Pod {
		m.setVIPs(state.ServiceName{Namespace: of.Namespace, Name: of.Name}, s)
	}
	keep := make(map[portKey]bool, len(w.plans))
	for i := range w.plans {
		p := &w.plans[i]
		keep[p.key] = true
		x := s.ports[p.key]
		if x == nil {
			x = &port{ref: ref{of, p.key}}
			s.ports[p.key] = x
			m.fresh = append(m.fresh, x)
		}
		m.update(x, p)
	}
	for k, x := range s.ports {
		if !keep[k] {
			m.drop(x)
			delete(s.ports, k)
		}
	}
	if gone {
		delete(m.services, of)
	}
}

func (m *model) setVIPs(name state.ServiceName, s *service) {
	var now []netip.Addr
	if s.row != nil && s.row.Kind != state.ServiceNone {
		now = slices.Concat(s.row.ClusterIPs, s.row.LoadBalancerIPs, s.row.ExternalIPs)
	}
	if slices.Equal(now, s.vips) {
		return
	}
	for _, a := range s.vips {
		if left := slices.DeleteFunc(m.vips[a], func(n state.ServiceName) bool { return n == name }); len(left) == 0 {
			delete(m.vips, a)
		} else {
			m.vips[a] = left
		}
	}
	for _, a := range now {
		m.vips[a] = append(m.vips[a], name)
	}
	s.vips = now
}

// update makes a port what the plan says.
func (m *model) update(x *port, p *plan) {
	members := x.members
	x.members = make([]*backend, len(p.endpoints))
	for i := range p.endpoints {
		x.members[i] = m.backends.use(p.backend(i))
	}
	for _, b := range members {
		m.backends.leave(b)
	}
	x.chosen = [2][]*backend{picked(x.members, p.cluster), picked(x.members, p.local)}
	x.maglev = p.maglev
	old := x.frontends
	x.frontends, x.affinity, x.prefixes = p.frontends, p.affinity, p.ranges
	for _, f := range old {
		if !slices.ContainsFunc(p.frontends, func(g frontend) bool { return g.key == f.key }) {
			m.unclaim(f.key, x)
		}
	}
	for _, f := range p.frontends {
		m.claim(f.key, x)
	}
	m.touch(x)
}

func picked(members []*backend, indexes []int) []*backend {
	out := make([]*backend, len(indexes))
	for i, n := range indexes {
		out[i] = members[n]
	}
	return out
}

// drop ends a port.
func (m *model) drop(x *port) {
	for _, b := range x.members {
		m.backends.leave(b)
	}
	for _, s := range x.sets {
		m.sets.leave(s)
	}
	for _, f := range x.frontends {
		m.unclaim(f.key, x)
	}
	if m.ids[x.id] == x {
		delete(m.ids, x.id)
	}
	x.prefixes = nil
	m.setRanges(x)
	x.gone = true
}

// touch makes settle look at a port, in the order of the calls, so that new numbers
// are in the order of services.
func (m *model) touch(x *port) {
	if !x.touched {
		m.changed = append(m.changed, x)
	}
	x.touched = true
}

func (m *model) claim(k bpf.ServiceKey, x *port) {
	m.dirty.keys[k] = true
	c := m.claims[k]
	if c == nil {
		c = &claim{}
		m.claims[k] = c
	}
	if slices.Contains(c.by, x) {
		return
	}
	i, _ := slices.BinarySearchFunc(c.by, x, func(a, b *port) int { return a.compare(b.ref) })
	c.by = slices.Insert(c.by, i, x)
}

func (m *model) unclaim(k bpf.ServiceKey, x *port) {
	m.dirty.keys[k] = true
	c := m.claims[k]
	c.by = slices.DeleteFunc(c.by, func(p *port) bool { return p == x })
	if c.owner == x {
		c.owner = nil
	}
}
