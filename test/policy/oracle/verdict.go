package oracle

import (
	"net/netip"
	"slices"
)

// Packet opens a connection.
type Packet struct {
	Src, Dst netip.Addr
	Proto    uint8
	Port     uint16 // of the destination; of ICMP and ICMPv6 the type
}

// Direction is of a policy, seen from the end that it selects.
type Direction string

// The directions.
const (
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

// Verdict is what the policies of one end say.
type Verdict string

// The verdicts.
const (
	NotJudged   Verdict = "not judged"       // the end is none of this node's
	NotEnforced Verdict = "not enforced"     // nothing isolates the end: allowed
	Allowed     Verdict = "allowed"          // by a rule
	DefaultDeny Verdict = "denied"           // the end is isolated, and no rule allows it
	RuleDeny    Verdict = "denied by a rule" // of ingressDeny or egressDeny
)

// Judgement is a verdict with what decided it.
type Judgement struct {
	Verdict Verdict
	// By are the rules that match, or for DefaultDeny the policies that isolate
	// the end: "CiliumNetworkPolicy a/web spec.ingress[0]".
	By []string
	// Respond are the answers that the sender may get: "drop", "reject". More
	// than one where deny rules of several policies match.
	Respond []string
}

// Passes reports whether the end lets the packet through.
func (j Judgement) Passes() bool { return j.Verdict != DefaultDeny && j.Verdict != RuleDeny }

// Judge returns the verdicts of both ends.
func (w *World) Judge(p Packet) (egress, ingress Judgement) {
	src, dst := w.Who(p.Src), w.Who(p.Dst)
	return w.end(question{p, Egress, src, dst}), w.end(question{p, Ingress, dst, src})
}

// question is asked of one end: may the subject exchange the packet with the
// peer?
type question struct {
	Packet
	dir           Direction
	subject, peer Party
}

// end applies the one order there is: deny rules, allow rules, default.
func (w *World) end(q question) Judgement {
	host := q.subject.Kind == "host"
	switch {
	case !q.subject.Here || host && !w.HostFirewall:
		return Judgement{Verdict: NotJudged}
	case w.Mode == "never":
		return Judgement{Verdict: NotEnforced}
	case host && w.neverClosed(q):
		return Judgement{Verdict: Allowed, By: []string{"fail-safe"}}
	}
	var allow, deny, isolate []finding
	note := func(f finding, isolates bool) {
		if isolates {
			isolate = append(isolate, f)
		}
	}
	for _, p := range w.netpols {
		if w.netpolSelects(p, q.subject) {
			note(w.readNetpol(p, q, &allow))
		}
	}
	for _, p := range w.policies {
		for path, s := range p.all() {
			if w.specSelects(p, s, q.subject) {
				note(w.readSpec(p, path, s, q, &allow, &deny))
			}
		}
	}
	isolated := len(isolate) > 0 || w.Mode == "always" && (q.subject.Kind == "pod" || host) ||
		q.subject.Kind == "init" && (w.Mode == "always" || len(w.netpols)+len(w.policies) > 0)
	switch {
	case len(deny) > 0:
		return Judgement{RuleDeny, names(deny), answers(deny)}
	case len(allow) > 0:
		return Judgement{Verdict: Allowed, By: names(allow)}
	case w.builtIn(q):
		return Judgement{Verdict: Allowed, By: []string{"own host"}}
	case isolated:
		return Judgement{DefaultDeny, names(isolate), w.defaultAnswer(isolate, q.subject)}
	}
	return Judgement{Verdict: NotEnforced}
}

// builtIn is what needs no rule: a pod's own node reaches it (probes), and a
// pod that a NetworkPolicy isolates for egress reaches its own node.
func (w *World) builtIn(q question) bool {
	if q.peer.Kind != "host" || q.subject.Kind == "host" {
		return false
	}
	if q.dir == Ingress {
		return true
	}
	for _, p := range w.netpols {
		if w.netpolSelects(p, q.subject) && isolates(p, Egress) {
			return true
		}
	}
	return false
}

// neverClosed is what stays open on a host whatever its policies say.
func (w *World) neverClosed(q question) bool {
	if q.Proto == protoUDP && q.Port == w.TunnelPort && w.TunnelPort != 0 && q.peer.Kind == "remote-node" {
		return true
	}
	return slices.Contains(w.FailSafe, FailSafe{q.dir == Ingress, q.Proto, q.Port})
}

// finding is a rule that matches, or a policy that isolates, and the answer
// that its policy gives to what it denies.
type finding struct{ name, respond string }

func names(list []finding) []string {
	var out []string
	for _, f := range list {
		out = append(out, f.name)
	}
	return out
}

func answers(list []finding) []string {
	var out []string
	for _, f := range list {
		out = append(out, f.respond)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// defaultAnswer is reject when every policy that isolates the end says so.
func (w *World) defaultAnswer(isolate []finding, subject Party) []string {
	if len(isolate) == 0 { // by the mode: no policy says anything
		return []string{w.respondOf(nil, subject)}
	}
	for _, f := range isolate {
		if f.respond != "reject" {
			return []string{"drop"}
		}
	}
	return []string{"reject"}
}

const annotationRespond = "policy.weir.io/deny-response"

// respondOf is the policy's choice, or the namespace's of the end, or the
// cluster's.
func (w *World) respondOf(annotations map[string]string, subject Party) string {
	if r := annotations[annotationRespond]; r != "" {
		return r
	}
	namespace := ""
	if subject.pod != nil {
		namespace = subject.pod.Namespace
	} else if subject.Kind == "init" {
		namespace = w.OrphansIn
	}
	if n := w.namespaces[namespace]; n != nil && n.Annotations[annotationRespond] != "" {
		return n.Annotations[annotationRespond]
	}
	if w.Respond != "" {
		return w.Respond
	}
	return "drop"
}
