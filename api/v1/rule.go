package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Every list of a policy tells absent (nil) from present but empty ([]T{}): an
// absent list is no condition, an empty one selects nothing. Decoding JSON keeps
// them apart, and "omitzero" keeps them apart when the object is written.

// Rule says who is selected, and what they may do. Keys of its selectors may
// name the source of the label: "k8s:app", "reserved:host", "any:app".
//
// +kubebuilder:validation:XValidation:rule="has(self.endpointSelector) != has(self.nodeSelector)",message="has both or neither of endpointSelector and nodeSelector: write one; {} selects all"
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
	// +kubebuilder:validation:items:Pattern=`^[0-9a-fA-F.:]+(/[0-9]{1,3})?$`
	// +kubebuilder:validation:items:MaxLength=49
	FromCIDR    []string   `json:"fromCIDR,omitzero"`
	FromCIDRSet []CIDRRule `json:"fromCIDRSet,omitzero"`
	// +kubebuilder:validation:items:Enum=all;world;world-ipv4;world-ipv6;cluster;cluster-mesh;host;remote-node;kube-apiserver;health;init;unmanaged;ingress;none
	FromEntities []string     `json:"fromEntities,omitzero"`
	FromGroups   []CloudGroup `json:"fromGroups,omitzero"`

	ToPorts        []PortRule      `json:"toPorts,omitzero"`
	ICMPs          []ICMPRule      `json:"icmps,omitzero"`
	Authentication *Authentication `json:"authentication,omitempty"`
}

// EgressRule is about traffic from the selected.
type EgressRule struct {
	ToEndpoints []metav1.LabelSelector `json:"toEndpoints,omitzero"`
	ToRequires  []metav1.LabelSelector `json:"toRequires,omitzero"` // refused
	ToNodes     []metav1.LabelSelector `json:"toNodes,omitzero"`
	// +kubebuilder:validation:items:Pattern=`^[0-9a-fA-F.:]+(/[0-9]{1,3})?$`
	// +kubebuilder:validation:items:MaxLength=49
	ToCIDR    []string   `json:"toCIDR,omitzero"`
	ToCIDRSet []CIDRRule `json:"toCIDRSet,omitzero"`
	// +kubebuilder:validation:items:Enum=all;world;world-ipv4;world-ipv6;cluster;cluster-mesh;host;remote-node;kube-apiserver;health;init;unmanaged;ingress;none
	ToEntities []string      `json:"toEntities,omitzero"`
	ToGroups   []CloudGroup  `json:"toGroups,omitzero"`
	ToServices []ServiceRule `json:"toServices,omitzero"`
	ToFQDNs    []FQDN        `json:"toFQDNs,omitzero"`

	ToPorts        []PortRule      `json:"toPorts,omitzero"`
	ICMPs          []ICMPRule      `json:"icmps,omitzero"`
	Authentication *Authentication `json:"authentication,omitempty"`
}
