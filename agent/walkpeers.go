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
	"weir/observe"
	"weir/state"
)

const (
	peersAsked = 32                     // nodes that are asked for their part of a walk
	peerReady  = 500 * time.Millisecond // for one of them to begin
)

// walkServer serves this node's part of others' walks.
type walkServer struct {
	walk.UnimplementedWalkServer
	agent *Agent
}

// Follow implements walk.proto.
func (s walkServer) Follow(q *walk.FollowRequest, out grpc.ServerStreamingServer[walk.FollowResponse]) error {
	w, err := walkOf(q)
	if err != nil {
		return err
	}
	a := s.agent
	if !a.walks.begin() {
		return status.Error(grpccodes.Unavailable, walkBusy)
	}
	defer a.walks.end()
	ctx, cancel := context.WithTimeout(out.Context(), liveLimit+probeLimit)
	defer cancel()
	if err := a.dp.Follow(w); err != nil {
		return status.Error(grpccodes.Internal, err.Error())
	}
	defer func() {
		if err := a.dp.Follow(bpf.Walk{}); err != nil {
			a.log.Warn("packets of a walk that has ended are still followed", "err", err)
		}
	}()
	if err := out.SendHeader(nil); err != nil {
		return err
	}
	told := 0
	return a.dp.ReadSteps(ctx, func(x bpf.Step) {
		if told++; told > stepsKept {
			return
		}
		text, err := json.Marshal(a.step(x))
		if err == nil {
			err = out.Send(&walk.FollowResponse{Step: text})
		}
		if err != nil {
			cancel()
		}
	})
}

// walkOf checks a request.
func walkOf(q *walk.FollowRequest) (w bpf.Walk, err error) {
	if len(q.Between) == 0 || len(q.Between) > len(w.Filter) {
		return w, status.Errorf(grpccodes.InvalidArgument, "between: %d pairs of ends, give 1 to %d", len(q.Between), len(w.Filter))
	}
	w.On = uint32(len(q.Between))
	for i, b := range q.Between {
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

// peerSteps gathers what other nodes tell.
type peerSteps struct {
	mu      sync.Mutex
	steps   []api.Step
	missing []string // nodes that could not be asked, with the reason
	readers sync.WaitGroup
}

// followPeers asks the other nodes for their part, until ctx ends. When it returns, those
// that can have begun.
func (a *Agent) followPeers(ctx context.Context, w bpf.Walk) *peerSteps {
	out := &peerSteps{}
	var begun sync.WaitGroup
	asked := 0
	for _, n := range a.tables.Nodes.Rows(func(x, y state.Node) int { return strings.Compare(x.Name, y.Name) }) {
		if n.Local {
			continue
		}
		if asked++; asked > peersAsked {
			out.miss(fmt.Sprintf("only %d other nodes were asked", peersAsked))
			break
		}
		begun.Add(1)
		out.readers.Go(func() { a.followPeer(ctx, n, betweenOf(w), out, sync.OnceFunc(begun.Done)) })
	}
	begun.Wait()
	return out
}

func (p *peerSteps) miss(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing = append(p.missing, text)
}

// wait returns what they have told. The context of followPeers has to have ended.
func (p *peerSteps) wait() (steps []api.Step, missing []string) {
	p.readers.Wait()
	slices.Sort(p.missing)
	return p.steps, p.missing
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
	stream, err := walk.NewWalkClient(conn).Follow(ctx, q)
	if err == nil {
		_, err = stream.Header()
	}
	began := err == nil
	begun()
	for err == nil {
		var r *walk.FollowResponse
		if r, err = stream.Recv(); err != nil {
			break
		}
		var s api.Step
		if err = json.Unmarshal(r.Step, &s); err == nil {
			out.mu.Lock()
			out.steps = append(out.steps, s)
			out.mu.Unlock()
		}
	}
	if !began || ctx.Err() == nil || status.Code(err) == grpccodes.Unavailable {
		out.miss(fmt.Sprintf("%s: %s", n.Name, status.Convert(err).Message()))
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
	return wire.Dial(net.JoinHostPort(addr.String(), port), certs, observe.ServerName(n.Cluster, n.Name))
}
