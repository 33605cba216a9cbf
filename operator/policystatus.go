package operator

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "weir/api/v1"
	"weir/state"
)

// The reasons of a policy's condition Valid.
const (
	ReasonAccepted       = "Accepted"
	ReasonPartlyEnforced = "PartlyEnforced" // it is in force, and parts of it mean nobody yet
	ReasonNotEnforced    = "NotEnforced"    // it can be understood, and agents have it switched off
	ReasonRefused        = "Refused"
)

// maxMessage is how long a condition's message may be, in octets.
const maxMessage = 4096

// Enforcement is what decides, beside a policy, what of it is in force.
type Enforcement struct {
	Never        bool // the agents' policy.enforcementMode is never
	HostFirewall bool // the agents' hostFirewall.enabled
	Groups       []CIDRGroup
}

// CIDRGroup is a CiliumCIDRGroup that is there.
type CIDRGroup struct {
	state.CIDRGroup
	Refused error // why agents take no version of it, or nil
}

// PolicyCondition returns what to say of a policy: refused is why it was, or nil.
func PolicyCondition(p state.Policy, refused error, in Enforcement) v1.PolicyCondition {
	c := v1.PolicyCondition{Type: v1.ConditionValid, Status: string(metav1.ConditionTrue), Reason: ReasonAccepted, Message: "the whole policy is in force"}
	if refused != nil {
		c.Status, c.Reason = string(metav1.ConditionFalse), ReasonRefused
		c.Message = cut(refused.Error() + " (an earlier version that was accepted stays in force)")
		return c
	}
	if why := in.switchedOff(p); why != "" {
		c.Reason, c.Message = ReasonNotEnforced, why
		return c
	}
	if not := in.notEnforced(p); len(not) > 0 {
		c.Reason, c.Message = ReasonPartlyEnforced, cut(strings.Join(not, "; "))
	}
	return c
}

// switchedOff says why nothing of a policy is in force, as `weir policy list` does.
func (in Enforcement) switchedOff(p state.Policy) string {
	if in.Never {
		return "not enforced: policy.enforcementMode is never"
	}
	for _, s := range p.Specs {
		if !s.Nodes {
			return ""
		}
	}
	if in.HostFirewall || len(p.Specs) == 0 {
		return ""
	}
	return "not enforced: hostFirewall.enabled is false"
}

// notEnforced lists the parts that are not in force, and why.
func (in Enforcement) notEnforced(p state.Policy) []string {
	var out []string
	for _, s := range p.Specs {
		if s.Nodes && !in.HostFirewall {
			out = append(out, s.Path+": not enforced for nodes: hostFirewall.enabled is false")
			continue
		}
		for _, r := range slices.Concat(s.Ingress, s.Egress) {
			if r.NotEnforced != "" {
				out = append(out, r.Path+": "+r.NotEnforced)
			}
			for _, peer := range r.Peers {
				if why := in.meansNobody(peer); why != "" {
					out = append(out, r.Path+"."+peer.Path+": "+why)
				}
			}
		}
	}
	return out
}

// meansNobody says why a peer that names CIDR groups has none.
func (in Enforcement) meansNobody(p state.PolicyPeer) string {
	if p.Kind != state.PeerCIDRGroups {
		return ""
	}
	var refused error
	for _, g := range in.Groups {
		switch {
		case !g.SelectedBy(p.CIDRGroups):
		case g.Refused == nil:
			return ""
		default:
			refused = g.Refused
		}
	}
	if refused != nil {
		return fmt.Sprintf("matches nobody until the group is corrected: %v", refused)
	}
	which := "with " + p.CIDRGroups.String()
	if s := p.CIDRGroups; len(s) == 1 && s[0].Key == "name" && len(s[0].Values) == 1 {
		which = s[0].Values[0]
	}
	return fmt.Sprintf("there is no CiliumCIDRGroup %s: it matches nobody until there is one", which)
}

// NamesGroups reports whether a policy says who is meant by CiliumCIDRGroups.
func NamesGroups(p state.Policy) bool {
	for _, s := range p.Specs {
		for _, r := range slices.Concat(s.Ingress, s.Egress) {
			if slices.ContainsFunc(r.Peers, func(p state.PolicyPeer) bool { return p.Kind == state.PeerCIDRGroups }) {
				return true
			}
		}
	}
	return false
}

func cut(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage-3], "") + "..."
}

// WithCondition returns the conditions with c among them, and whether anything
// but its time differs. The time is that of the change of Status.
func WithCondition(has []v1.PolicyCondition, c v1.PolicyCondition, now metav1.Time) ([]v1.PolicyCondition, bool) {
	out := append([]v1.PolicyCondition(nil), has...)
	for i, old := range out {
		if old.Type != c.Type {
			continue
		}
		c.LastTransitionTime = old.LastTransitionTime
		if old == c {
			return has, false
		}
		if old.Status != c.Status {
			c.LastTransitionTime = now
		}
		out[i] = c
		return out, true
	}
	c.LastTransitionTime = now
	return append(out, c), true
}
