package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weir/agent/config"
	api "weir/api/agent"
	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

// dropsTold is how many drops between two ends are worth telling.
const dropsTold = 5

// why tells all that this node knows of what stands between two ends.
func (a *Agent) why(ctx context.Context, q api.ExplainRequest) (api.Why, error) {
	e, err := a.explainPolicy(ctx, q)
	if err != nil {
		return api.Why{}, err
	}
	out := api.Why{From: e.From, To: e.To, Policy: e, Drops: []api.WhyDrop{}, Way: []api.WayFact{}, Advice: []string{}}
	out.Drops = a.dropsBetween(e.From, e.To)
	to, err := netip.ParseAddr(e.To.IP)
	if err == nil {
		out.Way = a.wayTo(to, e)
	}
	if err := a.openBetween(e, &out); err != nil {
		return out, err
	}
	out.Advice = advice(out)
	return out, nil
}

// dropsBetween are the latest ones, the last first, each kind once.
func (a *Agent) dropsBetween(from, to api.ExplainedEnd) []api.WhyDrop {
	out := []api.WhyDrop{}
	all := a.drops.all()
	seen := map[string]bool{}
	for _, d := range slices.Backward(all) {
		there, back := isOf(d.Source, d.SourceName, from) && isOf(d.Dest, d.DestName, to), isOf(d.Source, d.SourceName, to) && isOf(d.Dest, d.DestName, from)
		kind := fmt.Sprint(d.Reason, d.Place, there)
		if !there && !back || seen[kind] || len(out) == dropsTold {
			continue
		}
		seen[kind] = true
		x := api.WhyDrop{Drop: d}
		if e, ok := reasonNamed(d.Reason); ok {
			x.Means, x.Do = e.Means, e.Do
		}
		out = append(out, x)
	}
	return out
}

// isOf reports whether an end of a drop, an address with or without a port, is the one
// that was asked for.
func isOf(addr, name string, end api.ExplainedEnd) bool {
	if end.IP == "" {
		return name == end.Name || end.Name == "world" && strings.HasPrefix(name, "reserved:world")
	}
	at, err := netip.ParseAddrPort(addr)
	if err == nil {
		addr = at.Addr().String()
	}
	return addr == end.IP || name != "" && name == end.Name
}

func reasonNamed(text string) (bpf.Explanation, bool) {
	for n := range 256 {
		if r := bpf.Reason(n); r.String() == text {
			return r.Explained()
		}
	}
	return bpf.Explanation{}, false
}

// wayTo is how packets get to an address, as this node sees it.
func (a *Agent) wayTo(to netip.Addr, e api.Explanation) (out []api.WayFact) {
	row := a.covering(to)
	add := func(ok bool, do, what, is string, args ...any) {
		f := api.WayFact{What: what, Is: fmt.Sprintf(is, args...), OK: ok}
		if !ok {
			f.Do = do
		}
		out = append(out, f)
	}
	switch {
	case row.Endpoint != 0:
		ep, _ := a.tables.Endpoints.Get(row.Endpoint)
		add(ep.State == state.EndpointReady, "wait until it is ready; if it lasts, `weir endpoint list` and the agent's log say why",
			"endpoint", "%d of this node, %s", row.Endpoint, ep.State)
		return out
	case row.Host:
		add(true, "", "address", "of this node itself")
		return out
	}
	if row.Source == state.IPPodCIDR {
		add(false, "no pod has the address: the sender may remember an old one; check its DNS answer", "address", "in the pod CIDR %s, of no pod that is known here", row.Prefix)
	}
	next := to
	if row.TunnelEndpoint.IsValid() {
		next = row.TunnelEndpoint
		a.peerFacts(next, add)
	}
	r, err := datapath.RouteTo(next)
	if err != nil {
		add(false, "`ip route get "+next.String()+"` on the node; routes of Weir are in `weir table list nodes`", "route", "%s", err)
		return out
	}
	tunnelled := a.cfg.RoutingMode == "tunnel" && row.TunnelEndpoint.IsValid()
	add(true, "", "route", "to %s by %s, next hop %s", next, r.Device, r.Via)
	a.mtuFact(r, tunnelled, next, add)
	n, err := datapath.Neighbour(r.Device, r.Via)
	switch {
	case err != nil:
		add(false, "look at the device", "neighbour", "%s", err)
	case !n.Known:
		add(true, "", "neighbour", "%s on %s is asked for by the first packet", r.Via, r.Device)
	default:
		add(n.OK, fmt.Sprintf("nobody answers for %s on %s: is that host up, and on this link? `ip neigh flush to %s` asks again", r.Via, r.Device, r.Via),
			"neighbour", "%s on %s is %s %s", r.Via, r.Device, n.State, n.MAC)
	}
	return out
}

