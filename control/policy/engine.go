package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"weir/datapath"
	"weir/state"
)

// engine derives the content of the maps from rows, step by step: what one row
// concerns is all that is looked at again. It does no input or output: of the
// maps it reads what their mirrors know.
type engine struct {
	opts  Options
	pass  uint64
	epoch uint32               // the last that was given out
	held  *held                // what the maps had when the agent started, during the first pass
	maps  *datapath.PolicyMaps // that are written; nil: none

	// Rows.
	policies    map[state.PolicyKey]*policy
	serials     map[state.PolicyKey]int
	lastSerial  int
	any         bool
	peers       map[state.IdentityID]*peer
	endpoints   map[state.EndpointID]*endpoint
	namespaces  map[string]state.Namespace
	groups      map[string]state.CIDRGroup
	nodes       map[string]state.Node
	serviceRows map[state.ServiceName]state.Service
	slices      map[state.ServiceName]map[state.SliceName]state.Slice
	sliceOf     map[state.SliceName]state.ServiceName

	// Who is selected.
	having        map[state.IdentityID]map[*endpoint]bool
	endpointIndex *labelled[*endpoint]
	specIndex     *selecting[*spec]
	hostSpecs     map[*spec]bool
	builtin       [2]*spec

	// Whom rules mean.
	peerIndex       *labelled[*peer]
	selectorIndex   *selecting[*selector]
	entities        map[*selector]bool // asked about every identity
	services        map[*selector]bool
	selectors       map[string]*selector
	byNumber        map[uint32]*selector
	selectorNumbers *numbers
	prefixes        *prefixes
	sets            *sets
	named           map[string]map[namedPort]int

	classes      map[string]*class
	classNumbers *numbers
	ruleNumbers  *numbers
	byRule       map[uint32]located

	// What is to be looked at before the pass ends.
	dirtyEndpoints map[*endpoint]bool
	dirtyEpochs    map[*endpoint]bool // verdicts may differ for other reasons than the maps'
	dirtyPeers     map[state.IdentityID]bool
	dirtyKinds     map[state.PeerKind]bool
	dirtyNames     map[string]bool
	dirtyHost      bool
	unresolved     map[*selector]bool
	loose          map[*selector]bool // that perhaps no rule names
	emptied        map[*class]bool
	former         map[*endpoint]*class // of those that left one in this pass
	gone           map[state.EndpointID]bool
	restingGroups  map[*group]bool
	over           int                       // peers and prefixes that meet more selectors than a set takes
	overBefore     int                       // over, after the last pass
	poorPeers      map[state.IdentityID]bool // for whose set there is no room
	poorPrefixes   map[netip.Prefix]bool
	poorBefore     int
	stuck          map[*selector]bool // for whose addresses there is no room
	eased          uint64             // passes in which something went that takes room which nobody counts
	wide           int                // groups of ranges that make more rules than any map holds

	// The content of the maps, but for endpoints' rows.
	peerSets *content[uint32, uint32]
	cidrs    *content[netip.Prefix, uint32]
	rules    *content[ruleKey, ruleValue]
	rows     *content[rowKey, uint64]
	ranges   *content[rangeKey, uint32]
}

// located is where a rule of the maps stands.
type located struct {
	class *class
	key   entryKey
}

func newEngine(o Options, h *held) *engine {
	e := &engine{opts: o, pass: 1, held: h, poorPeers: map[state.IdentityID]bool{}, poorPrefixes: map[netip.Prefix]bool{}, stuck: map[*selector]bool{},
		policies: map[state.PolicyKey]*policy{}, serials: map[state.PolicyKey]int{}, peers: map[state.IdentityID]*peer{},
		endpoints: map[state.EndpointID]*endpoint{}, namespaces: map[string]state.Namespace{}, groups: map[string]state.CIDRGroup{},
		nodes: map[string]state.Node{}, serviceRows: map[state.ServiceName]state.Service{},
		slices: map[state.ServiceName]map[state.SliceName]state.Slice{}, sliceOf: map[state.SliceName]state.ServiceName{},
		having: map[state.IdentityID]map[*endpoint]bool{}, endpointIndex: newLabelled[*endpoint](), specIndex: newSelecting[*spec](),
		hostSpecs: map[*spec]bool{}, builtin: builtins(),
		peerIndex: newLabelled[*peer](), selectorIndex: newSelecting[*selector](), entities: map[*selector]bool{}, services: map[*selector]bool{},
		selectors: map[string]*selector{}, byNumber: map[uint32]*selector{}, selectorNumbers: newNumbers(o.Capacity.Selectors),
		prefixes: newPrefixes(), sets: newSets(o.Capacity.Sets), named: map[string]map[namedPort]int{},
		classes: map[string]*class{}, classNumbers: newNumbers(1<<31 - 1), ruleNumbers: newNumbers(o.Capacity.Counters - 1), byRule: map[uint32]located{},
		dirtyEndpoints: map[*endpoint]bool{}, dirtyEpochs: map[*endpoint]bool{}, dirtyPeers: map[state.IdentityID]bool{},
		dirtyKinds: map[state.PeerKind]bool{}, dirtyNames: map[string]bool{}, unresolved: map[*selector]bool{}, loose: map[*selector]bool{},
		emptied: map[*class]bool{}, former: map[*endpoint]*class{}, gone: map[state.EndpointID]bool{}, restingGroups: map[*group]bool{},
		peerSets: newContent[uint32, uint32](), cidrs: newContent[netip.Prefix, uint32](), rules: newContent[ruleKey, ruleValue](),
		rows: newContent[rowKey, uint64](), ranges: newContent[rangeKey, uint32](),
	}
	h.prepare(e)
	if o.HostFirewall {
		e.setEndpoint(state.Endpoint{Identity: state.IdentityHost})
	}
	return e
}

