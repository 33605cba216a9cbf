package v1

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindCiliumNode is the kind of a CiliumNode.
const KindCiliumNode = "CiliumNode"

// CiliumNode is a node as the network sees it; its name is the Kubernetes
// node's. The operator writes spec.ipam, the node's agent the rest.
type CiliumNode struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              NodeSpec        `json:"spec"`
	Status            json.RawMessage `json:"status,omitempty"` // not read
}

// NodeSpec is what other nodes need to know of a node.
type NodeSpec struct {
	Addresses  []NodeAddress `json:"addresses,omitempty"`
	Health     AddressPair   `json:"health,omitzero"`  // of its health endpoint
	Ingress    AddressPair   `json:"ingress,omitzero"` // not read
	IPAM       NodeIPAM      `json:"ipam,omitzero"`
	Encryption struct {
		Key int `json:"key,omitempty"`
	} `json:"encryption,omitzero"` // not read
	BootID     string          `json:"bootid,omitempty"`      // not read
	InstanceID string          `json:"instance-id,omitempty"` // not read
	ENI        json.RawMessage `json:"eni,omitempty"`         // not read, nor are the next two
	Azure      json.RawMessage `json:"azure,omitempty"`
	Alibaba    json.RawMessage `json:"alibaba-cloud,omitempty"`
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
	Pool              json.RawMessage `json:"pool,omitempty"`
	IPv6Pool          json.RawMessage `json:"ipv6-pool,omitempty"`
	Pools             json.RawMessage `json:"pools,omitempty"`
	StaticIPTags      json.RawMessage `json:"static-ip-tags,omitempty"`
	MaxAboveWatermark int             `json:"max-above-watermark,omitempty"`
	MaxAllocate       int             `json:"max-allocate,omitempty"`
	MinAllocate       int             `json:"min-allocate,omitempty"`
	PreAllocate       int             `json:"pre-allocate,omitempty"`
}