// peerFacts say whether the other end's node answers probes.
func (a *Agent) peerFacts(node netip.Addr, add func(ok bool, do, what, is string, args ...any)) {
	for _, p := range a.tables.Peers.All() {
		if p.NodeIP != node.String() {
			continue
		}
		if p.Reachable() {
			add(true, "", "node", "%s answers probes", p.Node)
			return
		}
		add(false, "`weir health status` on both nodes; a firewall may close the tunnel's UDP port or the health port", "node", "%s does not answer: %s%s", p.Node, p.NodeError, p.EndpointErr)
		return
	}
}

func (a *Agent) mtuFact(r datapath.Route, tunnelled bool, outer netip.Addr, add func(ok bool, do, what, is string, args ...any)) {
	fits, pods := r.MTU, a.endpoints.RouteMTU()
	if tunnelled {
		fits -= config.Overhead(outer.Is6())
	}
	add(pods <= fits, fmt.Sprintf("set mtu to %d or less, or raise that of %s: larger packets are lost where nobody may say so", r.MTU, r.Device),
		"MTU", "pods send up to %d, the way takes %d", pods, fits)
}

// openBetween counts the connections that the two have.
func (a *Agent) openBetween(e api.Explanation, out *api.Why) error {
	from, err1 := netip.ParseAddr(e.From.IP)
	to, err2 := netip.ParseAddr(e.To.IP)
	if err1 != nil || err2 != nil {
		return nil // one of them is many
	}
	answered := 0
	_, err := a.dp.CT.Each(func(k bpf.CTKey, x bpf.CTEntry) {
		opener, other := k.Ends(x)
		if opener.Addr() != from || other.Addr() != to {
			return
		}
		out.Open++
		if bpf.CTFlag(x.Flags)&bpf.CTReplied != 0 {
			answered++
		}
	})
	out.OnlyNew = out.Open > 0 && answered == 0
	return err
}

// advice is what to do, from the surest to the vaguest.
func advice(w api.Why) []string {
	out := []string{}
	add := func(s string) {
		if s != "" && s != "nothing" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for _, d := range w.Drops {
		if d.Missed != "" {
			add(fmt.Sprintf("no rule of %s allows it; the nearest, %s, fails since %s", strings.Join(d.Policies, ", "), d.Nearest, d.Missed))
		}
		add(d.Do)
	}
	for _, j := range []api.Judgement{w.Policy.Egress, w.Policy.Ingress} {
		if said := slices.ContainsFunc(w.Drops, func(d api.WhyDrop) bool { return d.Missed != "" && d.Nearest == j.Nearest }); said {
			continue
		}
		if j.Verdict == "denied" && j.Missed != "" {
			add(fmt.Sprintf("add a rule: the nearest, %s, fails since %s", j.Nearest, j.Missed))
		} else if j.Verdict == "denied" {
			add("add a rule that allows it: " + strings.Join(j.Origin, ", ") + " decides")
		}
	}
	for _, f := range w.Way {
		add(f.Do)
	}
	if w.OnlyNew {
		add("connections leave here and none was ever answered: ask the other end's node, or walk a packet with `weir trace`")
	}
	if len(out) == 0 {
		add("nothing here stands between the two: ask the other end's node, or walk a packet with `weir trace`")
	}
	return out
}
