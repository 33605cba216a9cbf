// Package state is the vocabulary: one file per row type, and the tables that
// hold them. Rows are values; whoever reads one may keep it.
//
// Every table names its one writer. The package derives nothing and does no
// input or output.
package state

import (
	"iter"
	"net/netip"

	"weir/internal/table"
)

// Tables is everything the features of an agent share.
type Tables struct {
	Nodes             *table.Table[string, Node]               // writer: the source (files, kube)
	Pods              *table.Table[PodName, Pod]               // writer: the source
	Namespaces        *table.Table[string, Namespace]          // writer: the source
	Policies          *table.Table[PolicyKey, Policy]          // writer: the source
	CIDRGroups        *table.Table[string, CIDRGroup]          // writer: the source
	Services          *table.Table[ServiceName, Service]       // writer: the source
	Slices            *table.Table[SliceName, Slice]           // writer: the source
	L2Policies        *table.Table[string, L2Policy]           // writer: the source
	Leases            *table.Table[LeaseName, Lease]           // writer: the source
	ClusterIdentities *table.Table[IdentityID, Identity]       // writer: the source (the numbers that the whole cluster uses)
	Identities        *table.Table[IdentityID, Identity]       // writer: control/identity (those, the reserved ones, and this node's own)
	PodIdentities     *table.Table[PodName, PodIdentity]       // writer: control/identity
	VisibleLabels     *table.Table[string, VisibleLabel]       // writer: control/identity (the keys that all of these tell apart)
	JudgedIdentities  *table.Table[IdentityID, JudgedIdentity] // writer: control/policy (the numbers that the maps of policy know)
	EndpointPolicies  *table.Table[EndpointID, EndpointPolicy] // writer: control/policy
	Endpoints         *table.Table[EndpointID, Endpoint]       // writer: control/endpoint
	IPs               *table.Table[IPKey, IP]                  // writer: control/ipcache
	Devices           *table.Table[string, Device]             // writer: control/device
	HostAddresses     *table.Table[netip.Addr, HostAddress]    // writer: control/device
	Problems          *table.Table[ProblemKey, Problem]        // writer: the source, one row for each object it refused
	Peers             *table.Table[string, Peer]               // writer: control/health
	Controls          *table.Table[string, ControllerState]    // writer: agent, one row for each reconcile loop
}

// New returns empty tables.
func New() *Tables {
	return &Tables{
		Nodes:             table.New("nodes", func(n Node) string { return n.Name }),
		Pods:              table.New("pods", func(p Pod) PodName { return p.Name }),
		Namespaces:        table.New("namespaces", func(n Namespace) string { return n.Name }),
		Policies:          table.New("policies", func(p Policy) PolicyKey { return p.Key }),
		CIDRGroups:        table.New("cidrGroups", func(g CIDRGroup) string { return g.Name }),
		Services:          table.New("services", func(s Service) ServiceName { return s.Name }),
		Slices:            table.New("slices", func(s Slice) SliceName { return s.Name }),
		L2Policies:        table.New("l2Policies", func(p L2Policy) string { return p.Name }),
		Leases:            table.New("leases", func(l Lease) LeaseName { return l.Name }),
		ClusterIdentities: table.New("clusterIdentities", func(i Identity) IdentityID { return i.ID }),
		Identities:        table.New("identities", func(i Identity) IdentityID { return i.ID }),
		PodIdentities:     table.New("podIdentities", func(p PodIdentity) PodName { return p.Pod }),
		VisibleLabels:     table.New("visibleLabels", func(v VisibleLabel) string { return v.Key }),
		JudgedIdentities:  table.New("judgedIdentities", func(j JudgedIdentity) IdentityID { return j.ID }),
		EndpointPolicies:  table.New("endpointPolicies", func(p EndpointPolicy) EndpointID { return p.Endpoint }),
		Endpoints:         table.New("endpoints", func(e Endpoint) EndpointID { return e.ID }),
		IPs:               table.New("ips", func(i IP) IPKey { return i.Key() }),
		Devices:           table.New("devices", func(d Device) string { return d.Name }),
		HostAddresses:     table.New("hostAddresses", func(a HostAddress) netip.Addr { return a.Addr }),
		Problems:          table.New("problems", func(p Problem) ProblemKey { return p.Key }),
		Peers:             table.New("peers", func(p Peer) string { return p.Node }),
		Controls:          table.New("controllers", func(c ControllerState) string { return c.Name }),
	}
}

// View is a table without its types, for those that only print.
type View struct {
	Name    string
	Heading []string
	Rows    iter.Seq[table.Row]
}

// Views returns every table in a fixed order.
func (t *Tables) Views() []View {
	return []View{
		view(t.Nodes, "Name", "Addresses", "Router", "Pod CIDRs", "Health", "Local"),
		view(t.Pods, "Pod", "Node", "IPs", "Labels"),
		view(t.Namespaces, "Name", "Labels"),
		view(t.Policies, "Kind", "Namespace", "Name", "Rules"),
		view(t.CIDRGroups, "Name", "CIDRs"),
		view(t.Services, "Name", "Type", "Cluster IPs", "Ports", "Selector"),
		view(t.Slices, "Name", "Service", "Addresses"),
		view(t.L2Policies, "Name", "Services", "Nodes", "Interfaces", "Load balancer IPs", "External IPs"),
		view(t.Leases, "Name", "Holder"),
		view(t.ClusterIdentities, "ID", "Labels"),
		view(t.Identities, "ID", "Labels"),
		view(t.PodIdentities, "Pod", "Identity"),
		view(t.VisibleLabels, "Key"),
		view(t.JudgedIdentities, "ID"),
		view(t.EndpointPolicies, "Endpoint", "Class", "Epoch", "Ingress", "Egress"),
		view(t.Endpoints, "ID", "Pod", "IPv4", "IPv6", "Device", "Identity", "State"),
		view(t.IPs, "Prefix", "Identity", "Tunnel endpoint", "Source"),
		view(t.Devices, "Name", "Index", "MTU", "MAC", "Addresses"),
		view(t.HostAddresses, "Address", "Device"),
		view(t.Problems, "Object", "File", "Problem"),
		view(t.Peers, "Node", "Node address", "Endpoint address", "Node ok", "Endpoint ok"),
		view(t.Controls, "Name", "Runs", "Failures", "Last error"),
	}
}

func view[K comparable, R table.Row](t *table.Table[K, R], heading ...string) View {
	return View{Name: t.Name(), Heading: heading, Rows: func(yield func(table.Row) bool) {
		for _, r := range t.All() {
			if !yield(r) {
				return
			}
		}
	}}
}
