package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	api "weir/api/agent"
	"weir/api/walk"
	"weir/api/wire"
	"weir/bpf"
	"weir/state"
)

const (
	peersAsked = 32                     // nodes that are asked for their part of a walk
	peerReady  = 500 * time.Millisecond // for one of them to begin
	stepOctets = 64 << 10               // of one step on the wire, at most
	peerOctets = 4 << 20                // of all that one node tells of a walk, at most
)

// walkOf checks a request.
func walkOf(q *walk.FollowRequest) (w bpf.Walk, err error) {
	if len(q.Between) == 0 || len(q.Between) > len(w.Filter) {
		return w, status.Errorf(grpccodes.InvalidArgument, "between: %d pairs of ends, give 1 to %d", len(q.Between), len(w.Filter))
	}
	w.On = uint32(len(q.Between))
	for i, b := range q.Between {
		if len(b.A)+len(b.B) == 0 {
			return w, status.Errorf(grpccodes.InvalidArgument, "between[%d]: neither end has an address, and a walk does not follow everybody: give a, b or both", i)
		}
		if b.PortA > 65535 || b.PortB > 65535 || b.Proto > 255 {
			return w, status.Errorf(grpccodes.InvalidArgument, "between[%d]: ports %d and %d, protocol %d: a port has 16 bits and a protocol 8", i, b.PortA, b.PortB, b.Proto)
		}
		f := bpf.WalkFilter{Used: 1, PortA: bpf.Network(uint16(b.PortA)), PortB: bpf.Network(uint16(b.PortB)), Proto: uint8(b.Proto)}
		if f.A, err = endOf(b.A, i); err == nil {
			f.B, err = endOf(b.B, i)
		}
		if err != nil {
			return w, err
		}
		w.Filter[i] = f
	}
	return w, nil
}

// endOf is an end of a pair; without octets whoever.
func endOf(octets []byte, pair int) (bpf.Addr, error) {
	addr, ok := netip.AddrFromSlice(octets)
	switch {
	case ok:
		return bpf.AddrFrom(addr.Unmap()), nil
	case len(octets) > 0:
		return bpf.Addr{}, status.Errorf(grpccodes.InvalidArgument, "between[%d]: an address of %d octets, give 4 or 16", pair, len(octets))
	}
	return bpf.Addr{}, nil
}

// betweenOf is the request for what a walk follows.
func betweenOf(w bpf.Walk) *walk.FollowRequest {
	q := &walk.FollowRequest{}
	for _, f := range w.Filter[:w.On] {
		b := &walk.Between{PortA: uint32(bpf.Host(f.PortA)), PortB: uint32(bpf.Host(f.PortB)), Proto: uint32(f.Proto)}
		if f.A != (bpf.Addr{}) {
			b.A = f.A.Netip().AsSlice()
		}
		if f.B != (bpf.Addr{}) {
			b.B = f.B.Netip().AsSlice()
		}
		q.Between = append(q.Between, b)
	}
	return q
}

// peerStep is one program's part on another node.
type peerStep struct {
	api.Step
	packet *walk.Between // as it came; nil: its node does not say
}

// peerSteps gathers what other nodes tell.
type peerSteps struct {
	mu      sync.Mutex
	steps   []peerStep
	missing []string // nodes that could not be asked, with the reason
	readers sync.WaitGroup
}

// settle waits until other nodes tell nothing more, and, where the probe's way leads to
// one of them, until one has told something that could be asked; not for ever.
func (p *peerSteps) settle(ctx context.Context, elsewhere bool) {
	told := func() (steps int, missing bool) {
		if p == nil { // the probe was not sent
			return 0, true
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.steps), len(p.missing) > 0
	}
	for waited, before := time.Duration(0), -1; waited < settled && ctx.Err() == nil; waited += afterwards {
		sleep(ctx, afterwards)
		now, missing := told()
		if now == before && (now > 0 || !elsewhere || missing) || now == 0 && !elsewhere {
			return
		}
		before = now
	}
}

