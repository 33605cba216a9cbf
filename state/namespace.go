package state

import (
	"maps"
	"net/netip"
	"reflect"
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

// Columns implements table.Row.
func (g CIDRGroup) Columns() []string { return []string{g.Name, join(g.CIDRs)} }

// ServiceName names a service in the cluster.
type ServiceName struct{ Namespace, Name string }

func (n ServiceName) String() string { return n.Namespace + "/" + n.Name }

// Service is as much of a Kubernetes Service as policies refer to.
type Service struct {
	Name     ServiceName
	Labels   map[string]string
	Selector map[string]string // of pods in its namespace; nil: its backends are those of its slices
}

// Same reports whether two rows say the same.
func (s Service) Same(o Service) bool { return reflect.DeepEqual(s, o) }

// Columns implements table.Row.
func (s Service) Columns() []string { return []string{s.Name.String(), labelList(s.Selector)} }

// SliceName names an EndpointSlice in the cluster.
type SliceName struct{ Namespace, Name string }

func (n SliceName) String() string { return n.Namespace + "/" + n.Name }

// Slice is the addresses of one EndpointSlice.
type Slice struct {
	Name    SliceName
	Service ServiceName // by its label kubernetes.io/service-name; empty: of none
	Addrs   []netip.Addr
}

// Same reports whether two rows say the same.
func (s Slice) Same(o Slice) bool { return reflect.DeepEqual(s, o) }

// Columns implements table.Row.
func (s Slice) Columns() []string {
	return []string{s.Name.String(), s.Service.String(), join(s.Addrs)}
}

func labelList(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}
