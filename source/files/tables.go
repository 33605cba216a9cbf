package files

import (
	"weir/source/convert"
	"weir/state"
)

// write makes the tables what good says. Pods come last: whoever learns of one
// finds what selects it. Numbers come before policies, whose labels make them.
func (s *Source) write() {
	t := s.tables
	t.Nodes.Replace(s.nodes(), state.Node.Same)
	t.Namespaces.Replace(rows[state.Namespace](s.good), state.Namespace.Same)
	t.CIDRGroups.Replace(rows[state.CIDRGroup](s.good), state.CIDRGroup.Same)
	t.Services.Replace(rows[state.Service](s.good), state.Service.Same)
	t.Slices.Replace(rows[state.Slice](s.good), state.Slice.Same)
	t.ClusterIdentities.Replace(rows[state.Identity](s.good), state.Identity.Same)
	t.Policies.Replace(rows[state.Policy](s.good), state.Policy.Same)
	t.Pods.Replace(rows[state.Pod](s.good), state.Pod.Same)
}

// synced says that every table has what there was at the start.
func (s *Source) synced() {
	t := s.tables
	for _, mark := range []func(){
		t.Nodes.MarkSynced, t.Namespaces.MarkSynced, t.CIDRGroups.MarkSynced, t.Services.MarkSynced, t.Slices.MarkSynced,
		t.Policies.MarkSynced, t.ClusterIdentities.MarkSynced, t.Pods.MarkSynced, t.Problems.MarkSynced,
	} {
		mark()
	}
}

func rows[R any](good map[objectKey]row) []R {
	var out []R
	for _, r := range good {
		if v, ok := r.value.(R); ok {
			out = append(out, v)
		}
	}
	return out
}

// nodes merges the two kinds.
func (s *Source) nodes() []state.Node {
	var nodes convert.Nodes
	for _, n := range rows[state.Node](s.good) {
		nodes.PutOwn(n)
	}
	for _, n := range rows[coreNode](s.good) {
		nodes.PutCore(state.Node(n))
	}
	return nodes.All()
}
