package v1

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindCiliumIdentity is the kind of a CiliumIdentity.
const KindCiliumIdentity = "CiliumIdentity"

// CiliumIdentity is a set of labels that got a number; the number, in decimal,
// is the object's name.
type CiliumIdentity struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	// SecurityLabels maps source:key to value: "k8s:app" to "web".
	SecurityLabels map[string]string `json:"security-labels"`
	Status         json.RawMessage   `json:"status,omitempty"` // not read
}
