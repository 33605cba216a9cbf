package oracle

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What follows is the policy API of cilium.io/v2 as its schema has it. A list
// that is absent is nil, one that is present and empty is not: the two mean
// opposite things.

type ciliumPolicy struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ObjectMeta `json:"metadata"`
	Spec            *spec             `json:"spec"`
	Specs           []spec            `json:"specs"`
}

type spec struct {
	EndpointSelector  *metav1.LabelSelector `json:"endpointSelector"`
	NodeSelector      *metav1.LabelSelector `json:"nodeSelector"`
	Ingress           []rule                `json:"ingress"`
	IngressDeny       []rule                `json:"ingressDeny"`
	Egress            []rule                `json:"egress"`
	EgressDeny        []rule                `json:"egressDeny"`
	EnableDefaultDeny struct {
		Ingress *bool `json:"ingress"`
		Egress  *bool `json:"egress"`
	} `json:"enableDefaultDeny"`
}

// rule is a rule of either direction: "from" fields stand in ingress rules
// only, "to" fields in egress rules only.
type rule struct {
	FromEndpoints []metav1.LabelSelector `json:"fromEndpoints"`
	FromNodes     []metav1.LabelSelector `json:"fromNodes"`
	FromEntities  []string               `json:"fromEntities"`
	FromCIDR      []string               `json:"fromCIDR"`
	FromCIDRSet   []cidrRule             `json:"fromCIDRSet"`
	FromGroups    []json.RawMessage      `json:"fromGroups"`

	ToEndpoints []metav1.LabelSelector `json:"toEndpoints"`
	ToNodes     []metav1.LabelSelector `json:"toNodes"`
	ToEntities  []string               `json:"toEntities"`
	ToCIDR      []string               `json:"toCIDR"`
	ToCIDRSet   []cidrRule             `json:"toCIDRSet"`
	ToGroups    []json.RawMessage      `json:"toGroups"`
	ToServices  []serviceRule          `json:"toServices"`
	ToFQDNs     []json.RawMessage      `json:"toFQDNs"`

	ToPorts        []portRule `json:"toPorts"`
	ICMPs          []icmpRule `json:"icmps"`
	Authentication *struct {
		Mode string `json:"mode"`
	} `json:"authentication"`
}

type cidrRule struct {
	CIDR              string                `json:"cidr"`
	CIDRGroupRef      string                `json:"cidrGroupRef"`
	CIDRGroupSelector *metav1.LabelSelector `json:"cidrGroupSelector"`
	Except            []string              `json:"except"`
}

type serviceRule struct {
	K8sService *struct {
		ServiceName string `json:"serviceName"`
		Namespace   string `json:"namespace"`
	} `json:"k8sService"`
	K8sServiceSelector *struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Namespace string               `json:"namespace"`
	} `json:"k8sServiceSelector"`
}

type portRule struct {
	Ports []struct {
		Port     string `json:"port"`
		EndPort  int    `json:"endPort"`
		Protocol string `json:"protocol"`
	} `json:"ports"`

	// Parts that are not enforced: with any of them, the entry allows nothing.
	Rules          json.RawMessage `json:"rules"`
	ServerNames    json.RawMessage `json:"serverNames"`
	Listener       json.RawMessage `json:"listener"`
	TerminatingTLS json.RawMessage `json:"terminatingTLS"`
	OriginatingTLS json.RawMessage `json:"originatingTLS"`
}

type icmpRule struct {
	Fields []struct {
		Family string          `json:"family"`
		Type   json.RawMessage `json:"type"` // a number, or a name
	} `json:"fields"`
}

type cidrGroup struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		ExternalCIDRs []string `json:"externalCIDRs"`
	} `json:"spec"`
}

type ciliumNode struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Addresses []struct{ Type, IP string } `json:"addresses"`
		Health    struct{ IPv4, IPv6 string } `json:"health"`
		IPAM      struct {
			PodCIDRs []string `json:"podCIDRs"`
		} `json:"ipam"`
	} `json:"spec"`
}
