package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/state"
)

var quiet = slog.New(slog.DiscardHandler)

func node(i int) state.Node {
	return state.Node{
		Name:      fmt.Sprintf("n%d", i),
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)})},
		Health:    []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 5}), netip.AddrFrom16([16]byte{0xfd, 14: byte(i >> 8), 15: byte(i)})},
		Local:     i == 1,
	}
}

// network is who answers, and how fast.
type network struct {
	mu    sync.Mutex
	slow  map[string]time.Duration // an address that takes that long
	dead  map[string]bool          // an address that refuses
	asked map[string][]time.Time
	deaf  bool // nobody answers echo requests
}

func (n *network) ask(ctx context.Context, a netip.Addr) (time.Duration, error) {
	n.mu.Lock()
	n.asked[a.String()] = append(n.asked[a.String()], time.Now())
	slow, dead := n.slow[a.String()], n.dead[a.String()]
	n.mu.Unlock()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(slow):
	}
	if dead {
		return 0, errors.New("connection refused")
	}
	return slow + time.Millisecond, nil
}

// ping is answered by whoever is not in deaf.
func (n *network) ping(context.Context, netip.Addr) (time.Duration, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.deaf {
		return 0, errors.New("i/o timeout")
	}
	return 2 * time.Millisecond, nil
}

func (n *network) set(a string, dead bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead[a] = dead
}

func startProber(t *testing.T, nodes int) (*network, *state.Tables, *prober) {
	t.Helper()
	net := &network{slow: map[string]time.Duration{}, dead: map[string]bool{}, asked: map[string][]time.Time{}}
	tables := state.New()
	for i := range nodes {
		tables.Nodes.Put(node(i + 1))
	}
	tables.Nodes.MarkSynced()
	p := newProber(quiet, 10*time.Second, tables, net.ask, net.ping)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return net, tables, p
}

func peer(t *testing.T, tables *state.Tables, name string) state.Peer {
	t.Helper()
	row, ok := tables.Peers.Get(name)
	if !ok {
		t.Fatalf("no row of %s", name)
	}
	return row
}

func TestAllNodesAreProbedSoonAfterTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tables, _ := startProber(t, 3)
		time.Sleep(100 * time.Millisecond)
		for i := range 3 {
			row := peer(t, tables, node(i+1).Name)
			if !row.Reachable() || row.NodeIP != node(i + 1).Addresses[0].String() || row.Local != (i == 0) || row.LastProbe.IsZero() || row.NodeRTT == 0 {
				t.Errorf("row = %+v, want it reachable", row)
			}
		}
	})
}

// TestAnEchoThatIsNotAnsweredDecidesNothing: firewalls drop them.
func TestAnEchoThatIsNotAnsweredDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, tables, p := startProber(t, 2)
		for _, deaf := range []bool{false, true} {
			net.mu.Lock()
			net.deaf = deaf
			net.mu.Unlock()
			if err := p.all(t.Context()); err != nil {
				t.Fatal(err)
			}
			row := peer(t, tables, "n2")
			if !row.Reachable() || row.NodePing.OK == deaf || row.EndpointPing.OK == deaf || (row.NodePing.Error != "") != deaf || (row.NodePing.RTT != 0) == deaf {
				t.Errorf("deaf %v: %+v", deaf, row)
			}
		}
	})
}

func TestProbesOfManyNodesSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, _, _ := startProber(t, 400)
		time.Sleep(30 * time.Second)
		net.mu.Lock()
		defer net.mu.Unlock()
		perSecond := map[int64]int{}
		for i := range 400 {
			times := net.asked[node(i + 1).Addresses[0].String()]
			if len(times) < 2 || len(times) > 4 {
				t.Errorf("n%d was asked %d times in 30 s, want about 3", i+1, len(times))
			}
			for _, at := range times {
				perSecond[at.Unix()]++
			}
		}
		for s, n := range perSecond {
			if n > 100 {
				t.Errorf("%d of 400 nodes were asked in second %d, want about 40", n, s)
			}
		}
	})
}

func TestSlowNodeDelaysNobodyAndIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, tables, p := startProber(t, 3)
		net.mu.Lock()
		net.slow[node(2).Health[0].String()] = time.Hour
		net.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
		peer(t, tables, "n1")
		peer(t, tables, "n3")
		began := time.Now()
		if err := p.all(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != limit {
			t.Errorf("Probe took %s, want the limit of %s", took, limit)
		}
		row := peer(t, tables, "n2")
		if !row.NodeOK || row.EndpointOK || !strings.Contains(row.EndpointErr, "deadline") {
			t.Errorf("row = %+v, want the node well and the endpoint timed out", row)
		}
	})
}

func TestFailureIsCountedRetriedSoonAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, tables, _ := startProber(t, 2)
		v6 := node(2).Health[1].String()
		net.set(v6, true) // one family is enough
		time.Sleep(5 * time.Second)
		row := peer(t, tables, "n2")
		if row.Reachable() || row.ProbesFailed < 2 || row.EndpointErr != "connection refused" {
			t.Errorf("row = %+v, want at least 2 failures in 5 s", row)
		}
		net.set(v6, false)
		time.Sleep(11 * time.Second)
		if row := peer(t, tables, "n2"); !row.Reachable() || row.ProbesFailed != 0 {
			t.Errorf("row = %+v, want it reachable again", row)
		}
	})
}

func TestNodesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, tables, _ := startProber(t, 2)
		time.Sleep(time.Second)
		tables.Nodes.Delete("n2")
		bare := node(3)
		bare.Health = nil
		tables.Nodes.Put(bare)
		time.Sleep(time.Second)
		if _, ok := tables.Peers.Get("n2"); ok {
			t.Error("n2 is still a peer")
		}
		if row := peer(t, tables, "n3"); !row.Reachable() || row.EndpointOK {
			t.Errorf("row = %+v, want it reachable without an endpoint", row)
		}
		net.mu.Lock()
		before := len(net.asked[node(2).Addresses[0].String()])
		net.mu.Unlock()
		time.Sleep(time.Minute)
		net.mu.Lock()
		defer net.mu.Unlock()
		if after := len(net.asked[node(2).Addresses[0].String()]); after != before {
			t.Errorf("n2 was asked %d times after it went", after-before)
		}
	})
}