// followPeers asks the other nodes for their part, until ctx ends, first those that ends
// belong to. When it returns, those that can have begun.
func (a *Agent) followPeers(ctx context.Context, w bpf.Walk, ends []netip.Addr) *peerSteps {
	out := &peerSteps{}
	var begun sync.WaitGroup
	nodes := nodesOf(a.tables.Nodes.Rows(func(x, y state.Node) int { return strings.Compare(x.Name, y.Name) }), ends)
	if len(nodes) > peersAsked {
		out.miss(fmt.Sprintf("%d other nodes: only %d were asked", len(nodes)-peersAsked, peersAsked))
		nodes = nodes[:peersAsked]
	}
	for _, n := range nodes {
		begun.Add(1)
		out.readers.Go(func() { a.followPeer(ctx, n, betweenOf(w), out, sync.OnceFunc(begun.Done)) })
	}
	begun.Wait()
	return out
}

// nodesOf are the other nodes, first those that have one of the ends.
func nodesOf(all []state.Node, ends []netip.Addr) (out []state.Node) {
	var rest []state.Node
	for _, n := range all {
		switch {
		case n.Local:
		case slices.ContainsFunc(ends, func(a netip.Addr) bool { return isAt(n, a) }):
			out = append(out, n)
		default:
			rest = append(rest, n)
		}
	}
	return append(out, rest...)
}

// isAt reports whether an address is a node's, or of its pods.
func isAt(n state.Node, a netip.Addr) bool {
	return slices.Contains(n.Addresses, a) || slices.Contains(n.Routers, a) || slices.Contains(n.Health, a) ||
		slices.ContainsFunc(n.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// keep takes what a node tells.
func (p *peerSteps) keep(s peerStep) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps = append(p.steps, s)
}

func (p *peerSteps) miss(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing = append(p.missing, text)
}

// wait returns what they have told of the packets that are own. The context of
// followPeers has to have ended.
func (p *peerSteps) wait(own func(*walk.Between) bool) (steps []api.Step, missing []string) {
	p.readers.Wait()
	slices.Sort(p.missing)
	for _, s := range p.steps {
		if own(s.packet) {
			steps = append(steps, s.Step)
		}
	}
	return steps, p.missing
}

// followPeer reads one node's steps.
func (a *Agent) followPeer(ctx context.Context, n state.Node, q *walk.FollowRequest, out *peerSteps, begun func()) {
	defer begun()
	conn, err := a.dialPeer(n)
	if err != nil {
		out.miss(fmt.Sprintf("%s: %v", n.Name, err))
		return
	}
	defer conn.Close()
	ready := time.AfterFunc(peerReady, begun)
	defer ready.Stop()
	stream, err := walk.NewWalkClient(conn).Follow(ctx, q, grpc.MaxCallRecvMsgSize(stepOctets))
	if err == nil {
		_, err = stream.Header()
	}
	began := err == nil
	begun()
	if began {
		err = readPeer(n.Name, stream.Recv, out.keep)
	}
	if !began || ctx.Err() == nil || status.Code(err) == grpccodes.Unavailable || status.Code(err) == grpccodes.ResourceExhausted {
		out.miss(fmt.Sprintf("%s: %s", n.Name, status.Convert(err).Message()))
	}
}

// readPeer reads what one node tells until it ends. It is believed in what it says of
// packets, and neither in who it is nor in how much there is to say.
func readPeer(node string, next func() (*walk.FollowResponse, error), keep func(peerStep)) error {
	octets := 0
	for n := 0; ; n++ {
		r, err := next()
		if err != nil {
			return err
		}
		if octets += len(r.Step); n == stepsKept || octets > peerOctets {
			return fmt.Errorf("it tells more than is kept of one node: %d steps, %d MiB", stepsKept, peerOctets>>20)
		}
		s := peerStep{packet: r.Packet}
		if err := json.Unmarshal(r.Step, &s.Step); err != nil {
			return fmt.Errorf("it tells what is no step: %w", err)
		}
		s.Node = node
		keep(s)
	}
}

// dialPeer connects to where another node serves flows.
func (a *Agent) dialPeer(n state.Node) (*grpc.ClientConn, error) {
	h, certs := a.cfg.Hubble, a.flowCertificates()
	_, port, err := net.SplitHostPort(h.ListenAddress)
	if err != nil || !h.Enabled || h.TLS.Enabled && certs == nil {
		return nil, fmt.Errorf("nodes do not serve each other: it needs hubble.enabled, hubble.listenAddress, and hubble.tls.certFile or hubble.tls.enabled false")
	}
	addr := n.AnyAddress()
	if !addr.IsValid() {
		return nil, fmt.Errorf("it has no address")
	}
	return wire.Dial(net.JoinHostPort(addr.String(), port), certs, wire.ServerName(n.Cluster, n.Name))
}
