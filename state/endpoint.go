package state

import (
	"net"
	"net/netip"
	"strconv"
)

// EndpointID numbers the endpoints of one node from 1. It is the endpoint's
// slot in weir_endpoints, and its device has the interface index
// bpf.IfindexBase + ID.
type EndpointID uint32

// EndpointState is where an endpoint is in its life, in the words of the field.
type EndpointState string

// The states of an endpoint.
const (
	EndpointCreating  EndpointState = "creating"             // its device is being made
	EndpointIdentity  EndpointState = "waiting-for-identity" // it works, as reserved:init
	EndpointReady     EndpointState = "ready"
	EndpointRestoring EndpointState = "restoring" // found on disk, not yet checked
	EndpointNotReady  EndpointState = "not-ready" // its device is gone, or its programs are not attached
)

// Endpoint is what Weir knows of one pod of this node: all its containers
// share one endpoint and its addresses. The state directory keeps one JSON
// file of this shape for each endpoint.
type Endpoint struct {
	ID          EndpointID       `json:"id"`
	ContainerID string           `json:"containerID"`
	Interface   string           `json:"interface"` // the name inside the pod, "eth0"
	Netns       string           `json:"netns"`     // path of the pod's network namespace
	NetnsCookie uint64           `json:"netnsCookie,omitempty"`
	Pod         PodName          `json:"pod"`              // empty for the health endpoint
	PodUID      string           `json:"podUID,omitempty"` // empty when the runtime did not tell
	Health      bool             `json:"health,omitempty"`
	Recovered   bool             `json:"recovered,omitempty"` // from the map: container, netns and pod may not be known
	IPv4        netip.Addr       `json:"ipv4,omitzero"`
	IPv6        netip.Addr       `json:"ipv6,omitzero"`
	Device      string           `json:"device"` // host side
	Ifindex     int              `json:"ifindex"`
	MAC         net.HardwareAddr `json:"mac"`                // of the pod's interface
	NodeMAC     net.HardwareAddr `json:"nodeMAC"`            // of Device; the gateway's, as the pod sees it
	MTU         int              `json:"mtu"`                // of the pod's routes
	Gateways    []netip.Addr     `json:"gateways,omitempty"` // of the pod's routes

	Identity IdentityID    `json:"identity"`
	Labels   Labels        `json:"labels,omitempty"`
	State    EndpointState `json:"state"`
}

// Addrs returns the addresses the endpoint has.
func (e Endpoint) Addrs() []netip.Addr {
	var out []netip.Addr
	for _, a := range []netip.Addr{e.IPv4, e.IPv6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// IsOf reports whether the row of a pod with the endpoint's name is that of the
// endpoint's pod. The name alone does not tell: a pod that was deleted while its
// node was lost runs on there, and another of its name elsewhere.
func (e Endpoint) IsOf(p Pod, node string) bool {
	return e.Pod == p.Name && p.Node == node && (e.PodUID == "" || p.UID == "" || e.PodUID == p.UID)
}

// Columns implements table.Row.
func (e Endpoint) Columns() []string {
	return []string{strconv.Itoa(int(e.ID)), e.Pod.String(), str(e.IPv4), str(e.IPv6), e.Device, e.Identity.String(), string(e.State)}
}

func str(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