// derive brings the content in step with the rows. It may be called several
// times in a pass.
func (e *engine) derive() {
	if host := e.endpoints[0]; host != nil && e.dirtyHost {
		e.endpointIndex.remove(host, host.labels)
		e.relabel(host)
	}
	e.dirtyHost = false
	e.resolveAgain()
	e.classify()
	for _, c := range e.classes {
		if e.expandsNames(c, nil) {
			e.compile(c, c.specs, c.own, c.respond, func(s *spec) bool { return e.expandsNames(c, s) })
		}
	}
	clear(e.dirtyNames)
	e.dropLoose()
	e.intern()
}

// expandsNames reports whether the class, or one spec of it, names a port of
// peers that has got another value.
func (e *engine) expandsNames(c *class, s *spec) bool {
	if len(e.dirtyNames) == 0 {
		return false
	}
	specs := c.specs
	if s != nil {
		specs = []*spec{s}
	}
	return slices.ContainsFunc(specs, func(s *spec) bool {
		return slices.ContainsFunc(s.names[egress], func(n string) bool { return e.dirtyNames[n] })
	})
}

// classify puts every endpoint that changed into the class of those who are
// alike, and compiles the classes that changed.
func (e *engine) classify() {
	wants, fresh := map[*class]wanted{}, map[string][]*endpoint{}
	var news []string
	wantOf := map[string]wanted{}
	for _, p := range slices.SortedFunc(maps.Keys(e.dirtyEndpoints), func(a, b *endpoint) int { return cmp.Compare(a.row.ID, b.row.ID) }) {
		w := e.want(p)
		p.flags = w.flags
		if p.class != nil && (p.class.key != w.key || p.refused) {
			e.leaveClass(p)
		}
		if p.refused {
			continue
		}
		c, ok := e.classes[w.key]
		if !ok {
			if fresh[w.key] == nil {
				news = append(news, w.key)
			}
			fresh[w.key], wantOf[w.key] = append(fresh[w.key], p), w
			continue
		}
		delete(e.emptied, c)
		e.join(p, c)
		wants[c] = w
	}
	clear(e.dirtyEndpoints)
	for _, key := range news {
		c := e.heir(fresh[key])
		c.key = key
		e.classes[key] = c
		for _, p := range fresh[key] {
			e.join(p, c)
		}
		wants[c] = wantOf[key]
	}
	for _, c := range slices.SortedFunc(maps.Keys(wants), func(a, b *class) int { return cmp.Compare(a.number, b.number) }) {
		w := wants[c]
		if slices.Equal(c.specs, w.specs) && slices.Equal(c.own, w.own) && c.respond == w.respond {
			continue
		}
		e.compile(c, w.specs, w.own, w.respond, func(s *spec) bool { return e.expandsNames(c, s) })
	}
	for c := range e.emptied {
		delete(e.classes, c.key)
		e.drop(c)
	}
	clear(e.emptied)
}

func (e *engine) join(p *endpoint, c *class) {
	if p.class != c {
		p.class = c
		c.members[p] = true
	}
}

func (e *engine) leaveClass(p *endpoint) {
	c := p.class
	p.class = nil
	delete(c.members, p)
	if len(c.members) == 0 {
		e.emptied[c] = true
	}
	e.former[p] = c
}

// heir is the class that endpoints who are alike from now on have in common:
// the one that most of them come from, when nobody else is left in it, so that
// its rows change in place; or a new one.
func (e *engine) heir(members []*endpoint) *class {
	from := map[*class]int{}
	for _, p := range members {
		if c := e.former[p]; c != nil && e.emptied[c] {
			from[c]++
		}
	}
	var best *class
	for c, n := range from {
		if best == nil || n > from[best] || (n == from[best] && c.number < best.number) {
			best = c
		}
	}
	if best == nil {
		return e.newClass(e.classNumbers.claimOrTake(e.held.class(members)))
	}
	delete(e.emptied, best)
	delete(e.classes, best.key)
	return best
}

// settle ends a pass: the maps hold the content.
func (e *engine) settle() {
	e.pass++
	e.held = nil
	for _, n := range []*numbers{e.selectorNumbers, e.sets.numbers, e.classNumbers, e.ruleNumbers} {
		n.settle()
	}
	for g := range e.restingGroups {
		g.numbers.settle()
	}
	clear(e.restingGroups)
	clear(e.former)
	clear(e.gone)
	clear(e.dirtyEpochs)
	for _, p := range e.endpoints {
		p.stale = false
	}
	e.peerSets.settle()
	e.cidrs.settle()
	e.sets.settle()
	e.rules.settle()
	e.rows.settle()
	e.ranges.settle()
}
