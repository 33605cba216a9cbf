package state

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Namespace is a Kubernetes namespace.
type Namespace struct {
	Name    string
	Labels  map[string]string // as written, with kubernetes.io/metadata.name, which the API server adds
	Respond DenyResponse      // by its annotation
}

// Same reports whether two rows say the same.
func (n Namespace) Same(o Namespace) bool {
	return n.Name == o.Name && n.Respond == o.Respond && maps.Equal(n.Labels, o.Labels)
}

// Columns implements table.Row.
func (n Namespace) Columns() []string { return []string{n.Name, labelList(n.Labels)} }

// CIDRGroup is a named list of prefixes that policies refer to.
type CIDRGroup struct {
	Name   string
	Labels map[string]string
	CIDRs  []netip.Prefix
}

// Same reports whether two rows say the same.
func (g CIDRGroup) Same(o CIDRGroup) bool {
	return g.Name == o.Name && maps.Equal(g.Labels, o.Labels) && slices.Equal(g.CIDRs, o.CIDRs)
}

// SelectedBy reports whether a policy's selector of groups means this one.
func (g CIDRGroup) SelectedBy(s Selector) bool {
	return s.Matches(append(labelsOf(g.Labels), "name="+g.Name))
}

// Columns implements table.Row.
func (g CIDRGroup) Columns() []string { return []string{g.Name, join(g.CIDRs)} }

func labelList(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}
