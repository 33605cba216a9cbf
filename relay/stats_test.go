package relay

import (
	"path/filepath"
	"testing"

	"weir/api/flow"
	"weir/api/observer"
)

func TestStatsSayHowTheRelayDoes(t *testing.T) {
	r, d, c := startRelay(t, Options{Plain: true})
	a := startNode(t, "a", "unix", filepath.Join(short(t), "a"), nil)
	for i := range 5 {
		a.add(0, uint16(i+1))
	}
	a.Lost(4)
	added(t, r, d, a, &node{name: "b", address: "127.0.0.1:1"}, &node{name: "c"})
	await(t, "a is there and b is not", func() bool {
		p := r.Stats().Peers
		return p["READY"] == 1 && p["TRANSIENT_FAILURE"] == 1 && p[NoConnection] == 1 && len(p) == len(PeerStates())
	})
	if numbers, _ := reply(t, c, &observer.GetFlowsRequest{}); len(numbers) != 5 {
		t.Errorf("flows %v", numbers)
	}
	s := r.Stats()
	if s.Flows != 5 || s.Lost[flow.LostEventSource_PERF_EVENT_RING_BUFFER] != 4 || s.Lost[flow.LostEventSource_HUBBLE_RING_BUFFER] != 0 || s.Readers != 0 {
		t.Errorf("after one reader: %+v", s)
	}
	if _, err := c.GetFlows(t.Context(), &observer.GetFlowsRequest{Follow: true}); err != nil {
		t.Fatal(err)
	}
	await(t, "one reads", func() bool { return r.Stats().Readers == 1 })
	a.add(0, 6)
	await(t, "it was told", func() bool { return r.Stats().Flows == 6 })
}

// What a node of another version says is counted, too.
func TestLossOfAnUnknownKindIsCounted(t *testing.T) {
	var x tally
	for _, source := range []flow.LostEventSource{flow.LostEventSource_HUBBLE_RING_BUFFER, 77, -1} {
		x.count(&observer.GetFlowsResponse{ResponseTypes: &observer.GetFlowsResponse_LostEvents{LostEvents: &flow.LostEvent{Source: source, NumEventsLost: 3}}})
	}
	if x.lost[3].Load() != 3 || x.lost[0].Load() != 6 {
		t.Errorf("lost %d and %d", x.lost[3].Load(), x.lost[0].Load())
	}
}
