package kube

import (
	"strconv"
	"sync"

	v1 "weir/api/v1"
	"weir/internal/table"
	"weir/source/convert"
	"weir/state"
)

// sink is where the rows of a kind go.
type sink interface {
	put(rows []any)
	drop(keys []key)
	told(kind string) // every row of the kind was put
}

// quorum marks a table as synced when every kind that has rows in it was told.
type quorum struct {
	mu      sync.Mutex
	missing map[string]bool
	mark    func()
}

func newQuorum(mark func(), kinds ...string) *quorum {
	q := &quorum{missing: map[string]bool{}, mark: mark}
	for _, k := range kinds {
		q.missing[k] = true
	}
	return q
}

func (q *quorum) told(kind string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if delete(q.missing, kind); len(q.missing) == 0 {
		q.mark()
	}
}

// rowSink is a table.
type rowSink[K comparable, R table.Row] struct {
	*quorum
	table *table.Table[K, R]
	key   func(R) K
	same  func(R, R) bool
	named func(key) (K, bool)
}

func (s *rowSink[K, R]) put(rows []any) {
	out := make([]R, 0, len(rows))
	for _, r := range rows {
		row := r.(R)
		if old, ok := s.table.Get(s.key(row)); ok && s.same(old, row) {
			continue
		}
		out = append(out, row)
	}
	s.table.Put(out...)
}

func (s *rowSink[K, R]) drop(keys []key) {
	out := make([]K, 0, len(keys))
	for _, k := range keys {
		if id, ok := s.named(k); ok {
			out = append(out, id)
		}
	}
	s.table.Delete(out...)
}

// nodeSink is the table of nodes, to which two kinds contribute.
type nodeSink struct {
	*quorum
	mu    *sync.Mutex
	nodes *convert.Nodes
	table *table.Table[string, state.Node]
	own   bool // CiliumNodes
}

func (s *nodeSink) put(rows []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []state.Node
	for _, r := range rows {
		row := r.(state.Node)
		if s.own {
			s.nodes.PutOwn(row)
		} else {
			s.nodes.PutCore(row)
		}
		merged, _ := s.nodes.Get(row.Name)
		if old, ok := s.table.Get(row.Name); !ok || !old.Same(merged) {
			out = append(out, merged)
		}
	}
	s.table.Put(out...)
}

func (s *nodeSink) drop(keys []key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var put []state.Node
	var gone []string
	for _, k := range keys {
		if s.own {
			s.nodes.DropOwn(k.name)
		} else {
			s.nodes.DropCore(k.name)
		}
		if merged, ok := s.nodes.Get(k.name); ok {
			put = append(put, merged)
		} else {
			gone = append(gone, k.name)
		}
	}
	s.table.Put(put...)
	s.table.Delete(gone...)
}

// sinks are those of all kinds, by name.
func sinks(t *state.Tables) map[string]sink {
	names := func(k key) (string, bool) { return k.name, true }
	nodes, mu, known := newQuorum(t.Nodes.MarkSynced, "Node", "CiliumNode"), &sync.Mutex{}, &convert.Nodes{}
	policies := newQuorum(t.Policies.MarkSynced, state.KindNetworkPolicy, state.KindCNP, state.KindCCNP)
	policy := func(kind string) sink {
		return &rowSink[state.PolicyKey, state.Policy]{policies, t.Policies, func(p state.Policy) state.PolicyKey { return p.Key }, state.Policy.Same,
			func(k key) (state.PolicyKey, bool) {
				return state.PolicyKey{Kind: kind, Namespace: k.namespace, Name: k.name}, true
			}}
	}
	return map[string]sink{
		"Node":                  &nodeSink{nodes, mu, known, t.Nodes, false},
		"CiliumNode":            &nodeSink{nodes, mu, known, t.Nodes, true},
		state.KindNetworkPolicy: policy(state.KindNetworkPolicy),
		state.KindCNP:           policy(state.KindCNP),
		state.KindCCNP:          policy(state.KindCCNP),
		"Namespace": &rowSink[string, state.Namespace]{newQuorum(t.Namespaces.MarkSynced, "Namespace"), t.Namespaces,
			func(n state.Namespace) string { return n.Name }, state.Namespace.Same, names},
		state.KindCIDRGroup: &rowSink[string, state.CIDRGroup]{newQuorum(t.CIDRGroups.MarkSynced, state.KindCIDRGroup), t.CIDRGroups,
			func(g state.CIDRGroup) string { return g.Name }, state.CIDRGroup.Same, names},
		"Pod": &rowSink[state.PodName, state.Pod]{newQuorum(t.Pods.MarkSynced, "Pod"), t.Pods,
			func(p state.Pod) state.PodName { return p.Name }, state.Pod.Same,
			func(k key) (state.PodName, bool) { return state.PodName{Namespace: k.namespace, Name: k.name}, true }},
		"Service": &rowSink[state.ServiceName, state.Service]{newQuorum(t.Services.MarkSynced, "Service"), t.Services,
			func(s state.Service) state.ServiceName { return s.Name }, state.Service.Same,
			func(k key) (state.ServiceName, bool) {
				return state.ServiceName{Namespace: k.namespace, Name: k.name}, true
			}},
		"EndpointSlice": &rowSink[state.SliceName, state.Slice]{newQuorum(t.Slices.MarkSynced, "EndpointSlice"), t.Slices,
			func(s state.Slice) state.SliceName { return s.Name }, state.Slice.Same,
			func(k key) (state.SliceName, bool) {
				return state.SliceName{Namespace: k.namespace, Name: k.name}, true
			}},
		v1.KindL2Policy: &rowSink[string, state.L2Policy]{newQuorum(t.L2Policies.MarkSynced, v1.KindL2Policy), t.L2Policies,
			func(p state.L2Policy) string { return p.Name }, state.L2Policy.Same, names},
		"Lease": &rowSink[state.LeaseName, state.Lease]{newQuorum(t.Leases.MarkSynced, "Lease"), t.Leases,
			func(l state.Lease) state.LeaseName { return l.Name }, func(a, b state.Lease) bool { return a == b },
			func(k key) (state.LeaseName, bool) {
				return state.LeaseName{Namespace: k.namespace, Name: k.name}, true
			}},
		"CiliumIdentity": &rowSink[state.IdentityID, state.Identity]{newQuorum(t.ClusterIdentities.MarkSynced, "CiliumIdentity"), t.ClusterIdentities,
			func(i state.Identity) state.IdentityID { return i.ID }, state.Identity.Same, identityID},
	}
}

func identityID(k key) (state.IdentityID, bool) {
	n, err := strconv.ParseUint(k.name, 10, 32)
	return state.IdentityID(n), err == nil
}
