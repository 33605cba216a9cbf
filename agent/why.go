package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weir/agent/config"
	api "weir/api/agent"
	"weir/bpf"
	"weir/control/policy"
	"weir/datapath"
	"weir/state"
)

// dropsTold is how many drops between two ends are worth telling.
const dropsTold = 5

// why tells what stands between two ends, as far as this node and that of the other end
// know.
func (a *Agent) why(ctx context.Context, q api.ExplainRequest) (api.Why, error) {
	out, err := a.whyHere(ctx, q)
	if err != nil {
		return out, err
	}
	a.whyThere(ctx, &out)
	out.Advice = advice(out)
	return out, nil
}

// whyHere is all that this node knows.
func (a *Agent) whyHere(ctx context.Context, q api.ExplainRequest) (api.Why, error) {
	e, err := a.explainPolicy(ctx, q)
	if err != nil {
		return api.Why{}, err
	}
	out := api.Why{From: e.From, To: e.To, Policy: e, Drops: []api.WhyDrop{}, Way: []api.WayFact{}, Advice: []string{}}
	out.Drops = dropsBetween(a.drops.all(), e)
	to, err := netip.ParseAddr(e.To.IP)
	if err == nil {
		out.Way = a.wayTo(to, e)
	}
	if err := a.openBetween(e, &out); err != nil {
		return out, err
	}
	return out, nil
}

// dropsBetween are the latest ones, the last first, each kind once.
func dropsBetween(all []api.Drop, e api.Explanation) []api.WhyDrop {
	out := []api.WhyDrop{}
	seen := map[string]bool{}
	for _, d := range slices.Backward(all) {
		there := isOf(d.Source, d.SourceName, e.From) && isOf(d.Dest, d.DestName, e.To) && isOfPort(d.Dest, d.Proto, e)
		back := isOf(d.Source, d.SourceName, e.To) && isOf(d.Dest, d.DestName, e.From) && isOfPort(d.Source, d.Proto, e)
		kind := fmt.Sprint(d.Reason, d.Cause, d.Place, there)
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

// isOfPort reports whether a drop is of the port that was asked for; a fragment has none.
func isOfPort(addr, proto string, e api.Explanation) bool {
	at, err := netip.ParseAddrPort(addr)
	return e.Port == 0 || err != nil || at.Port() == e.Port && proto == e.Proto
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
	if of := a.serviceFact(to, e, add); of {
		return out
	}
	next := to
	if row.TunnelEndpoint.IsValid() {
		next = row.TunnelEndpoint
		a.peerFacts(next, add)
	}
	r, err := datapath.RouteTo(next)
	if err != nil {
		add(false, "`ip route get "+next.String()+"` on the node; routes of Weir are in `weir table nodes`", "route", "%s", err)
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

// serviceFact says whose address it is, when it is a service's: packets go to its
// backends, and have no way to the address itself.
func (a *Agent) serviceFact(to netip.Addr, e api.Explanation, add func(ok bool, do, what, is string, args ...any)) bool {
	found := false
	for _, f := range a.services.Frontends() {
		if f.At.Addr() != to || e.Port != 0 && (f.At.Port() != e.Port || state.ProtoName(f.Proto) != e.Proto) {
			continue
		}
		found = true
		backends := []string{}
		for _, b := range f.Backends {
			backends = append(backends, b.At.String())
		}
		add(len(backends) > 0, fmt.Sprintf("the service has no backend: `weir service get %s` says of each endpoint why it is not used", strings.TrimPrefix(f.Of.String(), "service ")),
			"address", "%s at port %d, whose backends are %s; `weir why` of one of them says more", f.Of, f.At.Port(), cmp.Or(strings.Join(backends, ", "), "none"))
	}
	return found
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
		add(false, "`weir health status` on both nodes; a firewall may close the tunnel's UDP port or the health port", "node", "%s does not answer: %s", p.Node, strings.Trim(p.NodeError+"; "+p.EndpointErr, "; "))
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
		if opener.Addr() != from || other.Addr() != to || e.Port != 0 && (other.Port() != e.Port || state.ProtoName(k.Proto) != e.Proto) {
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

// isPast reports whether a policy dropped what the policies of now allow.
func isPast(w api.Why, d api.Drop) bool {
	now := w.Policy.Egress
	if d.Direction == "ingress" {
		now = w.Policy.Ingress
	}
	return len(d.Policies) > 0 && isOf(d.Source, d.SourceName, w.From) && now.Known && now.Verdict != policy.Denied
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
		if isPast(w, d.Drop) {
			add(fmt.Sprintf("try again: %s denied it at %s, and the policies in force now allow it", strings.Join(d.Policies, ", "), d.Time.Format(time.RFC3339)))
			continue
		}
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
