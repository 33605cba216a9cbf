package prog

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

// Teller is from_pod with a policy in force that tells of each packet, for a reader in
// another process: half of its packets are of known connections, half are denied.
type Teller struct {
	f             *Flows
	known, denied way
}

// way is a packet with what the program does to it.
type way struct {
	frame   []byte
	verdict uint32
	flows   picker
}

const (
	drop       = 2 // TC_ACT_SHOT
	deniedPort = 7
	tellRules  = 100
)

// MakeTeller prepares a node, in a folder that OpenTold takes. Close it in any case.
func (b *Bench) MakeTeller(dir string, connections, flows uint32) (*Teller, error) {
	t := &Teller{}
	var err error
	if t.f, err = b.MakeTold(dir, connections, bpf.MonitorLow); err != nil {
		return t, err
	}
	if err := t.f.Enforce(tellRules); err != nil {
		return t, err
	}
	w := t.f.Ways[0]
	if err := b.Inside(func() error { return t.f.Open(w, flows) }); err != nil {
		return t, err
	}
	pick := picker{Random: 1, Flows: flows, Spread: w.spread, Base: low16(w.dst)}
	t.known, t.denied = way{verdict: redirect, flows: pick}, way{verdict: drop, flows: pick}
	if t.known.frame, err = flowFrame(w.src, w.dst, false); err != nil {
		return t, err
	}
	t.denied.frame, err = segment(w.src, w.dst, deniedPort, true, 16)
	t.f.node.release()
	return t, err
}

// release leaves the maps to another process: what was told so far is gone.
func (l *loaded) release() {
	l.events.Drain(datapath.Reader{Event: func(*bpf.Event) {}, Answer: func(*bpf.DNSAnswer) {}})
	l.events.Close()
	l.datapath.Close()
	l.events, l.datapath = nil, nil
}

// Close removes what MakeTeller made.
func (t *Teller) Close() error {
	if t.f == nil {
		return nil
	}
	return t.f.Close()
}

// Root is the folder that OpenTold wants.
func (t *Teller) Root() string { return t.f.node.root }

// Tell sends packets of known connections, or such as are denied, and returns how many
// were sent: each is one event.
func (t *Teller) Tell(denied bool, packets uint32) (uint64, error) {
	w := t.known
	if denied {
		w = t.denied
	}
	if err := t.f.picks.set(w.flows); err != nil {
		return 0, err
	}
	_, got, err := testRunOnce(t.f.node.programs[bpf.ProgFromPod], w.frame, podIndex, packets)
	if err != nil && !errors.Is(err, unix.EINTR) { // interrupted: the counter says how far it came
		return 0, err
	}
	if err == nil && got != w.verdict {
		return 0, fmt.Errorf("the program returned %d, want %d: the packet went another way", int32(got), int32(w.verdict))
	}
	return t.f.picks.counter()
}

// FlowsOf is how many flows there are of as many events: a denial is a verdict and a drop.
func FlowsOf(known, denied uint64) uint64 { return known + 2*denied }

// OpenTold opens what a Teller in another process writes to, as an agent does.
func OpenTold(root string, connections uint32) (*datapath.Datapath, error) {
	return datapath.Open(slog.New(slog.DiscardHandler), options(root, connections))
}

// Names are the tables of a node's agent that say whose the addresses are.
func Names() *state.Tables {
	t := state.New()
	t.Identities.Put(state.AllReserved()...)
	t.Identities.Put(state.Identity{ID: identity, Labels: benchLabels()})
	t.Nodes.Put(state.Node{Name: "bench", Local: true, Addresses: []netip.Addr{netip.MustParseAddr(node)}})
	for f := range pods {
		own, remote := netip.MustParseAddr(pods[f]), netip.MustParseAddr(far[f])
		for id := 1; id <= neighbours+1; id++ {
			putPod(t, fmt.Sprintf("p%d", id), own, state.EndpointID(id))
			own = own.Next()
		}
		for i := range others {
			putPod(t, fmt.Sprintf("far%d", i), remote, 0)
			remote = remote.Next()
		}
	}
	return t
}

func putPod(t *state.Tables, name string, a netip.Addr, id state.EndpointID) {
	pod := state.PodName{Namespace: "default", Name: name}
	row := state.IP{Prefix: netip.PrefixFrom(a, a.BitLen()), Identity: identity, Endpoint: id, Source: state.IPPod, Of: pod.String()}
	if id != 0 {
		row.Source = state.IPEndpoint
		t.Endpoints.Put(state.Endpoint{ID: id, Pod: pod, Identity: identity, Ifindex: int(bpf.IfindexBase) + int(id), State: state.EndpointReady})
	}
	t.Pods.Put(state.Pod{Name: pod, Labels: map[string]string{"app": "bench"}, Workload: state.Workload{Kind: "Deployment", Name: "bench"}})
	t.IPs.Put(row)
}
