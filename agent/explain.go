package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	api "weir/api/agent"
	"weir/control/policy"
	"weir/state"
)

// explainPolicy says what would become of a connection.
func (a *Agent) explainPolicy(_ context.Context, q api.ExplainRequest) (api.Explanation, error) {
	proto, ok := state.ProtoNumber(cmp.Or(q.Proto, "TCP"))
	if !ok {
		return api.Explanation{}, fmt.Errorf("%q is no protocol: use TCP, UDP, SCTP, ICMPv4 or ICMPv6", q.Proto)
	}
	from, fromEnd, err := a.party(q.From, true)
	if err != nil {
		return api.Explanation{}, err
	}
	to, toEnd, err := a.party(q.To, !from.Addr.IsValid() || from.Addr.Is4())
	if err != nil {
		return api.Explanation{}, err
	}
	if from.Addr.IsValid() && to.Addr.IsValid() && from.Addr.Is4() != to.Addr.Is4() {
		if from, fromEnd, err = a.party(q.From, to.Addr.Is4()); err != nil {
			return api.Explanation{}, err
		}
	}
	if from.Addr.IsValid() && to.Addr.IsValid() && from.Addr.Is4() != to.Addr.Is4() {
		return api.Explanation{}, fmt.Errorf("%s and %s are of two families: name two addresses of one", from.Addr, to.Addr)
	}
	answer := a.policy.Explain(policy.Query{From: from, To: to, Proto: proto, Port: q.Port})
	a.openFailSafes(&answer, from, to, proto, q.Port)
	out := api.Explanation{Verdict: "allowed", From: fromEnd, To: toEnd, Proto: state.ProtoName(proto), Port: q.Port,
		Egress: judgement(answer.Egress), Ingress: judgement(answer.Ingress)}
	if !answer.Allowed {
		out.Verdict = "denied"
	}
	if !answer.Egress.Known && !answer.Ingress.Known {
		out.Verdict = "unknown"
		out.Note = "neither end is an endpoint of this node: ask the agents of their nodes"
	} else if answer.Allowed && (!answer.Egress.Known && isPod(fromEnd) || !answer.Ingress.Known && isPod(toEnd)) {
		out.Note = "the other end is on another node, whose agent judges, too"
	}
	return out, nil
}

// openFailSafes puts right what policy says of ports that no policy closes.
func (a *Agent) openFailSafes(answer *policy.Answer, from, to policy.Party, proto uint8, port uint16) {
	open := policy.Judgement{Known: true, Verdict: policy.Allowed, Origins: []string{"hostFirewall.failSafe: no policy closes this port"}}
	for _, p := range failSafe(a.cfg.HostFirewall) {
		if !a.cfg.HostFirewall.Enabled || p.Proto != proto || p.Port != port {
			continue
		}
		if p.Ingress && to.Identity == state.IdentityHost {
			answer.Ingress = open
		}
		if !p.Ingress && from.Identity == state.IdentityHost {
			answer.Egress = open
		}
	}
	answer.Allowed = answer.Egress.Verdict != policy.Denied && answer.Ingress.Verdict != policy.Denied
}

func isPod(e api.ExplainedEnd) bool {
	return slices.ContainsFunc(e.Labels, func(l string) bool { return strings.HasPrefix(l, state.LabelNamespace) })
}

func judgement(j policy.Judgement) api.Judgement {
	out := api.Judgement{Known: j.Known, Enforced: j.Enforced, Verdict: j.Verdict, Origin: j.Origins, Missed: j.Missed, Nearest: nearest(j)}
	if j.Rule.ID != 0 {
		out.Rule = j.Rule.String()
	}
	return out
}

// nearest is the rule that came closest, with where it stands.
func nearest(j policy.Judgement) string {
	if j.Nearest == "" || len(j.Source) == 0 {
		return j.Nearest
	}
	return j.Nearest + " (" + strings.Join(j.Source, ", ") + ")"
}

// party finds who a name means: a pod, an address, the host, the world or an
// identity. Of a pod with both families ipv4 chooses.
func (a *Agent) party(name string, ipv4 bool) (policy.Party, api.ExplainedEnd, error) {
	if number, ok := strings.CutPrefix(name, "identity:"); ok {
		id, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return policy.Party{}, api.ExplainedEnd{}, fmt.Errorf("%q is not the number of an identity: `weir identity list` names all", number)
		}
		return a.end(name, policy.Party{Identity: state.IdentityID(id)})
	}
	switch name {
	case "host":
		return a.end(name, policy.Party{Identity: state.IdentityHost, Local: true})
	case "world":
		return a.end(name, policy.Party{Identity: a.worldOf(ipv4)})
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		if addr.Zone() != "" {
			return policy.Party{}, api.ExplainedEnd{}, fmt.Errorf("%s is an address of one link, which no policy and no route of Weir's knows: write it without %%%s, or another", name, addr.Zone())
		}
		return a.end(name, a.owner(addr.Unmap()))
	}
	namespace, pod, ok := strings.Cut(name, "/")
	if !ok {
		namespace, pod = "default", name
	}
	key := state.PodName{Namespace: namespace, Name: pod}
	addrs := a.addrsOf(key)
	if len(addrs) == 0 {
		return policy.Party{}, api.ExplainedEnd{}, fmt.Errorf("no pod %s with an address is known here: write namespace/pod, an address, host, world or identity:NUMBER", key)
	}
	for _, addr := range addrs {
		if addr.Is4() == ipv4 {
			return a.end(key.String(), a.owner(addr))
		}
	}
	return a.end(key.String(), a.owner(addrs[0]))
}

func (a *Agent) addrsOf(pod state.PodName) []netip.Addr {
	for _, e := range a.tables.Endpoints.All() {
		if e.Pod == pod {
			return e.Addrs()
		}
	}
	p, _ := a.tables.Pods.Get(pod)
	return p.IPs
}

// owner is whoever has an address: the longest prefix that does.
func (a *Agent) owner(addr netip.Addr) policy.Party {
	row := a.covering(addr)
	return policy.Party{Addr: addr, Identity: row.Identity, Endpoint: row.Endpoint, Local: row.Endpoint != 0 || row.Host}
}

// covering is the row of the longest prefix that has an address.
func (a *Agent) covering(addr netip.Addr) state.IP {
	for bits := addr.BitLen(); bits >= 0; bits-- {
		p, err := addr.Prefix(bits)
		if err != nil {
			break
		}
		if row, ok := a.tables.IPs.Get(p); ok {
			return row
		}
	}
	return state.IP{}
}

func (a *Agent) worldOf(ipv4 bool) state.IdentityID {
	addr := netip.IPv6Unspecified()
	if ipv4 {
		addr = netip.IPv4Unspecified()
	}
	if row, ok := a.tables.IPs.Get(netip.PrefixFrom(addr, 0)); ok {
		return row.Identity
	}
	return state.IdentityWorld
}

func (a *Agent) end(name string, p policy.Party) (policy.Party, api.ExplainedEnd, error) {
	e := api.ExplainedEnd{Name: name, Identity: uint32(p.Identity), Labels: a.labels(p.Identity), Endpoint: uint32(p.Endpoint)}
	if p.Addr.IsValid() {
		e.IP = p.Addr.String()
	}
	return p, e, nil
}
