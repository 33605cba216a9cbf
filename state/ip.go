package state

import "net/netip"

// IPSource says what an IP row was derived from.
type IPSource string

// The sources, strongest first: where two claim one prefix, the first wins.
const (
	IPHost     IPSource = "host"     // an address of this node
	IPEndpoint IPSource = "endpoint" // a pod of this node
	IPNode     IPSource = "node"     // an address of another node
	IPPod      IPSource = "pod"      // a pod elsewhere, by its Kubernetes object
	IPPodCIDR  IPSource = "cidr"     // a node's pod CIDR: whatever has no row of its own
	IPWorld    IPSource = "world"    // everything else
)

// IPKey keys the table: a prefix has one row.
type IPKey = netip.Prefix

// IP says who has a prefix and how to get there: a row of weir_ipcache.
type IP struct {
	Prefix         netip.Prefix
	Identity       IdentityID
	Endpoint       EndpointID // of this node, or 0
	TunnelEndpoint netip.Addr // the node to send to; zero when it is not elsewhere
	Via            netip.Addr // of another node's own address: the one by which its tunnel is known
	Host           bool       // an address of this node itself
	Leaves         bool       // Host: pods leave the cluster by its device with it, and not with the node's
	Source         IPSource
	Of             string // the pod or node
	UID            string // of the pod, where known: which of this name
}

// Key returns the row's key.
func (i IP) Key() IPKey { return i.Prefix }

// Columns implements table.Row.
func (i IP) Columns() []string {
	return []string{i.Prefix.String(), i.Identity.String(), str(i.TunnelEndpoint), string(i.Source)}
}
