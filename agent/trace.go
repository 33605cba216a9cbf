package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	api "weir/api/agent"
	v1 "weir/api/v1"
	"weir/bpf"
	"weir/control/policy"
	"weir/source/convert"
	"weir/source/files"
	"weir/state"
)

// policyTrace says what objects would change, before they are applied.
func (a *Agent) policyTrace(_ context.Context, q api.TraceRequest) (api.TraceReply, error) {
	out := api.TraceReply{Changes: []api.TraceChange{}, Verdicts: []api.TraceFlow{}}
	t, problems, err := a.traced(q)
	if out.Problems = problems; err != nil {
		return out, err
	}
	for _, c := range t.Changes {
		row := api.TraceChange{Endpoint: uint32(c.Endpoint), Direction: "egress", Isolates: c.Isolates, Frees: c.Frees,
			Added: c.Added, Removed: c.Removed}
		if c.Pod != (state.PodName{}) { // neither the host nor the health endpoint
			row.Pod = c.Pod.String()
		}
		if c.Ingress {
			row.Direction = "ingress"
		}
		out.Changes = append(out.Changes, row)
	}
	if len(out.Changes) == 0 {
		return out, nil
	}
	out.Verdicts, err = a.flowsThatChange(t)
	return out, err
}

// traced derives what the objects of a file would change, and says which would be refused.
func (a *Agent) traced(q api.TraceRequest) (*policy.Traced, []api.Problem, error) {
	rows, problems := files.Policies(q.File, []byte(q.YAML), a.scope())
	groups := cidrGroups(q)
	out := []api.Problem{}
	for _, p := range problems {
		out = append(out, api.Problem{Object: p.Key.Object, File: p.Key.File, Line: p.Line, Error: p.Error})
	}
	if len(rows)+len(groups)+len(problems) == 0 {
		return nil, out, fmt.Errorf("no policies in this file: %s has neither a %s nor a %s", q.File, strings.Join(policyKinds, ", "), state.KindCIDRGroup)
	}
	t, ok := a.policy.Trace(rows, groups)
	if !ok {
		return nil, out, fmt.Errorf("no policy is in force yet: the agent is starting, try again")
	}
	for key, why := range t.TooLarge {
		out = append(out, api.Problem{Object: key.String(), File: q.File, Error: why})
	}
	return t, out, nil
}

// nowAndThen answers a query by what is in force, and by what would be.
func (a *Agent) nowAndThen(t *policy.Traced, q policy.Query) (now, then policy.Answer) {
	now, then = t.Now(q), t.Then(q)
	a.openFailSafes(&now, q.From, q.To, q.Proto, q.Port)
	a.openFailSafes(&then, q.From, q.To, q.Proto, q.Port)
	return now, then
}

// cidrGroups returns the groups of the file that would be accepted. What is wrong
// with the others is among the problems already.
func cidrGroups(q api.TraceRequest) []state.CIDRGroup {
	var out []state.CIDRGroup
	objects, _ := files.Parse(q.File, []byte(q.YAML))
	for _, o := range objects {
		var group v1.CiliumCIDRGroup
		if o.Kind != state.KindCIDRGroup || files.Check(o) != nil || o.Decode(&group) != nil {
			continue
		}
		row, err := convert.CIDRGroup(&group)
		if err == nil && !slices.ContainsFunc(out, func(g state.CIDRGroup) bool { return g.Name == row.Name }) {
			out = append(out, row)
		}
	}
	return out
}

// flowsThatChange lists the open connections whose verdict would be another.
func (a *Agent) flowsThatChange(t *policy.Traced) ([]api.TraceFlow, error) {
	out := []api.TraceFlow{}
	_, err := a.dp.CT.Each(func(k bpf.CTKey, e bpf.CTEntry) {
		opener, other := k.Ends(e)
		q := policy.Query{From: a.owner(opener.Addr()), To: a.owner(other.Addr()), Proto: k.Proto, Port: other.Port()}
		now, then := a.nowAndThen(t, q)
		if now.Allowed == then.Allowed {
			return
		}
		flow := api.TraceFlow{Connection: fmt.Sprintf("%s %s -> %s", state.ProtoName(k.Proto), opener, other), Now: verdict(now), Then: verdict(then)}
		for _, j := range []policy.Judgement{then.Egress, then.Ingress} {
			if j.Verdict == policy.Denied {
				flow.Because = strings.Join(j.Origins, ", ")
			}
		}
		out = append(out, flow)
	})
	slices.SortFunc(out, func(x, y api.TraceFlow) int { return strings.Compare(x.Connection, y.Connection) })
	return out, err
}

func verdict(a policy.Answer) string {
	if a.Allowed {
		return policy.Allowed
	}
	return policy.Denied
}
