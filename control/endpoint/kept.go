package endpoint

import (
	"slices"
	"strings"

	"weir/state"
)

// kept returns the identity that an endpoint had, when the row of its pod's name
// is that of another pod: it runs on until the runtime deletes it, and is not
// whom the new labels are about. The number has to mean what it meant, and to
// tell whatever policies see by now; otherwise nobody knows who this is.
func (c *Control) kept(e state.Endpoint) (state.IdentityID, state.Labels) {
	i, ok := c.tables.Identities.Get(e.Identity)
	switch {
	case len(e.Labels) == 0:
		return state.IdentityInit, state.Labels{state.IdentityInit.Reserved()}
	case !ok || !c.tells(i.Labels, e):
		return state.IdentityInit, e.Labels
	}
	return e.Identity, e.Labels
}

// tells reports whether the labels of an identity are those of the endpoint, as
// far as they can be seen. Those of named ports are taken as they are: the
// endpoint does not have them.
func (c *Control) tells(labels state.Labels, e state.Endpoint) bool {
	visible := state.Visible{}
	for key := range c.tables.VisibleLabels.All() {
		visible[key] = true
	}
	n, _ := c.tables.Namespaces.Get(e.Pod.Namespace)
	for _, l := range state.IdentityLabels(podOfLabels(e), n.Labels, c.opts.Cluster, visible) {
		if !slices.Contains(labels, l) {
			return false
		}
	}
	for _, l := range labels {
		own := !strings.HasPrefix(l, state.LabelNamespacePrefix) && !strings.HasPrefix(l, state.LabelNamedPortPrefix)
		if own && !slices.Contains(e.Labels, l) {
			return false
		}
	}
	return true
}

// podOfLabels is the reverse of state.PodLabels.
func podOfLabels(e state.Endpoint) state.Pod {
	p := state.Pod{Name: e.Pod, Labels: map[string]string{}}
	for _, l := range e.Labels {
		key, value, _ := strings.Cut(l, "=")
		switch key {
		case state.LabelServiceAccount:
			p.ServiceAccount = value
		case state.LabelCluster, state.LabelNamespace:
		default:
			p.Labels[strings.TrimPrefix(key, "k8s:")] = value
		}
	}
	return p
}
