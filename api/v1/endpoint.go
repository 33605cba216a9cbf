package v1

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindCiliumEndpoint is the kind of a CiliumEndpoint.
const KindCiliumEndpoint = "CiliumEndpoint"

// CiliumEndpoint is what the network knows of a pod, under the pod's name. The
// agent of the pod's node writes it, and nobody needs it to carry traffic.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=ciliumendpoints,singular=ciliumendpoint,shortName={cep,ciliumep},categories=cilium
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name="Security Identity",type=integer,JSONPath=`.status.identity.id`,description="number of the pod's labels"
// +kubebuilder:printcolumn:name="Ingress Enforcement",type=string,JSONPath=`.status.policy.ingress.state`,description="whether policy isolates what comes in",priority=1
// +kubebuilder:printcolumn:name="Egress Enforcement",type=string,JSONPath=`.status.policy.egress.state`,description="whether policy isolates what goes out",priority=1
// +kubebuilder:printcolumn:name="Endpoint State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name=IPv4,type=string,JSONPath=`.status.networking.addressing[0].ipv4`
// +kubebuilder:printcolumn:name=IPv6,type=string,JSONPath=`.status.networking.addressing[0].ipv6`
type CiliumEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Status            EndpointStatus `json:"status,omitzero"`
}

// CiliumEndpointList is what the API server lists.
//
// +kubebuilder:object:root=true
type CiliumEndpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []CiliumEndpoint `json:"items"`
}

// EndpointStatus is the content of a CiliumEndpoint.
type EndpointStatus struct {
	ID          int64               `json:"id,omitempty"` // on its node
	Identity    *EndpointIdentity   `json:"identity,omitempty"`
	Networking  *EndpointNetworking `json:"networking,omitempty"`
	Policy      *EndpointPolicy     `json:"policy,omitempty"`
	Encryption  EncryptionKey       `json:"encryption,omitzero"`
	External    *ExternalIDs        `json:"external-identifiers,omitempty"`
	NamedPorts  []EndpointPort      `json:"named-ports,omitempty"`
	ServiceName string              `json:"service-account,omitempty"`
	// +kubebuilder:validation:Enum=creating;waiting-for-identity;not-ready;waiting-to-regenerate;regenerating;restoring;ready;disconnecting;disconnected;invalid
	State string `json:"state,omitempty"`

	// What follows is not written.
	//
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Controllers json.RawMessage `json:"controllers,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Health json.RawMessage `json:"health,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Log json.RawMessage `json:"log,omitempty"`
}

// EndpointIdentity is the identity of an endpoint.
type EndpointIdentity struct {
	ID     int64    `json:"id,omitempty"`
	Labels []string `json:"labels,omitempty"`
}

// EndpointNetworking is where an endpoint is.
type EndpointNetworking struct {
	Addressing []AddressPair `json:"addressing"`
	Node       string        `json:"node,omitempty"` // the address of its node
}

// EndpointPolicy is what policy means for an endpoint.
type EndpointPolicy struct {
	Ingress *DirectionPolicy `json:"ingress,omitempty"`
	Egress  *DirectionPolicy `json:"egress,omitempty"`
}

// DirectionPolicy is that of one direction.
type DirectionPolicy struct {
	Enforcing bool `json:"enforcing"` // what no rule allows is denied
	// +kubebuilder:validation:Enum=enforcing;non-enforcing;disabled
	State string `json:"state,omitempty"`

	// What follows is not written: there is one for each identity.
	//
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Adding json.RawMessage `json:"adding,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Allowed json.RawMessage `json:"allowed,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Denied json.RawMessage `json:"denied,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Removing json.RawMessage `json:"removing,omitempty"`
}

// The states of a direction.
const (
	PolicyEnforcing = "enforcing"
	PolicyDisabled  = "disabled"
)

// ExternalIDs are what others call an endpoint.
type ExternalIDs struct {
	CNIAttachmentID  string `json:"cni-attachment-id,omitempty"`
	ContainerID      string `json:"container-id,omitempty"`
	ContainerName    string `json:"container-name,omitempty"`
	DockerEndpointID string `json:"docker-endpoint-id,omitempty"`
	DockerNetworkID  string `json:"docker-network-id,omitempty"`
	Namespace        string `json:"k8s-namespace,omitempty"`
	PodName          string `json:"k8s-pod-name,omitempty"`
	Pod              string `json:"pod-name,omitempty"` // namespace/name
}

// EndpointPort is a port with a name.
type EndpointPort struct {
	Name string `json:"name,omitempty"`
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port     int32  `json:"port,omitempty"`
	Protocol string `json:"protocol,omitempty"`
}
