package state

import (
	"slices"
	"strings"
)

// Operator is how a requirement compares.
type Operator string

// The operators of a label selector.
const (
	In           Operator = "In"
	NotIn        Operator = "NotIn" // holds too where the key is missing
	Exists       Operator = "Exists"
	DoesNotExist Operator = "DoesNotExist"
)

// Requirement is one condition on a set of labels. Key has the label's source:
// "k8s:app", "reserved:host"; "any:app" is the key of any source.
type Requirement struct {
	Key    string
	Op     Operator
	Values []string // sorted; of In and NotIn only
}

// Selector selects sets of labels: all requirements hold. One without
// requirements selects everything that may be asked about.
type Selector []Requirement

// Matches reports whether the labels meet every requirement.
func (s Selector) Matches(l Labels) bool {
	for _, r := range s {
		if !r.matches(l) {
			return false
		}
	}
	return true
}

func (r Requirement) matches(l Labels) bool {
	found, among := false, false
	for _, label := range l {
		key, value := CutLabel(label)
		if key != r.Key && !sameAny(r.Key, key) {
			continue
		}
		found = true
		among = among || slices.Contains(r.Values, value)
	}
	switch r.Op {
	case In:
		return among
	case NotIn:
		return !among
	case Exists:
		return found
	default:
		return !found
	}
}

// sameAny reports whether want is "any:" and the key without its source. Labels
// of reserved and generated sources are named by their source only.
func sameAny(want, key string) bool {
	name, any := strings.CutPrefix(want, "any:")
	source, of, ok := strings.Cut(key, ":")
	return any && ok && source == "k8s" && of == name
}

// CutLabel splits "k8s:app=web" into "k8s:app" and "web".
func CutLabel(label string) (key, value string) {
	key, value, _ = strings.Cut(label, "=")
	return key, value
}

// String is the same for equal selectors whose requirements have one order:
// "k8s:app in (web), !k8s:debug".
func (s Selector) String() string {
	if len(s) == 0 {
		return "*"
	}
	out := make([]string, len(s))
	for i, r := range s {
		switch r.Op {
		case Exists:
			out[i] = r.Key
		case DoesNotExist:
			out[i] = "!" + r.Key
		case In:
			out[i] = r.Key + " in (" + strings.Join(r.Values, ",") + ")"
		default:
			out[i] = r.Key + " notin (" + strings.Join(r.Values, ",") + ")"
		}
	}
	return strings.Join(out, ", ")
}

// Sorted returns the selector in the one order that String compares by.
func (s Selector) Sorted() Selector {
	out := slices.Clone(s)
	for i := range out {
		out[i].Values = slices.Compact(slices.Sorted(slices.Values(out[i].Values)))
	}
	slices.SortFunc(out, func(a, b Requirement) int {
		return strings.Compare(a.Key+"\x00"+string(a.Op)+"\x00"+strings.Join(a.Values, "\x00"), b.Key+"\x00"+string(b.Op)+"\x00"+strings.Join(b.Values, "\x00"))
	})
	return out
}
