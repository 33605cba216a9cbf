package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CIDRRule is a prefix, or a group of them, without some. Exactly one of the
// first three is set.
type CIDRRule struct {
	// +kubebuilder:validation:Pattern=`^[0-9a-fA-F.:]+(/[0-9]{1,3})?$`
	// +kubebuilder:validation:MaxLength=49
	CIDR string `json:"cidr,omitempty"`
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	// +kubebuilder:validation:MaxLength=253
	CIDRGroupRef      string                `json:"cidrGroupRef,omitempty"`
	CIDRGroupSelector *metav1.LabelSelector `json:"cidrGroupSelector,omitempty"`
	// +kubebuilder:validation:items:Pattern=`^[0-9a-fA-F.:]+(/[0-9]{1,3})?$`
	// +kubebuilder:validation:items:MaxLength=49
	Except []string `json:"except,omitzero"`
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
	// +kubebuilder:validation:Required
	Selector  *metav1.LabelSelector `json:"selector,omitempty"`
	Namespace string                `json:"namespace,omitempty"`
}

// FQDN is names in DNS.
type FQDN struct {
	// +kubebuilder:validation:Pattern=`^([-a-zA-Z0-9_]+[.]?)+$`
	// +kubebuilder:validation:MaxLength=255
	MatchName string `json:"matchName,omitempty"`
	// +kubebuilder:validation:Pattern=`^([-a-zA-Z0-9_*]+[.]?)+$`
	// +kubebuilder:validation:MaxLength=255
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
	// +kubebuilder:validation:Enum=disabled;required;test-always-fail
	Mode string `json:"mode"`
}
