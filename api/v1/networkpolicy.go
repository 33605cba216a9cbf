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

// CiliumNetworkPolicy is the policy of pods of its namespace. spec and specs
// count both.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=ciliumnetworkpolicies,singular=ciliumnetworkpolicy,shortName={cnp,ciliumnp},categories=cilium
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=Valid,type=string,JSONPath=`.status.conditions[?(@.type=='Valid')].status`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || has(self.specs)",message="spec is missing, and so is specs: write one with an endpointSelector and rules"
type CiliumNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// +kubebuilder:validation:XValidation:rule="!has(self.nodeSelector)",message="nodeSelector selects nodes, which are in no namespace: write a CiliumClusterwideNetworkPolicy"
	Spec   *Rule        `json:"spec,omitempty"`
	Specs  []Rule       `json:"specs,omitzero"`
	Status PolicyStatus `json:"status,omitzero"`
}

// CiliumNetworkPolicyList is what the API server lists.
//
// +kubebuilder:object:root=true
type CiliumNetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []CiliumNetworkPolicy `json:"items"`
}

// CiliumClusterwideNetworkPolicy is the policy of pods of all namespaces, or of
// nodes.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=ciliumclusterwidenetworkpolicies,singular=ciliumclusterwidenetworkpolicy,shortName=ccnp,categories=cilium
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name=Valid,type=string,JSONPath=`.status.conditions[?(@.type=='Valid')].status`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || has(self.specs)",message="spec is missing, and so is specs: write one with an endpointSelector or nodeSelector and rules"
type CiliumClusterwideNetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              *Rule        `json:"spec,omitempty"`
	Specs             []Rule       `json:"specs,omitzero"`
	Status            PolicyStatus `json:"status,omitzero"`
}

// CiliumClusterwideNetworkPolicyList is what the API server lists.
//
// +kubebuilder:object:root=true
type CiliumClusterwideNetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []CiliumClusterwideNetworkPolicy `json:"items"`
}

// PolicyStatus says what became of a policy.
type PolicyStatus struct {
	// +listType=map
	// +listMapKey=type
	Conditions []PolicyCondition `json:"conditions,omitempty"`

	// Not read: who derived policies of this one, and what nodes said in versions
	// that are gone.
	//
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	DerivativePolicies json.RawMessage `json:"derivativePolicies,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Nodes json.RawMessage `json:"nodes,omitempty"`
}

// PolicyCondition is one statement about a policy.
type PolicyCondition struct {
	Type               string      `json:"type"`
	Status             string      `json:"status"` // "True", "False" or "Unknown"
	LastTransitionTime metav1.Time `json:"lastTransitionTime,omitzero"`
	Reason             string      `json:"reason,omitempty"`
	Message            string      `json:"message,omitempty"`
}

// ConditionValid is the type of the condition that says whether a policy can be
// understood.
const ConditionValid = "Valid"

// CiliumCIDRGroup is a named list of prefixes.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=ciliumcidrgroups,singular=ciliumcidrgroup,shortName=ccg,categories=cilium
// +kubebuilder:storageversion
type CiliumCIDRGroup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              CIDRGroupSpec `json:"spec"`
}

// CiliumCIDRGroupList is what the API server lists.
//
// +kubebuilder:object:root=true
type CiliumCIDRGroupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []CiliumCIDRGroup `json:"items"`
}

// CIDRGroupSpec is the content of a CiliumCIDRGroup.
type CIDRGroupSpec struct {
	// +kubebuilder:validation:items:Pattern=`^[0-9a-fA-F.:]+(/[0-9]{1,3})?$`
	// +kubebuilder:validation:items:MaxLength=49
	ExternalCIDRs []string `json:"externalCIDRs"`
}
