package convert

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/internal/suggest"
	"weir/state"
)

// keyOf turns a key as a selector writes it into one of state.Requirement, or
// refuses it.
type keyOf func(w where, key string) (string, error)

// selector converts a label selector. The result is sorted.
func selector(w where, s metav1.LabelSelector, key keyOf) (state.Selector, error) {
	out := state.Selector{}
	for _, k := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		at := w.in("matchLabels")
		name, err := key(at, k)
		if err != nil {
			return nil, err
		}
		if err := checkValue(at, name, s.MatchLabels[k]); err != nil {
			return nil, err
		}
		out = append(out, state.Requirement{Key: name, Op: state.In, Values: []string{s.MatchLabels[k]}})
	}
	for i, e := range s.MatchExpressions {
		r, err := expression(w.item("matchExpressions", i), e, key)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out.Sorted(), nil
}

var operators = []string{string(state.In), string(state.NotIn), string(state.Exists), string(state.DoesNotExist)}

func expression(w where, e metav1.LabelSelectorRequirement, key keyOf) (state.Requirement, error) {
	var none state.Requirement
	name, err := key(w.in("key"), e.Key)
	if err != nil {
		return none, err
	}
	op := state.Operator(e.Operator)
	switch op {
	case state.In, state.NotIn:
		if len(e.Values) == 0 {
			return none, w.in("values").refuse("is empty: list values, or use Exists or DoesNotExist")
		}
	case state.Exists, state.DoesNotExist:
		if len(e.Values) > 0 {
			return none, w.in("values").refuse("%q with the operator %s: leave the values out, or use In or NotIn", e.Values, op)
		}
	default:
		return none, w.in("operator").refuse("%q is no operator: use %s", e.Operator, oneOf(string(e.Operator), operators))
	}
	for i, v := range e.Values {
		if err := checkValue(w.item("values", i), name, v); err != nil {
			return none, err
		}
	}
	return state.Requirement{Key: name, Op: op, Values: slices.Clone(e.Values)}, nil
}

// oneOf lists what is possible, and what was probably meant.
func oneOf(got string, known []string) string {
	text := strings.Join(known, ", ")
	if near := suggest.Nearest(got, known); near != "" && got != "" {
		text += fmt.Sprintf(" (did you mean %q?)", near)
	}
	return text
}

func checkValue(w where, key, value string) error {
	var bad []string
	switch {
	case strings.HasPrefix(key, "reserved:"):
		if value != "" {
			bad = []string{"a reserved label has no value: write \"\""}
		}
	case key == state.LabelServiceAccount && value != "": // longer than a label's value
		bad = content.IsDNS1123Subdomain(value)
	default:
		bad = content.IsLabelValue(value)
	}
	if len(bad) > 0 {
		return w.refuse("%s has the value %q: %s", key, value, bad[0])
	}
	return nil
}

// podKey is the key of a label that users give to pods. The system's labels are
// none, so a selector over pods' own labels must not meet them.
func podKey(w where, key string) (string, error) {
	if bad := content.IsLabelKey(key); len(bad) > 0 {
		return "", w.refuse("%q is not a label's key: %s", key, bad[0])
	}
	if system(key) {
		return "", w.refuse("%q is a label of the system, which this kind cannot select by: use namespaceSelector, or a %s", key, state.KindCNP)
	}
	return "k8s:" + key, nil
}

// namespaceKey is the key of a label of pods' namespaces.
func namespaceKey(w where, key string) (string, error) {
	if bad := content.IsLabelKey(key); len(bad) > 0 {
		return "", w.refuse("%q is not a label's key: %s", key, bad[0])
	}
	return state.LabelNamespacePrefix + key, nil
}

// system reports whether the system gives the label to identities.
func system(key string) bool {
	return "k8s:"+key == state.LabelNamespace || key == "io.kubernetes.pod.name" || strings.HasPrefix(key, "io.cilium.k8s.")
}

// identityKey is the key of a label of identities, with or without its source:
// "app", "any:app", "k8s:app", "k8s.app", "reserved:host".
func identityKey(w where, key string) (string, error) {
	source, name := cutSource(key)
	switch source {
	case "reserved":
		if !slices.Contains(reservedNames, name) {
			return "", w.refuse("%q is no reserved label: use reserved: with one of %s", key, oneOf(name, reservedNames))
		}
		return key, nil
	case "any", "k8s":
	default:
		return "", w.refuse("%q has the source %q, which no label has that policies select by: use k8s:, reserved: or none", key, source)
	}
	of := strings.TrimPrefix(name, strings.TrimPrefix(state.LabelNamespacePrefix, "k8s:"))
	if bad := content.IsLabelKey(of); len(bad) > 0 {
		return "", w.refuse("%q is not a label's key: %s", key, bad[0])
	}
	if system(name) { // of one source only
		source = "k8s"
	}
	return source + ":" + name, nil
}

// objectKey is the key of a label of nodes, services and CIDR groups.
func objectKey(w where, key string) (string, error) {
	if source, _ := cutSource(key); source == "reserved" {
		return "", w.refuse("%q: only endpoints have reserved labels: leave it out", key)
	}
	return identityKey(w, key)
}

// cutSource splits a key. "k8s.io/x" is a key of its own, "k8s.app" the label
// app of Kubernetes.
func cutSource(key string) (source, name string) {
	if source, name, ok := strings.Cut(key, ":"); ok {
		return source, name
	}
	if name, ok := strings.CutPrefix(key, "k8s."); ok && !strings.HasPrefix(key, "k8s.io/") {
		return "k8s", name
	}
	return "any", key
}

// reservedNames are those that something in the cluster can have.
var reservedNames = func() []string {
	var out []string
	for _, i := range state.AllReserved() {
		if i.ID != state.IdentityUnknown {
			out = append(out, strings.TrimPrefix(i.ID.Reserved(), "reserved:"))
		}
	}
	return out
}()

// within limits a selector to the pods of a namespace.
func within(s state.Selector, namespace string) state.Selector {
	return append(s, state.Requirement{Key: state.LabelNamespace, Op: state.In, Values: []string{namespace}}).Sorted()
}

// podsOnly limits a selector to pods, of whichever namespace.
func podsOnly(s state.Selector) state.Selector {
	return append(s, state.Requirement{Key: state.LabelNamespace, Op: state.Exists}).Sorted()
}

// ofPolicy limits a peer of a CiliumNetworkPolicy to pods: to those of its
// namespace, unless it speaks of namespaces itself. One that excludes namespaces
// means pods of the others, not everything that is in none. Only a reserved
// label that is asked for reaches beyond pods; one that is excluded does not.
func ofPolicy(s state.Selector, namespace string) state.Selector {
	pods, mentioned := false, false
	for _, r := range s {
		of := r.Key == state.LabelNamespace || strings.HasPrefix(r.Key, state.LabelNamespacePrefix)
		mentioned = mentioned || of
		if asks := r.Op == state.In || r.Op == state.Exists; asks {
			if strings.HasPrefix(r.Key, "reserved:") {
				return s
			}
			pods = pods || of
		}
	}
	switch {
	case !mentioned:
		return within(s, namespace)
	case !pods:
		return podsOnly(s)
	}
	return s
}
