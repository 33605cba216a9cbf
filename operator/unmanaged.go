package operator

import (
	"cmp"
	"iter"
	"slices"

	"weir/state"
)

// Unmanaged returns the pods that Weir does not connect: on a node whose agent is
// ready, with addresses, and without an endpoint. Another plugin made them before
// Weir came; they work as that plugin left them, no policy protects them, and they
// are Weir's when they are created anew.
func Unmanaged(pods iter.Seq[state.Pod], ready func(node string) bool, endpoint func(state.PodName) bool) []state.PodName {
	var out []state.PodName
	for p := range pods {
		if p.HostNetwork || p.Deleting || len(p.IPs) == 0 || !ready(p.Node) || endpoint(p.Name) {
			continue
		}
		out = append(out, p.Name)
	}
	slices.SortFunc(out, func(a, b state.PodName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}
