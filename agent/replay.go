package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	api "weir/api/agent"
	"weir/control/policy"
	"weir/observe"
)

// policyReplay says what policies that are not applied would have done to the flows that
// are kept.
func (a *Agent) policyReplay(_ context.Context, q api.ReplayRequest) (api.ReplayReply, error) {
	out := api.ReplayReply{Node: a.cfg.NodeName, Asked: q.Since}
	if a.flows == nil {
		return out, fmt.Errorf("no flows are kept: hubble.enabled is false")
	}
	if q.Since <= 0 {
		return out, fmt.Errorf("since %s: give how far to look back, more than 0", q.Since)
	}
	t, problems, err := a.traced(q.TraceRequest)
	if out.Problems = problems; err != nil {
		return out, err
	}
	now := time.Now()
	r := replay{a: a, t: t, alike: map[alike]*connections{}}
	past := a.flows.Recall(now.Add(-q.Since), r.see)
	out.Kept, out.Lost, out.Apart = now.Sub(past.Reaches), past.Lost, past.Apart
	r.tell(&out)
	return out, nil
}

// replay judges recorded flows anew.
type replay struct {
	a     *Agent
	t     *policy.Traced
	alike map[alike]*connections
}

// alike is what connections have in common that get one verdict.
type alike struct {
	from, to observe.RecalledEnd
	proto    uint8
	port     uint16
	denied   bool // then
}

type connections struct {
	ports       map[uint16]bool // of who opened them
	first, last time.Time
}

func (r *replay) see(x observe.Recalled) {
	k := alike{x.From, x.To, x.Proto, x.Port, x.Denied}
	c := r.alike[k]
	if c == nil {
		c = &connections{ports: map[uint16]bool{}, first: x.When, last: x.When}
		r.alike[k] = c
	}
	c.ports[x.FromPort] = true
	if x.When.Before(c.first) {
		c.first = x.When
	}
	if x.When.After(c.last) {
		c.last = x.When
	}
}

// tell judges what was seen, and lists what would be otherwise.
func (r *replay) tell(out *api.ReplayReply) {
	changed, not := map[string]*api.ReplayedFlow{}, map[api.NotJudgedFlow]int{}
	for k, c := range r.alike {
		out.Connections += len(c.ports)
		source, dest, port := r.name(k.from, false), r.name(k.to, true), replayedPort(k.proto, k.port)
		now, then, why := r.judge(k)
		switch {
		case why != "":
			not[api.NotJudgedFlow{Source: source, Destination: dest, Port: port, Why: why}] += len(c.ports)
		case !then.Egress.Known && !then.Ingress.Known:
			out.Elsewhere += len(c.ports)
		case now.Allowed != then.Allowed:
			x := replayed(now, then)
			x.Source, x.Destination, x.Port, x.Was = source, dest, port, policy.Allowed
			if k.denied {
				x.Was = policy.Denied
			}
			x.First, x.Last, x.Connections = c.first, c.last, len(c.ports)
			merge(changed, x)
		}
	}
	out.Changed, out.NotJudged = []api.ReplayedFlow{}, []api.NotJudgedFlow{}
	for _, x := range changed {
		out.Changed = append(out.Changed, *x)
	}
	for x, n := range not {
		x.Connections = n
		out.NotJudged = append(out.NotJudged, x)
	}
	sortReplay(out)
}

func (r *replay) judge(k alike) (now, then policy.Answer, why string) {
	from, why := r.party(k.from)
	if why != "" {
		return now, then, "source: " + why
	}
	to, why := r.party(k.to)
	if why != "" {
		return now, then, "destination: " + why
	}
	now, then = r.a.nowAndThen(r.t, policy.Query{From: from, To: to, Proto: k.proto, Port: k.port})
	return now, then, ""
}

// replayed says who would decide: the first that would deny or, of what would be let
// through, the one that denies now.
func replayed(now, then policy.Answer) api.ReplayedFlow {
	out := api.ReplayedFlow{Direction: "egress", Now: verdict(now), Then: verdict(then)}
	decides, j := then, then.Egress
	if then.Allowed {
		decides = now
	}
	if decides.Egress.Verdict != policy.Denied {
		out.Direction, j = "ingress", then.Ingress
	}
	said := judgement(j)
	out.Rule, out.Origin, out.Nearest, out.Missed = said.Rule, said.Origin, said.Nearest, said.Missed
	if out.Origin == nil {
		out.Origin = []string{}
	}
	return out
}

// merge adds connections to those of the same source, destination, verdicts and cause.
func merge(all map[string]*api.ReplayedFlow, x api.ReplayedFlow) {
	key := strings.Join([]string{x.Source, x.Destination, x.Port, x.Direction, x.Was, x.Now, x.Then, x.Rule, strings.Join(x.Origin, ",")}, "|")
	known := all[key]
	if known == nil {
		all[key] = &x
		return
	}
	known.Connections += x.Connections
	if x.First.Before(known.First) {
		known.First = x.First
	}
	if x.Last.After(known.Last) {
		known.Last = x.Last
	}
	if x.Missed < known.Missed { // the same whatever the order
		known.Nearest, known.Missed = x.Nearest, x.Missed
	}
}

// sortReplay puts what would be dropped first, and the most of it.
func sortReplay(out *api.ReplayReply) {
	slices.SortFunc(out.Changed, func(x, y api.ReplayedFlow) int {
		return cmp.Or(cmp.Compare(y.Then, x.Then), cmp.Compare(y.Connections, x.Connections), cmp.Compare(x.Source, y.Source), cmp.Compare(x.Destination, y.Destination),
			cmp.Compare(x.Port, y.Port), cmp.Compare(x.Direction, y.Direction), cmp.Compare(x.Was, y.Was), cmp.Compare(x.Rule, y.Rule))
	})
	slices.SortFunc(out.NotJudged, func(x, y api.NotJudgedFlow) int {
		return cmp.Or(cmp.Compare(y.Connections, x.Connections), cmp.Compare(x.Source, y.Source), cmp.Compare(x.Destination, y.Destination),
			cmp.Compare(x.Port, y.Port), cmp.Compare(x.Why, y.Why))
	})
}
