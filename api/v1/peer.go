package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CIDRRule is a prefix, or a group of them, without some. Exactly one of the
// first three is set.
type CIDRRule struct {
	CIDR              string                `json:"cidr,omitempty"`
	CIDRGroupRef      string                `json:"cidrGroupRef,omitempty"`
	CIDRGroupSelector *metav1.LabelSelector `json:"cidrGroupSelector,omitempty"`
	Except            []string              `json:"except,omitzero"`
}

// ServiceRule names services. Exactly one is set.
type ServiceRule struct {
	K8sService         *K8sService         `json:"k8sService,omitempty"`
	K8sServiceSelector *K8sServiceSelector `json:"k8sServiceSelector,omitempty"`
}

// K8sService is a service by name.
type K8sService struct {
	ServiceName string `json:"serviceName,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
}

// K8sServiceSelector is services by labels.
type K8sServiceSelector struct {
	Selector  *metav1.LabelSelector `json:"selector,omitempty"` // required
	Namespace string                `json:"namespace,omitempty"`
}

// FQDN is names in DNS.
type FQDN struct {
	MatchName    string `json:"matchName,omitempty"`
	MatchPattern string `json:"matchPattern,omitempty"`
}

// CloudGroup is addresses that a cloud's API knows.
type CloudGroup struct {
	AWS *AWSGroup `json:"aws,omitempty"`
}

// AWSGroup is instances by labels or security groups.
type AWSGroup struct {
	Labels              map[string]string `json:"labels,omitempty"`
	SecurityGroupsIDs   []string          `json:"securityGroupsIds,omitzero"`
	SecurityGroupsNames []string          `json:"securityGroupsNames,omitzero"`
	Region              string            `json:"region,omitempty"`
}

// Authentication is what both ends have to prove to each other.
type Authentication struct {
	Mode string `json:"mode"` // disabled, required, test-always-fail
}
