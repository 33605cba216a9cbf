package agent

import (
	"fmt"
	"maps"

	"weir/operator"
	"weir/state"
)

// unmanagedWarning names the pods of this node that another plugin connects, or is
// empty. Pods with addresses that have no endpoint were there before Weir.
func unmanagedWarning(t *state.Tables, node string) string {
	if !t.Pods.Synced() || !t.Endpoints.Synced() {
		return ""
	}
	ours := map[state.PodName]bool{}
	for _, e := range t.Endpoints.All() {
		ours[e.Pod] = true
	}
	pods := operator.Unmanaged(maps.Values(maps.Collect(t.Pods.All())),
		func(of string) bool { return of == node }, func(p state.PodName) bool { return ours[p] })
	const most = 10
	switch {
	case len(pods) == 0:
		return ""
	case len(pods) > most:
		return fmt.Sprintf("unmanaged pods: %d, such as %v: another plugin connects them, and no policy protects them until they are created anew", len(pods), pods[:most])
	}
	return fmt.Sprintf("unmanaged pods: %v: another plugin connects them, and no policy protects them until they are created anew", pods)
}
