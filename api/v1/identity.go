package v1

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindCiliumIdentity is the kind of a CiliumIdentity.
const KindCiliumIdentity = "CiliumIdentity"

// CiliumIdentity is a set of labels that got a number; the number, in decimal,
// is the object's name.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=ciliumidentities,singular=ciliumidentity,shortName=ciliumid,categories=cilium
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name=Namespace,type=string,JSONPath=`.metadata.labels.io\.kubernetes\.pod\.namespace`,description="namespace of the pods that have it"
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type CiliumIdentity struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	// SecurityLabels maps source:key to value: "k8s:app" to "web".
	SecurityLabels map[string]string `json:"security-labels"`
	// Not read.
	//
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Status json.RawMessage `json:"status,omitempty"`
}

// CiliumIdentityList is what the API server lists.
//
// +kubebuilder:object:root=true
type CiliumIdentityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []CiliumIdentity `json:"items"`
}
