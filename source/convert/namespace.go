package convert

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	validation "k8s.io/apimachinery/pkg/api/validation"

	v1 "weir/api/v1"
	"weir/state"
)

// Namespace returns the row of a namespace. The label with its name is the API
// server's to write: what the object says of it does not count.
func Namespace(o *corev1.Namespace) (state.Namespace, error) {
	w, _, err := named("Namespace", o.ObjectMeta, false)
	if err != nil {
		return state.Namespace{}, err
	}
	if bad := validation.ValidateNamespaceName(o.Name, false); len(bad) > 0 {
		return state.Namespace{}, w.in("metadata.name").refuse("%q: %s", o.Name, bad[0])
	}
	n := state.Namespace{Name: o.Name, Labels: maps.Clone(o.Labels)}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = o.Name
	n.Respond, err = respond(w, o.ObjectMeta)
	return n, err
}

// CIDRGroup returns the row of a named list of prefixes.
func CIDRGroup(o *v1.CiliumCIDRGroup) (state.CIDRGroup, error) {
	w, _, err := named(state.KindCIDRGroup, o.ObjectMeta, false)
	if err != nil {
		return state.CIDRGroup{}, err
	}
	if o.Spec.ExternalCIDRs == nil {
		return state.CIDRGroup{}, w.in("spec.externalCIDRs").refuse("is missing: list CIDRs; [] is a group of none")
	}
	g := state.CIDRGroup{Name: o.Name, Labels: maps.Clone(o.Labels)}
	for i, text := range o.Spec.ExternalCIDRs {
		p, err := parsePrefix(w.in("spec").item("externalCIDRs", i), text, true)
		if err != nil {
			return state.CIDRGroup{}, err
		}
		g.CIDRs = append(g.CIDRs, p)
	}
	slices.SortFunc(g.CIDRs, netip.Prefix.Compare)
	g.CIDRs = slices.Compact(g.CIDRs)
	return g, nil
}
