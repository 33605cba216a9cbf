package lifecycle

import (
	"testing"

	"weir/api/agent"
)

func TestRowD4EveryNodeAndItsHealthEndpointAnswerProbes(t *testing.T) {
	l := vxlanLab(t)
	run(t, l, "n1", "ip", "link", "show", "weir_health")
	peers := get[[]agent.Peer](t, l, "n1", agent.PathHealth+"?probe=1")
	if len(peers) < 2 {
		t.Errorf("n1 probes %d nodes, want all: %+v", len(peers), peers)
	}
	for _, p := range peers {
		if !p.NodeOK || !p.EndpointOK || p.EndpointIP == "" {
			t.Errorf("n1 to %s: node %v %s, endpoint %q %v %s", p.Node, p.NodeOK, p.NodeError, p.EndpointIP, p.EndpointOK, p.Endpoint)
		}
	}
	if h := get[agent.Status](t, l, "n1", agent.PathStatus).Health; h.Reachable != len(peers) || h.Total != len(peers) {
		t.Errorf("status: %d/%d reachable, want %d of both", h.Reachable, h.Total, len(peers))
	}
}
