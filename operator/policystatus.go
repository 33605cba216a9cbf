package operator

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "weir/api/v1"
	"weir/state"
)

// The reasons of a policy's condition Valid.
const (
	ReasonAccepted       = "Accepted"
	ReasonPartlyEnforced = "PartlyEnforced" // it is in force, and parts of it allow nothing yet
	ReasonRefused        = "Refused"
)

// maxMessage is how long a condition's message may be, in octets.
const maxMessage = 4096

// PolicyCondition returns what to say of a policy: refused is why it was, or nil.
func PolicyCondition(p state.Policy, refused error) v1.PolicyCondition {
	c := v1.PolicyCondition{Type: v1.ConditionValid, Status: string(metav1.ConditionTrue), Reason: ReasonAccepted, Message: "the whole policy is in force"}
	if refused != nil {
		c.Status, c.Reason = string(metav1.ConditionFalse), ReasonRefused
		c.Message = cut(refused.Error() + " (an earlier version that was accepted stays in force)")
		return c
	}
	if not := notEnforced(p); len(not) > 0 {
		c.Reason, c.Message = ReasonPartlyEnforced, cut(strings.Join(not, "; "))
	}
	return c
}

func cut(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage-3], "") + "..."
}

// notEnforced lists the rules that this version does not enforce, and why.
func notEnforced(p state.Policy) []string {
	var out []string
	for _, s := range p.Specs {
		for _, rules := range [][]state.PolicyRule{s.Ingress, s.Egress} {
			for _, r := range rules {
				if r.NotEnforced != "" {
					out = append(out, r.Path+": "+r.NotEnforced)
				}
			}
		}
	}
	return out
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
