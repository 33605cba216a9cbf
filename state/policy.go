package state

import (
	"fmt"
	"net/netip"
	"reflect"
)

// The kinds of objects that make policies.
const (
	KindNetworkPolicy    = "NetworkPolicy"
	KindCNP              = "CiliumNetworkPolicy"
	KindCCNP             = "CiliumClusterwideNetworkPolicy"
	KindCIDRGroup        = "CiliumCIDRGroup"
	LabelNamespace       = "k8s:io.kubernetes.pod.namespace"
	LabelCluster         = "k8s:io.cilium.k8s.policy.cluster"
	LabelServiceAccount  = "k8s:io.cilium.k8s.policy.serviceaccount"
	LabelNamespacePrefix = "k8s:io.cilium.k8s.namespace.labels." // + a label of the pod's namespace
	LabelNamedPortPrefix = "port:"                               // + a port's name; the value is its numbers: "TCP/80", "TCP/53;UDP/53"
)

// PolicyKey names an object that makes a policy. Namespace is empty for a
// clusterwide one.
type PolicyKey struct{ Kind, Namespace, Name string }

func (k PolicyKey) String() string {
	if k.Namespace == "" {
		return k.Kind + " " + k.Name
	}
	return k.Kind + " " + k.Namespace + "/" + k.Name
}

// DenyResponse is what the sender of a denied packet gets.
type DenyResponse string

// The responses. The empty one is not said: the namespace's or else the
// cluster's counts.
const (
	DenyDrop   DenyResponse = "drop"
	DenyReject DenyResponse = "reject" // TCP RST, or ICMP "administratively prohibited"
)

// Policy is one object's policy, all kinds alike: what is implicit in one kind
// (the namespace of its selectors, whom an empty list selects) is explicit here.
type Policy struct {
	Key     PolicyKey
	Specs   []PolicySpec
	Respond DenyResponse
}

// PolicySpec says who is selected, and what they may do.
type PolicySpec struct {
	Path        string   // in the object: "spec", "specs[1]"
	Subject     Selector // over the labels of endpoints, or of nodes
	Nodes       bool     // the subject is this node itself: host firewall
	Description string

	// Whom the spec selects is isolated in the direction: what no rule allows is
	// denied.
	IsolateIngress, IsolateEgress bool

	Ingress, Egress []PolicyRule
}

// PolicyRule allows or denies traffic between the subject and any of the peers
// on any of the ports.
type PolicyRule struct {
	Path string // in the object: "spec.ingress[2]"
	Deny bool

	AnyPeer bool         // everybody; Peers is empty then
	Peers   []PolicyPeer // none: nobody

	AnyPort bool         // every protocol and port; Ports is empty then
	Ports   []PolicyPort // none: none

	// NotEnforced says which part of the rule needs what this version does not
	// have. Such a rule allows nothing.
	NotEnforced string
}

// PolicyPeer is one way to say who is on the other side. Exactly one of Endpoints,
// Entity, CIDR, CIDRGroups, Nodes and Services is set; see each.
type PolicyPeer struct {
	Path string // within the rule: "fromEndpoints[0]"

	// Endpoints selects by the labels of identities. It is only ever asked about
	// endpoints: pods, and the reserved identities health, init, unmanaged and
	// ingress. nil: not this kind of peer; empty: all endpoints.
	Endpoints Selector
	// Entity is one of the field's entities: "world", "host", "cluster", ...
	Entity string
	// CIDR and Except are addresses. A peer of this kind or the next matches
	// whoever has the address when Cluster is set, and otherwise only addresses
	// outside of the cluster: of no node, and in no node's pod CIDR.
	CIDR    netip.Prefix
	Except  []netip.Prefix
	Cluster bool
	// CIDRGroups selects CiliumCIDRGroups by "name" (Key "name", In) or labels.
	// Except applies to each.
	CIDRGroups Selector
	// Nodes selects nodes by their labels ("k8s:..."), never pods.
	Nodes Selector
	// Services selects services by labels, or by name: a requirement on the key
	// "name", and one on "namespace".
	Services Selector

	// Kind says which of the above counts.
	Kind PeerKind
}

// PeerKind tells the kinds of peers apart, since an empty selector is one.
type PeerKind string

// The kinds of peers.
const (
	PeerEndpoints  PeerKind = "endpoints"
	PeerEntity     PeerKind = "entity"
	PeerCIDR       PeerKind = "cidr"
	PeerCIDRGroups PeerKind = "cidrGroups"
	PeerNodes      PeerKind = "nodes"
	PeerServices   PeerKind = "services"
)

// IP protocols that rules name (IANA).
const (
	ProtoAny    uint8 = 0
	ProtoICMP   uint8 = 1
	ProtoTCP    uint8 = 6
	ProtoUDP    uint8 = 17
	ProtoICMPv6 uint8 = 58
	ProtoSCTP   uint8 = 132
)

// PolicyPort is a protocol with ports, or an ICMP type.
type PolicyPort struct {
	Path  string // within the rule: "toPorts[0].ports[1]"
	Proto uint8  // IANA number; ProtoAny only together with All
	All   bool   // every port of the protocol
	// First and Last are a range of destination ports, inclusive; for ICMP and
	// ICMPv6 both are the type.
	First, Last uint16
	// Name is a named port: for ingress of the subject, for egress of the peer,
	// each pod by its own containers. First and Last are 0 then.
	Name string
}

// Same reports whether two rows say the same.
func (p Policy) Same(o Policy) bool { return reflect.DeepEqual(p, o) }

// Columns implements table.Row.
func (p Policy) Columns() []string {
	rules := 0
	for _, s := range p.Specs {
		rules += len(s.Ingress) + len(s.Egress)
	}
	return []string{p.Key.Kind, p.Key.Namespace, p.Key.Name, fmt.Sprint(rules)}
}

// EndpointPolicy is what the maps say about an endpoint: its row of
// weir_policy. Endpoint 0 is the host.
type EndpointPolicy struct {
	Endpoint        EndpointID
	Pod             PodName // of the endpoint when this was derived: a number is used again
	Class           uint32
	Epoch           uint32
	Ingress, Egress bool       // isolated: what no rule allows is denied
	Identity        IdentityID // of the endpoint when this was derived
}

// Columns implements table.Row.
func (p EndpointPolicy) Columns() []string {
	return []string{fmt.Sprint(p.Endpoint), fmt.Sprint(p.Class), fmt.Sprint(p.Epoch), fmt.Sprint(p.Ingress), fmt.Sprint(p.Egress)}
}
