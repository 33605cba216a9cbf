package v1

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The kinds of policies, and of what they refer to.
const (
	KindCiliumNetworkPolicy            = "CiliumNetworkPolicy"
	KindCiliumClusterwideNetworkPolicy = "CiliumClusterwideNetworkPolicy"
	KindCiliumCIDRGroup                = "CiliumCIDRGroup"
)

// Every list of a policy tells absent (nil) from present but empty ([]T{}): an
// absent list is no condition, an empty one selects nothing. Decoding JSON keeps
// them apart, and "omitzero" keeps them apart when the object is written.

// CiliumNetworkPolicy is the policy of pods of its namespace. spec and specs
// count both.
type CiliumNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              *Rule           `json:"spec,omitempty"`
	Specs             []Rule          `json:"specs,omitzero"`
	Status            json.RawMessage `json:"status,omitempty"` // not read
}

// CiliumClusterwideNetworkPolicy is the policy of pods of all namespaces, or of
// nodes.
type CiliumClusterwideNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              *Rule           `json:"spec,omitempty"`
	Specs             []Rule          `json:"specs,omitzero"`
	Status            json.RawMessage `json:"status,omitempty"` // not read
}

// CiliumCIDRGroup is a named list of prefixes.
type CiliumCIDRGroup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              CIDRGroupSpec `json:"spec"`
}

// CIDRGroupSpec is the content of a CiliumCIDRGroup.
type CIDRGroupSpec struct {
	ExternalCIDRs []string `json:"externalCIDRs"`
}

// Rule says who is selected, and what they may do. Keys of its selectors may
// name the source of the label: "k8s:app", "reserved:host", "any:app".
type Rule struct {
	// Exactly one of the two; NodeSelector in the clusterwide kind only.
	EndpointSelector *metav1.LabelSelector `json:"endpointSelector,omitempty"`
	NodeSelector     *metav1.LabelSelector `json:"nodeSelector,omitempty"`

	// A deny rule has peers, ports and icmps only.
	Ingress     []IngressRule `json:"ingress,omitzero"`
	IngressDeny []IngressRule `json:"ingressDeny,omitzero"`
	Egress      []EgressRule  `json:"egress,omitzero"`
	EgressDeny  []EgressRule  `json:"egressDeny,omitzero"`

	EnableDefaultDeny DefaultDeny `json:"enableDefaultDeny,omitzero"`
	Description       string      `json:"description,omitempty"`
	Labels            []RuleLabel `json:"labels,omitzero"` // not read
	Log               RuleLog     `json:"log,omitzero"`    // not read
}

// DefaultDeny says for each direction whether the rule isolates; nil: when it
// has a rule of the direction.
type DefaultDeny struct {
	Ingress *bool `json:"ingress,omitempty"`
	Egress  *bool `json:"egress,omitempty"`
}

// RuleLabel is a label of a rule, not of what it selects.
type RuleLabel struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Source string `json:"source,omitempty"`
}

// RuleLog is a word that flow logs show.
type RuleLog struct {
	Value string `json:"value,omitempty"`
}

// IngressRule is about traffic to the selected. Peer lists are alternatives;
// without any, everybody is meant if ToPorts or ICMPs is there, and else nobody.
type IngressRule struct {
	FromEndpoints []metav1.LabelSelector `json:"fromEndpoints,omitzero"`
	FromRequires  []metav1.LabelSelector `json:"fromRequires,omitzero"` // refused
	FromNodes     []metav1.LabelSelector `json:"fromNodes,omitzero"`
	FromCIDR      []string               `json:"fromCIDR,omitzero"`
	FromCIDRSet   []CIDRRule             `json:"fromCIDRSet,omitzero"`
	FromEntities  []string               `json:"fromEntities,omitzero"`
	FromGroups    []CloudGroup           `json:"fromGroups,omitzero"`

	ToPorts        []PortRule      `json:"toPorts,omitzero"`
	ICMPs          []ICMPRule      `json:"icmps,omitzero"`
	Authentication *Authentication `json:"authentication,omitempty"`
}

// EgressRule is about traffic from the selected.
type EgressRule struct {
	ToEndpoints []metav1.LabelSelector `json:"toEndpoints,omitzero"`
	ToRequires  []metav1.LabelSelector `json:"toRequires,omitzero"` // refused
	ToNodes     []metav1.LabelSelector `json:"toNodes,omitzero"`
	ToCIDR      []string               `json:"toCIDR,omitzero"`
	ToCIDRSet   []CIDRRule             `json:"toCIDRSet,omitzero"`
	ToEntities  []string               `json:"toEntities,omitzero"`
	ToGroups    []CloudGroup           `json:"toGroups,omitzero"`
	ToServices  []ServiceRule          `json:"toServices,omitzero"`
	ToFQDNs     []FQDN                 `json:"toFQDNs,omitzero"`

	ToPorts        []PortRule      `json:"toPorts,omitzero"`
	ICMPs          []ICMPRule      `json:"icmps,omitzero"`
	Authentication *Authentication `json:"authentication,omitempty"`
}
