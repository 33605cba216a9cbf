package oracle

import (
	"encoding/json"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Settings is what is not written in objects: the agent's configuration, and
// endpoints that have no object.
type Settings struct {
	Cluster      string       `json:"cluster"`
	Node         string       `json:"node"`                 // the node whose endpoints are judged
	Mode         string       `json:"mode"`                 // "default", "always" or "never"
	Respond      string       `json:"respond,omitempty"`    // "drop" or "reject"
	HostFirewall bool         `json:"hostFirewall"`         //
	CIDRMatch    []string     `json:"cidrMatch,omitempty"`  // of "pods" and "nodes"
	IPv4, IPv6   bool         `json:",omitempty"`           // the families that are on
	Routing      string       `json:"routing,omitempty"`    // "native", "tunnel" or "legacy": means nothing to policies
	FailSafe     []FailSafe   `json:"failSafe,omitempty"`   // of the host
	Orphans      []netip.Addr `json:"orphans,omitempty"`    // endpoints of the node whose pod is not known
	OrphansIn    string       `json:"orphansIn,omitempty"`  // the namespace that their runtime names
	TunnelPort   uint16       `json:"tunnelPort,omitempty"` // UDP
}

// FailSafe is a port of the host that no policy closes.
type FailSafe struct {
	Ingress bool   `json:"ingress"`
	Proto   uint8  `json:"proto"`
	Port    uint16 `json:"port"`
}

// World is all objects there are.
type World struct {
	Settings
	pods       []*corev1.Pod
	namespaces map[string]*corev1.Namespace
	nodes      map[string]*ciliumNode
	nodeLabels map[string]map[string]string // of the Node objects
	services   []*corev1.Service
	slices     []*discoveryv1.EndpointSlice
	groups     []*cidrGroup
	netpols    []*networkingv1.NetworkPolicy
	policies   []*ciliumPolicy
}

// New reads objects, each as JSON.
func New(s Settings, objects []json.RawMessage) (*World, error) {
	w := &World{Settings: s, namespaces: map[string]*corev1.Namespace{}, nodes: map[string]*ciliumNode{}, nodeLabels: map[string]map[string]string{}}
	for i, raw := range objects {
		if err := w.add(raw); err != nil {
			return nil, fmt.Errorf("object %d: %w", i, err)
		}
	}
	return w, nil
}

func (w *World) add(raw []byte) error {
	var head struct{ Kind string }
	if err := json.Unmarshal(raw, &head); err != nil {
		return err
	}
	switch head.Kind {
	case "Pod":
		return into(raw, func(p *corev1.Pod) { w.pods = append(w.pods, p) })
	case "Namespace":
		return into(raw, func(n *corev1.Namespace) { w.namespaces[n.Name] = n })
	case "Node":
		return into(raw, func(n *corev1.Node) { w.nodeLabels[n.Name] = n.Labels })
	case "CiliumNode":
		return into(raw, func(n *ciliumNode) { w.nodes[n.Metadata.Name] = n })
	case "Service":
		return into(raw, func(s *corev1.Service) { w.services = append(w.services, s) })
	case "EndpointSlice":
		return into(raw, func(s *discoveryv1.EndpointSlice) { w.slices = append(w.slices, s) })
	case "CiliumCIDRGroup":
		return into(raw, func(g *cidrGroup) { w.groups = append(w.groups, g) })
	case "NetworkPolicy":
		return into(raw, func(p *networkingv1.NetworkPolicy) { w.netpols = append(w.netpols, p) })
	case "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy":
		return into(raw, func(p *ciliumPolicy) { w.policies = append(w.policies, p) })
	}
	return fmt.Errorf("kind %q means nothing here", head.Kind)
}

func into[T any](raw []byte, keep func(*T)) error {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	keep(&v)
	return nil
}
