package v1

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindCiliumNode is the kind of a CiliumNode.
const KindCiliumNode = "CiliumNode"

// CiliumNode is a node as the network sees it; its name is the Kubernetes
// node's. The operator writes it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=ciliumnodes,singular=ciliumnode,shortName={cn,ciliumn},categories=cilium
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name=CiliumInternalIP,type=string,JSONPath=`.spec.addresses[?(@.type=="CiliumInternalIP")].ip`,description="address of the node's router"
// +kubebuilder:printcolumn:name=InternalIP,type=string,JSONPath=`.spec.addresses[?(@.type=="InternalIP")].ip`,description="address of the node"
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type CiliumNode struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              NodeSpec   `json:"spec"`
	Status            NodeStatus `json:"status,omitzero"`
}

// CiliumNodeList is what the API server lists.
//
// +kubebuilder:object:root=true
type CiliumNodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []CiliumNode `json:"items"`
}

// NodeSpec is what other nodes need to know of a node.
type NodeSpec struct {
	Addresses  []NodeAddress `json:"addresses,omitempty"`
	Health     AddressPair   `json:"health,omitzero"`  // of its health endpoint
	Ingress    AddressPair   `json:"ingress,omitzero"` // not read
	IPAM       NodeIPAM      `json:"ipam,omitzero"`
	Encryption EncryptionKey `json:"encryption,omitzero"`   // not read
	BootID     string        `json:"bootid,omitempty"`      // not read
	InstanceID string        `json:"instance-id,omitempty"` // not read

	// What clouds say is not read.
	//
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	ENI json.RawMessage `json:"eni,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Azure json.RawMessage `json:"azure,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Alibaba json.RawMessage `json:"alibaba-cloud,omitempty"`
}

// EncryptionKey is the number of a key.
type EncryptionKey struct {
	Key int `json:"key,omitempty"`
}

// The types of a node's addresses that Weir reads.
const (
	InternalIP       = "InternalIP"       // of the underlay
	CiliumInternalIP = "CiliumInternalIP" // of the router, weir_host
)

// NodeAddress is an address of a node.
type NodeAddress struct {
	Type string `json:"type,omitempty"`
	IP   string `json:"ip,omitempty"`
}

// AddressPair is an address of each family, either of which may be empty.
type AddressPair struct {
	IPv4 string `json:"ipv4,omitempty"`
	IPv6 string `json:"ipv6,omitempty"`
}

// NodeIPAM says whence the node's pods get addresses.
type NodeIPAM struct {
	PodCIDRs []string `json:"podCIDRs,omitempty"`

	// What follows belongs to other ways of address management and is not read.
	//
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Pool json.RawMessage `json:"pool,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	IPv6Pool json.RawMessage `json:"ipv6-pool,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Pools json.RawMessage `json:"pools,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	StaticIPTags json.RawMessage `json:"static-ip-tags,omitempty"`
	// +kubebuilder:validation:Minimum=0
	MaxAboveWatermark int `json:"max-above-watermark,omitempty"`
	// +kubebuilder:validation:Minimum=0
	MaxAllocate int `json:"max-allocate,omitempty"`
	// +kubebuilder:validation:Minimum=0
	MinAllocate int `json:"min-allocate,omitempty"`
	// +kubebuilder:validation:Minimum=0
	PreAllocate int `json:"pre-allocate,omitempty"`
}

// NodeStatus is how the node's addresses are doing.
type NodeStatus struct {
	IPAM NodeIPAMStatus `json:"ipam,omitzero"`

	// What clouds say is not read.
	//
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	ENI json.RawMessage `json:"eni,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Azure json.RawMessage `json:"azure,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Alibaba json.RawMessage `json:"alibaba-cloud,omitempty"`
}

// NodeIPAMStatus says why a node has no pod CIDR.
type NodeIPAMStatus struct {
	Operator OperatorStatus `json:"operator-status,omitzero"`

	// What follows belongs to other ways of address management and is not read.
	//
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	AssignedStaticIP json.RawMessage `json:"assigned-static-ip,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	PodCIDRs json.RawMessage `json:"pod-cidrs,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Used json.RawMessage `json:"used,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	IPv6Used json.RawMessage `json:"ipv6-used,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	ReleaseIPs json.RawMessage `json:"release-ips,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	ReleaseIPv6s json.RawMessage `json:"release-ipv6s,omitempty"`
}

// OperatorStatus is what the operator has to say of a node.
type OperatorStatus struct {
	Error string `json:"error,omitempty"`
}
