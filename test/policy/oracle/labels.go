package oracle

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	keyNamespace       = "io.kubernetes.pod.namespace"
	keyPodName         = "io.kubernetes.pod.name"
	keyCluster         = "io.cilium.k8s.policy.cluster"
	keyServiceAccount  = "io.cilium.k8s.policy.serviceaccount"
	keyNamespaceLabels = "io.cilium.k8s.namespace.labels."
	keyMetadataName    = "kubernetes.io/metadata.name"
)

// label is source:key=value. Sources are "k8s" and "reserved".
type label struct{ source, key, value string }

// imitates reports whether a pod's own label has the name of a system label:
// such a label is ignored.
func imitates(key string) bool {
	return key == keyNamespace || key == keyPodName || strings.HasPrefix(key, "io.cilium.k8s.")
}

// labelsOf returns a pod's labels: its own, and those the system gives it.
func (w *World) labelsOf(p *corev1.Pod) []label {
	out := []label{{"k8s", keyNamespace, p.Namespace}, {"k8s", keyCluster, w.Cluster}}
	if p.Spec.ServiceAccountName != "" {
		out = append(out, label{"k8s", keyServiceAccount, p.Spec.ServiceAccountName})
	}
	for k, v := range p.Labels {
		if !imitates(k) {
			out = append(out, label{"k8s", k, v})
		}
	}
	for k, v := range w.namespaceLabels(p.Namespace) {
		out = append(out, label{"k8s", keyNamespaceLabels + k, v})
	}
	return out
}

// namespaceLabels returns a namespace's labels. Every namespace has its name as
// one of them, whether its object is there or not and whatever it says.
func (w *World) namespaceLabels(name string) map[string]string {
	out := map[string]string{}
	if n := w.namespaces[name]; n != nil {
		for k, v := range n.Labels {
			out[k] = v
		}
	}
	out[keyMetadataName] = name
	return out
}

func plain(labels map[string]string) []label {
	var out []label
	for k, v := range labels {
		out = append(out, label{"k8s", k, v})
	}
	return out
}

// requirement is one condition of a selector of cilium.io.
type requirement struct {
	source, key string
	op          metav1.LabelSelectorOperator
	values      []string
}

// requirements lists a selector's conditions.
func requirements(s *metav1.LabelSelector) []requirement {
	var out []requirement
	for k, v := range s.MatchLabels {
		source, key := cutSource(k)
		out = append(out, requirement{source, key, metav1.LabelSelectorOpIn, []string{v}})
	}
	for _, e := range s.MatchExpressions {
		source, key := cutSource(e.Key)
		out = append(out, requirement{source, key, e.Operator, e.Values})
	}
	return out
}

// cutSource splits "k8s:app", "k8s.app", "any:app", "reserved:host" and "app".
func cutSource(key string) (source, rest string) {
	for _, source := range []string{"k8s", "any", "reserved"} {
		if rest, ok := strings.CutPrefix(key, source+":"); ok {
			return source, rest
		}
	}
	if rest, ok := strings.CutPrefix(key, "k8s."); ok {
		return "k8s", rest
	}
	return "any", key
}

// selects reports whether labels meet all conditions of a selector.
func selects(s *metav1.LabelSelector, labels []label) bool {
	for _, r := range requirements(s) {
		if !r.holds(labels) {
			return false
		}
	}
	return true
}

func (r requirement) holds(labels []label) bool {
	exists, among := false, false
	for _, l := range labels {
		if l.key == r.key && (l.source == r.source || r.source == "any" && l.source == "k8s") {
			exists = true
			among = among || slices.Contains(r.values, l.value)
		}
	}
	switch r.op {
	case metav1.LabelSelectorOpIn:
		return among
	case metav1.LabelSelectorOpNotIn:
		return !among
	case metav1.LabelSelectorOpExists:
		return exists
	default:
		return !exists
	}
}

// namesNamespace reports whether a selector says itself which namespaces it
// means, so that the namespace of its policy does not limit it.
func namesNamespace(s *metav1.LabelSelector) bool {
	for _, r := range requirements(s) {
		if r.source != "reserved" && (r.key == keyNamespace || strings.HasPrefix(r.key, keyNamespaceLabels)) {
			return true
		}
	}
	return false
}

// wantsReserved reports whether only who has some reserved label can meet a
// selector.
func wantsReserved(s *metav1.LabelSelector) bool {
	for _, r := range requirements(s) {
		if r.source == "reserved" && r.op != metav1.LabelSelectorOpNotIn && r.op != metav1.LabelSelectorOpDoesNotExist {
			return true
		}
	}
	return false
}
