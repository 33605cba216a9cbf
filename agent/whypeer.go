package agent

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	api "weir/api/agent"
	"weir/api/walk"
	"weir/control/policy"
	"weir/state"
)

// whyLimit is how long another node may take to say what it knows.
const whyLimit = time.Second

// Why implements walk.proto.
func (s *walkServer) Why(ctx context.Context, q *walk.WhyRequest) (*walk.WhyResponse, error) {
	var asked api.ExplainRequest
	if err := json.Unmarshal(q.Request, &asked); err != nil {
		return nil, status.Errorf(grpccodes.InvalidArgument, "request: %v", err)
	}
	w, err := s.why(ctx, asked)
	if err != nil {
		return nil, status.Error(grpccodes.InvalidArgument, err.Error())
	}
	text, err := json.Marshal(w)
	if err != nil {
		return nil, status.Error(grpccodes.Internal, err.Error())
	}
	return &walk.WhyResponse{Why: text}, nil
}

// whyThere adds what the node of the other end knows, if that is another.
func (a *Agent) whyThere(ctx context.Context, w *api.Why) {
	for _, end := range []api.ExplainedEnd{w.To, w.From} {
		addr, err := netip.ParseAddr(end.IP)
		if err != nil {
			continue
		}
		if n, ok := a.nodeBehind(a.covering(addr)); ok {
			there, err := a.askWhy(ctx, n, *w)
			if err != nil {
				w.Missing = n.Name + ": " + status.Convert(err).Message()
				return
			}
			joinWhy(w, there, n.Name)
			return
		}
	}
}

// nodeBehind is the node to which an address's packets go.
func (a *Agent) nodeBehind(row state.IP) (state.Node, bool) {
	via := row.TunnelEndpoint
	if !via.IsValid() {
		via = row.Via
	}
	if !via.IsValid() {
		return state.Node{}, false
	}
	for _, n := range a.tables.Nodes.All() {
		if !n.Local && slices.Contains(n.Addresses, via) {
			return n, true
		}
	}
	return state.Node{}, false
}

// askWhy asks another node, which knows both ends by their addresses.
func (a *Agent) askWhy(ctx context.Context, n state.Node, w api.Why) (out api.Why, err error) {
	if w.From.IP == "" || w.To.IP == "" {
		return out, status.Error(grpccodes.InvalidArgument, "an end that has no address is nobody there")
	}
	request, err := json.Marshal(api.ExplainRequest{From: w.From.IP, To: w.To.IP, Proto: w.Policy.Proto, Port: w.Policy.Port})
	if err != nil {
		return out, err
	}
	conn, err := a.dialPeer(n)
	if err != nil {
		return out, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, whyLimit)
	defer cancel()
	r, err := walk.NewWalkClient(conn).Why(ctx, &walk.WhyRequest{Request: request})
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(r.Why, &out)
}

// joinWhy adds what another node has said: its drops, and the verdicts of policies that
// are judged there.
func joinWhy(w *api.Why, there api.Why, node string) {
	for _, d := range there.Drops {
		d.Node = node
		w.Drops = append(w.Drops, d)
	}
	join := func(here *api.Judgement, there api.Judgement) {
		if here.Known || !there.Known {
			return
		}
		*here = there
		if there.Verdict == policy.Denied {
			w.Policy.Verdict = policy.Denied
		}
	}
	join(&w.Policy.Egress, there.Policy.Egress)
	join(&w.Policy.Ingress, there.Policy.Ingress)
	if w.Policy.Egress.Known && w.Policy.Ingress.Known {
		w.Policy.Note = ""
	}
}
