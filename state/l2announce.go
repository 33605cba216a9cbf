package state

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// L2Policy is a CiliumL2AnnouncementPolicy: which addresses of which services are
// answered for by which nodes, on which of their devices.
type L2Policy struct {
	Name            string
	Services        Selector
	Nodes           Selector
	Interfaces      []string // regular expressions, of which one matches the name; none: all
	ExternalIPs     bool
	LoadBalancerIPs bool
}

// Labels by which the policies select a service that has none: its own names.
const (
	LabelServiceNamespace = "k8s:io.kubernetes.service.namespace"
	LabelServiceName      = "k8s:io.kubernetes.service.name"
)

// ClassL2 is the loadBalancerClass of services that nobody but L2 announcements
// is to serve. One without a class is anybody's.
const ClassL2 = "io.cilium/l2-announcer"

// OfService reports whether the policy is for addresses of the service.
func (p L2Policy) OfService(s Service) bool {
	labels := append(labelsOf(s.Labels), LabelServiceNamespace+"="+s.Name.Namespace, LabelServiceName+"="+s.Name.Name)
	return (s.Class == "" || s.Class == ClassL2) && len(p.Addresses(s)) > 0 && p.Services.Matches(labels)
}

// OfNode reports whether the node may answer for what the policy is for.
func (p L2Policy) OfNode(n Node) bool { return p.Nodes.Matches(labelsOf(n.Labels)) }

// Addresses are those of the service that the policy speaks of.
func (p L2Policy) Addresses(s Service) []netip.Addr {
	var out []netip.Addr
	if p.LoadBalancerIPs {
		out = append(out, s.LoadBalancerIPs...)
	}
	if p.ExternalIPs {
		out = append(out, s.ExternalIPs...)
	}
	return out
}

// Same reports whether two rows say the same.
func (p L2Policy) Same(o L2Policy) bool { return reflect.DeepEqual(p, o) }

// Columns implements table.Row.
func (p L2Policy) Columns() []string {
	return []string{p.Name, p.Services.String(), p.Nodes.String(), strings.Join(p.Interfaces, ","), fmt.Sprint(p.LoadBalancerIPs), fmt.Sprint(p.ExternalIPs)}
}

// LeaseName names a Lease in the cluster.
type LeaseName struct{ Namespace, Name string }

func (n LeaseName) String() string { return n.Namespace + "/" + n.Name }

// Lease says which node does something for the cluster.
type Lease struct {
	Name   LeaseName
	Holder string // a node; empty: nobody
}

// L2LeaseNamespace is where the leases of L2 announcements are; others of their
// names mean nothing.
const L2LeaseNamespace = "kube-system"

const l2LeasePrefix = "cilium-l2announce-"

// L2Lease names the lease whose holder answers for the addresses of a service. Two
// services can have the same one (a-b/c and a/b-c), and then the same holder.
func L2Lease(s ServiceName) LeaseName {
	return LeaseName{L2LeaseNamespace, l2LeasePrefix + s.Namespace + "-" + s.Name}
}

// L2Services are the services that a lease of this name can be of: of a-b-c those of
// a/b-c and a-b/c.
func L2Services(lease string) []ServiceName {
	rest, ok := strings.CutPrefix(lease, l2LeasePrefix)
	var out []ServiceName
	for i := range len(rest) {
		if ok && rest[i] == '-' && i > 0 && i+1 < len(rest) {
			out = append(out, ServiceName{Namespace: rest[:i], Name: rest[i+1:]})
		}
	}
	return out
}

// OfL2 reports whether the lease is of L2 announcements.
func (l Lease) OfL2() bool {
	return l.Name.Namespace == L2LeaseNamespace && strings.HasPrefix(l.Name.Name, l2LeasePrefix)
}

// Columns implements table.Row.
func (l Lease) Columns() []string { return []string{l.Name.String(), l.Holder} }

// labelsOf are labels of an object, as selectors know them.
func labelsOf(m map[string]string) Labels {
	out := Labels{}
	for k, v := range m {
		out = append(out, "k8s:"+k+"="+v)
	}
	slices.Sort(out)
	return out
}
