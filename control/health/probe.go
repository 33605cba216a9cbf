package health

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/internal/table"
	"weir/state"
)

const (
	limit    = 5 * time.Second       // of one probe of one node
	spread   = 20 * time.Millisecond // between the first probes of two nodes
	retry    = time.Second           // after the first failure of a node, then doubled
	parallel = 128                   // nodes asked at once on demand
)

// prober asks each node on a schedule of its own, so that a slow one delays
// nobody and the probes of many spread over the interval.
type prober struct {
	log      *slog.Logger
	interval time.Duration
	nodes    *table.Table[string, state.Node]
	peers    *table.Table[string, state.Peer]
	ask      question
	ping     question

	mu sync.Mutex // one result at a time counts the failures
}

// question is asked of one address, and says how long the answer took.
type question func(context.Context, netip.Addr) (time.Duration, error)

func newProber(log *slog.Logger, interval time.Duration, t *state.Tables, ask, ping question) *prober {
	return &prober{log: log, interval: interval, nodes: t.Nodes, peers: t.Peers, ask: ask, ping: ping}
}

// run keeps one goroutine for each node until ctx ends.
func (p *prober) run(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	defer p.nodes.Notify(wake)()
	p.peers.MarkSynced()
	var all sync.WaitGroup
	defer all.Wait()
	stop := map[string]context.CancelFunc{}
	for {
		for name := range p.nodes.All() {
			if stop[name] != nil {
				continue
			}
			var one context.Context
			one, stop[name] = context.WithCancel(ctx)
			all.Go(func() { p.follow(one, name) })
		}
		for name, cancel := range stop {
			if _, ok := p.nodes.Get(name); !ok && p.nodes.Synced() {
				cancel()
				delete(stop, name)
				p.forget(name)
			}
		}
		select {
		case <-ctx.Done():
			for _, cancel := range stop {
				cancel()
			}
			return nil
		case <-wake:
		}
	}
}

// follow probes one node until ctx ends.
func (p *prober) follow(ctx context.Context, name string) {
	// The first probes come soon in a small cluster, and spread in a large one.
	wait := rand.N(min(p.interval, time.Duration(p.nodes.Len()+1)*spread))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		n, ok := p.nodes.Get(name)
		if !ok {
			return
		}
		wait = p.pause(p.probe(ctx, n).ProbesFailed)
	}
}

// pause is the time to the next probe: shorter after first failures, since
// nodes often just start; within a tenth of what it should be at random.
func (p *prober) pause(failed int) time.Duration {
	d := p.interval
	if failed > 0 && failed < 10 {
		d = min(d, retry<<(failed-1))
	}
	return d - d/10 + rand.N(d/5+1)
}

// all probes every node and waits for the slowest.
func (p *prober) all(ctx context.Context) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, n := range p.nodes.All() {
		select {
		case <-ctx.Done():
			wg.Wait()
			return fmt.Errorf("probe nodes: %w", ctx.Err())
		case slots <- struct{}{}:
		}
		wg.Go(func() {
			defer func() { <-slots }()
			p.probe(ctx, n)
		})
	}
	wg.Wait()
	return ctx.Err()
}

// probe asks a node for itself and for its health endpoint at once, on every
// address, and puts the result into the table.
func (p *prober) probe(ctx context.Context, n state.Node) state.Peer {
	one, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	row := state.Peer{Node: n.Name, Local: n.Local, NodeIP: first(n.Addresses), EndpointIP: first(n.Health)}
	var wg sync.WaitGroup
	wg.Go(func() { row.NodeRTT, row.NodeOK, row.NodeError = p.each(one, n.Addresses, p.ask) })
	wg.Go(func() { row.NodePing = p.pings(one, n.Addresses) })
	if len(n.Health) > 0 {
		wg.Go(func() { row.EndpointRTT, row.EndpointOK, row.EndpointErr = p.each(one, n.Health, p.ask) })
		wg.Go(func() { row.EndpointPing = p.pings(one, n.Health) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return row // we are ending, which says nothing about the node
	}
	return p.record(row)
}

// each asks all addresses at once: they are well when all are. The time is
// that of the slowest.
func (p *prober) each(ctx context.Context, addrs []netip.Addr, ask question) (time.Duration, bool, string) {
	if len(addrs) == 0 {
		return 0, false, "no address is known"
	}
	times, errs := make([]time.Duration, len(addrs)), make([]error, len(addrs))
	var wg sync.WaitGroup
	for i, a := range addrs {
		wg.Go(func() { times[i], errs[i] = ask(ctx, a) })
	}
	wg.Wait()
	var said []string
	for _, err := range errs {
		if err != nil {
			said = append(said, err.Error())
		}
	}
	if len(said) > 0 {
		return 0, false, strings.Join(said, "; ")
	}
	return slices.Max(times), true, ""
}

func (p *prober) pings(ctx context.Context, addrs []netip.Addr) state.Ping {
	rtt, ok, err := p.each(ctx, addrs, p.ping)
	return state.Ping{OK: ok, RTT: rtt, Error: err}
}

func (p *prober) record(row state.Peer) state.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, seen := p.peers.Get(row.Node)
	if _, ok := p.nodes.Get(row.Node); !ok {
		return row // it went meanwhile
	}
	row.LastProbe = time.Now()
	if !row.Reachable() {
		row.ProbesFailed = old.ProbesFailed + 1
	}
	p.peers.Put(row)
	switch {
	case !row.Reachable() && (!seen || old.ProbesFailed == 0):
		p.log.Warn("node unreachable", "node", row.Node, "err", cmp.Or(row.NodeError, row.EndpointErr))
	case row.Reachable() && old.ProbesFailed > 0:
		p.log.Info("node reachable again", "node", row.Node, "probes_failed", old.ProbesFailed)
	}
	return row
}

// forget drops a node's row; a probe under way does not bring it back.
func (p *prober) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers.Delete(name)
}

func first(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return ""
	}
	return addrs[0].String()
}
