package v1

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindL2Policy is the kind of a CiliumL2AnnouncementPolicy, and APIVersionL2Policy
// how it is written.
const (
	KindL2Policy       = "CiliumL2AnnouncementPolicy"
	APIVersionL2Policy = Group + "/" + VersionAlpha
)

// CiliumL2AnnouncementPolicy says which addresses of services nodes answer for on
// the networks that they are in.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=ciliuml2announcementpolicies,singular=ciliuml2announcementpolicy,shortName=l2announcement,categories=cilium
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type CiliumL2AnnouncementPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              L2PolicySpec `json:"spec"`
	// Not read.
	//
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Status json.RawMessage `json:"status,omitempty"`
}

// CiliumL2AnnouncementPolicyList is what the API server lists.
//
// +kubebuilder:object:root=true
type CiliumL2AnnouncementPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []CiliumL2AnnouncementPolicy `json:"items"`
}

// L2PolicySpec chooses services, their addresses, nodes and devices.
type L2PolicySpec struct {
	ServiceSelector *metav1.LabelSelector `json:"serviceSelector,omitempty"` // none: all
	NodeSelector    *metav1.LabelSelector `json:"nodeSelector,omitempty"`    // none: all
	Interfaces      []string              `json:"interfaces,omitempty"`      // regular expressions; none: all
	ExternalIPs     bool                  `json:"externalIPs,omitempty"`
	LoadBalancerIPs bool                  `json:"loadBalancerIPs,omitempty"`
}
