package run

import (
	"maps"
	"slices"

	"weir/state"
)

// labelSets keeps one pod for each set of labels that pods have: what a pod costs
// that comes or goes does not depend on how many there are.
type labelSets struct {
	cluster string
	visible state.Visible

	revPods, revSpaces uint64
	spaces             map[string]state.Namespace
	key                map[name]string      // of each pod
	count              map[string]int       // pods, by key
	one                map[string]state.Pod // of them
}

func newLabelSets(cluster string) *labelSets { return &labelSets{cluster: cluster} }

func (s *labelSets) len() int { return len(s.one) }

// follow takes the changes of the tables, and returns a pod for each set, and the
// namespaces.
func (s *labelSets) follow(t *tables, visible state.Visible) ([]state.Pod, []state.Namespace) {
	spaces, rev, _ := t.namespaces.Changes(s.revSpaces)
	anew := s.key == nil || len(spaces) > 0 || !maps.Equal(visible, s.visible)
	s.revSpaces = rev
	if anew {
		s.visible, s.revPods = visible, 0
		s.key, s.count, s.one, s.spaces = map[name]string{}, map[string]int{}, map[string]state.Pod{}, map[string]state.Namespace{}
		for n, r := range t.namespaces.All() {
			s.spaces[n] = r
		}
	}
	changes, rev, whole := t.pods.Changes(s.revPods)
	if whole && !anew { // too far behind: whatever is not named is gone
		s.key, s.count, s.one = map[name]string{}, map[string]int{}, map[string]state.Pod{}
	}
	s.revPods = rev
	for _, c := range changes {
		s.drop(c.Key)
		if !c.Deleted && !c.Row.HostNetwork {
			s.put(c.Row)
		}
	}
	return slices.Collect(maps.Values(s.one)), slices.Collect(maps.Values(s.spaces))
}

func (s *labelSets) put(p state.Pod) {
	key := state.IdentityLabels(p, s.spaces[p.Name.Namespace].Labels, s.cluster, s.visible).Key()
	s.key[p.Name] = key
	s.count[key]++
	if _, ok := s.one[key]; !ok {
		s.one[key] = p
	}
}

func (s *labelSets) drop(n name) {
	key, ok := s.key[n]
	if !ok {
		return
	}
	delete(s.key, n)
	if s.count[key]--; s.count[key] == 0 {
		delete(s.count, key)
		delete(s.one, key)
	}
}
