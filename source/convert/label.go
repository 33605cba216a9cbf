package convert

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	validation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/state"
)

// AnnotationRespond chooses what the sender of a denied packet gets, on
// policies and namespaces.
const AnnotationRespond = "policy.weir.io/deny-response"

// checkLabels refuses labels that an API server would refuse: one with a
// separator in it could pass for several labels, or for one of the system's.
func checkLabels(w where, labels map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if bad := content.IsLabelKey(k); len(bad) > 0 {
			return w.refuse("%q is not a label's key: %s", k, bad[0])
		}
		if bad := content.IsLabelValue(labels[k]); len(bad) > 0 {
			return w.refuse("%q has the value %q: %s", k, labels[k], bad[0])
		}
	}
	return nil
}

// named checks what all objects have, and returns where to look further and the
// namespace.
func named(kind string, m metav1.ObjectMeta, namespaced bool) (where, string, error) {
	w := where{object: kind}
	if m.Name == "" {
		return w, "", w.in("metadata.name").refuse("is empty: write one")
	}
	namespace := ""
	w.object += " " + m.Name
	if namespaced {
		namespace = or(m.Namespace, "default")
		w.object = kind + " " + namespace + "/" + m.Name
		if bad := validation.ValidateNamespaceName(namespace, false); len(bad) > 0 {
			return w, "", w.in("metadata.namespace").refuse("%q: %s", namespace, strings.Join(bad, "; "))
		}
	}
	if bad := validation.NameIsDNSSubdomain(m.Name, false); len(bad) > 0 {
		return w, "", w.in("metadata.name").refuse("%q: %s", m.Name, strings.Join(bad, "; "))
	}
	return w, namespace, checkLabels(w.in("metadata.labels"), m.Labels)
}

func respond(w where, m metav1.ObjectMeta) (state.DenyResponse, error) {
	text, said := m.Annotations[AnnotationRespond]
	switch r := state.DenyResponse(text); {
	case !said:
		return "", nil
	case r == state.DenyDrop || r == state.DenyReject:
		return r, nil
	}
	return "", w.in("metadata.annotations").refuse("%s: %q is no answer to a denied packet: use %s or %s", AnnotationRespond, text, state.DenyDrop, state.DenyReject)
}
