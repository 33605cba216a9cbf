package policytest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weir/bpf"
	"weir/control/policy"
	"weir/state"
	"weir/test/policy/oracle"
)

// explains compares what the agent tells people about a packet: the verdicts,
// and the rules and policies that it names for them.
func (a *agent) explains(m *Maps, p oracle.Packet, want [2]oracle.Judgement) error {
	got := a.policy.Explain(m.query(p))
	for i, j := range []policy.Judgement{got.Egress, got.Ingress} {
		d := []oracle.Direction{oracle.Egress, oracle.Ingress}[i]
		if slices.Contains(want[i].By, "fail-safe") {
			continue // a constant of the programs: no policy
		}
		if bad := explained(want[i], j); bad != "" {
			return fmt.Errorf("%s: %s\n  oracle: %s by %q\n  explain: %+v", d, bad, want[i].Verdict, want[i].By, j)
		}
	}
	return nil
}

// query asks about a packet as the agent does.
func (m *Maps) query(p oracle.Packet) policy.Query {
	party := func(addr netip.Addr) policy.Party {
		e, _ := m.lookup(addr)
		host := e.Flags&uint8(bpf.IPCacheHost) != 0
		return policy.Party{Endpoint: state.EndpointID(e.Endpoint), Local: e.Endpoint != 0 || host, Identity: state.IdentityID(e.Identity), Addr: addr}
	}
	return policy.Query{From: party(p.Src), To: party(p.Dst), Proto: p.Proto, Port: p.Port}
}

func explained(want oracle.Judgement, got policy.Judgement) string {
	verdict := map[oracle.Verdict]string{oracle.NotJudged: policy.Unknown, oracle.DefaultDeny: policy.Denied, oracle.RuleDeny: policy.Denied}[want.Verdict]
	if verdict == "" && (got.Verdict == policy.Denied || got.Verdict == policy.Unknown) || verdict != "" && got.Verdict != verdict {
		return "another verdict"
	}
	foreign := func(name string) bool { return isPolicy(name) && !slices.Contains(want.By, name) }
	switch {
	case (want.Verdict == oracle.RuleDeny) != (got.Rule.ID != 0 && got.Rule.Deny):
		return "another kind of denial"
	case (want.Verdict == oracle.RuleDeny || want.Verdict == oracle.DefaultDeny || got.Rule.ID != 0) && slices.ContainsFunc(got.Origins, foreign):
		return "names what did not decide"
	case want.Verdict == oracle.RuleDeny && len(got.Origins) == 0:
		return "names nothing"
	case want.Verdict == oracle.DefaultDeny && slices.ContainsFunc(want.By, func(name string) bool { return !slices.Contains(got.Origins, name) }):
		return "leaves out what isolates the end"
	}
	return ""
}

// isPolicy tells names of objects from explanations in words.
func isPolicy(name string) bool {
	return strings.HasPrefix(name, state.KindNetworkPolicy+" ") || strings.HasPrefix(name, state.KindCNP+" ") || strings.HasPrefix(name, state.KindCCNP+" ")
}
