package v1

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// PortRule is ports, and what may be said on them. A deny rule has Ports only.
type PortRule struct {
	Ports []PortProtocol `json:"ports,omitzero"` // nil: every protocol and port

	Rules          *L7Rules    `json:"rules,omitempty"`
	ServerNames    []string    `json:"serverNames,omitzero"`
	Listener       *Listener   `json:"listener,omitempty"`
	TerminatingTLS *TLSContext `json:"terminatingTLS,omitempty"`
	OriginatingTLS *TLSContext `json:"originatingTLS,omitempty"`
}

// PortProtocol is a port, or a range of them. Port is a number in quotes or the
// name of a container's port; nil and "0" mean every port.
// The rule is as short as an API server's estimate of its cost asks for: a name, or a
// missing port, is an error of its own.
//
// +kubebuilder:validation:XValidation:rule="!has(self.endPort) || int(self.port) <= self.endPort",message="endPort is the end of a range that begins with port: write a port that is a number, and not above it"
type PortProtocol struct {
	// A number up to 65535, or a name, which has a letter.
	//
	// +kubebuilder:validation:Pattern=`^(0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})|([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*)$`
	// +kubebuilder:validation:MaxLength=15
	Port *string `json:"port,omitempty"`
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	EndPort int32 `json:"endPort,omitempty"`
	// ANY, the default, is TCP, UDP and SCTP.
	//
	// +kubebuilder:validation:Enum=TCP;UDP;SCTP;ICMP;ICMPv6;ICMPV6;VRRP;IGMP;GRE;IPIP;IPV6;ESP;AH;ANY
	Protocol string `json:"protocol,omitempty"`
}

// ICMPRule is types of ICMP messages.
type ICMPRule struct {
	// +kubebuilder:validation:MaxItems=40
	Fields []ICMPField `json:"fields,omitzero"`
}

// ICMPField is one type, by number or name.
type ICMPField struct {
	// IPv4 is the default.
	//
	// +kubebuilder:validation:Enum=IPv4;IPv6
	Family string `json:"family,omitempty"`
	// +kubebuilder:validation:Required
	Type *intstr.IntOrString `json:"type"`
}

// L7Rules is what may be said over a connection. One kind is set.
type L7Rules struct {
	HTTP    []HTTPRule          `json:"http,omitzero"`
	DNS     []FQDN              `json:"dns,omitzero"`
	Kafka   []KafkaRule         `json:"kafka,omitzero"`
	L7Proto string              `json:"l7proto,omitempty"`
	L7      []map[string]string `json:"l7,omitzero"`
}

// HTTPRule is requests; each field is a regular expression.
type HTTPRule struct {
	Path          string        `json:"path,omitempty"`
	Method        string        `json:"method,omitempty"`
	Host          string        `json:"host,omitempty"`
	Headers       []string      `json:"headers,omitzero"`
	HeaderMatches []HeaderMatch `json:"headerMatches,omitzero"`
}

// HeaderMatch is a header, and what becomes of a request without it.
type HeaderMatch struct {
	// +kubebuilder:validation:MinLength=1
	Name   string  `json:"name"`
	Value  string  `json:"value,omitempty"`
	Secret *Secret `json:"secret,omitempty"`
	// +kubebuilder:validation:Enum=LOG;ADD;DELETE;REPLACE
	Mismatch string `json:"mismatch,omitempty"`
}

// KafkaRule is requests to a broker.
type KafkaRule struct {
	Role   string `json:"role,omitempty"`
	APIKey string `json:"apiKey,omitempty"`
	// A string, often written as a number.
	//
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	APIVersion json.RawMessage `json:"apiVersion,omitempty"`
	ClientID   string          `json:"clientID,omitempty"`
	Topic      string          `json:"topic,omitempty"`
}

// Secret names a Kubernetes Secret.
type Secret struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

// TLSContext is the secret with certificates, and the names of its items.
type TLSContext struct {
	// +kubebuilder:validation:Required
	Secret      *Secret `json:"secret,omitempty"`
	TrustedCA   string  `json:"trustedCA,omitempty"`
	Certificate string  `json:"certificate,omitempty"`
	PrivateKey  string  `json:"privateKey,omitempty"`
}

// Listener is a proxy's.
type Listener struct {
	// +kubebuilder:validation:Required
	EnvoyConfig *EnvoyConfig `json:"envoyConfig,omitempty"`
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	Priority int `json:"priority,omitempty"`
}

// EnvoyConfig names the object that has the listener.
type EnvoyConfig struct {
	// +kubebuilder:validation:Enum=CiliumEnvoyConfig;CiliumClusterwideEnvoyConfig
	Kind string `json:"kind,omitempty"`
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}
