package agent

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	api "weir/api/agent"
	"weir/control/policy"
	"weir/state"
)

func (a *Agent) policyOptions() policy.Options {
	cfg := a.cfg.Config
	return policy.Options{Cluster: cfg.Cluster.Name, Mode: policy.Mode(cfg.Policy.EnforcementMode), Respond: state.DenyResponse(cfg.Policy.DenyResponse),
		HostFirewall: cfg.HostFirewall.Enabled, IPv4: cfg.IPv4.Enabled, IPv6: cfg.IPv6.Enabled,
		Capacity: policy.Capacity{Rules: cfg.BPF.PolicyRules, Counters: cfg.BPF.PolicyRules, Rows: cfg.BPF.PolicyRules, Ranges: cfg.BPF.PolicyRules},
		Ready:    a.knowsItself}
}

func (a *Agent) listIdentities(*http.Request) ([]api.Identity, error) {
	out := []api.Identity{}
	for _, i := range a.tables.Identities.Rows(func(x, y state.Identity) int { return cmp.Compare(x.ID, y.ID) }) {
		out = append(out, api.Identity{ID: uint32(i.ID), Labels: i.Labels, Refs: i.Pods, Scope: scope(i.ID), Selectors: a.policy.Meets(i.ID)})
	}
	return out, nil
}

func scope(id state.IdentityID) string {
	switch {
	case id.Reserved() != "":
		return "reserved"
	case id >= state.IdentityLocal:
		return "node"
	}
	return "cluster"
}

// policyKinds are those of objects that make policies, for problems.
var policyKinds = []string{state.KindNetworkPolicy, state.KindCNP, state.KindCCNP}

// listPolicies lists what is in force and what was refused, by the source or
// for its size.
func (a *Agent) listPolicies(*http.Request) ([]api.Policy, error) {
	out := []api.Policy{}
	for _, s := range a.policy.Policies() {
		out = append(out, policyOf(s))
	}
	return withRefused(out, a.tables.Problems.Rows(func(x, y state.Problem) int {
		return cmp.Or(cmp.Compare(x.Key.Object, y.Key.Object), cmp.Compare(x.Key.File, y.Key.File))
	})), nil
}

// withRefused adds what the source refused, to the policies of the same name or
// as rows of their own.
func withRefused(out []api.Policy, problems []state.Problem) []api.Policy {
	index := map[string]int{}
	for i, p := range out {
		index[state.PolicyKey{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name}.String()] = i
	}
	for _, p := range problems {
		kind, name, _ := strings.Cut(p.Key.Object, " ")
		if !slices.Contains(policyKinds, kind) {
			continue
		}
		text := strings.TrimPrefix(p.Error, p.Key.Object+": ")
		i, there := index[p.Key.Object]
		switch {
		case there && (p.Instead != "" || out[i].State == stateRefused): // another object of the name counts, or is refused as well
			out[i].Message = strings.TrimPrefix(out[i].Message+"; "+text, "; ")
		case there:
			out[i].State, out[i].Message = stateRefused, text+" (its last good version stays in force)"
		default:
			index[p.Key.Object] = len(out)
			row := api.Policy{Kind: kind, Name: name, State: stateRefused, Message: text, Endpoints: []uint32{}}
			if namespace, rest, ok := strings.Cut(name, "/"); ok {
				row.Namespace, row.Name = namespace, rest
			}
			out = append(out, row)
		}
	}
	slices.SortFunc(out, func(x, y api.Policy) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return out
}

// stateRefused is that of objects that the source refused.
const stateRefused = "refused"

func policyOf(s policy.Status) api.Policy {
	out := api.Policy{Kind: s.Key.Kind, Namespace: s.Key.Namespace, Name: s.Key.Name, State: s.State, Message: s.Message,
		Rules: s.Rules, Endpoints: []uint32{}}
	for _, id := range s.Endpoints {
		out.Endpoints = append(out.Endpoints, uint32(id))
	}
	for _, p := range s.NotEnforced {
		out.Conditions = append(out.Conditions, api.RuleProblems{Rule: p.Rule, Message: p.Message})
	}
	return out
}

func (a *Agent) endpointPolicy(r *http.Request) (api.EndpointPolicy, error) {
	name := r.PathValue("endpoint")
	id, err := strconv.ParseUint(name, 10, 32)
	if name == "host" {
		id, err = 0, nil
	}
	if err != nil {
		return api.EndpointPolicy{}, fmt.Errorf("%q is neither an endpoint's number nor \"host\"", name)
	}
	e, ok := a.policy.Of(state.EndpointID(id))
	if !ok {
		return api.EndpointPolicy{}, fmt.Errorf("endpoint %s has no policy: it does not exist, or its policy is not in the maps yet; `weir endpoint list` names all", name)
	}
	out := api.EndpointPolicy{Endpoint: uint32(e.Endpoint), Identity: uint32(e.Identity), Class: e.Class, Epoch: e.Epoch}
	if e.Pod != (state.PodName{}) {
		out.Pod = e.Pod.String()
	}
	if out.Ingress, err = a.direction(e.Ingress); err != nil {
		return out, err
	}
	out.Egress, err = a.direction(e.Egress)
	return out, err
}

func (a *Agent) direction(d policy.Direction) (api.DirectionRule, error) {
	out := api.DirectionRule{Enforced: d.Enforced, Response: string(d.Response), IsolatedBy: d.IsolatedBy, Rules: []api.EffectiveRule{}}
	for _, r := range d.Rules {
		n, err := a.dp.RuleCounter(r.ID)
		if err != nil {
			return out, err
		}
		row := api.EffectiveRule{ID: r.ID, Action: "allow", Peer: r.Peer, Port: r.Port, Origin: r.Origins, Packets: n.Packets, Bytes: n.Bytes}
		if r.Deny {
			row.Action = "deny"
		}
		out.Rules = append(out.Rules, row)
	}
	return out, nil
}

// counts of policies for the status.
func (a *Agent) policyStatus() *api.PolicyStatus {
	list, err := a.listPolicies(nil)
	if err != nil || !a.tables.EndpointPolicies.Synced() {
		return nil
	}
	s := &api.PolicyStatus{Mode: a.cfg.Policy.EnforcementMode, HostFirewall: a.cfg.HostFirewall.Enabled}
	for _, p := range list {
		switch p.State {
		case policy.StateInForce:
			s.InForce++
			if len(p.Conditions) > 0 {
				s.Partly++
			}
		case policy.StateNotEnforced:
			s.NotEnforced++
		default:
			s.Refused++
		}
	}
	return s
}

func (a *Agent) identitiesStatus() *api.IdentitiesStatus {
	s := &api.IdentitiesStatus{Min: uint32(state.IdentityMin), Max: uint32(state.IdentityMax)}
	for id := range a.tables.Identities.All() {
		switch scope(id) {
		case "cluster":
			s.Cluster++
		case "node":
			s.Local++
		}
	}
	return s
}

func (a *Agent) connectionsStatus() *api.ConnectionsStatus {
	size := a.dp.CT.Size()
	return &api.ConnectionsStatus{Count: int(size.Entries), Capacity: int(size.Capacity), Limit: int(size.Limit), Pressure: size.Pressure()}
}
