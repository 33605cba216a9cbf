package identity

import (
	"time"

	"weir/state"
)

// set is the pods that have the same visible labels.
type set struct {
	labels state.Labels
	id     state.IdentityID // 0: none yet
	pods   map[state.PodName]bool
}

type sets struct {
	byKey      map[string]*set // by the key of their labels
	byID       map[state.IdentityID]*set
	of         map[state.PodName]string // key of each pod's set
	namespaces map[string]map[state.PodName]bool
}

func newSets() sets {
	return sets{byKey: map[string]*set{}, byID: map[state.IdentityID]*set{}, of: map[state.PodName]string{},
		namespaces: map[string]map[state.PodName]bool{}}
}

// put makes the pod a member of the set with these labels, and of no other.
func (s *sets) put(name state.PodName, labels state.Labels) {
	key := labels.Key()
	if s.byKey[key] == nil {
		s.byKey[key] = &set{labels: labels, pods: map[state.PodName]bool{}}
	}
	s.byKey[key].pods[name] = true
	s.of[name] = key
	if s.namespaces[name.Namespace] == nil {
		s.namespaces[name.Namespace] = map[state.PodName]bool{}
	}
	s.namespaces[name.Namespace][name] = true
}

func (s *sets) remove(name state.PodName) {
	delete(s.byKey[s.of[name]].pods, name)
	delete(s.of, name)
	if delete(s.namespaces[name.Namespace], name); len(s.namespaces[name.Namespace]) == 0 {
		delete(s.namespaces, name.Namespace)
	}
}

// diff collects what one step changes.
type diff struct {
	sets map[string]bool           // keys of sets whose pods or number may be others
	pods map[state.PodName]bool    // whose row is to be compared
	ids  map[state.IdentityID]bool // likewise
}

func newDiff() *diff {
	return &diff{sets: map[string]bool{}, pods: map[state.PodName]bool{}, ids: map[state.IdentityID]bool{}}
}

// assign puts a pod into the set of its labels.
func (c *Control) assign(name state.PodName, d *diff) {
	labels, ok := c.labels(name, c.sight.visible)
	old, had := c.sets.of[name]
	if had && ok && old == labels.Key() {
		return
	}
	d.pods[name] = true
	if had {
		d.sets[old] = true
		c.sets.remove(name)
	}
	if ok {
		d.sets[labels.Key()] = true
		c.sets.put(name, labels)
	}
}

// renumber gives a set its number: the cluster's, else the one that the cluster
// withdrew a moment ago, else one of this node. An empty set loses it.
func (c *Control) renumber(key string, now time.Time, d *diff) {
	s := c.sets.byKey[key]
	if s == nil {
		return
	}
	old := s.id
	switch {
	case len(s.pods) == 0:
		s.id = 0
		delete(c.sets.byKey, key)
	case c.cluster.number(key) != 0:
		s.id = c.cluster.number(key)
	case !c.cluster.lends(old, now):
		s.id = c.local.number(key, c.known)
	}
	d.ids[old], d.ids[s.id] = true, true
	if old == s.id {
		return
	}
	if c.sets.byID[old] == s {
		delete(c.sets.byID, old)
	}
	if s.id != 0 {
		c.sets.byID[s.id] = s
	}
	for name := range s.pods {
		d.pods[name] = true
	}
}

// known reports whether a number means something.
func (c *Control) known(id state.IdentityID) bool {
	_, ok := c.tables.Identities.Get(id)
	return ok || c.sets.byID[id] != nil
}
