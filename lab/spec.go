package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// Modes of routing between nodes.
const (
	ModeVXLAN  = "vxlan"
	ModeNative = "native"
)

// Spec says what a lab consists of: the content of lab.yaml. Its zero value is
// three nodes, VXLAN, both families.
type Spec struct {
	Name        string    `json:"name,omitempty"`        // default "lab"
	Nodes       NodeSpecs `json:"nodes,omitempty"`       // a list, or a count
	Mode        string    `json:"mode,omitempty"`        // "vxlan" or "native"
	IPv4        *bool     `json:"ipv4,omitempty"`        // of nodes and pods; default true
	IPv6        *bool     `json:"ipv6,omitempty"`        // likewise
	MTU         int       `json:"mtu,omitempty"`         // of the underlay; default 1500
	ClusterName string    `json:"clusterName,omitempty"` // default: the lab's name
	Pools       Pools     `json:"pools,omitzero"`

	ServiceCIDRs      CIDRs `json:"serviceCIDRs,omitzero"`      // of cluster IPs; default 10.96.0.0/16 and fd00:10:96::/112
	LoadBalancerCIDRs CIDRs `json:"loadBalancerCIDRs,omitzero"` // of load balancers; default 172.18.200.0/24 and fc00:f853:ccd:e793:200::/112

	Agent     map[string]any `json:"agent,omitempty"`     // keys of weir.yaml, for every agent
	Manifests []string       `json:"manifests,omitempty"` // applied by up; relative to lab.yaml

	Bin      string    `json:"-"` // folder of weir, weir-agent and weir-cni; default: that of this program
	Progress io.Writer `json:"-"` // gets one line for each step; nil: silent
	Keep     bool      `json:"-"` // leave a lab that could not be brought up as it is, to look into it
}

// NodeSpec is one node.
type NodeSpec struct {
	Name     string         `json:"name"`
	NICs     int            `json:"nics,omitempty"`     // besides eth0: eth1 on a second underlay, and so on
	PodCIDRs []netip.Prefix `json:"podCIDRs,omitempty"` // instead of those out of the pools
}

// NodeSpecs is a list of nodes; in lab.yaml a count or names will do.
type NodeSpecs []NodeSpec

// Pools are what pod CIDRs are cut from.
type Pools struct {
	IPv4         []netip.Prefix `json:"ipv4,omitempty"` // default 10.0.0.0/8
	IPv4MaskSize int            `json:"ipv4MaskSize,omitempty"`
	IPv6         []netip.Prefix `json:"ipv6,omitempty"` // default fd00::/104
	IPv6MaskSize int            `json:"ipv6MaskSize,omitempty"`
}

// UnmarshalJSON accepts 3, [a, b] and [{name: a}, {name: b}].
func (n *NodeSpecs) UnmarshalJSON(b []byte) error {
	var count int
	if json.Unmarshal(b, &count) == nil {
		if count < 1 || count > maxNodes {
			return fmt.Errorf("nodes: %d; 1 to %d are possible", count, maxNodes)
		}
		*n = Nodes(count)
		return nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(b, &items); err != nil {
		return errors.New("nodes: a count, or a list of names or of {name, nics, podCIDRs}")
	}
	*n = make(NodeSpecs, len(items))
	for i, item := range items {
		if json.Unmarshal(item, &(*n)[i].Name) == nil {
			continue
		}
		if err := json.Unmarshal(item, &(*n)[i]); err != nil {
			return fmt.Errorf("nodes[%d]: %w", i, err)
		}
	}
	return nil
}

// Nodes returns the specs of n nodes n1, n2, ...
func Nodes(n int) NodeSpecs {
	out := make(NodeSpecs, n)
	for i := range out {
		out[i].Name = fmt.Sprintf("n%d", i+1)
	}
	return out
}

// withDefaults returns the spec with everything said.
func (s Spec) withDefaults() Spec {
	if s.Name == "" {
		s.Name = defaultLabName
	}
	if len(s.Nodes) == 0 {
		s.Nodes = Nodes(3)
	}
	if s.Mode == "" {
		s.Mode = ModeVXLAN
	}
	if s.IPv4 == nil {
		s.IPv4 = new(true)
	}
	if s.IPv6 == nil {
		s.IPv6 = new(true)
	}
	if s.MTU == 0 {
		s.MTU = defaultMTU
	}
	if s.ClusterName == "" {
		s.ClusterName = s.Name
	}
	if len(s.Pools.IPv4) == 0 {
		s.Pools.IPv4 = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	}
	if s.Pools.IPv4MaskSize == 0 {
		s.Pools.IPv4MaskSize = 24
	}
	if len(s.Pools.IPv6) == 0 {
		s.Pools.IPv6 = []netip.Prefix{netip.MustParsePrefix("fd00::/104")}
	}
	if s.Pools.IPv6MaskSize == 0 {
		s.Pools.IPv6MaskSize = 120
	}
	return s
}

// ReadSpec reads lab.yaml. Paths of manifests become relative to its folder.
func ReadSpec(file string) (Spec, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Spec{}, fmt.Errorf("read lab file: %w", err)
	}
	s, err := ParseSpec(file, data)
	for i, m := range s.Manifests {
		if !filepath.IsAbs(m) {
			s.Manifests[i] = filepath.Join(filepath.Dir(file), m)
		}
	}
	return s, err
}

// ParseSpec decodes the content of lab.yaml; file is for messages. Unknown keys
// are errors that say which key was meant.
func ParseSpec(file string, data []byte) (Spec, error) {
	var s Spec
	var raw any
	if err := yaml.Unmarshal(data, &raw); err != nil {
		return s, fmt.Errorf("%s: %w", file, err)
	}
	if err := checkKeys(data, raw, Spec{}); err != nil {
		return s, fmt.Errorf("%s: %w", file, err)
	}
	if err := yaml.UnmarshalStrict(data, &s); err != nil {
		return s, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}
