package agent

import (
	"net/netip"
	"strings"
	"testing"

	"weir/state"
)

func TestRowN3StatusListsUnmanagedPods(t *testing.T) {
	tables := state.New()
	for _, name := range []string{"old", "ours", "elsewhere"} {
		p := state.Pod{Name: state.PodName{Namespace: "a", Name: name}, Node: "n1", IPs: []netip.Addr{netip.MustParseAddr("10.9.0.1")}}
		if name == "elsewhere" {
			p.Node = "n2"
		}
		tables.Pods.Put(p)
	}
	tables.Endpoints.Put(state.Endpoint{ID: 1, Pod: state.PodName{Namespace: "a", Name: "ours"}})
	if got := unmanagedWarning(tables, "n1"); got != "" {
		t.Errorf("before all is known: %s", got)
	}
	tables.Pods.MarkSynced()
	tables.Endpoints.MarkSynced()
	if got := unmanagedWarning(tables, "n1"); !strings.HasPrefix(got, "unmanaged pods: [a/old]: another plugin") {
		t.Error(got)
	}
}
