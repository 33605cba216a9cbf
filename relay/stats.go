package relay

import (
	"sync/atomic"

	"google.golang.org/grpc/connectivity"

	"weir/api/flow"
	"weir/api/observer"
)

// Stats is how a relay does.
type Stats struct {
	Peers   map[string]int                  // agents by the state of the connection to them: all of PeerStates
	Readers int                             // who is told flows
	Flows   uint64                          // that they were told, since the relay began
	Lost    map[flow.LostEventSource]uint64 // that nodes said to be missing in what they were told
}

// NoConnection is the state of an agent that there is no way to ask.
const NoConnection = "NIL_CONNECTION"

// PeerStates are those of gRPC's connections, and NoConnection.
func PeerStates() []string {
	out := []string{NoConnection}
	for s := connectivity.Idle; s <= connectivity.Shutdown; s++ {
		out = append(out, s.String())
	}
	return out
}

// tally counts what readers are told.
type tally struct {
	flows atomic.Uint64
	lost  [lossSources]atomic.Uint64
}

// lossSources is how many values of flow.LostEventSource there are.
const lossSources = int(flow.LostEventSource_HUBBLE_RING_BUFFER) + 1

func (t *tally) count(m *observer.GetFlowsResponse) {
	if m.GetFlow() != nil {
		t.flows.Add(1)
	}
	if l := m.GetLostEvents(); l != nil {
		source := int(l.Source)
		if source < 0 || source >= lossSources {
			source = 0 // a node of another version
		}
		t.lost[source].Add(l.NumEventsLost)
	}
}

// Stats tells how the relay does. An agent that nobody has asked for long is tried, so
// that the next one says whether it is there.
func (r *Relay) Stats() Stats {
	out := Stats{Peers: map[string]int{}, Readers: r.readers.Count(), Flows: r.told.flows.Load(), Lost: map[flow.LostEventSource]uint64{}}
	for _, s := range PeerStates() {
		out.Peers[s] = 0
	}
	for _, p := range r.peers.all() {
		out.Peers[p.state()]++
	}
	for source := range r.told.lost {
		out.Lost[flow.LostEventSource(source)] = r.told.lost[source].Load()
	}
	return out
}

// state is one of PeerStates.
func (p *peerNode) state() string {
	if p.conn == nil {
		return NoConnection
	}
	is := p.conn.GetState()
	if is == connectivity.Idle {
		p.conn.Connect()
	}
	return is.String()
}
